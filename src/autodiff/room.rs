//! Memory for results that are written before they are read: clearing it first would cost as much as a small operation.

#![allow(unsafe_code)] // Memory that is not written yet.

use std::mem::MaybeUninit;

use candle_core::WithDType;

/// Room for `len` numbers.
pub(super) struct Room<T> {
    numbers: Vec<T>,
    len: usize,
}

impl<T: Copy + Default> Room<T> {
    /// Room for so many numbers, none of them written.
    pub fn new(len: usize) -> Self {
        Self { numbers: Vec::with_capacity(len), len }
    }

    /// All of it, to be written.
    pub fn places(&mut self) -> &mut [MaybeUninit<T>] {
        &mut self.numbers.spare_capacity_mut()[..self.len]
    }

    /// The numbers.
    ///
    /// # Safety
    /// Every place must have been written.
    pub unsafe fn filled(mut self) -> Vec<T> {
        // SAFETY: by the caller's word all of them are written; the capacity was asked for.
        unsafe { self.numbers.set_len(self.len) }
        self.numbers
    }
}

/// Writes zeros to places, whether they were written before or not.
pub(super) fn zeroed<T: WithDType>(places: &mut [MaybeUninit<T>]) -> &mut [T] {
    // SAFETY: a number of any type is zero if its bits are, so that all of them are written.
    unsafe {
        places.as_mut_ptr().write_bytes(0, places.len());
        written(places)
    }
}

/// Places as the numbers that they hold.
///
/// # Safety
/// All of them must have been written.
pub(super) unsafe fn written<T>(places: &mut [MaybeUninit<T>]) -> &mut [T] {
    // SAFETY: by the caller's word; a place lies as its number does.
    unsafe { &mut *(std::ptr::from_mut(places) as *mut [T]) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_comes_out() {
        let mut room = Room::<u32>::new(5);
        zeroed(&mut room.places()[..4])[1] = 7;
        room.places()[4].write(9);
        // SAFETY: five places, and all are written.
        assert_eq!(unsafe { room.filled() }, [0, 7, 0, 0, 9]);
    }
}
