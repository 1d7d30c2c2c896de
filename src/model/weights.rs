//! Loading a checkpoint: memory-mapped safetensors, one file or shards, checked before they are read.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::{Component, Path, PathBuf};

use candle_core::safetensors::MmapedSafetensors;
use candle_core::{DType, Device, Tensor};
use serde::Deserialize;

use super::keeping::{Held, Keeping, Rounding, require_host};
use super::{CONFIG_FILE, Decoder, DecoderConfig, WeightSpec, numbers};
use crate::autodiff::Frozen;
use crate::checkpoint::map_tensors;
use crate::error::{shown, shown_path};
use crate::files::{parse_json, read_text};
use crate::gguf::TensorType;
use crate::{Error, Result};

/// Name of the weights in a checkpoint that has one file.
pub const WEIGHTS_FILE: &str = "model.safetensors";
/// Name of the list of shards in a checkpoint that has several.
pub const INDEX_FILE: &str = "model.safetensors.index.json";

const EMBEDDING: &str = "model.embed_tokens.weight";
const HEAD: &str = "lm_head.weight";
/// Frequencies of the rotation, which follow from the config and are computed anew; older checkpoints hold them.
const ROTARY_BUFFER: &str = ".rotary_emb.inv_freq";

/// So many numbers are rounded to blocks at a time.
const ROUNDED_AT_ONCE: usize = 1 << 22;

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
    /// tensor that is missing, of another shape or type than the config says, or no part of such a decoder, or that
    /// holds a NaN or an infinity.
    pub fn load(folder: &Path, storage: impl Into<Keeping>, compute: DType, device: &Device) -> Result<Self> {
        Self::load_and_note(folder, storage, compute, device).map(|(decoder, _)| decoder)
    }

    /// As [`load`](Self::load), with what to tell a person of the checkpoint, if anything.
    ///
    /// # Errors
    /// As [`load`](Self::load).
    pub fn load_and_note(
        folder: &Path,
        storage: impl Into<Keeping>,
        compute: DType,
        device: &Device,
    ) -> Result<(Self, Vec<String>)> {
        let (config, storage) = (DecoderConfig::from_folder(folder)?, storage.into());
        let mut source = Source::open(folder, device)?;
        source.require_no_others(&config)?;
        let notes = source.note_unused().into_iter().chain(storage.note(&config.weights())).collect();
        let decoder = Self::build(config, compute, device, |spec| source.get(spec, storage, compute))?;
        Ok((decoder, notes))
    }
}

/// What a file's header says of one tensor.
struct Entry {
    shard: usize,
    shape: Vec<usize>,
    dtype: safetensors::Dtype,
    bytes: usize,
    /// Whether it is left alone, which changes nothing.
    is_unused: bool,
}

