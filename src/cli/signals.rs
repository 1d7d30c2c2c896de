//! Ctrl-C: the first asks the run to stop at the next safe place, the second ends it at once.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

/// Exit code of a run that was interrupted, as shells have it for SIGINT.
pub const INTERRUPTED: u8 = 130;

/// Listens; the flag turns true at the first signal. Without a handler (none can be set in some
/// sandboxes) signals end the process as they always do.
pub fn listen(say: impl Fn() + Send + 'static) -> Arc<AtomicBool> {
    let flag = Arc::new(AtomicBool::new(false));
    let seen = Arc::clone(&flag);
    let handler = move || {
        if seen.swap(true, Ordering::SeqCst) {
            std::process::exit(INTERRUPTED.into());
        }
        say();
    };
    drop(ctrlc::set_handler(handler));
    flag
}
