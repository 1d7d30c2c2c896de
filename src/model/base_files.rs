//! The files of a base: a folder as Hugging Face's libraries have it, or one GGUF file.
//!
//! This is the one place that knows which of them a base is.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

use candle_core::{DType, Device};
use serde_json::{Value, json};

use super::keeping::Held;
use super::lora::AdapterRef;
use super::{
    CONFIG_FILE, Decoder, DecoderConfig, GENERATION_CONFIG_FILE, Keeping, WeightSpec, from_gguf,
    save::torch_name, to_gguf, weight_files, weights,
};
use crate::checkpoint::{Digest, write_file, write_json};
use crate::files::{parse_json, require_itself};
use crate::gguf::{Gguf, Metadata, is_gguf};
use crate::text::{
    CHAT_TEMPLATE_FILE, Chat, TOKENIZER_CONFIG_FILE, TOKENIZER_FILE, Tokenizer, TokenizerFiles,
    chat_template, marks_to_gguf, tokenizer_to_gguf,
};
use crate::{Error, Result};

/// Files of a folder that a model made from it has too, as they are.
const COMPANIONS: [&str; 10] = [
    CONFIG_FILE,
    GENERATION_CONFIG_FILE,
    TOKENIZER_FILE,
    TOKENIZER_CONFIG_FILE,
    "tokenizer.model",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "merges.txt",
    CHAT_TEMPLATE_FILE,
];

/// What a GGUF file calls the model.
const TITLE: &str = "general.name";

/// Where the files of a base are.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum BaseFiles {
    /// A folder with `config.json`, a tokenizer and safetensors weights.
    Folder(PathBuf),
    /// A file of llama.cpp, which holds all of these.
    Gguf(PathBuf),
}

impl BaseFiles {
    /// The base at `path`: a folder, or a GGUF file. `None` where nothing is there.
    ///
    /// # Errors
    /// Something else.
    pub fn at(path: &Path) -> Result<Option<Self>> {
        if path.is_dir() {
            return Ok(Some(Self::Folder(path.to_owned())));
        }
        if is_gguf(path) {
            return Ok(Some(Self::Gguf(path.to_owned())));
        }
        if !path.exists() {
            return Ok(None);
        }
        require_itself(path)?;
        Err(Error::file(path, "is not a folder with config.json and safetensors weights, nor a GGUF file"))
    }

    /// Whether a base is at `path`, as far as its name and its first bytes tell.
    pub(super) fn is_at(path: &Path) -> bool {
        path.join(CONFIG_FILE).is_file() || is_gguf(path)
    }

    /// The folder, or the file.
    pub fn path(&self) -> &Path {
        match self {
            Self::Folder(path) | Self::Gguf(path) => path,
        }
    }

    /// The shape of the decoder.
    ///
    /// # Errors
    /// Files that are missing or damaged, or a decoder that is not supported.
    pub fn shape(&self) -> Result<DecoderConfig> {
        match self {
            Self::Folder(folder) => DecoderConfig::from_folder(folder),
            Self::Gguf(file) => from_gguf::shape(&Gguf::open(file)?),
        }
    }

    /// The decoder, as [`Decoder::load`] has it, with what to tell a person of the files.
    ///
    /// # Errors
    /// As [`Decoder::load`].
    pub fn decoder(
        &self,
        storage: impl Into<Keeping>,
        compute: DType,
        device: &Device,
    ) -> Result<(Decoder, Vec<String>)> {
        match self {
            Self::Folder(folder) => Decoder::load_and_note(folder, storage, compute, device),
            Self::Gguf(file) => from_gguf::load(&Gguf::open(file)?, storage.into(), compute, device),
        }
    }

    /// How much memory the weights will take as `storage` says, in bytes: on a CPU matrices of bf16 are packed for products
    /// both ways.
    ///
    /// # Errors
    /// As [`Decoder::load`], of the heads of the files alone.
    pub fn held_bytes(&self, storage: Keeping, compute: DType, on_cpu: bool) -> Result<u64> {
        let stored = match (self, storage) {
            // What they are stored in does not matter.
            (_, Keeping::In(_)) => HashMap::new(),
            (Self::Folder(folder), _) => {
                let types = weights::weight_types(folder)?.into_iter();
                types.map(|(name, dtype)| (name, Held::Tensor(dtype))).collect()
            }
            (Self::Gguf(file), _) => from_gguf::held(&Gguf::open(file)?)?,
        };
        let bytes = |spec: &WeightSpec| {
            // A weight that is missing is one of f32 until it is looked for.
            let stored = stored.get(&spec.name).copied().unwrap_or(Held::Tensor(DType::F32));
            let held = storage.of(spec, stored, compute);
            let packed = on_cpu && held == Held::Tensor(DType::BF16);
            held.bytes(spec.count()) as u64 * if packed { 2 } else { 1 }
        };
        Ok(self.shape()?.weights().iter().map(bytes).sum())
    }

    /// For each weight, by Hugging Face's name, a type that holds it exactly.
    ///
    /// # Errors
    /// As [`Decoder::load`], of the heads of the files alone.
    pub fn weight_types(&self) -> Result<HashMap<String, DType>> {
        match self {
            Self::Folder(folder) => weights::weight_types(folder),
            Self::Gguf(file) => {
                let held = from_gguf::held(&Gguf::open(file)?)?.into_iter();
                Ok(held.map(|(name, held)| (name, held.exactly())).collect())
            }
        }
    }

