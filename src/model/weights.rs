//! Loading a checkpoint: memory-mapped safetensors, one file or shards, checked before they are read.

use std::collections::{BTreeMap, HashMap};
use std::path::{Component, Path, PathBuf};

use candle_core::{DType, Device, Tensor};
use candle_nn::{Init, VarBuilder};
use serde::Deserialize;

use super::{Decoder, DecoderConfig};
use crate::checkpoint::map_tensors;
use crate::files::{parse_json, read_text};
use crate::{Error, Result};

/// Name of the weights in a checkpoint that has one file.
pub const WEIGHTS_FILE: &str = "model.safetensors";
/// Name of the list of shards in a checkpoint that has several.
pub const INDEX_FILE: &str = "model.safetensors.index.json";

/// After this many bytes a file is mapped anew, so that the pages already copied leave the process:
/// loading then needs the weights and this much, not the weights twice.
const REMAP_BYTES: usize = 256 << 20;

impl Decoder {
    /// Loads the checkpoint in `folder` onto `device`.
    ///
    /// The projections, the embedding and the output matrix are kept in `storage`; norms and biases, and
    /// all activations, are in `compute`.
    ///
    /// # Errors
    /// A config that [`DecoderConfig::from_folder`] refuses; a missing, truncated or damaged file; a
    /// tensor that is missing or of another shape or type than the config says.
    pub fn load(folder: &Path, storage: DType, compute: DType, device: &Device) -> Result<Self> {
        let config = DecoderConfig::from_folder(folder)?;
        let mut source = Source::open(folder, device)?;
        // A tied checkpoint may carry a second copy of the matrix; the embedding is the one that counts.
        Self::build(config, compute, device, |spec| {
            source.get(&spec.name, &spec.shape, spec.dtype(storage, compute))
        })
    }
}

/// What a file's header says of one tensor.
struct Entry {
    shard: usize,
    shape: Vec<usize>,
    dtype: safetensors::Dtype,
    bytes: usize,
}

struct Shard {
    path: PathBuf,
    open: Option<VarBuilder<'static>>,
    read_bytes: usize,
}

/// The tensors of a checkpoint by name, whichever file they are in.
struct Source<'a> {
    device: &'a Device,
    /// The file that a missing tensor was looked for in.
    index_path: PathBuf,
    shards: Vec<Shard>,
    entries: HashMap<String, Entry>,
}

impl<'a> Source<'a> {
    fn open(folder: &Path, device: &'a Device) -> Result<Self> {
        let (index_path, files) = weight_files(folder)?;
        let mut source = Self { device, index_path, shards: Vec::new(), entries: HashMap::new() };
        for path in files {
            source.add(path)?;
        }
        Ok(source)
    }

    /// Reads the header of one file.
    fn add(&mut self, path: PathBuf) -> Result<()> {
        let file = map_tensors(&path)?;
        let shard = self.shards.len();
        for (name, view) in file.tensors() {
            let entry =
                Entry { shard, shape: view.shape().to_vec(), dtype: view.dtype(), bytes: view.data().len() };
            if self.entries.insert(name.clone(), entry).is_some() {
                return Err(Error::tensor(&path, name, "is in an earlier shard already"));
            }
        }
        self.shards.push(Shard { path, open: None, read_bytes: 0 });
        Ok(())
    }

    /// Reads a tensor whose shape must be `shape`, and converts it to `dtype`.
    fn get(&mut self, name: &str, shape: &[usize], dtype: DType) -> Result<Tensor> {
        let Some(entry) = self.entries.get(name) else {
            return Err(Error::tensor(&self.index_path, name, format!("is missing, expected {shape:?}")));
        };
        let shard = &mut self.shards[entry.shard];
        if entry.shape != shape {
            let reason = format!("has shape {:?}, expected {shape:?}", entry.shape);
            return Err(Error::tensor(&shard.path, name, reason));
        }
        use safetensors::Dtype::{BF16, F16, F32, F64};
        if !matches!(entry.dtype, BF16 | F16 | F32 | F64) {
            let reason = format!("has type {:?}, expected F32, F16, BF16 or F64", entry.dtype);
            return Err(Error::tensor(&shard.path, name, reason));
        }
        shard.read(name, shape, dtype, entry.bytes, self.device)
    }
}

impl Shard {
    fn read(
        &mut self,
        name: &str,
        shape: &[usize],
        dtype: DType,
        bytes: usize,
        device: &Device,
    ) -> Result<Tensor> {
        if self.read_bytes + bytes > REMAP_BYTES {
            self.open = None;
            self.read_bytes = 0;
        }
        self.read_bytes += bytes;
        let builder = match &self.open {
            Some(builder) => builder,
            None => {
                let file = map_tensors(&self.path)?;
                self.open.insert(VarBuilder::from_backend(Box::new(file), dtype, device.clone()))
            }
        };
        builder
            .get_with_hints_dtype(shape, name, Init::Const(0.0), dtype)
            .map_err(|e| Error::tensor(&self.path, name, e.to_string()))
    }
}

/// The types in which the weights of the checkpoint in `folder` are stored, by name; other tensors are left out.
///
/// # Errors
/// As [`Decoder::load`], of the files alone.
pub fn weight_types(folder: &Path) -> Result<HashMap<String, DType>> {
    use safetensors::Dtype as Stored;
    let source = Source::open(folder, &Device::Cpu)?;
    let types = source.entries.into_iter().filter_map(|(name, entry)| {
        let dtype = match entry.dtype {
            Stored::F64 => DType::F64,
            Stored::F32 => DType::F32,
            Stored::F16 => DType::F16,
            Stored::BF16 => DType::BF16,
            _ => return None,
        };
        Some((name, dtype))
    });
    Ok(types.collect())
}

#[derive(Deserialize)]
struct ShardIndex {
    weight_map: BTreeMap<String, String>,
}

/// The file that lists the weights, and the files that hold them.
///
/// # Errors
/// Neither form of checkpoint is in the folder, or the index is malformed or leads out of the folder.
pub fn weight_files(folder: &Path) -> Result<(PathBuf, Vec<PathBuf>)> {
    let (single, index) = (folder.join(WEIGHTS_FILE), folder.join(INDEX_FILE));
    // A link that leads nowhere is named when it is opened.
    if single.exists() || single.is_symlink() {
        return Ok((single.clone(), vec![single]));
    }
    if !index.exists() && !index.is_symlink() {
        let reason = format!("holds neither {WEIGHTS_FILE} nor {INDEX_FILE}");
        return Err(Error::file(folder, reason));
    }
    let files = shard_names(&index, &read_text(&index)?)?.into_iter().map(|name| folder.join(name)).collect();
    Ok((index, files))
}

/// The shards that an index file names, each once, in order of name.
pub(super) fn shard_names(path: &Path, text: &str) -> Result<Vec<String>> {
    let index: ShardIndex = parse_json(path, text)?;
    let mut names: Vec<String> = index.weight_map.into_values().collect();
    names.sort_unstable();
    names.dedup();
    if let Some(name) = names.iter().find(|name| !is_plain_name(name)) {
        return Err(Error::file(
            path,
            format!("names the shard `{name}`, which is not a file of its folder"),
        ));
    }
    Ok(names)
}

fn is_plain_name(name: &str) -> bool {
    let mut parts = Path::new(name).components();
    let one_part = matches!((parts.next(), parts.next()), (Some(Component::Normal(_)), None));
    one_part && !name.contains(['/', '\\', '\0'])
}
