//! Writing to people: a reader that has gone (`| head`) ends neither a run nor the process, and no text makes a terminal
//! do anything.

use std::borrow::Cow;
use std::io::{ErrorKind, IsTerminal, Write, stderr, stdout};
use std::sync::atomic::{AtomicU8, Ordering};

use perk::{
    Error, Result,
    error::{shown_json, shown_lines},
};
use serde_json::Value;

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
    write_shown(text, shown_lines)
}

/// Text on standard output whose parts were made for it: its colours are ours, and everything else is shown already.
///
/// # Errors
/// As [`print`].
pub fn write_made(text: &str) -> Result<()> {
    write_shown(text, str::to_owned)
}

/// Whether standard output is a terminal.
pub fn is_terminal() -> bool {
    stdout().is_terminal()
}

/// Whether standard output gets colours: as `--color` says, and where that says nothing, a terminal that shows them, unless
/// `NO_COLOR` is set.
pub fn has_colours() -> bool {
    anstream::AutoStream::choice(&stdout()) != anstream::ColorChoice::Never
}

/// A line of JSON on standard output, or several; what a terminal would act on is an escape of JSON there.
///
/// # Errors
/// As [`print`].
pub fn print_json(json: &str) -> Result<()> {
    write_shown(&format!("{json}\n"), shown_json)
}

/// A JSON document on standard output, indented.
///
/// # Errors
/// As [`print`].
pub fn print_value(value: &Value) -> Result<()> {
    print_json(&format!("{value:#}"))
}

fn write_shown(text: &str, shown: fn(&str) -> String) -> Result<()> {
    let mut out = stdout().lock();
    let text = for_reader(text, out.is_terminal(), shown);
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(fault) if fault.kind() != ErrorKind::BrokenPipe => Err(Error::io("standard output", fault)),
        _ => Ok(()),
    }
}

fn for_reader(text: &str, is_terminal: bool, shown: fn(&str) -> String) -> Cow<'_, str> {
    if is_terminal { shown(text).into() } else { text.into() }
}

/// How much is said on standard error beside results and errors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Said {
    /// Nothing.
    Nothing,
    /// What a person wants to know.
    Usual,
    /// What may help to find out more.
    More,
}

/// As `-q` and `-v` say; this process says the usual until it has read them.
static SAID: AtomicU8 = AtomicU8::new(Said::Usual as u8);

/// From now on so much is said.
pub fn say(said: Said) {
    SAID.store(said as u8, Ordering::Relaxed);
}

fn says(said: Said) -> bool {
    SAID.load(Ordering::Relaxed) >= said as u8
}

/// Whether progress is shown as bars.
pub fn shows_bars() -> bool {
    stderr().is_terminal() && says(Said::Usual)
}

/// Whether more than the usual is said.
pub fn says_more() -> bool {
    says(Said::More)
}

/// A line on standard error, unless nothing is to be said, with nothing in it that a terminal would act on.
pub fn note(text: &str) {
    if says(Said::Usual) {
        complain(text);
    }
}

/// As [`note`], where more is to be said.
pub fn detail(text: &str) {
    if says_more() {
        complain(text);
    }
}

/// A line on standard error, whatever is to be said; nobody is left to be told if that fails.
pub fn complain(text: &str) {
    drop(writeln!(stderr().lock(), "{}", shown_lines(text)));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_terminal_gets_line_breaks_and_tabs_and_nothing_else_to_act_on() {
        let text = "a\tb\n\u{1b}]0;title\u{7}\r\u{9b}31m";
        assert_eq!(for_reader(text, true, shown_lines), "a\tb\n\\u{1b}]0;title\\u{7}\\r\\u{9b}31m");
        assert_eq!(for_reader(text, false, shown_lines), text);
    }

    #[test]
    fn json_means_the_same_on_a_terminal_and_holds_nothing_to_act_on() {
        let value = serde_json::json!({"a\u{9b}31m": ["\u{1b}]0;\u{7f}\u{202e}x\n\t\"\\ü"]});
        for json in [value.to_string(), serde_json::to_string_pretty(&value).unwrap()] {
            let shown = for_reader(&json, true, shown_json);
            assert_eq!(serde_json::from_str::<serde_json::Value>(&shown).unwrap(), value);
            assert_eq!(shown_lines(&shown), shown, "nothing is left to escape");
            assert!(shown.contains("\\u009b31m") && shown.contains('ü'), "{shown}");
            assert_eq!(for_reader(&json, false, shown_json), json);
        }
    }
}
