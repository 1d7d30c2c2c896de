//! How a decoder's matrices are held: in one type of number, as their file has them, or in blocks made while loading.

use candle_core::quantized::{GgmlDType, QTensor};
use candle_core::{DType, Device, Tensor};
use rayon::prelude::*;

use super::{Role, WeightSpec};
use crate::autodiff::{BlockRows, Blocked, Frozen};
use crate::gguf::TensorType;
use crate::{Error, Result};

/// How the embedding, the output matrix and the projections are held; all else is in the compute type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keeping {
    /// All in one type.
    In(DType),
    /// Each in the type that its file has it in; blocks of a GGUF file stay as they are, for products on the CPU.
    AsStored,
    /// Rounded to blocks of this type, but those whose width is no multiple of a block, which are held as stored.
    Blocks(TensorType),
}

impl From<DType> for Keeping {
    fn from(dtype: DType) -> Self {
        Self::In(dtype)
    }
}

/// What one weight is held in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Held {
    Tensor(DType),
    Blocks(TensorType),
}

impl Held {
    /// The form in which numbers of a GGUF file are held as they are stored.
    pub fn of(tensor_type: TensorType) -> Self {
        match tensor_type {
            TensorType::F32 => Self::Tensor(DType::F32),
            TensorType::F16 => Self::Tensor(DType::F16),
            TensorType::Bf16 => Self::Tensor(DType::BF16),
            blocks => Self::Blocks(blocks),
        }
    }

    /// A type of single numbers that holds them exactly: of blocks, the one that llama.cpp takes them apart in.
    pub fn exactly(self) -> DType {
        match self {
            Self::Tensor(dtype) => dtype,
            Self::Blocks(_) => DType::F32,
        }
    }

    /// Bytes of so many numbers.
    pub fn bytes(self, numbers: usize) -> usize {
        match self {
            Self::Tensor(dtype) => numbers * dtype.size_in_bytes(),
            Self::Blocks(blocks) => blocks.bytes(numbers).unwrap_or(usize::MAX),
        }
    }
}

impl Keeping {
    /// What a weight is held in that is stored so.
    pub(super) fn of(self, spec: &WeightSpec, stored: Held, compute: DType) -> Held {
        match (spec.role, self) {
            (Role::Bias | Role::Gain, _) => Held::Tensor(compute),
            (_, Self::In(dtype)) => Held::Tensor(dtype),
            (_, Self::Blocks(blocks)) if self.fits(spec) => Held::Blocks(blocks),
            (_, Self::AsStored | Self::Blocks(_)) => stored,
        }
    }

    /// Whether the rows of a matrix are whole blocks, where there are to be blocks.
    pub(super) fn fits(self, spec: &WeightSpec) -> bool {
        match self {
            Self::Blocks(blocks) => {
                spec.shape.last().is_some_and(|width| width.is_multiple_of(blocks.block()))
            }
            Self::In(_) | Self::AsStored => true,
        }
    }

    /// What to tell a person of the matrices among `weights` that do not fit, if there are any.
    pub(super) fn note(self, weights: &[WeightSpec]) -> Option<String> {
        let Self::Blocks(blocks) = self else { return None };
        let matrix = |spec: &&WeightSpec| matches!(spec.role, Role::Table | Role::Matrix(_));
        let matrices = weights.iter().filter(matrix).count();
        let left: Vec<&WeightSpec> = weights.iter().filter(matrix).filter(|spec| !self.fits(spec)).collect();
        let (first, size) = (left.first()?, blocks.block());
        let width = first.shape.last().copied().unwrap_or(1);
        Some(format!(
            "{} of {matrices} matrices, {} the first, have rows of other than a multiple of {size} numbers ({width}) and \
             are held as stored, not in {blocks}",
            left.len(),
            first.name
        ))
    }
}

/// Blocks are for the CPU: there is no product with them elsewhere.
///
/// # Errors
/// Another device.
pub(super) fn require_host(device: &Device) -> Result<()> {
    match device.is_cpu() {
        true => Ok(()),
        false => Err(Error::Invalid(
            "blocks of a GGUF file are multiplied on the CPU alone: set model.storage = \"bf16\", or run.device = \"cpu\""
                .to_owned(),
        )),
    }
}

/// A matrix that is rounded to blocks some rows at a time.
pub(super) struct Rounding {
    tensor_type: TensorType,
    width: usize,
    rows: usize,
    bytes: Vec<u8>,
}

/// Rows that a thread rounds at a time.
const ROWS_AT_ONCE: usize = 16;

impl Rounding {
    /// No rows yet.
    pub fn new(tensor_type: TensorType, width: usize) -> Self {
        Self { tensor_type, width, rows: 0, bytes: Vec::new() }
    }

    /// Adds rows, one behind the other.
    ///
    /// # Errors
    /// None but what tensors refuse.
    pub fn push(&mut self, rows: &[f32]) -> Result<()> {
        let dtype = match self.tensor_type {
            TensorType::F32 => GgmlDType::F32,
            TensorType::F16 => GgmlDType::F16,
            TensorType::Bf16 => GgmlDType::BF16,
            TensorType::Q4_0 => GgmlDType::Q4_0,
            TensorType::Q4_1 => GgmlDType::Q4_1,
            TensorType::Q5_0 => GgmlDType::Q5_0,
            TensorType::Q5_1 => GgmlDType::Q5_1,
            TensorType::Q8_0 => GgmlDType::Q8_0,
            TensorType::Q4K => GgmlDType::Q4K,
            TensorType::Q5K => GgmlDType::Q5K,
            TensorType::Q6K => GgmlDType::Q6K,
        };
        let round = |rows: &[f32]| -> Result<Vec<u8>> {
            let tensor = Tensor::from_slice(rows, (rows.len() / self.width, self.width), &Device::Cpu)?;
            Ok(QTensor::quantize(&tensor, dtype)?.data()?.into_owned())
        };
        let parts = rows.par_chunks(ROWS_AT_ONCE * self.width).map(round).collect::<Result<Vec<_>>>()?;
        parts.into_iter().for_each(|part| self.bytes.extend(part));
        self.rows += rows.len() / self.width;
        Ok(())
    }

    /// The matrix of all rows.
    ///
    /// # Errors
    /// None: the rows are whole blocks.
    pub fn finish(self) -> Result<Frozen> {
        blocked(self.tensor_type, self.rows, self.width, self.bytes)
    }
}

/// A matrix of rows of one type.
pub(super) fn blocked(tensor_type: TensorType, rows: usize, width: usize, bytes: Vec<u8>) -> Result<Frozen> {
    Ok(Blocked::new(width, vec![BlockRows::new(tensor_type, rows, width, bytes)?]).into())
}
