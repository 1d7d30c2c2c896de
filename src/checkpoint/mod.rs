//! Files written whole or not at all, and the state of a training run on disk.

mod atomic;
mod run_state;

pub use atomic::{write_at, write_file, write_folder, write_json, write_tensors};
pub use run_state::{Progress, load_progress, load_tensors, recover, save_run};
