//! A checkpoint of a training run: one folder, replaced whole, or left as it was.

use std::{
    collections::{HashMap, HashSet},
    fmt, fs,
    path::Path,
};

use candle_core::{DType, Device, Tensor};
use serde::{Deserialize, Serialize};

use super::{Digest, map_tensors, write_folder, write_json, write_tensors};
use crate::error::{Error, Result};
use crate::files::{parse_json, read_text};

/// Name of the file that holds what is learned and its optimiser.
pub const TENSORS_FILE: &str = "meta.safetensors";
/// Name of the file that says where the run was.
pub const PROGRESS_FILE: &str = "state.json";

/// Where a run is, beside its tensors. Everything random is a function of the seed and an index, so these
/// numbers are the whole random state.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Progress {
    /// Outer steps done.
    pub step: usize,
    /// Index of the next training episode.
    pub next_episode: u64,
    /// Seed of the run.
    pub seed: u64,
    /// Best held-out score so far.
    pub best_score: Option<f64>,
    /// Seconds spent on outer steps.
    pub train_secs: f64,
    /// Seconds spent on held-out scores.
    pub eval_secs: f64,
    /// Outer step of the last held-out score.
    pub last_eval_step: usize,
    /// The resolved configuration, as TOML: its numbers are read back exactly.
    pub config: String,
    /// Digest of the base; `None` in checkpoints of older versions.
    #[serde(default)]
    pub base: Option<Digest>,
    /// What was computed at once, where free memory had a say in it: on a GPU. A run goes on with it, for last digits
    /// depend on it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub batching: Option<Batching>,
}

/// What one pass computes at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Batching {
    /// Episodes together.
    pub episodes_together: usize,
    /// Segments of each of them.
    pub micro_batch_segments: usize,
}

impl fmt::Display for Batching {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (episodes, segments) = (self.episodes_together, self.micro_batch_segments);
        write!(out, "computing at once, at most: episodes {episodes}, segments of each {segments}")
    }
}

/// Writes checkpoint `folder`: `tensors`, `progress`, and what `write_adapter` puts beside them.
///
/// # Errors
/// A tensor that holds a NaN or an infinity, before anything is touched; a file that cannot be written.
pub fn save_run(
    folder: &Path,
    progress: &Progress,
    tensors: &[(String, Tensor)],
    write_adapter: impl FnOnce(&Path) -> Result<()>,
) -> Result<()> {
    for (name, tensor) in tensors {
        require_finite(folder, name, tensor)?;
    }
    let record = serde_json::to_value(progress)
        .map_err(|fault| Error::file(folder, format!("the run's progress cannot be written: {fault}")))?;
    if let Some(parent) = folder.parent() {
        fs::create_dir_all(parent).map_err(|source| Error::io(parent, source))?;
    }
    write_folder(folder, |new| {
        write_adapter(new)?;
        write_tensors(&new.join(TENSORS_FILE), tensors.to_vec())?;
        write_json(&new.join(PROGRESS_FILE), &record)
    })
}

/// Reads where the run of checkpoint `folder` was.
///
/// # Errors
/// A file that is missing or damaged.
pub fn load_progress(folder: &Path) -> Result<Progress> {
    let path = folder.join(PROGRESS_FILE);
    parse_json(&path, &read_text(&path)?)
}

/// Reads the tensors of checkpoint `folder`, by name.
///
/// # Errors
/// A file that is missing or damaged.
pub fn load_tensors(folder: &Path, device: &Device) -> Result<HashMap<String, Tensor>> {
    load_where(folder, device, |_| true)
}

/// As [`load_tensors`], without the moments of the optimiser, which take twice the room of the rest.
///
/// # Errors
/// As [`load_tensors`].
pub fn load_parameters(folder: &Path, device: &Device) -> Result<HashMap<String, Tensor>> {
    load_where(folder, device, |name| moment_of(name).is_none())
}

/// The parameter whose moment the tensor is, if it is one.
fn moment_of(name: &str) -> Option<&str> {
    name.strip_prefix("m.").or_else(|| name.strip_prefix("v."))
}

