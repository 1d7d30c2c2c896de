//! Episodes at the same time, results in their order.

use std::sync::atomic::{AtomicBool, Ordering};

use rayon::prelude::*;

use crate::error::{Error, Result};
use crate::threads::divided;

/// A number of threads that share the episodes of a step or of a score.
#[derive(Debug)]
pub struct Workers {
    /// `None`: one episode after another, on the caller's thread, each with all cores to itself.
    pool: Option<rayon::ThreadPool>,
}

impl Workers {
    /// `episodes` at the same time; fails if the system grants no threads.
    pub fn new(episodes: usize) -> Result<Self> {
        if episodes <= 1 {
            return Ok(Self { pool: None });
        }
        let pool = rayon::ThreadPoolBuilder::new().num_threads(episodes).build();
        let pool = pool
            .map_err(|fault| Error::Invalid(format!("{episodes} threads could not be started: {fault}")))?;
        Ok(Self { pool: Some(pool) })
    }

    /// Episodes at the same time.
    pub fn count(&self) -> usize {
        self.pool.as_ref().map_or(1, rayon::ThreadPool::current_num_threads)
    }

    /// `work` on every item; results in the order of `items`, the first error in that order.
    pub fn map<T: Sync, R: Send>(
        &self,
        items: &[T],
        work: impl Fn(&T) -> Result<R> + Sync,
    ) -> Result<Vec<R>> {
        self.map_while(items, &|| true, work)
    }

    /// As [`Workers::map`]; `done` is called after each item, and once it has returned false the items that
    /// were not begun are left out.
    pub fn map_while<T: Sync, R: Send>(
        &self,
        items: &[T],
        done: &(dyn Fn() -> bool + Sync),
        work: impl Fn(&T) -> Result<R> + Sync,
    ) -> Result<Vec<R>> {
        let stopped = AtomicBool::new(false);
        let one = |item: &T| {
            if stopped.load(Ordering::Relaxed) {
                return None;
            }
            let result = work(item);
            if !done() || result.is_err() {
                stopped.store(true, Ordering::Relaxed);
            }
            Some(result)
        };
        let results: Vec<Option<Result<R>>> = match &self.pool {
            None => items.iter().map(one).collect(),
            // One item a job: episodes differ in length.
            Some(pool) => divided(|| pool.install(|| items.par_iter().with_max_len(1).map(one).collect())),
        };
        results.into_iter().flatten().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_keep_their_order_for_any_number_of_workers() {
        let items: Vec<usize> = (0..50).collect();
        for workers in [1, 2, 5] {
            let squares = Workers::new(workers).unwrap().map(&items, |item| Ok(item * item)).unwrap();
            assert_eq!(squares, items.iter().map(|item| item * item).collect::<Vec<_>>());
        }
    }

    #[test]
    fn an_error_ends_the_work_and_is_returned() {
        for workers in [1, 3] {
            let fail =
                |item: &usize| if *item == 7 { Err(Error::Invalid("seven".to_owned())) } else { Ok(*item) };
            let items: Vec<usize> = (0..20).collect();
            let message = Workers::new(workers).unwrap().map(&items, fail).unwrap_err().to_string();
            assert_eq!(message, "seven");
        }
    }

    #[test]
    fn no_item_is_begun_after_a_stop() {
        let items: Vec<usize> = (0..20).collect();
        let results = Workers::new(1).unwrap().map_while(&items, &|| false, |item| Ok(*item)).unwrap();
        assert_eq!(results, [0]);
    }
}
