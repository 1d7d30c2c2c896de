//! What ranks other than 0 do: whatever rank 0 tells them.

use std::sync::Arc;

use crate::{
    error::Result,
    model::HubSettings,
    ranks::{Ranks, is_alone, told},
};

use super::{encode, meta_train::Follower, work::Work};

/// Works for rank 0 until it has nothing more to do.
///
/// # Errors
/// What any rank cannot do.
pub fn follow(ranks: &Arc<dyn Ranks>, hub: &HubSettings) -> Result<()> {
    loop {
        match told(&**ranks, None)? {
            Work::MetaTrain { config, step } => {
                Follower::new(&**ranks, &config, step, hub)?.follow(&**ranks)?;
            }
            Work::Encode { config, start, segments, at_once } => {
                encode::follow(ranks, &config, start, &segments, at_once, hub)?;
            }
            Work::End => return Ok(()),
        }
    }
}

/// Tells the other ranks that there is nothing more to do.
///
/// # Errors
/// Ranks that cannot be reached.
pub fn dismiss(ranks: &dyn Ranks) -> Result<()> {
    if is_alone(ranks) { Ok(()) } else { told(ranks, Some(&Work::End)).map(drop) }
}
