//! Writing to people: a reader that has gone (`| head`) ends neither a run nor the process, and no text makes a terminal
//! do anything.

use std::borrow::Cow;
use std::io::{ErrorKind, IsTerminal, Write, stderr, stdout};

use perk::{
    Error, Result,
    error::{shown_json, shown_lines},
};

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

/// A line of JSON on standard output, or several; what a terminal would act on is an escape of JSON there.
///
/// # Errors
/// As [`print`].
pub fn print_json(json: &str) -> Result<()> {
    write_shown(&format!("{json}\n"), shown_json)
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
