//! The weights of a decoder out of the tensors of a GGUF file.

use std::collections::{HashMap, HashSet};
use std::ops::Range;

use candle_core::{DType, Device, Tensor, WithDType};
use half::{bf16, f16};
use rayon::prelude::*;

use super::output::Output;
use super::shape::{ROPE_DIVISORS, shape};
use crate::autodiff::Frozen;
use crate::gguf::{Gguf, TensorInfo, TensorType};
use crate::model::gguf_form::{EMBEDDING, OUTPUT, row_order, tensor_name};
use crate::model::keeping::{Held, Keeping, Rounding, blocked, require_host};
use crate::model::{Decoder, DecoderConfig, Role, WeightSpec, numbers};
use crate::{Error, Result};

/// So many numbers are read and taken apart at a time.
const AT_ONCE: usize = 1 << 22;

/// Loads the decoder of a file, as [`Decoder::load_and_note`] does one of a folder.
///
/// # Errors
/// A shape that is refused, a tensor that is missing, of another shape than the metadata says, or no part of such a
/// decoder, or that holds a NaN or an infinity.
pub fn load(
    gguf: &Gguf,
    storage: Keeping,
    compute: DType,
    device: &Device,
) -> Result<(Decoder, Vec<String>)> {
    let (config, output) = (shape(gguf)?, Output::find(gguf)?);
    require_no_others(gguf, &config)?;
    let notes = output.note(gguf).into_iter().chain(storage.note(&config.weights())).collect();
    let decoder = Decoder::build(config.clone(), compute, device, |spec| {
        let source = Source::find(gguf, &config, spec, output)?;
        match storage.of(spec, Held::of(source.info.tensor_type), compute) {
            Held::Tensor(dtype) => Ok(source.read(dtype)?.to_device(device)?.into()),
            Held::Blocks(tensor_type) => {
                require_host(device)?;
                source.in_blocks(tensor_type)
            }
        }
    })?;
    Ok((decoder, notes))
}

/// What each weight of a file is stored in, by Hugging Face's names.
///
/// # Errors
/// As [`load`], of the head of the file alone.
pub fn held(gguf: &Gguf) -> Result<HashMap<String, Held>> {
    let (config, output) = (shape(gguf)?, Output::find(gguf)?);
    let weights = config.weights().into_iter().map(|spec| {
        let held = Held::of(Source::find(gguf, &config, &spec, output)?.info.tensor_type);
        Ok((spec.name, held))
    });
    weights.collect()
}

/// Refuses tensors that are no part of a decoder of this shape: without them it would compute something else than was
/// trained.
fn require_no_others(gguf: &Gguf, config: &DecoderConfig) -> Result<()> {
    let known = config.weights().into_iter().filter_map(|spec| tensor_name(&spec.name));
    let known: HashSet<String> = known.chain([OUTPUT, ROPE_DIVISORS].map(str::to_owned)).collect();
    match gguf.tensors().keys().find(|name| !known.contains(*name)) {
        None => Ok(()),
        Some(name) => {
            let kind = config.family.form().model_type;
            let reason = format!(
                "is no part of a {kind} as the metadata describes it, and would be ignored: is the file of another \
                 variant?"
            );
            Err(Error::tensor(gguf.path(), name, reason))
        }
    }
}

/// A tensor of a file that is a weight.
struct Source<'a> {
    gguf: &'a Gguf,
    name: String,
    info: &'a TensorInfo,
    /// For each row of the weight, which one it is in the file, if it is another.
    row_of: Option<Vec<usize>>,
}

impl<'a> Source<'a> {
    fn find(gguf: &'a Gguf, config: &DecoderConfig, spec: &WeightSpec, output: Output) -> Result<Self> {
        let name = tensor_name(&spec.name)
            .ok_or_else(|| Error::tensor(gguf.path(), &spec.name, "has no name in GGUF"))?;
        let name = if name == EMBEDDING { output.embedding().to_owned() } else { name };
        let Some(info) = gguf.tensors().get(&name) else {
            return Err(Error::tensor(gguf.path(), name, format!("is missing, expected {:?}", spec.shape)));
        };
        if info.shape != spec.shape {
            let reason = format!("has shape {:?}, expected {:?}", info.shape, spec.shape);
            return Err(Error::tensor(gguf.path(), name, reason));
        }
        let row_of = match spec.role {
            Role::Matrix(which) => row_order(which, config).map(inverse),
            Role::Table | Role::Bias | Role::Gain => None,
        };
        Ok(Self { gguf, name, info, row_of })
    }

