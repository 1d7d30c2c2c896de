//! What meta-training learned, by name: how a checkpoint's tensors become a tree again.

#![allow(clippy::disallowed_methods)] // When a checkpoint is opened.

use std::collections::HashMap;
use std::path::Path;

use candle_core::{DType, Device, Tensor};

use crate::{Error, Result};

use super::{Head, Learner, LrParameterization, MetaParams, MetaTree};

impl LrParameterization {
    /// The learning rates that are stored as `raw`, in f64 on the CPU.
    pub(super) fn rates(self, raw: &Tensor) -> Result<Tensor> {
        let raw = raw.to_device(&Device::Cpu)?.to_dtype(DType::F64)?;
        Ok(match self {
            Self::Log => raw.exp()?,
            Self::Linear => raw,
        })
    }
}

/// Sizes that a tensor must have; `None` where any will do.
type Sizes = Vec<Option<usize>>;

/// The tensors of a checkpoint, taken out one by one.
pub(super) struct Named<'a> {
    path: &'a Path,
    tensors: HashMap<String, Tensor>,
}

impl<'a> Named<'a> {
    /// `path` is where they were read.
    pub fn new(path: &'a Path, tensors: HashMap<String, Tensor>) -> Self {
        Self { path, tensors }
    }

    /// Takes out the tensors whose names are `prefix` and those of `names`, in the type and on the device given.
    ///
    /// # Errors
    /// A tensor that is missing, or that has another shape than `sizes`.
    pub fn take(
        &mut self,
        prefix: &str,
        names: &MetaTree<String>,
        sizes: &MetaTree<Sizes>,
        (dtype, device): (DType, &Device),
    ) -> Result<MetaTree<Tensor>> {
        names.zip(sizes, |name, expected| {
            let name = format!("{prefix}{name}");
            let found =
                self.tensors.remove(&name).ok_or_else(|| Error::tensor(self.path, &name, "is missing"))?;
            let fits = |(found, expected): (&usize, &Option<usize>)| expected.is_none_or(|e| e == *found);
            if found.rank() != expected.len() || !found.dims().iter().zip(expected).all(fits) {
                let reason = format!("should be {}, but is {:?}", shown(expected), found.dims());
                return Err(Error::tensor(self.path, name, reason));
            }
            Ok(found.to_dtype(dtype)?.to_device(device)?)
        })
    }

    /// Everything has been taken.
    ///
    /// # Errors
    /// A tensor that is left.
    pub fn finish(self) -> Result<()> {
        match self.tensors.keys().min() {
            Some(name) => Err(Error::tensor(self.path, name, "does not belong to this configuration")),
            None => Ok(()),
        }
    }
}

impl MetaParams {
    /// Takes the parameters out of a checkpoint's `tensors`; `path` is where they were read.
    ///
    /// Where `learner` takes more inner steps than were trained, the rates of the last one serve for the
    /// steps after it too.
    ///
    /// # Errors
    /// A tensor that is missing, that is one too many, or that has another shape.
    pub fn from_named(
        path: &Path,
        tensors: HashMap<String, Tensor>,
        learner: &Learner,
        parameterization: LrParameterization,
    ) -> Result<Self> {
        let (layout, decoder) = (&learner.layout, &learner.backbone.decoder);
        let names = MetaTree::names(layout, learner.options.head);
        let width = Some(decoder.config.hidden_size);
        let sizes = MetaTree {
            adapter: (0..layout.num_tensors())
                .map(|index| layout.shape(index))
                .map(|(rows, columns)| vec![Some(rows), Some(columns)])
                .collect(),
            inner_lr: vec![Some(layout.num_tensors()), None],
            head: names.head.as_ref().map(|_| {
                Head::from_tensors([vec![None, width], vec![None], vec![Some(1), None], vec![Some(1)]])
            }),
        };
        let mut named = Named::new(path, tensors);
        let raw = named.take("", &names, &sizes, (decoder.dtype, &decoder.device))?;
        named.finish()?;
        let inner_lr = for_steps(&parameterization.rates(&raw.inner_lr)?, learner.options.steps)?;
        Ok(Self { inner_lr, ..raw })
    }
}

/// At least `steps` rates of every tensor, from those of the steps that were trained: `(tensors, trained steps)`.
fn for_steps(rates: &Tensor, steps: usize) -> Result<Tensor> {
    let (tensors, trained) = rates.dims2()?;
    if trained == 0 || trained >= steps {
        return Ok(rates.clone());
    }
    let last = rates.narrow(1, trained - 1, 1)?.broadcast_as((tensors, steps - trained))?;
    Ok(Tensor::cat(&[rates, &last], 1)?)
}

fn shown(expected: &[Option<usize>]) -> String {
    let sizes = expected.iter().map(|size| size.map_or_else(|| "any".to_owned(), |size| size.to_string()));
    format!("[{}]", sizes.collect::<Vec<_>>().join(", "))
}
