//! What an adapter or a checkpoint has learned, and from what: what `perk inspect` shows, as a page and in a terminal.

mod page;
mod reading;
mod tables;

pub use reading::{BeforeAfter, Reading, SegmentLoss, SegmentReading, TokenReading};

use serde::Serialize;

use crate::store::Losses;

/// What was inspected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// An encoded context.
    Adapter,
    /// The start of an inner loop.
    Checkpoint,
}

/// An adapter or a checkpoint, with everything that could be found out about it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Inspection {
    /// Its folder.
    pub subject: String,
    /// What it is.
    pub kind: Kind,
    /// What is known of it in few words, by groups.
    pub facts: Vec<Facts>,
    /// The losses of the whole context over the inner steps; of a checkpoint without a context there are none.
    pub losses: Option<Losses>,
    /// The context, token by token.
    pub reading: Option<Reading>,
    /// How large the adapter is, or how far the inner loop has moved it.
    pub norms: Option<Norms>,
    /// The inner learning rates.
    pub rates: Option<Rates>,
    /// The record, or the configuration, as it is written.
    pub settings: String,
    /// What is not shown, and how it is had.
    pub missing: Vec<Missing>,
    /// What else a person should know.
    pub notes: Vec<String>,
}

impl Inspection {
    /// Of `subject`, with nothing but its facts and its settings yet.
    pub fn new(subject: String, kind: Kind, facts: Vec<Facts>, settings: String) -> Self {
        Self {
            subject,
            kind,
            facts,
            losses: None,
            reading: None,
            norms: None,
            rates: None,
            settings,
            missing: vec![],
            notes: vec![],
        }
    }

    /// Says that something is not shown, why, and how it is had.
    pub fn lacks(&mut self, what: &str, reason: &str, advice: &str) {
        let [what, reason, advice] = [what, reason, advice].map(str::to_owned);
        self.missing.push(Missing { what, reason, advice });
    }
}

/// Some facts that belong together.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Facts {
    /// What they are about.
    pub name: &'static str,
    /// Names and values.
    pub entries: Vec<(&'static str, String)>,
}

/// Something that is not shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Missing {
    /// What.
    pub what: String,
    /// Why.
    pub reason: String,
    /// How it is had.
    pub advice: String,
}

/// What norms are of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum NormsOf {
    /// s ‖B_N A_N − B₀ A₀‖: what the inner loop adds to the frozen matrix.
    Change,
    /// s ‖B A‖: what the adapter adds to it.
    Adapter,
}

/// Frobenius norms by layer and projection.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Norms {
    /// What they are of.
    pub of: NormsOf,
    /// By layer, then by projection.
    pub sites: Vec<SiteNorm>,
}

/// The norm at one adapted matrix.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SiteNorm {
    /// Layer, from 0.
    pub layer: usize,
    /// Projection.
    pub projection: &'static str,
    /// The norm.
    pub norm: f64,
}

/// Inner learning rates by tensor and step.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Rates {
    /// In the adapter's order.
    pub tensors: Vec<TensorRates>,
}

/// The learning rates of one tensor.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct TensorRates {
    /// Layer, from 0.
    pub layer: usize,
    /// Projection.
    pub projection: &'static str,
    /// `A` or `B`.
    pub matrix: &'static str,
    /// One a step.
    pub rates: Vec<f64>,
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An inspection of an adapter with two segments, two adapted layers and two steps.
    pub(super) fn inspection() -> Inspection {
        let site = |layer, projection, norm| SiteNorm { layer, projection, norm };
        let tensors = |(layer, projection, rate)| {
            ["A", "B"].map(|matrix| TensorRates { layer, projection, matrix, rates: vec![rate, 2.0 * rate] })
        };
        Inspection {
            subject: "adapters/<story>".to_owned(),
            kind: Kind::Adapter,
            facts: vec![Facts { name: "Base", entries: vec![("digest", "blake3:00".to_owned())] }],
            losses: Some(Losses { inner: vec![7.4, 0.2], cross_entropy: vec![3.3, 4.5] }),
            reading: Some(reading::tests::reading(&[&[0.1, 0.3], &[4.0]])),
            norms: Some(Norms {
                of: NormsOf::Change,
                sites: vec![site(3, "q_proj", 1.5), site(4, "down_proj", 0.25)],
            }),
            rates: Some(Rates {
                tensors: [(3, "q_proj", 0.1), (4, "down_proj", 0.001)]
                    .into_iter()
                    .flat_map(tensors)
                    .collect(),
            }),
            settings: "{}".to_owned(),
            missing: vec![],
            notes: vec![],
        }
    }

    #[test]
    fn the_page_shades_each_token_by_its_weight_and_says_its_losses() {
        let html = inspection().page(100).html();
        for part in [
            "<title>adapter adapters/&lt;story&gt;</title>",
            "<span class=\"t\" style=\"--w:0.80;--v:0.40;--b:0.80;--a:0.20;\" title=\"ω 4.00 → 2.00, loss 2.00 → 0.500 nats\"> t0</span>",
            "<span class=\"prefix\">doc_1:</span>",
            "segment 1 · tokens: 1 · 90.9% of all weight · loss 2.00 → 0.500",
            "<td>after step 1, the last</td>\n<td>0.200</td>\n<td>4.50</td>",
            "Learning rates of inner step 2",
            "title=\"layer 4, down B: 0.002\"",
            "blake3:00",
        ] {
            assert!(html.contains(part), "{part} is missing in {html}");
        }
        assert!(!html.contains("What is not shown"));
    }

    #[test]
    fn what_is_missing_is_said_with_how_it_is_had_and_has_no_part() {
        let missing =
            Missing { what: "the context".into(), reason: "is not kept".into(), advice: "--context".into() };
        let bare = Inspection {
            reading: None,
            losses: None,
            norms: None,
            rates: None,
            missing: vec![missing],
            ..inspection()
        };
        let html = bare.page(100).html();
        assert!(html.contains("<strong>the context</strong>: is not kept<br>→ --context"), "{html}");
        for part in ["id=\"context\"", "id=\"losses\"", "id=\"norms\"", "id=\"rates\"", "id=\"segments\""] {
            assert!(!html.contains(part), "{part}");
        }
    }

    #[test]
    fn a_long_context_is_shown_in_part_and_says_so() {
        let html = inspection().page(1).html();
        assert!(html.contains("Of 2 segments, the 1 that count most are shown"), "{html}");
        assert!(!html.contains("doc_0:") && html.contains("doc_1:"), "{html}");
    }
}
