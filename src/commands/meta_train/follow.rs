//! A run's other ranks: they take their share of every step's episodes, and the same outer step as rank 0.

use std::{collections::HashMap, path::Path};

use candle_core::{Device, Tensor};
use serde::{Deserialize, Serialize};

use crate::{
    commands::work::Work,
    config::Config,
    error::{Error, Result},
    meta::OuterState,
    model::HubSettings,
    ranks::{Ranks, agreed, is_alone, told},
    tasks::{self, Split},
};

use super::{Gradients, Setup};

/// Stands for the file of what rank 0 sends, in messages.
const SENT: &str = "the state of rank 0";

/// What rank 0 tells the others while a run goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::commands) enum Order {
    /// Take an outer step.
    Step {
        /// Outer steps done.
        step: usize,
        /// The step's first episode.
        first: u64,
    },
    /// There are no more.
    End,
}

impl Order {
    /// Tells the other ranks, if there are any.
    pub(super) fn tell(self, ranks: &dyn Ranks) -> Result<()> {
        if is_alone(ranks) { Ok(()) } else { told(ranks, Some(&self)).map(drop) }
    }
}

/// Makes the other ranks begin where this run stands.
pub(super) fn lead(ranks: &dyn Ranks, setup: &Setup, state: &OuterState) -> Result<()> {
    let work = Work::MetaTrain { config: setup.config.to_toml()?, step: state.step() };
    told(ranks, Some(&work))?;
    let tensors: Vec<_> = state.named_tensors();
    let tensors = tensors.iter().map(|(name, tensor)| (name.as_str(), tensor));
    let mut bytes = safetensors::serialize(tensors, None).map_err(|fault| unreadable(&fault))?;
    ranks.broadcast(&mut bytes)?;
    // They load the base meanwhile.
    agreed(ranks, Ok(()))
}

fn unreadable(fault: &impl std::fmt::Display) -> Error {
    Error::file(SENT, format!("cannot be sent or read: {fault}"))
}

/// A rank that follows rank 0.
pub(in crate::commands) struct Follower {
    setup: Setup,
    state: OuterState,
}

impl Follower {
    /// Begins where rank 0 stands.
    ///
    /// # Errors
    /// A base that this rank cannot read; then all ranks fail.
    pub(in crate::commands) fn new(
        ranks: &dyn Ranks,
        config: &str,
        step: usize,
        hub: &HubSettings,
    ) -> Result<Self> {
        let mut bytes = Vec::new();
        ranks.broadcast(&mut bytes)?;
        agreed(ranks, Self::of(config, step, &bytes, hub))
    }

    fn of(config: &str, step: usize, bytes: &[u8], hub: &HubSettings) -> Result<Self> {
        let setup = Setup::open(&Config::from_toml(Path::new(SENT), config)?, hub)?;
        let mut state = OuterState::new(&setup.learner, &setup.outer, setup.config.run.seed)?;
        let tensors: HashMap<String, Tensor> = candle_core::safetensors::load_buffer(bytes, &Device::Cpu)?;
        let device = &setup.decoder().device;
        let tensors = tensors.into_iter().map(|(name, tensor)| Ok((name, tensor.to_device(device)?)));
        state.load_named(Path::new(SENT), tensors.collect::<Result<_>>()?)?;
        state.set_step(step);
        Ok(Self { setup, state })
    }

    /// Takes every step that rank 0 takes.
    ///
    /// # Errors
    /// As the run itself.
    pub(in crate::commands) fn follow(mut self, ranks: &dyn Ranks) -> Result<()> {
        let config = &self.setup.config;
        let source = tasks::open(&config.data, &self.setup.tokenizer, Split::Train, 1, config.run.seed)?;
        while let Order::Step { step, first } = told(ranks, None)? {
            let params = self.state.params()?;
            let (setup, source) = (&self.setup, source.as_ref());
            let (gradient, _) =
                Gradients { setup, source, ranks, step, tell: &|_| {} }.mean(&params, first)?;
            self.state.apply(&gradient.tree, &self.setup.outer)?;
        }
        Ok(())
    }
}
