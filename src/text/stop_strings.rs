//! Texts that end an answer.

/// Text that comes in pieces, up to the first of some stop strings. What may become one is held back.
#[derive(Debug, Clone)]
pub struct StopStrings {
    stops: Vec<String>,
    /// What was held back.
    held: String,
    is_stopped: bool,
}

impl StopStrings {
    /// Before the first piece. Empty stop strings stop nothing.
    pub fn new(stops: &[String]) -> Self {
        let stops = stops.iter().filter(|stop| !stop.is_empty()).cloned().collect();
        Self { stops, held: String::new(), is_stopped: false }
    }

    /// Takes the next piece; returns what is certain to stand before any stop string.
    pub fn push(&mut self, piece: &str) -> String {
        if self.is_stopped {
            return String::new();
        }
        self.held += piece;
        if let Some(at) = self.stops.iter().filter_map(|stop| self.held.find(stop.as_str())).min() {
            self.is_stopped = true;
            self.held.truncate(at);
            return std::mem::take(&mut self.held);
        }
        let safe = self.held.len() - self.stops.iter().map(|stop| half(&self.held, stop)).max().unwrap_or(0);
        let rest = self.held.split_off(safe);
        std::mem::replace(&mut self.held, rest)
    }

    /// Whether a stop string came.
    pub fn is_stopped(&self) -> bool {
        self.is_stopped
    }

    /// What was held back, once no more text comes.
    pub fn finish(self) -> String {
        self.held
    }
}

/// Length of the longest end of `text` that `stop` begins with, in bytes.
fn half(text: &str, stop: &str) -> usize {
    let longest = stop.len().saturating_sub(1).min(text.len());
    let is_half = |&length: &usize| {
        let from = text.len() - length;
        text.is_char_boundary(from) && stop.starts_with(&text[from..])
    };
    (1..=longest).rev().find(is_half).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// All that is given of `text` in pieces of `size` letters, and whether it was stopped.
    fn given(text: &str, stops: &[&str], size: usize) -> (String, bool) {
        let mut watch = StopStrings::new(&stops.iter().map(|stop| (*stop).to_owned()).collect::<Vec<_>>());
        let letters: Vec<char> = text.chars().collect();
        let mut out = String::new();
        for piece in letters.chunks(size) {
            out += &watch.push(&piece.iter().collect::<String>());
            assert!(text.starts_with(&out), "{out}");
        }
        let is_stopped = watch.is_stopped();
        (out + &watch.finish(), is_stopped)
    }

    #[test]
    fn text_ends_before_the_first_stop_string_however_it_is_cut() {
        for size in 1..8 {
            for (text, stops, expected, stopped) in [
                ("one two three", &["two"][..], "one ", true),
                ("one two three", &["three", "two"], "one ", true),
                ("ababac.", &["abac"], "ab", true),
                ("é漢🦀字", &["🦀字"], "é漢", true),
                ("é漢🦀", &["🦀字"], "é漢🦀", false),
                ("no stop her", &["here"], "no stop her", false),
                ("plain", &[], "plain", false),
                ("plain", &[""], "plain", false),
                ("\n\nx", &["\n"], "", true),
            ] {
                assert_eq!(given(text, stops, size), (expected.to_owned(), stopped), "{text} by {size}");
            }
        }
    }

    #[test]
    fn only_what_may_become_a_stop_string_is_held_back() {
        let mut watch = StopStrings::new(&["END".to_owned()]);
        assert_eq!(watch.push("a E"), "a ");
        assert_eq!(watch.push("N"), "");
        assert_eq!(watch.push("T."), "ENT.");
    }
}