fn load_where(
    folder: &Path,
    device: &Device,
    wanted: impl Fn(&str) -> bool,
) -> Result<HashMap<String, Tensor>> {
    let path = folder.join(TENSORS_FILE);
    if !path.is_file() {
        return Err(Error::file(&path, "missing: is this a checkpoint of perk meta-train?"));
    }
    let file = map_tensors(&path)?;
    let names: HashSet<String> = file.tensors().into_iter().map(|(name, _)| name).collect();
    // What is left out below is looked at all the same: nothing in the file goes unnoticed.
    let stranger = names.iter().filter(|name| moment_of(name).is_some_and(|of| !names.contains(of))).min();
    if let Some(name) = stranger {
        return Err(Error::tensor(&path, name, "is the moment of a parameter that is not there"));
    }
    let names = names.into_iter().filter(|name| wanted(name));
    let load = |name: String| {
        let tensor = file.load(&name, device).map_err(|e| Error::tensor(&path, &name, e.to_string()))?;
        Ok((name, tensor))
    };
    names.map(load).collect()
}

/// Refuses a tensor with a number that is none; `folder` and `name` are for the message.
///
/// # Errors
/// A NaN or an infinity in it.
pub fn require_finite(folder: &Path, name: &str, tensor: &Tensor) -> Result<()> {
    // 0 · x is 0 for every finite x and NaN for the others.
    let sum = (tensor * 0.0)?.sum_all()?.to_dtype(DType::F64)?.to_scalar::<f64>()?;
    if sum == 0.0 { Ok(()) } else { Err(Error::tensor(folder, name, "holds a NaN or an infinity")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn progress(step: usize) -> Progress {
        Progress {
            step,
            next_episode: 8,
            seed: 1,
            best_score: Some(0.1),
            train_secs: 1.5,
            eval_secs: 0.0,
            last_eval_step: 0,
            config: "c".to_owned(),
            base: Some(Digest::of_texts(&["base"])),
            batching: (step > 1).then_some(Batching { episodes_together: 2, micro_batch_segments: 8 }),
        }
    }

    fn tensors(value: f32) -> Vec<(String, Tensor)> {
        vec![("a".to_owned(), Tensor::full(value, (2, 3), &Device::Cpu).unwrap())]
    }

    #[test]
    fn a_checkpoint_replaces_the_one_before_and_leaves_nothing_else() {
        let room = tempfile::tempdir().unwrap();
        let folder = room.path().join("last");
        for step in [1, 2] {
            save_run(&folder, &progress(step), &tensors(step as f32), |_| Ok(())).unwrap();
        }
        assert_eq!(load_progress(&folder).unwrap(), progress(2));
        let read = load_tensors(&folder, &Device::Cpu).unwrap();
        assert_eq!(read["a"].to_vec2::<f32>().unwrap(), vec![vec![2.0; 3]; 2]);
        assert_eq!(fs::read_dir(room.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_tensor_that_is_not_finite_never_reaches_a_checkpoint() {
        let room = tempfile::tempdir().unwrap();
        let folder = room.path().join("last");
        save_run(&folder, &progress(1), &tensors(1.0), |_| Ok(())).unwrap();
        for bad in [f32::NAN, f32::INFINITY] {
            let message = save_run(&folder, &progress(2), &tensors(bad), |_| Ok(())).unwrap_err().to_string();
            assert!(message.contains("`a`"), "{message}");
        }
        assert_eq!(load_progress(&folder).unwrap().step, 1);
    }

    #[test]
    fn what_a_checkpoint_does_not_know_is_refused_by_name() {
        let room = tempfile::tempdir().unwrap();
        let folder = room.path().join("last");
        let odd = tensors(1.0).into_iter().chain([("v.strange".to_owned(), tensors(1.0).remove(0).1)]);
        save_run(&folder, &progress(1), &odd.collect::<Vec<_>>(), |_| Ok(())).unwrap();
        for load in [load_tensors, load_parameters] {
            let message = load(&folder, &Device::Cpu).unwrap_err().to_string();
            assert!(message.contains("`v.strange`"), "{message}");
        }
        let path = folder.join(PROGRESS_FILE);
        let text = fs::read_to_string(&path).unwrap().replacen('{', "{\"sted\": 3,", 1);
        fs::write(&path, text).unwrap();
        let message = load_progress(&folder).unwrap_err().to_string();
        assert!(message.contains("unknown field `sted`"), "{message}");
    }

    #[test]
    fn a_failed_adapter_leaves_the_old_checkpoint() {
        let room = tempfile::tempdir().unwrap();
        let folder = room.path().join("last");
        save_run(&folder, &progress(1), &tensors(1.0), |_| Ok(())).unwrap();
        let refuse = |_: &Path| Err(Error::Invalid("no".to_owned()));
        assert!(save_run(&folder, &progress(2), &tensors(2.0), refuse).is_err());
        assert_eq!(load_progress(&folder).unwrap().step, 1);
    }
}
