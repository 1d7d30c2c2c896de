//! Inspecting: what an adapter or a checkpoint has learned, as far as what lies in its folder says it, and what encoding
//! the context again says of the rest.

mod facts;
mod matrices;
mod origin;
mod reading;

use std::path::Path;

use candle_core::{Device, Tensor};

use crate::{
    checkpoint::{PROGRESS_FILE, TENSORS_FILE, load_parameters, load_progress},
    config::{LrParameterization, Objective},
    error::{Error, Result},
    model::HubSettings,
    model::lora::ADAPTER_FILE,
    report::inspection::{Inspection, Kind, Norms, NormsOf, Rates},
    store::{RECORD_FILE, Store, StoredAdapter},
    tasks::Context,
};

use super::encode::Watch;
use super::{Compute, InnerStart};
use matrices::Matrices;
use origin::{Found, context_of, start_of};
use reading::Again;

/// What is inspected.
#[derive(Debug)]
pub enum Subject {
    /// An encoded context.
    Adapter(Box<StoredAdapter>),
    /// The start of an inner loop.
    Checkpoint(Box<InnerStart>),
}

impl Subject {
    /// What a person means by `name`: the folder of an adapter, of a run or of a checkpoint, or else the name of an adapter
    /// in `store`.
    ///
    /// # Errors
    /// None of them is there, or what is there is damaged.
    pub fn find(name: &Path, store: &Store) -> Result<Self> {
        if name.join(PROGRESS_FILE).is_file() || name.join("checkpoints").is_dir() {
            return Ok(Self::Checkpoint(Box::new(InnerStart::open(name)?)));
        }
        if name.is_dir() && !name.join(RECORD_FILE).is_file() {
            let reason =
                "is neither an adapter of perk encode nor a run of perk meta-train or one of its checkpoints";
            return Err(Error::file(name, reason));
        }
        Ok(Self::Adapter(Box::new(store.find(name)?)))
    }
}

/// What a person gives beside the subject.
#[derive(Debug, Default)]
pub struct Given {
    /// The context; of an adapter it must be the one that was encoded.
    pub context: Option<Context>,
    /// Whether the context of an adapter is looked for, and encoded again.
    pub encode: bool,
    /// The start that an adapter was encoded from, if it is not where it was.
    pub start: Option<InnerStart>,
    /// Where the base is, if not where it was.
    pub base: Option<String>,
    /// Where and how exactly to compute.
    pub compute: Compute,
}

/// Finds out what there is to be shown of `subject`; `watch` is told how the context is encoded again.
///
/// # Errors
/// Files that are damaged; a context, a start or a base that was given and is another one.
pub fn inspect(subject: &Subject, given: &Given, hub: &HubSettings, watch: Watch<'_>) -> Result<Inspection> {
    match subject {
        Subject::Adapter(stored) => adapter(stored, given, hub, watch),
        Subject::Checkpoint(start) => checkpoint(start, given, hub, watch),
    }
}

/// What is missing where the context is.
const CONTEXT: &str = "the context, token by token, and the losses of its segments";

fn adapter(stored: &StoredAdapter, given: &Given, hub: &HubSettings, watch: Watch<'_>) -> Result<Inspection> {
    let record = &stored.record;
    let (facts, settings) = (facts::of_adapter(stored), facts::as_text(record)?);
    let mut shown = Inspection::new(stored.dir.display().to_string(), Kind::Adapter, facts, settings);
    shown.losses = Some(record.losses.clone());
    shown.notes.extend(stored.verify().err().map(|fault| fault.to_string()));
    let own = Matrices::read(&stored.dir.join(ADAPTER_FILE))?;
    let scale = matrices::scale(&record.recipe.lora);
    let start = match start_of(stored, given.start.as_ref())? {
        Found::There(start) => start,
        Found::Missing(reason, advice) => {
            let what = "learning rates, token weights, and the change from the start; and the context";
            shown.lacks(what, &reason, &advice);
            shown.norms = Some(Norms { of: NormsOf::Adapter, sites: own.norms(scale)? });
            return Ok(shown);
        }
    };
    match Learned::of(&start)? {
        Some(learned) => {
            shown.norms = Some(Norms { of: NormsOf::Change, sites: own.changes(&learned.phi_0, scale)? });
            shown.rates = Some(learned.rates(&start, record.recipe.inner.steps)?);
        }
        None => {
            let reason =
                "the start was never meta-trained, so its rates are all alike, and its adapter is drawn anew";
            shown.lacks(
                "learned rates, and the change from the start",
                reason,
                "perk meta-train makes such a start",
            );
            shown.norms = Some(Norms { of: NormsOf::Adapter, sites: own.norms(scale)? });
        }
    }
    add_reading(&mut shown, &Again { stored, start: &start, given, hub }, watch)?;
    Ok(shown)
}

