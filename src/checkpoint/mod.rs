//! Files written whole or not at all, and the state of a training run on disk.

mod atomic;
mod digest;
mod folder;
mod in_turn;
mod lock;
mod place;
mod run_state;
mod tensors;

pub use atomic::{write_at, write_file, write_json, write_new_at, write_tensors};
pub use digest::Digest;
pub(crate) use folder::{clear_old, names, remove_own};
pub use folder::{recover, write_folder};
pub use in_turn::{TensorEntry, write_tensors_in_turn};
pub(crate) use lock::INSIDE as LOCK_INSIDE;
pub use lock::Lock;
pub use place::place;
pub(crate) use place::{Made, sweep};
pub use run_state::{
    Batching, PROGRESS_FILE, Progress, TENSORS_FILE, load_parameters, load_progress, load_tensors,
    require_finite, save_run,
};
pub use tensors::map_tensors;
