//! A decoder out of a GGUF file: its shape from the metadata, its weights from the tensors.

mod output;
mod shape;
mod tensors;

pub(super) use shape::{ROPE_DIVISORS, shape};
pub(super) use tensors::{held, load};
