//! The whole configuration of `perk pretrain`: shape, training, text, folder.

use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{BaseShape, Checker, CorpusConfig, PretrainConfig, PretrainTraining, Raw};
use crate::device::DeviceName;
use crate::error::{Error, Result};

/// `[run]` of a pretraining configuration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct BaseRun {
    /// Folder of the new base.
    pub dir: PathBuf,
    /// Where it is trained: `auto`, `cpu`, `cuda`, `cuda:1`. A base this small is soonest done on the CPU.
    #[serde(default = "cpu")]
    #[schemars(with = "String")]
    pub device: DeviceName,
}

fn cpu() -> DeviceName {
    DeviceName::Cpu
}

impl Default for BaseRun {
    fn default() -> Self {
        Self { dir: PathBuf::from("runs/base"), device: DeviceName::Cpu }
    }
}

/// How to make a small base.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct BaseRecipe {
    /// `[model]`: shape.
    pub model: BaseShape,
    /// `[train]`: training; its seed also draws the text.
    pub train: PretrainTraining,
    /// `[corpus]`: text.
    pub corpus: CorpusConfig,
    /// `[run]`: folder.
    pub run: BaseRun,
}

impl BaseRecipe {
    /// Reads `path` with `overrides` (`block.key=value`); fails with the list of all faults.
    pub fn load(path: &Path, overrides: &[String]) -> Result<Self> {
        let mut raw = Raw::read(path, overrides)?;
        let recipe = Self {
            model: raw.block("model"),
            train: raw.block("train"),
            corpus: raw.block("corpus"),
            run: raw.block("run"),
        };
        recipe.pretraining().validate(&mut raw.faults);
        recipe.corpus.validate(&mut raw.faults);
        let named = !recipe.run.dir.as_os_str().is_empty();
        Checker::new("run", &mut raw.faults).require(named, "dir", "must name a folder");
        raw.finish()?;
        Ok(recipe)
    }

    /// Shape and training.
    pub fn pretraining(&self) -> PretrainConfig {
        PretrainConfig { model: self.model.clone(), train: self.train.clone() }
    }

    /// The resolved recipe as TOML.
    pub fn to_toml(&self) -> Result<String> {
        toml::to_string(self)
            .map_err(|fault| Error::Invalid(format!("the recipe cannot be written: {fault}")))
    }
}