    /// The tokenizer, as [`Tokenizer::open`] picks its tokens.
    ///
    /// # Errors
    /// As [`Tokenizer::open`].
    pub fn tokenizer(&self, end_token: Option<&str>, begin_token: Option<&str>) -> Result<Tokenizer> {
        let files = match self {
            Self::Folder(folder) => TokenizerFiles::in_folder(folder),
            Self::Gguf(file) => TokenizerFiles::in_gguf(&Gguf::open(file)?),
        };
        Tokenizer::read(&files?, end_token, begin_token)
    }

    /// The form of a conversation with the model, of the template called `name`, else of the usual one; `None` if the base
    /// has no such template and none was named.
    ///
    /// # Errors
    /// As [`Chat::of_base`].
    pub fn chat(&self, name: Option<&str>, tokenizer: &Tokenizer) -> Result<Option<Chat>> {
        match self {
            Self::Folder(folder) => Chat::of_base(folder, name, tokenizer),
            Self::Gguf(file) => Chat::of_gguf(&Gguf::open(file)?, name, tokenizer),
        }
    }

    /// Digest of the base: of its shape, its tokenizer and its weights, or of the one file.
    ///
    /// # Errors
    /// A file that is missing or cannot be read.
    pub fn digest(&self) -> Result<Digest> {
        let folder = match self {
            Self::Folder(folder) => folder,
            Self::Gguf(file) => return Digest::of_file(file),
        };
        let mut files = vec![folder.join(CONFIG_FILE), folder.join(TOKENIZER_FILE)];
        files.extend(weight_files(folder)?.1);
        let digests = files.iter().map(|path| Digest::of_file(path)).collect::<Result<Vec<_>>>()?;
        let name = |path: &'_ PathBuf| path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let names: Vec<String> = files.iter().map(name).collect();
        Ok(Digest::of_parts(names.iter().map(String::as_str).zip(digests)))
    }

    /// Writes the base as one GGUF file of the title `title`, with `adapter` added to the weights of `decoder`, which was
    /// read from it: of a file all else stays as it is there, of a folder its weights keep their types. `tokenizer` is
    /// the base's own, which may begin and end texts otherwise.
    ///
    /// # Errors
    /// A tokenizer of a kind that such a file cannot hold, an adapter of another shape, a file that cannot be read or
    /// written.
    pub fn write_merged_gguf(
        &self,
        decoder: &Decoder,
        adapter: AdapterRef<'_>,
        tokenizer: &Tokenizer,
        title: &str,
        path: &Path,
    ) -> Result<()> {
        match self {
            Self::Gguf(file) => {
                let gguf = Gguf::open(file)?;
                let mut metadata = gguf.metadata()?;
                metadata.set_text(TITLE, title);
                marks_to_gguf(tokenizer, &mut metadata);
                write_file(path, |out| to_gguf::write_on_file(decoder, adapter, &gguf, metadata, (out, path)))
            }
            Self::Folder(folder) => {
                let (config, mut metadata) = (&decoder.config, Metadata::default());
                to_gguf::describe(config, &mut metadata);
                metadata.set_text(TITLE, title);
                let (files, chat) = (TokenizerFiles::in_folder(folder)?, chat_template(folder)?);
                tokenizer_to_gguf(&files, tokenizer, chat.as_deref(), config.vocab_size, &mut metadata)?;
                let types = self.weight_types()?;
                write_file(path, |out| {
                    to_gguf::write_on_folder(decoder, adapter, &types, metadata, (out, path))
                })
            }
        }
    }

    /// Writes everything that a model's folder has beside its weights into `folder`: the base's own files, or what stands
    /// for them in a GGUF file, for weights of type `dtype`.
    ///
    /// # Errors
    /// A file that cannot be read or written.
    pub fn write_companions(&self, folder: &Path, dtype: DType) -> Result<()> {
        let gguf = match self {
            Self::Gguf(file) => Gguf::open(file)?,
            Self::Folder(own) => {
                let there = COMPANIONS.iter().map(|name| (own.join(name), folder.join(name)));
                return there.filter(|(from, _)| from.is_file()).try_for_each(|(from, to)| {
                    fs::copy(&from, &to).map(drop).map_err(|fault| Error::io(from, fault))
                });
            }
        };
        let files = TokenizerFiles::in_gguf(&gguf)?;
        let parsed = |text: Option<String>| -> Result<Value> {
            text.map_or(Ok(json!({})), |text| parse_json(self.path(), &text))
        };
        let (tokens, generation) = (parsed(files.config.text)?, parsed(files.generation.text)?);
        let mut config = from_gguf::shape(&gguf)?.to_json(0);
        config["eos_token_id"] = generation["eos_token_id"].clone();
        config["torch_dtype"] = torch_name(dtype).into();
        write_json(&folder.join(CONFIG_FILE), &config)?;
        write_json(&folder.join(TOKENIZER_CONFIG_FILE), &tokens)?;
        write_json(&folder.join(GENERATION_CONFIG_FILE), &generation)?;
        let path = folder.join(TOKENIZER_FILE);
        write_file(&path, |out| out.write_all(&files.tokenizer).map_err(|fault| Error::io(&path, fault)))
    }
}
