//! Text with colours, for terminals that have them.

use anstyle::{Ansi256Color, AnsiColor, Effects, Style};
use perk::error::shown_lines;

use super::terminal;

/// Grounds from pale to deep, of the 256 colours that terminals share: orange.
const RAMP: [u8; 7] = [230, 223, 222, 215, 214, 208, 202];

/// Text in the making.
pub struct Styled {
    text: String,
    has_colours: bool,
    is_shown: bool,
}

impl Styled {
    /// Text for standard output.
    pub fn new() -> Self {
        let has_colours = terminal::has_colours();
        Self { text: String::new(), has_colours, is_shown: has_colours || terminal::is_terminal() }
    }

    /// Adds text as it is.
    pub fn plain(&mut self, text: &str) {
        self.add(text, Style::new());
    }

    /// Adds a heading.
    pub fn bold(&mut self, text: &str) {
        self.add(text, Style::new().effects(Effects::BOLD));
    }

    /// Adds what matters less.
    pub fn faint(&mut self, text: &str) {
        self.add(text, Style::new().effects(Effects::DIMMED));
    }

    /// Adds text on a ground as deep as `depth` says, 0 to 1.
    pub fn shaded(&mut self, text: &str, depth: f64) {
        // What is all but nothing has no ground.
        let place = (depth.clamp(0.0, 1.0) * (RAMP.len() as f64)).ceil() as usize;
        let style = match place.checked_sub(1).filter(|_| depth > 0.01) {
            Some(place) => Style::new()
                .fg_color(Some(AnsiColor::Black.into()))
                .bg_color(Some(Ansi256Color(RAMP[place]).into())),
            None => Style::new(),
        };
        self.add(text, style);
    }

    /// What was made; nothing in the texts is left that a terminal would act on.
    pub fn into_text(self) -> String {
        self.text
    }

    fn add(&mut self, text: &str, style: Style) {
        let shown = if self.is_shown { shown_lines(text) } else { text.to_owned() };
        if !self.has_colours || style.is_plain() {
            self.text += &shown;
            return;
        }
        // A ground that is on at the end of a line fills the rest of it.
        for (index, line) in shown.split('\n').enumerate() {
            if index > 0 {
                self.text.push('\n');
            }
            if !line.is_empty() {
                self.text += &format!("{style}{line}{style:#}");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn styled(has_colours: bool) -> Styled {
        Styled { text: String::new(), has_colours, is_shown: has_colours }
    }

    #[test]
    fn grounds_end_with_their_lines_and_texts_bring_no_colours_of_their_own() {
        let mut text = styled(true);
        text.shaded("a\u{1b}[31m\nb", 1.0);
        text.shaded("c", 0.0);
        let (on, off) = ("\u{1b}[30m\u{1b}[48;5;202m", "\u{1b}[0m");
        assert_eq!(text.into_text(), format!("{on}a\\u{{1b}}[31m{off}\n{on}b{off}c"));
    }

    #[test]
    fn without_colours_texts_are_as_they_are() {
        let mut text = styled(false);
        text.bold("a");
        text.shaded("b\n", 0.7);
        text.faint("c");
        assert_eq!(text.into_text(), "ab\nc");
    }

    #[test]
    fn a_larger_number_is_never_paler() {
        let ground = |depth: f64| {
            let mut text = styled(true);
            text.shaded("x", depth);
            let made = text.into_text();
            RAMP.iter()
                .position(|colour| made.contains(&format!("48;5;{colour}m")))
                .map_or(0, |place| place + 1)
        };
        let grounds: Vec<usize> = (0..=100).map(|percent| ground(f64::from(percent) / 100.0)).collect();
        assert!(grounds.is_sorted(), "{grounds:?}");
        assert_eq!((grounds[0], grounds[100]), (0, RAMP.len()));
    }
}
