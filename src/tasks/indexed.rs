//! Episodes that a function makes of their index.

use super::{Episode, EpisodeSource};
use crate::{Error, Result};

/// The source of the episodes that `make` makes of their indices, of which there are `len`; `None` if they never end.
pub fn indexed<'a>(
    len: Option<usize>,
    make: impl Fn(u64) -> Result<Episode> + Send + Sync + 'a,
) -> Box<dyn EpisodeSource + 'a> {
    Box::new(Indexed { len: len.map(|len| len as u64), make })
}

struct Indexed<F> {
    len: Option<u64>,
    make: F,
}

impl<F: Fn(u64) -> Result<Episode> + Send + Sync> EpisodeSource for Indexed<F> {
    fn len(&self) -> Option<u64> {
        self.len
    }

    fn episode(&self, index: u64) -> Result<Episode> {
        match self.len {
            Some(len) if index >= len => {
                Err(Error::Invalid(format!("no episode {index} (from 0) among {len}")))
            }
            _ => (self.make)(index),
        }
    }
}
