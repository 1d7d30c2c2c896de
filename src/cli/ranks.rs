//! The processes that were started together with this one, as the environment says.

use std::sync::{Arc, OnceLock};

use perk::{
    Error, Result,
    ranks::{Ranks, alone},
};

/// By these variables the launchers of Open MPI, MPICH and Slurm say how many processes there are.
const COUNTS: [&str; 3] = ["OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "SLURM_STEP_NUM_TASKS"];

static RANKS: OnceLock<Arc<dyn Ranks>> = OnceLock::new();

/// The ranks of this job; [`join`] has found them.
pub fn ranks() -> &'static Arc<dyn Ranks> {
    RANKS.get_or_init(alone)
}

/// Joins the other processes, if a launcher has started several.
///
/// # Errors
/// A build that computes in one process alone.
pub fn join() -> Result<()> {
    let count = |name| std::env::var(name).ok()?.parse::<usize>().ok();
    if COUNTS.into_iter().filter_map(count).max().is_none_or(|count| count < 2) {
        return Ok(());
    }
    RANKS.set(found()?).map_err(|_| Error::Invalid("the ranks were joined before".to_owned()))
}

#[cfg(feature = "mpi")]
fn found() -> Result<Arc<dyn Ranks>> {
    Ok(Arc::new(perk::ranks::Mpi::start()?))
}

#[cfg(not(feature = "mpi"))]
fn found() -> Result<Arc<dyn Ranks>> {
    let reason = "several processes were started together, and this build of perk computes in one: make one with \
                  `cargo build --release --features mpi` (docs/scale.md), or start one process";
    Err(Error::Invalid(reason.to_owned()))
}
