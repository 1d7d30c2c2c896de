//! A base with an adapter added to its weights, as one GGUF file.

mod metadata;

use std::collections::HashMap;
use std::io::Write;

use candle_core::{DType, Device, Tensor};

pub(super) use metadata::describe;

use super::from_gguf::ROPE_DIVISORS;
use super::gguf_form::{projection_name, rows_as_in_gguf, tensor_name};
use super::lora::{AdapterRef, check, merged_projection};
use super::{Decoder, DecoderConfig, Projection, Role, WeightSpec};
use crate::gguf::{Gguf, GgufWriter, Metadata, TensorHead, TensorInfo, TensorType};
use crate::{Error, Result};

/// So many bytes of a file are copied at a time.
const AT_ONCE: usize = 1 << 24;

/// What matrices of a file are stored in, for people and tools.
const FILE_TYPE: &str = "general.file_type";

/// Where a file goes, and its path for messages.
type Out<'a> = (&'a mut dyn Write, &'a std::path::Path);

/// Writes the decoder of a GGUF file with an adapter: what the adapter does not change as it is in the file, what it
/// does in its own type, or in half precision where that has blocks.
///
/// # Errors
/// An adapter of another shape, a number that half precision cannot hold, files that cannot be read or written.
pub fn write_on_file(
    decoder: &Decoder,
    adapter: AdapterRef<'_>,
    base: &Gguf,
    mut metadata: Metadata,
    (out, path): Out<'_>,
) -> Result<()> {
    check(&decoder.config, adapter.0, adapter.1)?;
    let matrix = |layer: usize, which| format!("blk.{layer}.{}.weight", projection_name(which));
    let sites = adapter.0.sites.iter();
    let adapted: HashMap<String, (usize, Projection)> =
        sites.map(|site| (matrix(site.layer, site.projection), (site.layer, site.projection))).collect();
    let plain = |name: &str, found| if adapted.contains_key(name) { without_blocks(found) } else { found };
    let head = |(name, info): (&String, &TensorInfo)| TensorHead {
        name: name.clone(),
        tensor_type: plain(name, info.tensor_type),
        shape: info.shape.clone(),
    };
    let heads: Vec<TensorHead> = base.tensors().iter().map(head).collect();
    metadata.set_whole(FILE_TYPE, file_type(&heads));
    let io = |fault| Error::io(path, fault);
    let mut writer = GgufWriter::new(out, &metadata, &heads).map_err(io)?;
    for (head, info) in heads.iter().zip(base.tensors().values()) {
        writer.begin().map_err(io)?;
        if let Some(&(layer, which)) = adapted.get(&head.name) {
            let merged = merged_projection(decoder, adapter, layer, which)?;
            writer.write(&encoded(&merged, Role::Matrix(which), &decoder.config, head)?).map_err(io)?;
        } else {
            copy(base, info, |bytes| writer.write(bytes).map_err(io))?;
        }
    }
    writer.finish().map_err(io)
}

/// Gives `take` the bytes of a tensor as they are, some rows at a time.
fn copy(base: &Gguf, info: &TensorInfo, mut take: impl FnMut(&[u8]) -> Result<()>) -> Result<()> {
    let rows: usize = info.shape.iter().rev().skip(1).product();
    let at_once = (AT_ONCE / (info.bytes() / rows.max(1)).max(1)).max(1);
    (0..rows).step_by(at_once).try_for_each(|first| {
        let rows = first..rows.min(first + at_once);
        take(&base.read_rows(info, rows)?)
    })
}

/// Writes the decoder of a folder with an adapter: matrices in the types that `types` has for them, in f32 where those are
/// wider, and all else in f32, as llama.cpp needs it.
///
/// # Errors
/// As [`write_on_file`].
pub fn write_on_folder(
    decoder: &Decoder,
    adapter: AdapterRef<'_>,
    types: &HashMap<String, DType>,
    mut metadata: Metadata,
    (out, path): Out<'_>,
) -> Result<()> {
    let config = &decoder.config;
    check(config, adapter.0, adapter.1)?;
    let specs = config.weights();
    let mut heads = specs.iter().map(|spec| head(spec, types)).collect::<Result<Vec<_>>>()?;
    let divisors = metadata::rope_divisors(config);
    heads.extend(divisors.as_ref().map(|divisors| TensorHead {
        name: ROPE_DIVISORS.to_owned(),
        tensor_type: TensorType::F32,
        shape: vec![divisors.len()],
    }));
    metadata.set_whole(FILE_TYPE, file_type(&heads));
    let io = |fault| Error::io(path, fault);
    let mut writer = GgufWriter::new(out, &metadata, &heads).map_err(io)?;
    let mut rest = specs.iter().zip(&heads);
    decoder.each_weight(
        |index, which| merged_projection(decoder, adapter, index, which),
        |tensor| {
            let (spec, head) = rest.next().expect("as many weights as the list has");
            let bytes = encoded(tensor, spec.role, config, head)?;
            writer.begin().and_then(|()| writer.write(&bytes)).map_err(io)
        },
    )?;
    if let Some(divisors) = divisors {
        let bytes = TensorType::F32.encode(&divisors);
        writer.begin().and_then(|()| writer.write(&bytes)).map_err(io)?;
    }
    writer.finish().map_err(io)
}

fn head(spec: &WeightSpec, types: &HashMap<String, DType>) -> Result<TensorHead> {
    let no_name = || Error::Invalid(format!("the weight `{}` has no name in GGUF", spec.name));
    let tensor_type = match (spec.role, types.get(&spec.name)) {
        (Role::Table | Role::Matrix(_), Some(DType::BF16)) => TensorType::Bf16,
        (Role::Table | Role::Matrix(_), Some(DType::F16)) => TensorType::F16,
        _ => TensorType::F32,
    };
    Ok(TensorHead {
        name: tensor_name(&spec.name).ok_or_else(no_name)?,
        tensor_type,
        shape: spec.shape.clone(),
    })
}

fn without_blocks(found: TensorType) -> TensorType {
    if found.is_quantised() { TensorType::F16 } else { found }
}

/// llama.cpp's number for what matrices are stored in, blocks left aside.
fn file_type(heads: &[TensorHead]) -> u32 {
    let has = |wanted| heads.iter().any(|head| head.tensor_type == wanted);
    match () {
        () if has(TensorType::F16) => 1,
        () if has(TensorType::Bf16) => 32,
        () => 0,
    }
}

/// A weight's bytes, its rows in llama.cpp's order.
fn encoded(tensor: &Tensor, role: Role, config: &DecoderConfig, head: &TensorHead) -> Result<Vec<u8>> {
    let mut tensor = tensor.to_device(&Device::Cpu)?.to_dtype(DType::F32)?;
    if let Role::Matrix(which) = role {
        tensor = rows_as_in_gguf(&tensor, which, config)?;
    }
    let numbers = tensor.flatten_all()?.to_vec1::<f32>()?;
    if head.tensor_type == TensorType::F16
        && let Some(beyond) = numbers.iter().find(|number| half::f16::from_f32(**number).is_infinite())
    {
        let reason = format!(
            "the merged weight `{}` holds {beyond:e}, beyond half precision: export with --format merged",
            head.name
        );
        return Err(Error::Invalid(reason));
    }
    Ok(head.tensor_type.encode(&numbers))
}