    /// Its numbers in `dtype`, on the host.
    fn read(&self, dtype: DType) -> Result<Tensor> {
        match dtype {
            DType::F32 => self.read_as(dtype, |x| x),
            DType::F64 => self.read_as(dtype, f64::from),
            DType::BF16 => self.read_as(dtype, bf16::from_f32),
            DType::F16 => self.read_as(dtype, f16::from_f32),
            other => Err(Error::Invalid(format!("weights are not kept in {}", other.as_str()))),
        }
    }

    fn read_as<T: WithDType>(&self, dtype: DType, convert: impl Fn(f32) -> T + Sync) -> Result<Tensor> {
        let mut numbers = Vec::with_capacity(self.info.shape.iter().product());
        self.each_part(dtype, |_, part| {
            numbers.par_extend(part.par_iter().map(|&number| convert(number)));
            Ok(())
        })?;
        Ok(Tensor::from_vec(numbers, self.info.shape.as_slice(), &Device::Cpu)?)
    }

    /// A matrix in blocks: its own, or rounded to others.
    fn in_blocks(&self, tensor_type: TensorType) -> Result<Frozen> {
        let [rows, width] = self.info.shape[..] else { return Err(self.fault("is no matrix".to_owned())) };
        if tensor_type != self.info.tensor_type {
            let mut blocks = Rounding::new(tensor_type, width);
            self.each_part(DType::F32, |_, part| blocks.push(part))?;
            return blocks.finish();
        }
        let mut bytes = Vec::with_capacity(self.info.bytes());
        // Taken apart too, to see that all of them are numbers.
        self.each_part(DType::F32, |part, _| {
            bytes.extend_from_slice(part);
            Ok(())
        })?;
        blocked(tensor_type, rows, width, bytes)
    }

    /// Reads some rows at a time, in order, and gives their bytes and their numbers, which `dtype` must hold, to `take`.
    fn each_part(&self, dtype: DType, mut take: impl FnMut(&[u8], &[f32]) -> Result<()>) -> Result<()> {
        let (shape, width) = (&self.info.shape, self.info.shape.last().copied().unwrap_or(1).max(1));
        let rows: usize = shape.iter().rev().skip(1).product();
        // What has another order there is read as a whole: it is no larger than the largest matrix of a layer.
        let at_once =
            if self.row_of.is_some() { rows.max(1) } else { (AT_ONCE / width).clamp(1, rows.max(1)) };
        let mut wide = vec![0f32; at_once.min(rows) * width];
        for first in (0..rows).step_by(at_once) {
            let here = first..rows.min(first + at_once);
            let wide = &mut wide[..here.len() * width];
            let bytes = self.read_rows(here)?;
            let row = bytes.len() / (wide.len() / width);
            wide.par_chunks_mut(width)
                .zip(bytes.par_chunks(row.max(1)))
                .for_each(|(wide, bytes)| self.info.tensor_type.decode(bytes, wide));
            numbers::check_f32(wide, dtype).map_err(|reason| self.fault(reason))?;
            take(&bytes, wide)?;
        }
        Ok(())
    }

    /// The bytes of some rows, in Hugging Face's order; of all rows, where the file has another.
    fn read_rows(&self, rows: Range<usize>) -> Result<Vec<u8>> {
        let count = rows.len().max(1);
        let bytes = self.gguf.read_rows(self.info, rows)?;
        let Some(row_of) = &self.row_of else { return Ok(bytes) };
        let each = bytes.len() / count;
        Ok(row_of.iter().flat_map(|row| &bytes[row * each..][..each]).copied().collect())
    }

    fn fault(&self, reason: String) -> Error {
        Error::tensor(self.gguf.path(), &self.name, reason)
    }
}

/// For each place of an order, where it is.
fn inverse(order: Vec<usize>) -> Vec<usize> {
    let mut places = vec![0; order.len()];
    order.into_iter().enumerate().for_each(|(place, row)| places[row] = place);
    places
}
