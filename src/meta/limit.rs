//! How much is computed at once, and half of it from where a device has run out of memory.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use crate::error::{Error, Result};

/// How many of something are computed at once, at most. It only ever falls.
#[derive(Debug)]
pub struct Limit {
    what: &'static str,
    most: AtomicUsize,
}

/// What bounds the memory of a run or an evaluation; shared by its threads.
#[derive(Debug)]
pub struct Limits {
    /// Episodes that one pass takes together.
    pub episodes_together: Limit,
    /// Segments of each of them in a micro-batch.
    pub micro_batch_segments: Limit,
    /// Questions that are asked side by side.
    pub questions: Limit,
}

/// Told what a person may want to know.
pub type Tell<'a> = &'a (dyn Fn(&str) + Sync);

impl Limits {
    /// So many episodes and segments, and whatever number of questions.
    pub fn new(episodes_together: usize, micro_batch_segments: usize) -> Self {
        Self {
            episodes_together: Limit::new("episodes", episodes_together),
            micro_batch_segments: Limit::new("segments", micro_batch_segments),
            questions: Limit::new("questions", usize::MAX),
        }
    }
}

impl Limit {
    /// At most `most` of `what`, which is named in the plural.
    pub fn new(what: &'static str, most: usize) -> Self {
        Self { what, most: AtomicUsize::new(most.max(1)) }
    }

    /// The limit as it is now, at least 1.
    pub fn get(&self) -> usize {
        self.most.load(Relaxed)
    }

    /// Lowers the limit, of which the first thread that does so tells.
    fn lower(&self, most: usize, tell: &dyn Fn(&str)) {
        if self.most.fetch_min(most, Relaxed) > most {
            let what = if most == 1 { self.what.trim_end_matches('s') } else { self.what };
            tell(&format!("the device ran out of memory: going on with {most} {what} at once"));
        }
    }
}

/// What `work` returns, which is given how many of each to take at once. Where it runs out of memory it is called again
/// with half as many, of the first of the `limits` as long as that is not 1, then of the next; `tell` is told.
///
/// Beside a limit stands how many there are at all: half of more than that would be the same again.
///
/// # Errors
/// What `work` fails with: that there is no memory only where one of each is too much.
pub fn within<const N: usize, T>(
    limits: [(&Limit, usize); N],
    tell: &dyn Fn(&str),
    mut work: impl FnMut([usize; N]) -> Result<T>,
) -> Result<T> {
    loop {
        let tried = limits.map(|(limit, _)| limit.get());
        let fault = match work(tried) {
            Err(Error::DeviceMemory(fault)) => fault,
            done => return done,
        };
        // Another thread may have been here first.
        if limits.iter().zip(tried).any(|((limit, _), tried)| limit.get() < tried) {
            continue;
        }
        let taken = limits.iter().zip(tried).map(|(&(limit, there), tried)| (limit, tried.min(there)));
        match taken.into_iter().find(|(_, taken)| *taken > 1) {
            Some((limit, taken)) => limit.lower(taken / 2, tell),
            None => return Err(Error::DeviceMemory(fault)),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    /// Work on a device that has room for `room` segments.
    fn on_a_device(room: usize, [episodes, segments]: [usize; 2]) -> Result<(usize, usize)> {
        match episodes * segments <= room {
            true => Ok((episodes, segments)),
            false => Err(candle_core::Error::Msg("CUDA_ERROR_OUT_OF_MEMORY".into()).into()),
        }
    }

    /// What is computed at once in the end, and what was told.
    fn fitted(limits: &Limits, there: [usize; 2], room: usize) -> (Result<(usize, usize)>, Vec<String>) {
        let told = Mutex::new(vec![]);
        let of = [(&limits.episodes_together, there[0]), (&limits.micro_batch_segments, there[1])];
        let done = within(of, &|text| told.lock().unwrap().push(text.to_owned()), |at_once| {
            on_a_device(room, at_once)
        });
        (done, told.into_inner().unwrap())
    }

    #[test]
    fn episodes_are_halved_first_and_segments_next_and_it_is_told_and_kept() {
        let limits = Limits::new(4, 9);
        let (done, told) = fitted(&limits, [8, 100], 40);
        assert_eq!((done.unwrap(), told), ((4, 9), vec![]), "what fits stays");
        let (done, told) = fitted(&limits, [8, 100], 5);
        assert_eq!(done.unwrap(), (1, 4));
        let rest = "the device ran out of memory: going on with";
        let expected = ["2 episodes", "1 episode", "4 segments"];
        assert_eq!(told, expected.map(|what| format!("{rest} {what} at once")));
        let (done, told) = fitted(&limits, [8, 100], 5);
        assert_eq!((done.unwrap(), told), ((1, 4), vec![]), "the next piece begins where the last one ended");
    }

    #[test]
    fn one_of_each_that_is_too_much_is_the_device_s_own_error() {
        let limits = Limits::new(2, 2);
        let (done, told) = fitted(&limits, [2, 2], 0);
        let message = done.unwrap_err().to_string();
        assert!(
            message.contains("out of memory") && message.contains("CUDA_ERROR_OUT_OF_MEMORY"),
            "{message}"
        );
        assert_eq!(told.len(), 2);
    }

    #[test]
    fn a_limit_above_what_there_is_is_not_halved_in_vain() {
        let limits = Limits::new(1, 64);
        let (done, told) = fitted(&limits, [1, 3], 2);
        assert_eq!((done.unwrap(), told.len()), ((1, 1), 1));
    }

    #[test]
    fn another_fault_is_passed_on_at_once() {
        let limits = Limits::new(8, 8);
        let mut calls = 0;
        let done: Result<()> = within([(&limits.questions, 5)], &|_| panic!("nothing to tell"), |_| {
            calls += 1;
            Err(Error::Invalid("no".into()))
        });
        assert_eq!((done.unwrap_err().to_string().as_str(), calls), ("no", 1));
        assert_eq!(limits.questions.get(), usize::MAX);
    }

    #[test]
    fn threads_that_run_out_of_memory_together_halve_once_and_tell_once() {
        let (limits, told) = (Limits::new(1, 8), AtomicUsize::new(0));
        let both = std::sync::Barrier::new(2);
        std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    let tell = |_: &str| {
                        told.fetch_add(1, Relaxed);
                    };
                    let done = within([(&limits.micro_batch_segments, 8)], &tell, |[segments]| {
                        if segments == 8 {
                            both.wait();
                        }
                        on_a_device(4, [1, segments])
                    });
                    assert_eq!(done.unwrap(), (1, 4));
                });
            }
        });
        assert_eq!((limits.micro_batch_segments.get(), told.into_inner()), (4, 1));
    }
}
