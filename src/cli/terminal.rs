//! Writing to people: a reader that has gone (`| head`) ends neither a run nor the process, and no text makes a terminal
//! do anything.

use std::borrow::Cow;
use std::io::{ErrorKind, IsTerminal, Write, stderr, stdout};

use perk::{Error, Result, error::shown_lines};

/// A line on standard output.
///
/// # Errors
/// Where it cannot be written, for instance to a full disk; a closed pipe is no error.
pub fn print(text: &str) -> Result<()> {
    write(&format!("{text}\n"))
}

/// Text on standard output, at once and with no line break of its own. Models and files write as they like: a terminal
/// is shown what it would act on as escapes, everything else is given the bytes as they are.
///
/// # Errors
/// As [`print`].
pub fn write(text: &str) -> Result<()> {
    let mut out = stdout().lock();
    let text = for_reader(text, out.is_terminal());
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(fault) if fault.kind() != ErrorKind::BrokenPipe => Err(Error::io("standard output", fault)),
        _ => Ok(()),
    }
}

fn for_reader(text: &str, is_terminal: bool) -> Cow<'_, str> {
    if is_terminal { shown_lines(text).into() } else { text.into() }
}

/// A line on standard error, with nothing in it that a terminal would act on; nobody is left to be told if that
/// fails.
pub fn note(text: &str) {
    drop(writeln!(stderr().lock(), "{}", shown_lines(text)));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_terminal_gets_line_breaks_and_tabs_and_nothing_else_to_act_on() {
        let text = "a\tb\n\u{1b}]0;title\u{7}\r\u{9b}31m";
        assert_eq!(for_reader(text, true), "a\tb\n\\u{1b}]0;title\\u{7}\\r\\u{9b}31m");
        assert_eq!(for_reader(text, false), text);
    }
}
