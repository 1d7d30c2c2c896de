//! Ranks of MPI, which `mpirun` or `srun` has started.

use std::ops::AddAssign;
use std::sync::{Mutex, MutexGuard, PoisonError};

use mpi::datatype::{Partition, PartitionMut};
use mpi::environment::Universe;
use mpi::topology::SimpleCommunicator;
use mpi::traits::{Communicator, CommunicatorCollectives, Equivalence, Root};
use mpi::{Count, Threading};

use super::Ranks;
use crate::error::{Error, Result};

/// Most elements of one call: MPI counts them in 32 bits, of what all ranks send together.
const AT_ONCE: usize = 1 << 26;

/// All processes that were started together. MPI itself ends them all where one of them dies.
pub struct Mpi {
    /// MPI is ended when this is dropped. One thread at a time calls it.
    universe: Mutex<Option<Universe>>,
    rank: usize,
    count: usize,
}

impl std::fmt::Debug for Mpi {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Mpi").field("rank", &self.rank).field("count", &self.count).finish_non_exhaustive()
    }
}

impl Mpi {
    /// Starts MPI; once in a process.
    ///
    /// # Errors
    /// It was started before, or can be used by one thread alone.
    pub fn start() -> Result<Self> {
        let (universe, threading) = mpi::initialize_with_threading(Threading::Serialized)
            .ok_or_else(|| Error::Invalid("MPI was started before in this process".to_owned()))?;
        if threading < Threading::Serialized {
            return Err(Error::Invalid(format!(
                "this MPI lets no thread but the first use it ({threading:?}): install one that offers MPI_THREAD_SERIALIZED"
            )));
        }
        let world = universe.world();
        let number = |number: i32| usize::try_from(number).unwrap_or_default();
        let (rank, count) = (number(world.rank()), number(world.size()));
        Ok(Self { universe: Mutex::new(Some(universe)), rank, count })
    }

    fn turn(&self) -> MutexGuard<'_, Option<Universe>> {
        self.universe.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Each rank adds up a part of the numbers, in the order of the ranks, and all get all parts: two numbers go out and two
    /// come in for each of them, whatever the number of ranks.
    fn sum<T: Equivalence + Copy + Default + AddAssign>(&self, numbers: &mut [T]) {
        let (_turn, world) = (self.turn(), SimpleCommunicator::world());
        for numbers in numbers.chunks_mut(AT_ONCE) {
            let edge = |rank: usize| numbers.len() * rank / self.count;
            let counts: Vec<Count> =
                (0..self.count).map(|rank| (edge(rank + 1) - edge(rank)) as Count).collect();
            let starts: Vec<Count> = (0..self.count).map(|rank| edge(rank) as Count).collect();
            let own = edge(self.rank + 1) - edge(self.rank);
            let mut parts = vec![T::default(); own * self.count];
            let own_counts = vec![own as Count; self.count];
            let own_starts: Vec<Count> = (0..self.count).map(|rank| (rank * own) as Count).collect();
            world.all_to_all_varcount_into(
                &Partition::new(&*numbers, counts.as_slice(), starts.as_slice()),
                &mut PartitionMut::new(parts.as_mut_slice(), own_counts, own_starts),
            );
            let (sum, others) = parts.split_at_mut(own);
            for part in others.chunks(own.max(1)) {
                sum.iter_mut().zip(part).for_each(|(sum, number)| *sum += *number);
            }
            world.all_gather_varcount_into(&*sum, &mut PartitionMut::new(numbers, counts, starts));
        }
    }
}

impl Ranks for Mpi {
    fn rank(&self) -> usize {
        self.rank
    }

    fn count(&self) -> usize {
        self.count
    }

    fn sum_f32(&self, numbers: &mut [f32]) -> Result<()> {
        self.sum(numbers);
        Ok(())
    }

    fn sum_f64(&self, numbers: &mut [f64]) -> Result<()> {
        self.sum(numbers);
        Ok(())
    }

    fn gather(&self, own: &[u8]) -> Result<Vec<Vec<u8>>> {
        let (_turn, world) = (self.turn(), SimpleCommunicator::world());
        // No message is empty: the address of an empty vector of bytes is the mark that MPI has for "in place".
        let own = [own, &[0]].concat();
        let mut lengths = vec![0u64; self.count];
        world.all_gather_into(&(own.len() as u64), lengths.as_mut_slice());
        let total: u64 = lengths.iter().sum();
        if total >= i32::MAX as u64 {
            return Err(Error::Invalid(format!("the ranks say {total} bytes at once, more than MPI takes")));
        }
        let (mut counts, mut starts, mut at) = (Vec::new(), Vec::new(), 0);
        for &length in &lengths {
            counts.push(length as Count);
            starts.push(at);
            at += length as Count;
        }
        let mut all = vec![0u8; total as usize];
        let mut parts = PartitionMut::new(all.as_mut_slice(), counts, starts);
        world.all_gather_varcount_into(own.as_slice(), &mut parts);
        let mut rest = all.as_slice();
        let part = |&length: &u64| {
            let (own, later) = rest.split_at(length as usize);
            rest = later;
            own[..own.len() - 1].to_vec()
        };
        Ok(lengths.iter().map(part).collect())
    }

    fn broadcast(&self, bytes: &mut Vec<u8>) -> Result<()> {
        let (_turn, world) = (self.turn(), SimpleCommunicator::world());
        let first = world.process_at_rank(0);
        let mut length = bytes.len() as u64;
        first.broadcast_into(&mut length);
        bytes.resize(length as usize, 0);
        bytes.chunks_mut(AT_ONCE).for_each(|chunk| first.broadcast_into(chunk));
        Ok(())
    }

    fn barrier(&self) -> Result<()> {
        let _turn = self.turn();
        SimpleCommunicator::world().barrier();
        Ok(())
    }

    fn end(&self) {
        self.turn().take();
    }

    fn abort(&self, code: i32) -> ! {
        SimpleCommunicator::world().abort(code)
    }
}
