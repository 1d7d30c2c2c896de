//! What this build, this machine and its places have for perk, for a person whom something fails.

mod machine;
mod places;

use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::model::HubSettings;

/// How it is with one thing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// As it should be.
    Ok,
    /// Perk works, but something is slower, smaller or missing.
    Note,
    /// Perk cannot be used so.
    Problem,
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Finding {
    /// What was found.
    #[serde(flatten)]
    pub facts: Facts,
    /// How it is.
    pub state: State,
    /// What to do about it.
    pub advice: Option<String>,
}

/// What was found, by the name of what was looked at.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "what", content = "facts", rename_all = "lowercase")]
pub enum Facts {
    /// This program.
    Build {
        /// Its version.
        version: &'static str,
        /// Features that it was built with.
        features: Vec<&'static str>,
        /// Operating system and architecture that it was built for.
        target: String,
    },
    /// The processor.
    Processor {
        /// Its name, where the system says it.
        name: Option<String>,
        /// Threads that perk computes on.
        threads: usize,
        /// Kernels for packed products that processor and system allow.
        kernels: Vec<&'static str>,
        /// The kernel that is taken; `None` where packing does not pay.
        chosen: Option<&'static str>,
    },
    /// The first GPU.
    Gpu {
        /// Whether this build can use one.
        built_in: bool,
        /// The card, if it works.
        card: Option<Card>,
        /// Why there is none to use.
        reason: Option<String>,
    },
    /// Memory of the machine.
    Memory {
        /// All of it, in bytes; `None` where the system does not say.
        total_bytes: Option<u64>,
        /// What a program could get without swapping, in bytes.
        available_bytes: Option<u64>,
        /// What the control groups of this process allow it, in bytes; `None` without a limit.
        limit_bytes: Option<u64>,
    },
    /// A folder that is written to.
    Disk {
        /// What for: `runs`, `adapters`, `cache`.
        purpose: &'static str,
        /// The folder; it need not be there yet.
        folder: PathBuf,
        /// Free for this user where it is or would be, in bytes.
        free_bytes: Option<u64>,
        /// Whether files can be made there.
        is_writable: bool,
    },
    /// What was downloaded before.
    Cache {
        /// The folder.
        folder: PathBuf,
        /// Models in it, whole or not.
        models: usize,
        /// Datasets in it, whole or not.
        datasets: usize,
    },
    /// The hub of models.
    Hub {
        /// Its address.
        endpoint: String,
        /// Whether a token is set.
        has_token: bool,
        /// Whether downloads are forbidden.
        is_offline: bool,
        /// Why it did not answer, if it was asked and did not.
        unreachable: Option<String>,
    },
}

/// A GPU.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Card {
    /// Its name.
    pub name: String,
    /// Its memory, in bytes.
    pub total_bytes: u64,
    /// What of that is free, in bytes.
    pub free_bytes: u64,
}

/// Where perk writes if nothing else is said.
#[derive(Debug, Clone, Copy)]
pub struct Places<'a> {
    /// Runs of training.
    pub runs: &'a Path,
    /// Encoded contexts.
    pub adapters: &'a Path,
}

/// Looks at everything, in the order in which it is told. It takes a few seconds where a hub does not answer.
pub fn examine(places: Places<'_>, hub: &HubSettings) -> Vec<Finding> {
    vec![
        machine::build(),
        machine::processor(),
        machine::gpu(),
        machine::memory(),
        places::disk("runs", places.runs),
        places::disk("adapters", places.adapters),
        places::disk("cache", &hub.cache_dir),
        places::cache(&hub.cache_dir),
        places::hub(hub),
    ]
}

/// Whether nothing was found that makes perk unusable.
pub fn is_usable(findings: &[Finding]) -> bool {
    findings.iter().all(|finding| finding.state < State::Problem)
}

impl Finding {
    fn ok(facts: Facts) -> Self {
        Self { facts, state: State::Ok, advice: None }
    }

    fn note(facts: Facts, advice: impl Into<String>) -> Self {
        Self { facts, state: State::Note, advice: Some(advice.into()) }
    }

    fn problem(facts: Facts, advice: impl Into<String>) -> Self {
        Self { facts, state: State::Problem, advice: Some(advice.into()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_finding_is_written_with_its_name_its_state_and_its_facts() {
        let facts = Facts::Memory { total_bytes: Some(8), available_bytes: Some(4), limit_bytes: None };
        let found = serde_json::to_value(Finding::note(facts, "buy more")).unwrap();
        let expected = serde_json::json!({
            "what": "memory", "state": "note", "advice": "buy more",
            "facts": {"total_bytes": 8, "available_bytes": 4, "limit_bytes": null},
        });
        assert_eq!(found, expected);
    }

    #[test]
    fn only_a_problem_makes_perk_unusable() {
        let facts = || Facts::Gpu { built_in: false, card: None, reason: None };
        let [fine, noted, bad] =
            [Finding::ok(facts()), Finding::note(facts(), ""), Finding::problem(facts(), "")];
        assert!(is_usable(&[fine.clone(), noted]));
        assert!(!is_usable(&[fine, bad]));
    }
}
