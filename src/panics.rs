//! Panics of other libraries, made into errors.

use std::any::Any;
use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};

thread_local! {
    /// How many calls of [`caught`] this thread is in.
    static DEPTH: Cell<usize> = const { Cell::new(0) };
}

/// What `work` returns, or the message that it panicked with.
///
/// # Errors
/// A panic in `work`. What it had begun to change must not be used any more.
pub fn caught<T>(work: impl FnOnce() -> T) -> Result<T, String> {
    struct Inside;
    impl Drop for Inside {
        fn drop(&mut self) {
            DEPTH.set(DEPTH.get() - 1);
        }
    }
    DEPTH.set(DEPTH.get() + 1);
    let _inside = Inside;
    catch_unwind(AssertUnwindSafe(work)).map_err(|payload| message(&*payload))
}

/// Whether a panic of this thread would become an error. The process-wide panic hook belongs to the program and not
/// to this library; a program whose hook is silent then shows the error alone.
pub fn are_caught() -> bool {
    DEPTH.get() > 0
}

fn message(payload: &(dyn Any + Send)) -> String {
    let text = payload.downcast_ref::<&str>().copied();
    let text = text.or_else(|| payload.downcast_ref::<String>().map(String::as_str));
    text.unwrap_or("no reason given").to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_becomes_its_message_and_is_known_to_be_caught() {
        assert!(!are_caught());
        assert_eq!(caught(are_caught), Ok(true));
        let message = caught(|| -> u32 { panic!("of the form {}", 3) });
        assert_eq!(message, Err("of the form 3".to_owned()));
        assert!(!are_caught());
    }
}
