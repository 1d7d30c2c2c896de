//! Files written whole or not at all, and the state of a training run on disk.

mod atomic;

pub use atomic::{write_at, write_file, write_folder, write_json, write_tensors};
