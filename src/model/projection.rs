//! The seven linear maps of a decoder layer that an adapter may change, and the four matrices that they are kept as.

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

/// Projections of the same input, kept as one matrix with their rows below each other, so that one product takes
/// them all. On disk each has a matrix of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Joint {
    /// Queries, keys and values.
    Qkv,
    /// Attention output.
    Output,
    /// Gate and up projection.
    GateUp,
    /// Down projection.
    Down,
}

impl Joint {
    /// All four, in the order in which a layer uses them.
    pub const ALL: [Self; 4] = [Self::Qkv, Self::Output, Self::GateUp, Self::Down];

    /// Its projections, from the first row down.
    pub fn parts(self) -> &'static [Projection] {
        match self {
            Self::Qkv => &Projection::ALL[..3],
            Self::Output => &Projection::ALL[3..4],
            Self::GateUp => &Projection::ALL[4..6],
            Self::Down => &Projection::ALL[6..],
        }
    }
}

impl Projection {
    /// The matrix that it is a part of.
    pub fn joint(self) -> Joint {
        match self {
            Self::QProj | Self::KProj | Self::VProj => Joint::Qkv,
            Self::OProj => Joint::Output,
            Self::GateProj | Self::UpProj => Joint::GateUp,
            Self::DownProj => Joint::Down,
        }
    }
}
