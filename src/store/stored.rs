//! One encoded context on disk.

use std::path::{Path, PathBuf};

use candle_core::{DType, Device};

use crate::checkpoint::{Digest, recover, require_finite, write_folder, write_json};
use crate::config::{PeftBase, Place};
use crate::error::{Error, Result};
use crate::model::lora::{ADAPTER_CONFIG_FILE, ADAPTER_FILE, Adapter};
use crate::model::{DecoderConfig, HubSettings, Located, base_written_in, resolve};

use super::record::{Artifact, RECORD_FILE, Record};

/// Files of a stored adapter; the record last, which says whose folder it is.
pub(super) const FILES: [&str; 3] = [ADAPTER_FILE, ADAPTER_CONFIG_FILE, RECORD_FILE];

/// A folder with PEFT's two files and the record.
#[derive(Debug, Clone, PartialEq)]
pub struct StoredAdapter {
    /// The folder.
    pub dir: PathBuf,
    /// Where the adapter came from.
    pub record: Record,
}

impl StoredAdapter {
    /// The adapter in folder `dir`; of its files only the record is read.
    ///
    /// # Errors
    /// No such folder, or a record that is missing, damaged or of another version.
    pub fn open(dir: &Path) -> Result<Self> {
        recover(dir)?;
        if !dir.is_dir() {
            return Err(Error::file(dir, "there is no such adapter: perk encode makes one"));
        }
        Ok(Self { dir: dir.to_owned(), record: Record::load(dir)? })
    }

    /// Writes the folder whole, in place of an older one. `record.adapter` is filled in here.
    ///
    /// # Errors
    /// A file or folder that cannot be written; then what was there before is still there.
    pub fn write(dir: &Path, adapter: &Adapter, mut record: Record) -> Result<Self> {
        let model = &record.base.model;
        let base = PeftBase::new(&Place::parse(&model.base)?, model.revision.as_deref());
        write_folder(dir, |new| {
            adapter.save(new, base)?;
            record.adapter = artifact(new)?;
            let value = serde_json::to_value(&record)
                .map_err(|fault| Error::file(dir, format!("the record cannot be written: {fault}")))?;
            write_json(&new.join(RECORD_FILE), &value)
        })?;
        Ok(Self { dir: dir.to_owned(), record })
    }

    /// The adapter for a decoder of shape `config`.
    ///
    /// # Errors
    /// Files that are missing or damaged, or an adapter of another shape.
    pub fn load(&self, config: &DecoderConfig, dtype: DType, device: &Device) -> Result<Adapter> {
        Adapter::load(&self.dir, config, dtype, device)
    }

    /// Checks that the tensors are those of an adapter for `shape`, and numbers.
    ///
    /// # Errors
    /// A tensor that is missing, extra, of another shape, or holds a NaN or an infinity.
    pub fn check_tensors(&self, shape: &DecoderConfig) -> Result<()> {
        let adapter = self.load(shape, DType::F32, &Device::Cpu)?;
        for (index, tensor) in adapter.tensors.iter().enumerate() {
            require_finite(&self.dir.join(ADAPTER_FILE), &adapter.layout.name(index), tensor)?;
        }
        Ok(())
    }

    /// Checks that the files are those that were written.
    ///
    /// # Errors
    /// A file that is missing, or whose bytes have changed.
    pub fn verify(&self) -> Result<()> {
        let found = artifact(&self.dir)?;
        if found == self.record.adapter {
            return Ok(());
        }
        let reason = format!(
            "{ADAPTER_FILE} or {ADAPTER_CONFIG_FILE} is not what perk encode wrote: encode the context again \
             with --force"
        );
        Err(Error::file(&self.dir, reason))
    }

    /// Where the base is; `elsewhere` says so, if it is not where it was.
    ///
    /// # Errors
    /// A base that cannot be found or fetched.
    pub fn locate_base(&self, elsewhere: Option<&str>, hub: &HubSettings) -> Result<Located> {
        let model = &self.record.base.model;
        let recorded = || base_written_in(&self.dir, &model.base);
        let base = elsewhere.map_or_else(recorded, str::to_owned);
        resolve(&base, model.revision.as_deref(), model.offline, hub)
    }

    /// As [`locate_base`](Self::locate_base), and checks that it is the base that the adapter was made for.
    ///
    /// # Errors
    /// A base that cannot be found or read, or is another one.
    pub fn own_base(&self, elsewhere: Option<&str>, hub: &HubSettings) -> Result<Located> {
        let base = self.locate_base(elsewhere, hub)?;
        self.require_base(base.files.path(), &base.files.digest()?)?;
        Ok(base)
    }

    /// Refuses a base other than the one that the adapter was made for.
    ///
    /// # Errors
    /// `found` is the digest of another base; `path` is for the message.
    pub fn require_base(&self, path: &Path, found: &Digest) -> Result<()> {
        if *found == self.record.base.digest {
            return Ok(());
        }
        let reason = format!(
            "belongs to another base: it was encoded on `{}` ({}…), and {} is {}…",
            self.record.base.model.base,
            self.record.base.digest.short(),
            path.display(),
            found.short(),
        );
        Err(Error::file(&self.dir, reason))
    }
}

/// Digest and length of PEFT's two files.
fn artifact(dir: &Path) -> Result<Artifact> {
    let (mut parts, mut bytes) = (Vec::new(), 0);
    for name in [ADAPTER_CONFIG_FILE, ADAPTER_FILE] {
        let path = dir.join(name);
        bytes += std::fs::metadata(&path).map_err(|e| Error::io(&path, e))?.len();
        parts.push((name, Digest::of_file(&path)?));
    }
    Ok(Artifact { digest: Digest::of_parts(parts), bytes })
}
