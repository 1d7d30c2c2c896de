//! What can be asked: the base, and the adapters of the store, loaded when they are asked and kept in a bounded cache.

use std::collections::HashMap;
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::UNIX_EPOCH;

use lru::LruCache;

use crate::checkpoint::Digest;
use crate::commands::encode::OpenStart;
use crate::commands::{Respondent, recorded_tokenizer};
use crate::config::ModelConfig;
use crate::error::Result;
use crate::model::BaseFiles;
use crate::store::{RECORD_FILE, Store, StoredAdapter};
use crate::text::Tokenizer;

/// The name of the base among the models.
pub const BASE: &str = "base";

/// The tokens that begin and end texts.
type Ends = [Option<String>; 2];

/// The models of a server.
pub struct Models {
    base: Arc<Respondent>,
    /// The base's files, and their digest.
    files: BaseFiles,
    digest: Digest,
    store: Store,
    loaded: Mutex<LruCache<String, Loaded>>,
    /// Tokenizers of adapters that begin or end texts otherwise than the server's checkpoint: each is read once, for the
    /// library keeps a cache for every one that it has ever opened.
    tokenizers: Mutex<HashMap<Ends, Tokenizer>>,
}

#[derive(Clone)]
struct Loaded {
    /// Of the files that it was loaded from.
    digest: Digest,
    respondent: Arc<Respondent>,
}

/// One of the models.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    pub name: String,
    /// When it was written, in seconds of Unix time.
    pub created: u64,
}

/// Why there is no such model.
#[derive(Debug)]
pub enum Missing {
    /// Nothing has this name.
    Unknown,
    /// It is damaged, or of another base.
    Unusable(String),
}

impl Models {
    /// The base of `start`, alone and with the adapters of `store`, at most `most` of which stay in memory.
    ///
    /// # Errors
    /// A base whose chat template cannot be used.
    pub fn new(start: &OpenStart, store: Store, most: usize) -> Result<Self> {
        let setup = start.setup();
        let most = NonZeroUsize::new(most).unwrap_or(NonZeroUsize::MIN);
        Ok(Self {
            base: Arc::new(Respondent::of_base(setup)?),
            files: setup.base.files.clone(),
            digest: start.base().clone(),
            store,
            loaded: Mutex::new(LruCache::new(most)),
            tokenizers: Mutex::new([(ends(&setup.config.model), setup.tokenizer.clone())].into()),
        })
    }

    /// The base, and the adapters of it in the store.
    ///
    /// # Errors
    /// A store that cannot be read.
    pub fn list(&self) -> Result<Vec<Listed>> {
        let mut models = vec![Listed { name: BASE.to_owned(), created: 0 }];
        models.extend(self.stored()?.into_iter().map(|(name, stored)| {
            let created = created(&stored);
            Listed { name, created }
        }));
        Ok(models)
    }

    /// The adapters of the base in the store, by name.
    ///
    /// # Errors
    /// A store that cannot be read.
    pub fn stored(&self) -> Result<Vec<(String, StoredAdapter)>> {
        let all = if self.store.is_there() { self.store.list()? } else { Vec::new() };
        let readable = all.into_iter().filter_map(|(name, stored)| Some((name, stored.ok()?)));
        Ok(readable.filter(|(_, stored)| stored.record.base.digest == self.digest).collect())
    }

    /// The adapter called `name`.
    ///
    /// # Errors
    /// There is none, or it cannot be used.
    pub fn open(&self, name: &str) -> std::result::Result<StoredAdapter, Missing> {
        if !self.store.has(name) {
            return Err(Missing::Unknown);
        }
        let stored = self.store.open(name).map_err(|fault| Missing::Unusable(fault.to_string()))?;
        stored
            .require_base(self.files.path(), &self.digest)
            .map_err(|fault| Missing::Unusable(fault.to_string()))?;
        Ok(stored)
    }

    /// The model called `name`, from memory or from the store.
    ///
    /// # Errors
    /// There is none, or it cannot be used.
    pub fn get(&self, name: &str) -> std::result::Result<Arc<Respondent>, Missing> {
        if name == BASE {
            return Ok(Arc::clone(&self.base));
        }
        let stored = self.open(name).inspect_err(|_| self.forget(name))?;
        let digest = stored.record.adapter.digest.clone();
        let known = self.cache().get(name).filter(|loaded| loaded.digest == digest).cloned();
        if let Some(loaded) = known {
            return Ok(loaded.respondent);
        }
        let respondent = self.load(&stored).map_err(|fault| Missing::Unusable(fault.to_string()))?;
        let respondent = Arc::new(respondent);
        self.cache().put(name.to_owned(), Loaded { digest, respondent: Arc::clone(&respondent) });
        Ok(respondent)
    }

    /// Takes an adapter out of memory.
    pub fn forget(&self, name: &str) {
        self.cache().pop(name);
    }

    /// How many adapters are in memory.
    pub fn in_memory(&self) -> usize {
        self.cache().len()
    }

    fn load(&self, stored: &StoredAdapter) -> Result<Respondent> {
        let decoder = self.base.decoder.clone();
        Respondent::of_adapter(stored, decoder, self.tokenizer(stored)?)
    }

    fn tokenizer(&self, stored: &StoredAdapter) -> Result<Tokenizer> {
        let model = &stored.record.base.model;
        let mut tokenizers = self.tokenizers.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(tokenizer) = tokenizers.get(&ends(model)) {
            return Ok(tokenizer.clone());
        }
        let tokenizer = recorded_tokenizer(model, &self.files)?;
        tokenizers.insert(ends(model), tokenizer.clone());
        Ok(tokenizer)
    }

    fn cache(&self) -> std::sync::MutexGuard<'_, LruCache<String, Loaded>> {
        self.loaded.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn ends(model: &ModelConfig) -> Ends {
    [Some(model.begin_token.clone().unwrap_or_default()), model.end_token.clone()]
}

fn created(stored: &StoredAdapter) -> u64 {
    let written = std::fs::metadata(stored.dir.join(RECORD_FILE)).and_then(|data| data.modified());
    let since = written.ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok());
    since.map_or(0, |since| since.as_secs())
}
