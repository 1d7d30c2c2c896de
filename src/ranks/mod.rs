//! Processes that work on one thing together: sums and messages between them, on engines that exist.
//!
//! Every process of a job has a rank, from 0. All of them call the same functions in the same order; what one of them
//! cannot do, [`agreed`] makes an error of all. Sums are taken in the order of the ranks, so that a number of ranks gives the
//! same bits every time, and to every rank.

mod alone;
#[cfg(feature = "mpi")]
mod mpi;
mod tensors;

use std::fmt::Debug;

use serde::{Serialize, de::DeserializeOwned};

use crate::error::{Error, Result};

pub use alone::alone;
#[cfg(feature = "mpi")]
pub use mpi::Mpi;
pub use tensors::sum_tensors;

/// The processes of a job. One thread at a time may call it.
pub trait Ranks: Debug + Send + Sync {
    /// The number of this process, from 0.
    fn rank(&self) -> usize;

    /// How many processes there are.
    fn count(&self) -> usize;

    /// Adds up the numbers of all ranks, element by element, in the order of the ranks. Every rank gets the sums.
    ///
    /// # Errors
    /// Ranks that cannot be reached.
    fn sum_f32(&self, numbers: &mut [f32]) -> Result<()>;

    /// As [`sum_f32`](Self::sum_f32).
    ///
    /// # Errors
    /// As [`sum_f32`](Self::sum_f32).
    fn sum_f64(&self, numbers: &mut [f64]) -> Result<()>;

    /// What every rank gives, in the order of the ranks; every rank gets all of it.
    ///
    /// # Errors
    /// Ranks that cannot be reached.
    fn gather(&self, own: &[u8]) -> Result<Vec<Vec<u8>>>;

    /// What rank 0 gives; the others' is replaced by it.
    ///
    /// # Errors
    /// Ranks that cannot be reached.
    fn broadcast(&self, bytes: &mut Vec<u8>) -> Result<()>;

    /// Waits until all ranks have come here.
    ///
    /// # Errors
    /// Ranks that cannot be reached.
    fn barrier(&self) -> Result<()>;

    /// Takes leave of the other ranks, each of which does so too; nothing may be asked of them any more.
    fn end(&self);

    /// Ends the processes of all ranks with this exit code.
    fn abort(&self, code: i32) -> !;
}

/// Whether there is but one rank, and nobody to tell.
pub fn is_alone(ranks: &dyn Ranks) -> bool {
    ranks.count() == 1
}

/// The part of `items` that this rank takes: neighbours, as many as the others take or one more or less.
pub fn share<'i, T>(ranks: &dyn Ranks, items: &'i [T]) -> &'i [T] {
    let edge = |rank: usize| items.len() * rank / ranks.count();
    &items[edge(ranks.rank())..edge(ranks.rank() + 1)]
}

/// This rank's outcome, once it is known that all ranks have one.
///
/// # Errors
/// The first rank's that failed, with its number; every rank returns the same.
pub fn agreed<T>(ranks: &dyn Ranks, outcome: Result<T>) -> Result<T> {
    if is_alone(ranks) {
        return outcome;
    }
    let reason = outcome.as_ref().err().map_or_else(String::new, ToString::to_string);
    let reasons = ranks.gather(reason.as_bytes())?;
    match (outcome, reasons.iter().position(|reason| !reason.is_empty())) {
        (Ok(own), None) => Ok(own),
        (outcome, at) => {
            let at = at.unwrap_or(ranks.rank());
            let reason = String::from_utf8_lossy(&reasons[at]).into_owned();
            // The rank's own fault keeps its form where it is the first.
            match outcome {
                Err(fault) if at == ranks.rank() => Err(fault),
                _ => Err(Error::Elsewhere { rank: at, count: ranks.count(), reason }),
            }
        }
    }
}

/// What rank 0 says to all.
///
/// # Errors
/// Ranks that cannot be reached, or that are of another version of perk.
pub fn told<T: Serialize + DeserializeOwned>(ranks: &dyn Ranks, said: Option<&T>) -> Result<T> {
    let unreadable = |fault: serde_json::Error| {
        Error::Invalid(format!(
            "what rank 0 says cannot be read: are all ranks of one version of perk? ({fault})"
        ))
    };
    let mut bytes = said.map(serde_json::to_vec).transpose().map_err(unreadable)?.unwrap_or_default();
    ranks.broadcast(&mut bytes)?;
    serde_json::from_slice(&bytes).map_err(unreadable)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Rank `rank` of as many as there are answers, which the others give.
    #[derive(Debug)]
    struct Among {
        rank: usize,
        answers: Vec<&'static str>,
    }

    impl Ranks for Among {
        fn rank(&self) -> usize {
            self.rank
        }

        fn count(&self) -> usize {
            self.answers.len()
        }

        fn gather(&self, own: &[u8]) -> Result<Vec<Vec<u8>>> {
            let mut all: Vec<Vec<u8>> =
                self.answers.iter().map(|answer| answer.as_bytes().to_vec()).collect();
            all[self.rank] = own.to_vec();
            Ok(all)
        }

        fn sum_f32(&self, _: &mut [f32]) -> Result<()> {
            Ok(())
        }

        fn sum_f64(&self, _: &mut [f64]) -> Result<()> {
            Ok(())
        }

        fn broadcast(&self, _: &mut Vec<u8>) -> Result<()> {
            Ok(())
        }

        fn barrier(&self) -> Result<()> {
            Ok(())
        }

        fn end(&self) {}

        fn abort(&self, code: i32) -> ! {
            panic!("ended with {code}")
        }
    }

    #[test]
    fn the_shares_of_all_ranks_are_all_items_and_nearly_equal() {
        let items: Vec<usize> = (0..11).collect();
        for count in 1..15 {
            let answers = vec![""; count];
            let shares =
                (0..count).map(|rank| share(&Among { rank, answers: answers.clone() }, &items).to_vec());
            let shares: Vec<Vec<usize>> = shares.collect();
            assert_eq!(shares.concat(), items);
            let lengths: Vec<usize> = shares.iter().map(Vec::len).collect();
            assert!(lengths.iter().max().unwrap() - lengths.iter().min().unwrap() <= 1, "{lengths:?}");
        }
    }

    #[test]
    fn all_ranks_fail_with_the_first_that_does() {
        let fine = Among { rank: 0, answers: vec!["", "", ""] };
        assert_eq!(agreed(&fine, Ok(7)).unwrap(), 7);
        let other = Among { rank: 0, answers: vec!["", "no memory", "no disk"] };
        let told = agreed(&other, Ok(7)).unwrap_err();
        assert!(matches!(told, Error::Elsewhere { rank: 1, count: 3, .. }));
        assert_eq!(told.to_string(), "rank 1 of 3: no memory");
        // One that failed later than another says the other's reason, and the first its own.
        let later = Among { rank: 2, answers: vec!["", "no memory", ""] };
        let told = agreed::<()>(&later, Err(Error::Invalid("mine".to_owned()))).unwrap_err();
        assert_eq!(told.to_string(), "rank 1 of 3: no memory");
        let first = Among { rank: 1, answers: vec!["", "", "no disk"] };
        let told = agreed::<()>(&first, Err(Error::Invalid("mine".to_owned()))).unwrap_err();
        assert_eq!(told.to_string(), "mine");
    }
}
