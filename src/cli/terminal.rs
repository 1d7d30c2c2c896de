//! Writing to people: a reader that has gone (`| head`) ends neither a run nor the process.

use std::io::{ErrorKind, Write, stderr, stdout};

use perk::{Error, Result};

/// A line on standard output.
///
/// # Errors
/// Where it cannot be written, for instance to a full disk; a closed pipe is no error.
pub fn print(text: &str) -> Result<()> {
    let mut out = stdout().lock();
    match writeln!(out, "{text}").and_then(|()| out.flush()) {
        Err(fault) if fault.kind() != ErrorKind::BrokenPipe => Err(Error::io("standard output", fault)),
        _ => Ok(()),
    }
}

/// A line on standard error; nobody is left to be told if that fails.
pub fn note(text: &str) {
    drop(writeln!(stderr().lock(), "{text}"));
}
