//! A checkpoint as others get it: what an inner loop starts from, and no more.

use std::path::{Path, PathBuf};

use candle_core::{DType, Device};

use crate::{
    checkpoint::{Lock, PROGRESS_FILE, Progress, load_parameters, load_progress, save_run},
    config::{BackgroundSource, Config},
    error::{Error, Result},
};

use super::InnerStart;

/// Writes the start in `checkpoint`, a run or one of its checkpoints, to the new folder `out`: the adapter in bf16, rates and
/// head as they are, without the state of the optimiser, a sixth of what training keeps. Paths in the
/// configuration keep their last names alone, for other machines have none of the folders; the base is known by its
/// digest, and found beside the folder or above it.
///
/// # Errors
/// What is no checkpoint; something at `out` already; a file that cannot be written. Nothing is written then.
pub fn publish(checkpoint: &Path, out: &Path) -> Result<()> {
    let _lock = Lock::take(out)?;
    if out.exists() {
        return Err(Error::file(out, "exists: name a new folder"));
    }
    let start = InnerStart::open(checkpoint)?;
    let folder = start.identity.path.clone().unwrap_or_else(|| checkpoint.to_owned());
    let progress = load_progress(&folder)?;
    let config = without_folders(Config::from_checkpoint(&folder.join(PROGRESS_FILE), &progress.config)?);
    let progress = Progress { config: config.to_toml()?, ..progress };
    let mut tensors: Vec<_> = load_parameters(&folder, &Device::Cpu)?.into_iter().collect();
    tensors.sort_by(|(a, _), (b, _)| a.cmp(b));
    for (name, tensor) in &mut tensors {
        // Rates and head are few, and every inner step is taken with them.
        if name.starts_with("base_model.") {
            *tensor = tensor.to_dtype(DType::BF16)?;
        }
    }
    save_run(out, &progress, &tensors, |_| Ok(()))
}

/// The configuration with the last names of its paths.
fn without_folders(mut config: Config) -> Config {
    if !config.model.base.starts_with("hf:") {
        config.model.base = last_name(Path::new(&config.model.base)).to_string_lossy().into_owned();
    }
    config.outer.start_from = None;
    config.run.dir = last_name(&config.run.dir);
    let data = &mut config.data;
    for path in data.files.iter_mut().chain(&mut data.held_out_files) {
        *path = last_name(path);
    }
    for source in std::iter::once(&mut data.background).chain(&mut data.held_out_background) {
        if let BackgroundSource::Path(path) = source {
            *path = last_name(path);
        }
    }
    config
}

fn last_name(path: &Path) -> PathBuf {
    path.file_name().map_or_else(|| path.to_owned(), PathBuf::from)
}
