//! What a tokenizer is read from: the files in a base's folder, or what stands for them in another form of base.

use std::path::{Path, PathBuf};

use super::{TOKENIZER_CONFIG_FILE, TOKENIZER_FILE};
use crate::Result;
use crate::files::{read_bytes, read_text_if_there};

const GENERATION_CONFIG_FILE: &str = "generation_config.json";
const MODEL_CONFIG_FILE: &str = "config.json";

/// A file beside `tokenizer.json`.
#[derive(Debug, Clone)]
pub struct Beside {
    /// Its path, for messages.
    pub path: PathBuf,
    /// Its text, if it is there.
    pub text: Option<String>,
}

/// The files of a tokenizer.
#[derive(Debug, Clone)]
pub struct TokenizerFiles {
    /// Path of `tokenizer.json`, for messages.
    pub path: PathBuf,
    /// Its bytes.
    pub tokenizer: Vec<u8>,
    /// `tokenizer_config.json`.
    pub config: Beside,
    /// `generation_config.json`.
    pub generation: Beside,
    /// `config.json`, the model's.
    pub model: Beside,
}

impl TokenizerFiles {
    /// Reads those of a folder, of which all but the first may be missing.
    ///
    /// # Errors
    /// A file that is not there or cannot be read.
    pub fn in_folder(folder: &Path) -> Result<Self> {
        let path = folder.join(TOKENIZER_FILE);
        let tokenizer = read_bytes(&path)?;
        let beside = |name| -> Result<Beside> {
            let path = folder.join(name);
            Ok(Beside { text: read_text_if_there(&path)?, path })
        };
        let (config, generation) = (beside(TOKENIZER_CONFIG_FILE)?, beside(GENERATION_CONFIG_FILE)?);
        Ok(Self { path, tokenizer, config, generation, model: beside(MODEL_CONFIG_FILE)? })
    }
}
