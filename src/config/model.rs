//! `[model]`: the frozen base.

use std::{fmt, str::FromStr};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Checker;
use crate::error::Fault;

/// What the frozen matrices are kept in; adapters and gradients are f32 (f64 with `f64`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Storage {
    /// Single precision.
    F32,
    /// Brain float: half the memory of f32.
    Bf16,
    /// Half precision.
    F16,
    /// Double precision, for checks.
    F64,
    /// Each matrix as the base's files have it: the blocks of a GGUF file stay as they are. On the CPU.
    #[serde(rename = "as_stored")]
    AsStored,
    /// Blocks of 32 numbers of 8 bits, made while the base is loaded. On the CPU.
    #[serde(rename = "q8_0")]
    Q8_0,
    /// Blocks of 256 numbers of 4 bits, made while the base is loaded. On the CPU.
    #[serde(rename = "q4_k")]
    Q4K,
}

impl Storage {
    /// Whether the base's numbers are rounded to blocks while it is loaded.
    pub fn quantises(self) -> bool {
        matches!(self, Self::Q8_0 | Self::Q4K)
    }
}

/// How products with frozen weights are taken, in PyTorch's words: what their factors keep of an f32 number at least; at
/// `medium` those of attention and adapters may be taken so too. Sums are f32 everywhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum MatmulPrecision {
    /// All 24 bits of f32.
    #[default]
    Highest,
    /// 16 bits: two bf16 products.
    High,
    /// 8 bits: one bf16 product.
    Medium,
}

impl MatmulPrecision {
    const ALL: [Self; 3] = [Self::Highest, Self::High, Self::Medium];

    fn name(self) -> &'static str {
        match self {
            Self::Highest => "highest",
            Self::High => "high",
            Self::Medium => "medium",
        }
    }
}

impl fmt::Display for MatmulPrecision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for MatmulPrecision {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|precision| precision.name() == text);
        found.ok_or_else(|| "expected highest, high or medium".to_owned())
    }
}

/// The frozen base and its tokenizer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ModelConfig {
    /// A folder or a GGUF file, or a model or a GGUF file of the hub, `hf:owner/name:file.gguf`; see [`Place`](super::Place).
    pub base: String,
    /// Branch, tag or commit of a hub id; `main` if not given.
    pub revision: Option<String>,
    /// Use only what the hub's cache holds.
    pub offline: bool,
    /// What the frozen matrices are kept in.
    pub storage: Storage,
    /// How products with frozen weights are taken.
    #[serde(default)]
    pub matmul_precision: MatmulPrecision,
    /// Text of the end token; by default the one that the base was trained to stop on.
    pub end_token: Option<String>,
    /// Text of the token that begins every segment and every prompt, `""` for none; by default what the base's own
    /// tokenizer says. A checkpoint or a record always says it; those of older versions, which do not, had none.
    #[serde(default)]
    pub begin_token: Option<String>,
}

impl Default for ModelConfig {
    fn default() -> Self {
        Self {
            base: String::new(),
            revision: None,
            offline: false,
            storage: Storage::F32,
            matmul_precision: MatmulPrecision::Highest,
            end_token: None,
            begin_token: None,
        }
    }
}

impl ModelConfig {
    /// Adds what is wrong with the values to `faults`.
    pub fn validate(&self, faults: &mut Vec<Fault>) {
        let mut check = Checker::new("model", faults);
        check.require(
            !self.base.is_empty(),
            "base",
            "is needed: a model folder or GGUF file, or a hub id hf:owner/name",
        );
        let reason = "is for f32, bf16 and blocks: leave it out, or set model.storage";
        let rounds = self.matmul_precision != MatmulPrecision::Highest;
        let packed = !matches!(self.storage, Storage::F16 | Storage::F64);
        check.require(packed || !rounds, "matmul_precision", reason);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_precision_that_a_type_does_not_have_is_refused_by_its_key() {
        let base = "base".to_owned();
        for (storage, matmul_precision, faulty) in [
            (Storage::F32, MatmulPrecision::Medium, false),
            (Storage::Bf16, MatmulPrecision::High, false),
            (Storage::F16, MatmulPrecision::Highest, false),
            (Storage::AsStored, MatmulPrecision::Medium, false),
            (Storage::F16, MatmulPrecision::High, true),
            (Storage::F64, MatmulPrecision::Medium, true),
        ] {
            let config =
                ModelConfig { base: base.clone(), storage, matmul_precision, ..ModelConfig::default() };
            let mut faults = Vec::new();
            config.validate(&mut faults);
            let keys: Vec<&str> = faults.iter().map(|fault| fault.key.as_str()).collect();
            assert_eq!(keys, if faulty { vec!["model.matmul_precision"] } else { vec![] });
        }
    }

    #[test]
    fn precisions_are_read_by_their_names() {
        for precision in MatmulPrecision::ALL {
            assert_eq!(precision.to_string().parse(), Ok(precision));
        }
        assert!("Medium".parse::<MatmulPrecision>().is_err());
    }
}
