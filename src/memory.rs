//! How the programs of this crate treat freed memory.

/// Number of mimalloc's option `purge_delay`, the same in its versions 2 and 3.
const PURGE_DELAY: libmimalloc_sys::mi_option_t = 15;

/// Tells mimalloc to keep freed pages for the next tensor instead of handing them back to the system.
///
/// The steps of training allocate the same sizes over and over; pages fetched anew each time must be zeroed
/// by the system, which takes a fifth of a meta-step. To be called at the start of `main`, where mimalloc is
/// the global allocator; elsewhere it does nothing.
pub fn keep_freed_pages() {
    // SAFETY: the call only sets a number; it must not race with another, hence "at the start of main".
    #[expect(unsafe_code)]
    unsafe {
        libmimalloc_sys::mi_option_set(PURGE_DELAY, -1);
    }
}
