//! The output matrix of a GGUF file, and whether it is the embedding.

use crate::Result;
use crate::error::shown_path;
use crate::gguf::{Gguf, TensorInfo};
use crate::model::gguf_form::{EMBEDDING, OUTPUT};

/// Two roundings of one matrix are up to a tenth of its norm apart (4 bits), two matrices about √2.
const NEARLY_THE_SAME: f64 = 0.25;

/// Rows that two matrices are compared by, spread over them.
const COMPARED: usize = 1024;

/// Where the embedding and the output matrix are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Output {
    /// There is one matrix for both.
    Once,
    /// One matrix is there twice, in two roundings; the name of the one with more bits.
    Twice(&'static str),
    /// Two matrices.
    Own,
}

impl Output {
    /// Looks at the tensors, and where there are two, at their numbers: converters write the matrix of a tied model
    /// twice where it is to have two types.
    pub fn find(gguf: &Gguf) -> Result<Self> {
        let get = |name| gguf.tensors().get(name);
        let (Some(embedding), Some(output)) = (get(EMBEDDING), get(OUTPUT)) else { return Ok(Self::Once) };
        // What is not a number is far from everything; it is refused when it is read.
        let are_one =
            embedding.shape == output.shape && distance(gguf, embedding, output)? <= NEARLY_THE_SAME;
        if !are_one {
            return Ok(Self::Own);
        }
        let better = output.tensor_type.bits() > embedding.tensor_type.bits();
        Ok(Self::Twice(if better { OUTPUT } else { EMBEDDING }))
    }

    pub fn is_tied(self) -> bool {
        self != Self::Own
    }

    /// The tensor that the embedding is read from.
    pub fn embedding(self) -> &'static str {
        match self {
            Self::Once | Self::Own => EMBEDDING,
            Self::Twice(better) => better,
        }
    }

    /// What to tell a person, if anything.
    pub fn note(self, gguf: &Gguf) -> Option<String> {
        let Self::Twice(better) = self else { return None };
        let found = gguf.tensors().get(better)?.tensor_type;
        let path = shown_path(gguf.path());
        Some(format!(
            "{path}: {EMBEDDING} and {OUTPUT} are one matrix, stored twice: taken from {better} ({found})"
        ))
    }
}

/// The distance of two matrices relative to the norm of the second.
fn distance(gguf: &Gguf, a: &TensorInfo, b: &TensorInfo) -> Result<f64> {
    let [rows, width] = a.shape[..] else { return Ok(f64::INFINITY) };
    let (mut difference, mut size) = (0.0, 0.0);
    let mut both = [vec![0f32; width], vec![0f32; width]];
    for nth in 0..rows.min(COMPARED) {
        let row = nth * rows / rows.min(COMPARED);
        for (info, numbers) in [a, b].into_iter().zip(&mut both) {
            info.tensor_type.decode(&gguf.read_rows(info, row..row + 1)?, numbers);
        }
        for (a, b) in both[0].iter().zip(&both[1]) {
            difference += f64::from(a - b).powi(2);
            size += f64::from(*b).powi(2);
        }
    }
    Ok((difference / size.max(f64::MIN_POSITIVE)).sqrt())
}
