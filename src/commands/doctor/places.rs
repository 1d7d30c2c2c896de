//! The folders that perk writes to, the cache, and the hub.

use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::sys::statvfs::statvfs;

use crate::model::{HubSettings, hub};

use super::{Facts, Finding};

/// How long the hub may take to answer.
const PATIENCE: Duration = Duration::from_secs(4);
/// A checkpoint of the quickstart takes 1 MB, its pictures and journals as much again.
const LEAST_BYTES: u64 = 50_000_000;
/// A base of 0.5 billion numbers in bf16 takes 1 GB.
const ENOUGH_BYTES: u64 = 2_000_000_000;

/// A folder that perk writes to: how much room there is, and whether it can be written.
pub(super) fn disk(purpose: &'static str, folder: &Path) -> Finding {
    judge_disk(purpose, folder, free_bytes(folder), is_writable(folder))
}

/// What is free for this user where the folder is or would be.
#[allow(clippy::useless_conversion, reason = "the types differ from system to system")]
fn free_bytes(folder: &Path) -> Option<u64> {
    let disk = statvfs(&nearest(folder)).ok()?;
    Some(u64::from(disk.blocks_available()).saturating_mul(u64::from(disk.fragment_size())))
}

fn judge_disk(purpose: &'static str, folder: &Path, free_bytes: Option<u64>, is_writable: bool) -> Finding {
    let facts = Facts::Disk { purpose, folder: folder.to_owned(), free_bytes, is_writable };
    let elsewhere = match purpose {
        "cache" => "set HF_HOME to a folder that has room and can be written",
        "adapters" => "name another folder with --store or --out, or start perk elsewhere",
        _ => "name another folder with --out, or start perk elsewhere",
    };
    // A base in a folder needs no cache, and adapters can be put anywhere; without runs nothing is trained.
    let grave = if purpose == "runs" { Finding::problem } else { Finding::note };
    match free_bytes {
        _ if !is_writable => grave(facts, format!("cannot be written: {elsewhere}")),
        Some(bytes) if bytes < LEAST_BYTES => grave(facts, format!("is full: {elsewhere}")),
        Some(bytes) if bytes < ENOUGH_BYTES => {
            Finding::note(facts, format!("has little room for models: {elsewhere}"))
        }
        _ => Finding::ok(facts),
    }
}

/// The folder itself, or the nearest one above it that is there.
fn nearest(folder: &Path) -> PathBuf {
    let whole = std::path::absolute(folder).unwrap_or_else(|_| folder.to_owned());
    whole.ancestors().find(|above| above.exists()).unwrap_or(&whole).to_owned()
}

/// Whether a file can be made there, or where the folder would be made. The file has no name, or is gone at once.
fn is_writable(folder: &Path) -> bool {
    let there = nearest(folder);
    there.is_dir() && tempfile::tempfile_in(there).is_ok()
}

/// What the hub's cache holds.
pub(super) fn cache(folder: &Path) -> Finding {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let names: Vec<String> = entries.filter_map(|entry| entry.file_name().into_string().ok()).collect();
    let count = |kind: &str| names.iter().filter(|name| name.starts_with(kind)).count();
    let (models, datasets) = (count("models--"), count("datasets--"));
    Finding::ok(Facts::Cache { folder: folder.to_owned(), models, datasets })
}

/// Whether the hub answers. It is asked for its first page, and not told the token.
pub(super) fn hub(settings: &HubSettings) -> Finding {
    let facts = |unreachable| Facts::Hub {
        endpoint: hub::endpoint(settings),
        has_token: settings.token.is_some(),
        is_offline: settings.offline,
        unreachable,
    };
    if settings.offline {
        let advice = "bases come from folders and from the cache alone (HF_HUB_OFFLINE)";
        return Finding::note(facts(None), advice);
    }
    match hub::reach(settings, PATIENCE) {
        Ok(()) => Finding::ok(facts(None)),
        Err(fault) => {
            let advice = "check the network, HF_ENDPOINT and proxies; bases in folders and in the cache work without it";
            Finding::note(facts(Some(fault)), advice)
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::super::State;
    use super::*;

    #[test]
    fn a_folder_that_is_not_there_yet_is_judged_by_the_nearest_one_above_it() {
        let room = tempfile::tempdir().unwrap();
        let found = disk("runs", &room.path().join("a/b"));
        let Facts::Disk { free_bytes, is_writable, .. } = found.facts else { panic!("{found:?}") };
        assert!(is_writable && free_bytes.unwrap() > 0);
        assert_eq!(fs::read_dir(room.path()).unwrap().count(), 0, "nothing is left there");
        fs::write(room.path().join("file"), "").unwrap();
        let found = disk("runs", &room.path().join("file/runs"));
        assert_eq!(found.state, State::Problem, "a file is in the way: {found:?}");
    }

    #[test]
    fn want_of_room_is_a_problem_for_runs_and_a_note_for_what_can_be_elsewhere() {
        let state = |purpose, bytes| judge_disk(purpose, Path::new("x"), Some(bytes), true).state;
        assert_eq!(state("runs", 1 << 40), State::Ok);
        assert_eq!(state("runs", 1 << 30), State::Note);
        assert_eq!([state("runs", 9), state("cache", 9)], [State::Problem, State::Note]);
        let refused = judge_disk("adapters", Path::new("x"), None, false);
        assert_eq!(refused.state, State::Note);
        assert!(refused.advice.unwrap().contains("--store"));
    }

    #[test]
    fn models_and_datasets_of_a_cache_are_counted_and_nothing_else() {
        let room = tempfile::tempdir().unwrap();
        for name in ["models--a--b", "models--c", "datasets--d", ".locks", "version.txt"] {
            fs::create_dir(room.path().join(name)).unwrap();
        }
        let Facts::Cache { models, datasets, .. } = cache(room.path()).facts else { panic!("no cache") };
        assert_eq!((models, datasets), (2, 1));
        let Facts::Cache { models, .. } = cache(&room.path().join("none")).facts else { panic!("no cache") };
        assert_eq!(models, 0);
    }

    #[test]
    fn offline_the_hub_is_not_asked() {
        let endpoint = Some("http://127.0.0.1:9".to_owned());
        let offline = HubSettings { offline: true, endpoint: endpoint.clone(), ..HubSettings::default() };
        let Facts::Hub { is_offline, unreachable, .. } = hub(&offline).facts else { panic!("no hub") };
        assert_eq!((is_offline, unreachable), (true, None));
        let found = hub(&HubSettings { endpoint, ..HubSettings::default() });
        assert!(found.state == State::Note && found.advice.unwrap().contains("HF_ENDPOINT"));
    }
}
