//! What meta-training learned, read back for the inner loop alone.

#![allow(clippy::disallowed_methods)] // When a checkpoint is opened.

use std::collections::HashMap;
use std::path::Path;

use candle_core::{DType, Tensor};

use crate::{Error, Result};

use super::outer::LR_NAME;
use super::{Head, Learner, LrParameterization, MetaParams};

impl LrParameterization {
    /// The learning rate that is stored as `raw`.
    pub(super) fn rate(self, raw: f64) -> f64 {
        match self {
            Self::Log => raw.exp(),
            Self::Linear => raw,
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
        mut tensors: HashMap<String, Tensor>,
        learner: &Learner,
        parameterization: LrParameterization,
    ) -> Result<Self> {
        let (layout, decoder) = (&learner.layout, &learner.backbone.decoder);
        let mut take = |name: &str, expected: &[Option<usize>]| {
            let found = tensors.remove(name).ok_or_else(|| Error::tensor(path, name, "is missing"))?;
            let fits = |(found, expected): (&usize, &Option<usize>)| expected.is_none_or(|e| e == *found);
            if found.rank() != expected.len() || !found.dims().iter().zip(expected).all(fits) {
                let reason = format!("should be {}, but is {:?}", shape(expected), found.dims());
                return Err(Error::tensor(path, name, reason));
            }
            Ok(found.to_dtype(decoder.dtype)?.to_device(&decoder.device)?)
        };
        let phi0 = (0..layout.num_tensors())
            .map(|index| {
                let (rows, columns) = layout.shape(index);
                take(&layout.name(index), &[Some(rows), Some(columns)])
            })
            .collect::<Result<Vec<_>>>()?;
        let raw = take(LR_NAME, &[Some(layout.num_tensors()), None])?;
        let inner_lr = rates(&raw, parameterization, learner.options.steps)?;
        let head = learner.options.weighted.then(|| {
            let width = Some(decoder.config.hidden_size);
            let shapes: [&[Option<usize>]; 4] = [&[None, width], &[None], &[Some(1), None], &[Some(1)]];
            let [a, b, c, d] = [0, 1, 2, 3].map(|i| take(&format!("head.{}", Head::NAMES[i]), shapes[i]));
            Ok::<_, Error>(Head::from_tensors([a?, b?, c?, d?]))
        });
        let head = head.transpose()?;
        match tensors.keys().min() {
            Some(name) => Err(Error::tensor(path, name, "does not belong to this configuration")),
            None => Ok(Self { phi0, inner_lr, head }),
        }
    }
}

/// At least `steps` rates of every tensor, from the stored `raw: (tensors, trained steps)`.
fn rates(raw: &Tensor, parameterization: LrParameterization, steps: usize) -> Result<Vec<Vec<f64>>> {
    let raw: Vec<Vec<f64>> = raw.to_dtype(DType::F64)?.to_vec2()?;
    let row = |row: Vec<f64>| {
        let mut rates: Vec<f64> = row.into_iter().map(|raw| parameterization.rate(raw)).collect();
        let last = rates.last().copied().unwrap_or_default();
        rates.resize(rates.len().max(steps), last);
        rates
    };
    Ok(raw.into_iter().map(row).collect())
}

fn shape(expected: &[Option<usize>]) -> String {
    let sizes = expected.iter().map(|size| size.map_or_else(|| "any".to_owned(), |size| size.to_string()));
    format!("[{}]", sizes.collect::<Vec<_>>().join(", "))
}
