//! GGUF, the one-file form of models of llama.cpp: its header, its metadata, its types of tensors, read and written.
//!
//! Source: `docs/gguf.md` of ggml. A file is not trusted: every length is held against what is left of the file before
//! memory is taken for it.

mod blocks;
mod header;
mod reader;
mod tensor_type;
mod value;
mod writer;

pub use header::{Gguf, TensorInfo, is_gguf};
pub use tensor_type::TensorType;
pub use value::{Texts, Value};
pub use writer::{GgufWriter, Metadata, TensorHead};
