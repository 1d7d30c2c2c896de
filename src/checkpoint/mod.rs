//! Files written whole or not at all, and the state of a training run on disk.

mod atomic;
mod digest;
mod lock;
mod run_state;
mod tensors;

pub use atomic::{write_at, write_file, write_folder, write_json, write_tensors};
pub use digest::Digest;
pub use lock::Lock;
pub use run_state::{
    PROGRESS_FILE, Progress, TENSORS_FILE, load_parameters, load_progress, load_tensors, recover,
    require_finite, save_run,
};
pub use tensors::map_tensors;
