//! How a model gets at a context.

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// How the model gets at the context.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Method {
    /// Written into the adapter by the inner loop; not in the prompt.
    Perk,
    /// Not at all: the trained start of the adapter, no inner step.
    NoAdaptation,
    /// Not at all, and without an adapter.
    Base,
    /// In the prompt of the base, without an adapter.
    Icr,
    /// In the prompt, with an adapter that was fine-tuned so.
    FtIcr,
    /// In the prompt of the base, of which it stands there what is most like the question.
    Rag,
}

impl std::str::FromStr for Method {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let found = Self::ALL.into_iter().find(|method| method.name() == text);
        found.ok_or_else(|| {
            let names = Self::ALL.map(Self::name).join(", ");
            Error::Invalid(format!("method `{text}` is none of {names}"))
        })
    }
}

impl Method {
    /// All, in the order of the table.
    pub const ALL: [Self; 6] =
        [Self::Perk, Self::NoAdaptation, Self::Base, Self::Icr, Self::FtIcr, Self::Rag];

    /// Whether it needs what meta-training learns.
    pub fn is_meta_trained(self) -> bool {
        matches!(self, Self::Perk | Self::NoAdaptation)
    }

    /// Whether it answers with numbers that were trained on the target, and so in its form.
    pub fn is_trained(self) -> bool {
        self.is_meta_trained() || self == Self::FtIcr
    }

    /// Whether the model is given the context, or parts of it, in its prompt.
    pub fn reads_context(self) -> bool {
        matches!(self, Self::Icr | Self::FtIcr | Self::Rag)
    }

    /// Its name in results and tables.
    pub fn name(self) -> &'static str {
        match self {
            Self::Perk => "perk",
            Self::NoAdaptation => "no-adaptation",
            Self::Base => "base",
            Self::Icr => "icr",
            Self::FtIcr => "ft-icr",
            Self::Rag => "rag",
        }
    }
}