struct Shard {
    path: PathBuf,
    open: Option<MmapedSafetensors>,
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
            let (shape, dtype, bytes) = (view.shape().to_vec(), view.dtype(), view.data().len());
            let entry = Entry { shard, shape, dtype, bytes, is_unused: false };
            if self.entries.insert(name.clone(), entry).is_some() {
                return Err(Error::tensor(&path, name, "is in an earlier shard already"));
            }
        }
        self.shards.push(Shard { path, open: None, read_bytes: 0 });
        Ok(())
    }

    /// Refuses tensors that are no part of a decoder of this shape: without them it would compute something else than
    /// was trained. Those that change nothing are marked as unused.
    fn require_no_others(&mut self, config: &DecoderConfig) -> Result<()> {
        let weights: HashSet<String> = config.weights().into_iter().map(|spec| spec.name).collect();
        let mut others: Vec<String> =
            self.entries.keys().filter(|name| !weights.contains(*name)).cloned().collect();
        others.sort_unstable();
        for name in others {
            let path = &self.shards[self.entries[&name].shard].path;
            if config.tied && name == HEAD {
                if !self.are_same(HEAD, EMBEDDING)? {
                    let reason = format!(
                        "differs from {EMBEDDING}, which `tie_word_embeddings` puts in its place: set that to false in \
                         {CONFIG_FILE} if the tensor counts, or take it out of the file"
                    );
                    return Err(Error::tensor(path, name, reason));
                }
            } else if !name.ends_with(ROTARY_BUFFER) {
                let class = config.family.form().class;
                let reason = format!(
                    "is no part of a {class} as {CONFIG_FILE} describes it, and would be ignored: is the file of \
                     another family or variant?"
                );
                return Err(Error::tensor(path, name, reason));
            }
            if let Some(entry) = self.entries.get_mut(&name) {
                entry.is_unused = true;
            }
        }
        Ok(())
    }

    /// Whether two tensors are the same, byte for byte.
    fn are_same(&self, a: &str, b: &str) -> Result<bool> {
        let (Some(first), Some(second)) = (self.entries.get(a), self.entries.get(b)) else {
            return Ok(false);
        };
        if (first.dtype, &first.shape) != (second.dtype, &second.shape) {
            return Ok(false);
        }
        let files = [first, second].map(|entry| map_tensors(&self.shards[entry.shard].path));
        let [first, second] = files;
        let (first, second) = (first?, second?);
        Ok(first.get(a)?.data() == second.get(b)?.data())
    }

    /// What to tell a person of tensors that are left alone.
    fn note_unused(&self) -> Option<String> {
        let unused = self.entries.iter().filter(|(_, entry)| entry.is_unused);
        let mut names: Vec<&str> = unused.map(|(name, _)| name.as_str()).collect();
        names.sort_unstable();
        let (first, others) = names.split_first()?;
        let more = if others.is_empty() { String::new() } else { format!(" and {} others", others.len()) };
        let (path, first) = (shown_path(&self.index_path), shown(first));
        Some(format!("{path}: the tensor {first}{more}: not used, which changes nothing: copies and buffers"))
    }

    /// Reads the tensor of a weight, and holds it as `storage` says.
    fn get(&mut self, spec: &WeightSpec, storage: Keeping, compute: DType) -> Result<Frozen> {
        let WeightSpec { name, shape, .. } = spec;
        let Some(entry) = self.entries.get(name) else {
            return Err(Error::tensor(&self.index_path, name, format!("is missing, expected {shape:?}")));
        };
        let shard = &mut self.shards[entry.shard];
        if entry.shape != *shape {
            let reason = format!("has shape {:?}, expected {shape:?}", entry.shape);
            return Err(Error::tensor(&shard.path, name, reason));
        }
        let Some(stored) = float(entry.dtype) else {
            let reason = format!("has type {:?}, expected F32, F16, BF16 or F64", entry.dtype);
            return Err(Error::tensor(&shard.path, name, reason));
        };
        match storage.of(spec, Held::Tensor(stored), compute) {
            Held::Tensor(dtype) => Ok(shard.read(name, dtype, entry.bytes, self.device)?.into()),
            Held::Blocks(tensor_type) => {
                require_host(self.device)?;
                rounded(&shard.read(name, stored, entry.bytes, self.device)?, tensor_type)
            }
        }
    }
}

impl Shard {
    fn read(&mut self, name: &str, dtype: DType, bytes: usize, device: &Device) -> Result<Tensor> {
        if self.read_bytes + bytes > REMAP_BYTES {
            self.open = None;
            self.read_bytes = 0;
        }
        self.read_bytes += bytes;
        let file = match &self.open {
            Some(file) => file,
            None => self.open.insert(map_tensors(&self.path)?),
        };
        let fault = |reason: String| Error::tensor(&self.path, name, reason);
        let view = file.get(name).map_err(|e| fault(e.to_string()))?;
        numbers::check(view.dtype(), view.data(), dtype).map_err(fault)?;
        let tensor = file.load(name, device).and_then(|tensor| tensor.to_dtype(dtype));
        tensor.map_err(|e| fault(e.to_string()))
    }
}

/// The types in which the weights of the checkpoint in `folder` are stored, by name; other tensors are left out.
///
/// # Errors
/// As [`Decoder::load`], of the files alone.
pub fn weight_types(folder: &Path) -> Result<HashMap<String, DType>> {
    let source = Source::open(folder, &Device::Cpu)?;
    Ok(source.entries.into_iter().filter_map(|(name, entry)| Some((name, float(entry.dtype)?))).collect())
}

/// Candle's name of a type of real numbers.
fn float(dtype: safetensors::Dtype) -> Option<DType> {
    use safetensors::Dtype as Stored;
    match dtype {
        Stored::F64 => Some(DType::F64),
        Stored::F32 => Some(DType::F32),
        Stored::F16 => Some(DType::F16),
        Stored::BF16 => Some(DType::BF16),
        _ => None,
    }
}

/// A matrix on the host in blocks, some rows at a time.
fn rounded(matrix: &Tensor, tensor_type: TensorType) -> Result<Frozen> {
    let (rows, width) = matrix.dims2()?;
    let mut blocks = Rounding::new(tensor_type, width);
    let at_once = (ROUNDED_AT_ONCE / width.max(1)).max(1);
    for first in (0..rows).step_by(at_once) {
        let some = matrix.narrow(0, first, at_once.min(rows - first))?.to_dtype(DType::F32)?;
        blocks.push(&some.flatten_all()?.to_vec1()?)?;
    }
    blocks.finish()
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
            format!("names the shard `{}`, which is not a file of its folder", shown(name)),
        ));
    }
    Ok(names)
}

/// Whether a name from outside is that of a file in a folder, and leads nowhere else.
pub(super) fn is_plain_name(name: &str) -> bool {
    let mut parts = Path::new(name).components();
    let one_part = matches!((parts.next(), parts.next()), (Some(Component::Normal(_)), None));
    one_part && !name.contains(['/', '\\', '\0'])
}
