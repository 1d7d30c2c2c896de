//! A safetensors file written a tensor at a time.

use std::path::Path;

use candle_core::{DType, Tensor};
use safetensors::View;
use serde_json::{Map, Value, json};

use super::write_file;
use crate::{Error, Result};

/// A tensor that is to be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TensorEntry {
    /// Its name.
    pub name: String,
    /// The type that it has in the file.
    pub dtype: DType,
    /// Its shape.
    pub shape: Vec<usize>,
}

/// Writes tensors to a safetensors file, whole or not at all, one after the other, so that no more than one need be there: `each` calls what it is given with
/// every tensor, in the order of `entries`, whose types they are converted to.
///
/// # Errors
/// What `each` returns; tensors other than `entries` says; a file or folder that cannot be written.
pub fn write_tensors_in_turn(
    path: &Path,
    entries: &[TensorEntry],
    each: impl FnOnce(&mut dyn FnMut(&Tensor) -> Result<()>) -> Result<()>,
) -> Result<()> {
    write_file(path, |out| {
        let head = head(entries);
        let io = |fault| Error::io(path, fault);
        out.write_all(&(head.len() as u64).to_le_bytes()).and_then(|()| out.write_all(&head)).map_err(io)?;
        let mut rest = entries.iter();
        each(&mut |tensor| match rest.next() {
            Some(entry) if entry.shape == tensor.dims() => {
                let tensor = tensor.to_dtype(entry.dtype)?;
                out.write_all(&View::data(&tensor)).map_err(io)
            }
            entry => Err(Error::file(path, format!("cannot be written: {entry:?} was to come"))),
        })?;
        match rest.next() {
            None => Ok(()),
            Some(entry) => Err(Error::file(path, format!("cannot be written: {entry:?} did not come"))),
        }
    })
}

/// The head of a safetensors file of these tensors, one behind the other.
fn head(entries: &[TensorEntry]) -> Vec<u8> {
    let mut head = Map::from_iter([("__metadata__".to_owned(), json!({"format": "pt"}))]);
    let mut end = 0;
    for TensorEntry { name, dtype, shape } in entries {
        let (start, stored) = (end, safetensors::Dtype::from(*dtype).to_string());
        end += shape.iter().product::<usize>() * dtype.size_in_bytes();
        head.insert(name.clone(), json!({"dtype": stored, "shape": shape, "data_offsets": [start, end]}));
    }
    let mut head = Value::Object(head).to_string().into_bytes();
    // Numbers begin at a multiple of the largest type's size.
    head.resize(head.len().next_multiple_of(8), b' ');
    head
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;

    #[test]
    fn what_is_written_in_turn_is_a_file_of_these_tensors_and_another_number_or_shape_is_refused() {
        let room = tempfile::tempdir().unwrap();
        let path = room.path().join("model.safetensors");
        let entry = |name: &str, dtype, shape: &[usize]| TensorEntry {
            name: name.to_owned(),
            dtype,
            shape: shape.to_vec(),
        };
        let entries = [entry("b", DType::F32, &[2, 3]), entry("a", DType::BF16, &[4])];
        let [first, second] = [6, 4].map(|count| Tensor::arange(0f32, count as f32, &Device::Cpu).unwrap());
        let first = first.reshape((2, 3)).unwrap();
        let write = |tensors: &[&Tensor]| {
            write_tensors_in_turn(&path, &entries, |take| tensors.iter().try_for_each(|tensor| take(tensor)))
        };
        for wrong in [&[&first][..], &[&second, &first], &[&first, &second, &second]] {
            let message = write(wrong).unwrap_err().to_string();
            assert!(message.contains("model.safetensors: cannot be written"), "{message}");
            assert!(!path.exists());
        }
        write(&[&first, &second]).unwrap();
        let read = candle_core::safetensors::load(&path, &Device::Cpu).unwrap();
        assert_eq!(read["b"].to_vec2::<f32>().unwrap(), [[0.0, 1.0, 2.0], [3.0, 4.0, 5.0]]);
        assert_eq!(read["a"].dtype(), DType::BF16);
        assert_eq!(read["a"].to_dtype(DType::F32).unwrap().to_vec1::<f32>().unwrap(), [0.0, 1.0, 2.0, 3.0]);
        assert_eq!(crate::checkpoint::map_tensors(&path).unwrap().tensors().len(), 2);
    }
}
