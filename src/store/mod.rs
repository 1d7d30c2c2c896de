//! Encoded contexts on disk: folders of an adapter in PEFT's files with a record of how it came about.

mod list;
mod record;
mod stored;

pub use list::Store;
pub use record::{
    Artifact, BaseIdentity, CheckpointIdentity, ContextIdentity, Cost, Losses, RECORD_FILE, ReasoningRecipe,
    Recipe, Record,
};
pub use stored::StoredAdapter;
