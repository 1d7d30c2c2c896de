//! Numbers of bf16 that begin with a line of the cache, whoever allocates them: a tile is read line by line, and takes
//! several times as long where each of its rows lies in two.

#![allow(unsafe_code)] // Memory that is not written yet.

use std::mem::MaybeUninit;
use std::ops::{Deref, DerefMut};

use half::bf16;

use crate::autodiff::room::Room;

/// Bytes of a line, and how many numbers it has.
const LINE_BYTES: usize = 64;
const LINE: usize = LINE_BYTES / size_of::<bf16>();

/// Some numbers.
#[derive(Debug)]
pub(super) struct Aligned {
    numbers: Vec<bf16>,
    start: usize,
    len: usize,
}

/// How many numbers come before the first that begins a line.
fn start<T>(numbers: &[T]) -> usize {
    numbers.as_ptr().align_offset(LINE_BYTES).min(LINE)
}

impl Aligned {
    /// So many zeros.
    pub fn zeros(len: usize) -> Self {
        let numbers = vec![bf16::ZERO; len + LINE];
        Self { start: start(&numbers), numbers, len }
    }

    /// So many numbers, which `write` writes.
    ///
    /// # Safety
    /// It must write all of them.
    pub unsafe fn written(len: usize, write: impl FnOnce(&mut [MaybeUninit<bf16>])) -> Self {
        let mut room = Room::new(len + LINE);
        let places = room.places();
        let start = start(places);
        places[..start].fill(MaybeUninit::new(bf16::ZERO));
        places[start + len..].fill(MaybeUninit::new(bf16::ZERO));
        write(&mut places[start..start + len]);
        // SAFETY: those in the middle by the caller's word, the others were just written.
        Self { numbers: unsafe { room.filled() }, start, len }
    }
}

impl Deref for Aligned {
    type Target = [bf16];

    fn deref(&self) -> &[bf16] {
        &self.numbers[self.start..self.start + self.len]
    }
}

impl DerefMut for Aligned {
    fn deref_mut(&mut self) -> &mut [bf16] {
        &mut self.numbers[self.start..self.start + self.len]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_begin_with_a_line_and_are_what_was_written() {
        for len in [0, 1, 31, 32, 1000] {
            let ones = |places: &mut [MaybeUninit<bf16>]| places.fill(MaybeUninit::new(bf16::ONE));
            // SAFETY: all are written.
            let (zeros, ones) = (Aligned::zeros(len), unsafe { Aligned::written(len, ones) });
            for (numbers, number) in [(&zeros, bf16::ZERO), (&ones, bf16::ONE)] {
                assert_eq!(numbers.as_ptr() as usize % LINE_BYTES, 0);
                assert_eq!((numbers.len(), numbers.iter().all(|own| *own == number)), (len, true));
            }
        }
    }
}
