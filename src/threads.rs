//! Work of many small parts, which the threads of a pool share without going to sleep between them.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// How long a thread looks for the next part before it goes to sleep: to wake one takes longer than most parts.
const AWAKE: Duration = Duration::from_millis(2);

/// Pieces of work that are shared now, and divisions of work in large pieces.
static SHARED: AtomicUsize = AtomicUsize::new(0);

/// Runs work whose many small parts are shared among threads on one of these: from outside, each part would wake them and
/// wait. While it is the only such work, the other threads of the pool stay awake from one part to the next.
pub(crate) fn among<R: Send>(work: impl FnOnce() -> R + Send) -> R {
    let finished = AtomicBool::new(false);
    rayon::scope(|scope| {
        let owner = rayon::current_thread_index();
        let _count = Counted::new();
        let _end = Finish(&finished);
        if SHARED.load(Ordering::Relaxed) == 1 && rayon::current_num_threads() > 1 {
            let finished = &finished;
            scope.spawn_broadcast(move |_, _| stay_awake(owner, finished));
        }
        work()
    })
}

/// Runs work that is divided among the threads already, each with a large piece of its own. No thread stays awake there for
/// the parts of another's piece: what it took meanwhile could be a whole piece, for which the other would wait.
pub(crate) fn divided<R>(work: impl FnOnce() -> R) -> R {
    let _count = Counted::new();
    work()
}

/// Takes parts of the work until it is finished, or there were none for a while. The owner of the work must not wait here
/// for itself, nor a thread that has work of its own for others.
fn stay_awake(owner: Option<usize>, finished: &AtomicBool) {
    let mut idle_since = Instant::now();
    let goes_on = || !finished.load(Ordering::Acquire) && SHARED.load(Ordering::Relaxed) == 1;
    while rayon::current_thread_index() != owner && goes_on() {
        match rayon::yield_now() {
            Some(rayon::Yield::Executed) => idle_since = Instant::now(),
            _ if idle_since.elapsed() > AWAKE => return,
            // Whoever else wants this processor gets it.
            _ => std::thread::yield_now(),
        }
    }
}

/// One of the pieces of work that are shared, until it is dropped.
struct Counted;

impl Counted {
    fn new() -> Self {
        SHARED.fetch_add(1, Ordering::Relaxed);
        Self
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        SHARED.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Says that work is finished, or has panicked, when it is dropped.
struct Finish<'a>(&'a AtomicBool);

impl Drop for Finish<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use rayon::prelude::*;

    use super::*;

    fn sum() -> u64 {
        (0..200).map(|_| (0..64u64).into_par_iter().map(|i| i * i).sum::<u64>()).sum()
    }

    #[test]
    fn parts_are_all_done_whoever_takes_them() {
        let expected = sum();
        for threads in [1, 2, 5] {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            assert_eq!(pool.install(|| among(sum)), expected);
            // Several at a time, and one within another.
            let sums: Vec<u64> =
                pool.install(|| (0..8).into_par_iter().map(|_| among(|| among(sum))).collect());
            assert!(sums.iter().all(|sum| *sum == expected));
        }
        assert_eq!(among(sum), expected);
    }

    /// With a piece of another in its hands, a thread would end its own piece only after that.
    #[test]
    fn a_piece_of_divided_work_never_waits_for_another_piece() {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(2).build().unwrap();
        thread_local!(static WITHIN: std::cell::Cell<bool> = const { std::cell::Cell::new(false) });
        let piece = |_: i32| {
            let nested = WITHIN.replace(true);
            among(|| std::thread::sleep(Duration::from_millis(1)));
            WITHIN.set(nested);
            u32::from(nested)
        };
        let pieces = || (0..64).into_par_iter().with_max_len(1).map(piece).sum::<u32>();
        assert_eq!(pool.install(|| divided(pieces)), 0);
    }

    #[test]
    fn work_that_panics_lets_the_others_go() {
        let panicked = std::panic::catch_unwind(|| among(|| panic!("on purpose")));
        assert!(panicked.is_err());
        assert_eq!(among(sum), sum());
    }
}
