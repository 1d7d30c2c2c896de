//! The seven linear maps of a decoder layer that an adapter may change.

use serde::{Deserialize, Serialize};

/// One of the seven projections of a decoder layer, by its name in Hugging Face checkpoints.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Projection {
    /// Queries, `(heads · head_dim, hidden)`.
    QProj,
    /// Keys, `(kv_heads · head_dim, hidden)`.
    KProj,
    /// Values, `(kv_heads · head_dim, hidden)`.
    VProj,
    /// Attention output, `(hidden, heads · head_dim)`.
    OProj,
    /// Gate of the feed-forward, `(intermediate, hidden)`.
    GateProj,
    /// Up projection of the feed-forward, `(intermediate, hidden)`.
    UpProj,
    /// Down projection of the feed-forward, `(hidden, intermediate)`.
    DownProj,
}

impl Projection {
    /// All seven, in the order in which a layer uses them.
    pub const ALL: [Self; 7] =
        [Self::QProj, Self::KProj, Self::VProj, Self::OProj, Self::GateProj, Self::UpProj, Self::DownProj];

    /// Its name in checkpoints, `q_proj` and so on.
    pub fn name(self) -> &'static str {
        match self {
            Self::QProj => "q_proj",
            Self::KProj => "k_proj",
            Self::VProj => "v_proj",
            Self::OProj => "o_proj",
            Self::GateProj => "gate_proj",
            Self::UpProj => "up_proj",
            Self::DownProj => "down_proj",
        }
    }

    /// Its place in a layer's module tree: `self_attn.q_proj`, `mlp.up_proj` and so on.
    pub fn path(self) -> &'static str {
        match self {
            Self::QProj => "self_attn.q_proj",
            Self::KProj => "self_attn.k_proj",
            Self::VProj => "self_attn.v_proj",
            Self::OProj => "self_attn.o_proj",
            Self::GateProj => "mlp.gate_proj",
            Self::UpProj => "mlp.up_proj",
            Self::DownProj => "mlp.down_proj",
        }
    }
}
