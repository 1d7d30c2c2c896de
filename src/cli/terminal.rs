//! Writing to people: a reader that has gone (`| head`) ends neither a run nor the process.

use std::io::{ErrorKind, Write, stderr, stdout};

use perk::{Error, Result, error::shown_lines};

/// A line on standard output.
///
/// # Errors
/// Where it cannot be written, for instance to a full disk; a closed pipe is no error.
pub fn print(text: &str) -> Result<()> {
    write(&format!("{text}\n"))
}

/// Text on standard output, at once and with no line break of its own.
///
/// # Errors
/// As [`print`].
pub fn write(text: &str) -> Result<()> {
    let mut out = stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(fault) if fault.kind() != ErrorKind::BrokenPipe => Err(Error::io("standard output", fault)),
        _ => Ok(()),
    }
}

/// A line on standard error, with nothing in it that a terminal would act on; nobody is left to be told if that
/// fails.
pub fn note(text: &str) {
    drop(writeln!(stderr().lock(), "{}", shown_lines(text)));
}