/// The context, encoded again where it is to be had.
fn add_reading(shown: &mut Inspection, again: &Again<'_>, watch: Watch<'_>) -> Result<()> {
    let context = match context_of(again.stored, again.given)? {
        Found::There(context) => context,
        Found::Missing(reason, advice) => {
            shown.lacks(CONTEXT, &reason, &advice);
            return Ok(());
        }
    };
    match again.read(&context, watch) {
        Ok((reading, notes)) => {
            shown.reading = Some(reading);
            shown.notes.extend(notes);
            Ok(())
        }
        // What was asked for must be had; what was looked for may be missing.
        Err(fault) if again.given.context.is_none() => {
            let advice = "--base says where the base is; --no-encode leaves the context out";
            shown.lacks(CONTEXT, &fault.to_string(), advice);
            Ok(())
        }
        Err(fault) => Err(fault),
    }
}

fn checkpoint(start: &InnerStart, given: &Given, hub: &HubSettings, watch: Watch<'_>) -> Result<Inspection> {
    let path = start.identity.path.as_deref().unwrap_or(Path::new("checkpoint"));
    let progress = load_progress(path)?;
    let (facts, settings) = (facts::of_checkpoint(start, &progress), progress.config.clone());
    let mut shown = Inspection::new(path.display().to_string(), Kind::Checkpoint, facts, settings);
    let has_inner_loop = start.config.outer.objective == Objective::Perk;
    if let Some(learned) = Learned::of(start)? {
        let scale = matrices::scale(&start.config.lora);
        shown.norms = Some(Norms { of: NormsOf::Adapter, sites: learned.phi_0.norms(scale)? });
        if has_inner_loop {
            shown.rates = Some(learned.rates(start, start.config.inner.steps)?);
        }
    }
    if let Some(context) = &given.context {
        let (reading, losses) = reading::of_start(start, given, context, hub, watch)?;
        (shown.reading, shown.losses) = (Some(reading), Some(losses));
    } else if has_inner_loop {
        let advice = "--context FILE shows how it would write that file into an adapter";
        shown.lacks(CONTEXT, "a checkpoint has no context", advice);
    } else {
        let reason = "the adapter was fine-tuned with the context in the prompt: it has no inner loop";
        shown.lacks(CONTEXT, reason, "inspect a run of perk meta-train");
    }
    Ok(shown)
}

/// What a start has learned, as far as the base need not be known.
struct Learned {
    /// The adapter φ₀.
    phi_0: Matrices,
    /// The inner learning rates, as they are stored.
    raw_rates: Option<Tensor>,
}

impl Learned {
    /// That of `start`; `None` where nothing was ever trained.
    fn of(start: &InnerStart) -> Result<Option<Self>> {
        let Some(folder) = &start.identity.path else { return Ok(None) };
        let mut tensors = load_parameters(folder, &Device::Cpu)?;
        let raw_rates = tensors.remove("inner_lr");
        tensors.retain(|name, _| name.starts_with(matrices::PREFIX));
        Ok(Some(Self { phi_0: Matrices::of(&folder.join(TENSORS_FILE), tensors)?, raw_rates }))
    }

    /// The learning rates of so many inner steps; those of the last trained step serve for the steps after it too.
    fn rates(&self, start: &InnerStart, steps: usize) -> Result<Rates> {
        let path = start.identity.path.as_deref().unwrap_or(Path::new("")).join(TENSORS_FILE);
        let raw = self.raw_rates.as_ref().ok_or_else(|| Error::tensor(&path, "inner_lr", "is missing"))?;
        let log = start.config.inner.lr_parameterization == LrParameterization::Log;
        self.phi_0.rates(&path, raw, log, steps)
    }
}
