//! The models that an evaluation compares: one base, and the adapters that were trained on it.

use std::path::PathBuf;

use crate::{
    checkpoint::Digest,
    config::{Config, Objective},
    error::{Error, Result},
    eval::{Method, Model},
    meta::MetaParams,
    model::HubSettings,
};

use super::super::{Compute, InnerStart, Setup, inner_start::require_base};

/// What to compare.
#[derive(Debug, Clone, Default)]
pub struct ModelSources {
    /// A meta-trained checkpoint.
    pub meta_trained: Option<InnerStart>,
    /// A checkpoint of perk finetune.
    pub fine_tuned: Option<InnerStart>,
    /// Base, segments and prompt where there is no checkpoint.
    pub plain: Option<Config>,
    /// Where the base is, if not where it was.
    pub base: Option<String>,
    /// Longest answer, in tokens, if not as in training.
    pub max_new_tokens: Option<usize>,
    /// How many segments [`Method::Rag`] puts into a prompt.
    pub retrieved_segments: usize,
    /// Where and how exactly to compute, whatever the checkpoints were trained on.
    pub compute: Compute,
}

/// A loaded base with its trained numbers.
#[derive(Debug)]
struct Loaded {
    setup: Setup,
    /// `None` for the base alone.
    params: Option<MetaParams>,
    checkpoint: Option<Digest>,
}

/// Models ready to be asked, on the same base.
#[derive(Debug)]
pub struct Models {
    main: Loaded,
    fine_tuned: Option<Loaded>,
    retrieved_segments: usize,
    /// Digest of the base.
    pub base: Digest,
}

impl ModelSources {
    /// Loads what `methods` need.
    ///
    /// # Errors
    /// A method without its checkpoint, a checkpoint of another kind or for another base, and what loading
    /// finds wrong.
    pub fn open(self, methods: &[Method], hub: &HubSettings) -> Result<Models> {
        self.require_checkpoints(methods)?;
        let fine_tuned = self.fine_tuned.as_ref().filter(|_| methods.contains(&Method::FtIcr));
        let main = match (&self.meta_trained, fine_tuned, &self.plain) {
            (Some(trained), _, _) => self.trained(trained, Objective::Perk, hub)?,
            (None, Some(trained), _) => self.trained(trained, Objective::InContext, hub)?,
            (None, None, Some(config)) => self.model(config, hub)?,
            (None, None, None) => {
                let reason = "no base to ask: name a run with --checkpoint, or a configuration with --config";
                return Err(Error::Invalid(reason.to_owned()));
            }
        };
        let base = main.setup.base.files.digest()?;
        for trained in self.meta_trained.iter().chain(fine_tuned) {
            let path = trained.identity.path.clone().unwrap_or_default();
            require_base(&path, trained.base.as_ref(), &base, main.setup.base.files.path())?;
        }
        let fine_tuned = fine_tuned.map(|trained| self.beside(&main, trained)).transpose()?;
        Ok(Models { main, fine_tuned, retrieved_segments: self.retrieved_segments, base })
    }

    fn require_checkpoints(&self, methods: &[Method]) -> Result<()> {
        if methods.contains(&Method::FtIcr) && self.fine_tuned.is_none() {
            let reason = "ft-icr needs the adapter of perk finetune: name its run with --finetuned";
            return Err(Error::Invalid(reason.to_owned()));
        }
        match methods.iter().find(|method| method.is_meta_trained()) {
            Some(method) if self.meta_trained.is_none() => {
                let reason = format!("{} needs a run of perk meta-train: --checkpoint", method.name());
                Err(Error::Invalid(reason))
            }
            _ => Ok(()),
        }
    }

    fn trained(&self, trained: &InnerStart, objective: Objective, hub: &HubSettings) -> Result<Loaded> {
        trained.require(objective)?;
        let mut model = self.model(&trained.config, hub)?;
        model.params = Some(trained.params(&model.setup)?);
        model.checkpoint = Some(trained.identity.digest.clone());
        Ok(model)
    }

    fn model(&self, config: &Config, hub: &HubSettings) -> Result<Loaded> {
        Ok(Loaded { setup: Setup::open(&self.changed(config)?, hub)?, params: None, checkpoint: None })
    }

    /// The fine-tuned adapter on the base that is loaded already.
    fn beside(&self, main: &Loaded, trained: &InnerStart) -> Result<Loaded> {
        trained.require(Objective::InContext)?;
        let setup = main.setup.beside(&self.changed(&trained.config)?)?;
        let params = Some(trained.params(&setup)?);
        Ok(Loaded { setup, params, checkpoint: Some(trained.identity.digest.clone()) })
    }

    /// A configuration with what was asked for.
    fn changed(&self, config: &Config) -> Result<Config> {
        let mut config = config.clone();
        config.model.base = self.base.clone().unwrap_or(config.model.base);
        self.compute.apply(&mut config.model, &mut config.run);
        config.eval.max_new_tokens = self.max_new_tokens.unwrap_or(config.eval.max_new_tokens);
        let mut faults = Vec::new();
        config.validate(&mut faults);
        if faults.is_empty() { Ok(config) } else { Err(Error::Config { path: PathBuf::new(), faults }) }
    }
}

impl Models {
    /// The setup of the meta-trained model, or of what stands for it.
    pub fn setup(&self) -> &Setup {
        &self.main.setup
    }

    /// Digests of the checkpoints that answer, by name.
    pub fn checkpoints(&self) -> Vec<(&'static str, String)> {
        let named = [("checkpoint", Some(&self.main)), ("finetuned", self.fine_tuned.as_ref())];
        let digest = |(name, model): (&'static str, Option<&Loaded>)| {
            Some((name, model?.checkpoint.as_ref()?.to_string()))
        };
        named.into_iter().filter_map(digest).collect()
    }

    /// The model that answers by `method`.
    pub fn of(&self, method: Method) -> Model<'_> {
        let model = match (method, &self.fine_tuned) {
            (Method::FtIcr, Some(model)) => model,
            _ => &self.main,
        };
        let retrieved_segments = self.retrieved_segments;
        Model { retrieved_segments, ..model.setup.model(model.params.as_ref(), method) }
    }
}
