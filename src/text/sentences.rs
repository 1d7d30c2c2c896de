//! Sentences of a running text.

/// Titles and short forms whose full stop ends no sentence.
const SHORT_FORMS: [&str; 18] = [
    "Mr", "Mrs", "Ms", "Messrs", "Dr", "St", "Jr", "Sr", "vs", "Esq", "Capt", "Col", "Gen", "Lt", "Prof",
    "Rev", "Hon", "Sgt",
];

/// Cuts `text` into sentences; concatenated, they are the text again.
///
/// A sentence ends at `.`, `!`, `?` or `…` (with closing quotes and brackets) before white space and
/// anything but a small letter, unless the stop belongs to a title or an initial, and at a blank line.
/// Line breaks after a sentence belong to it, spaces before one belong to the next, which is how byte-level
/// tokenizers group them.
pub fn split(text: &str) -> Vec<&str> {
    let mut sentences = Vec::new();
    let mut start = 0;
    let mut at = 0;
    while let Some(c) = text[at..].chars().next() {
        at += c.len_utf8();
        let end = if is_terminator(c) {
            after_stop(text, start, at)
        } else if c == '\n' {
            after_blank_line(text, start, at)
        } else {
            None
        };
        if let Some(end) = end {
            sentences.push(&text[start..end]);
            (start, at) = (end, end);
        }
    }
    if start < text.len() {
        match sentences.last_mut() {
            // White space at the very end is no sentence of its own.
            Some(last) if text[start..].trim().is_empty() => *last = &text[start - last.len()..],
            _ => sentences.push(&text[start..]),
        }
    }
    sentences
}

fn is_terminator(c: char) -> bool {
    matches!(c, '.' | '!' | '?' | '…')
}

/// Where the sentence from `start` ends, if the stop before byte `at` ends it.
fn after_stop(text: &str, start: usize, at: usize) -> Option<usize> {
    let rest = &text[at..];
    let closing = |c: char| is_terminator(c) || matches!(c, '"' | '\'' | '”' | '’' | ')' | ']' | '_' | '*');
    let after = rest.trim_start_matches(closing);
    let end = at + rest.len() - after.len();
    if after.is_empty() || !after.starts_with(char::is_whitespace) {
        return None;
    }
    let next = after.trim_start().chars().next()?;
    if next.is_lowercase() || (text[..at].ends_with('.') && ends_with_short_form(&text[start..at - 1])) {
        return None;
    }
    Some(end + line_breaks(after))
}

/// Where the sentence from `start` ends, if the line break before byte `at` begins a blank line.
fn after_blank_line(text: &str, start: usize, at: usize) -> Option<usize> {
    let rest = &text[at..];
    let gap = rest.len() - rest.trim_start().len();
    let blank = rest[..gap].contains('\n') && gap < rest.len();
    (blank && !text[start..at].trim().is_empty()).then(|| at + line_breaks(rest))
}

/// Bytes of leading white space up to and with its last line break.
fn line_breaks(text: &str) -> usize {
    let space = &text[..text.len() - text.trim_start().len()];
    space.rfind('\n').map_or(0, |i| i + 1)
}

/// Whether the text before a full stop ends in a title, or in an initial as in `J. Smith`.
fn ends_with_short_form(text: &str) -> bool {
    let word = text.rsplit(|c: char| !c.is_alphabetic()).next().unwrap_or("");
    let mut letters = word.chars();
    let initial = matches!((letters.next(), letters.next()), (Some(c), None) if c.is_uppercase() && c != 'I');
    initial || SHORT_FORMS.contains(&word)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sentences_end_at_stops_but_not_at_titles_initials_or_before_small_letters() {
        let text =
            "Mr. J. Bennet replied. \"Stop!\" he cried. “No!” She left... Then what? I. Am 3.5 m tall.";
        let expected = [
            "Mr. J. Bennet replied.",
            " \"Stop!\" he cried.",
            " “No!”",
            " She left...",
            " Then what?",
            " I.",
            " Am 3.5 m tall.",
        ];
        assert_eq!(split(text), expected);
    }

    #[test]
    fn line_breaks_stay_with_the_sentence_before_and_blank_lines_end_one() {
        let text = "CHAPTER I\n\n  It was wet\nand cold. The\nend.\nOr\n";
        assert_eq!(split(text), ["CHAPTER I\n\n", "  It was wet\nand cold.", " The\nend.\n", "Or\n"]);
    }

    #[test]
    fn sentences_concatenate_to_the_text() {
        for text in [
            "",
            " ",
            "a",
            "a. ",
            ". . . A",
            "…\n\n\n",
            "É. Ünder\r\n\r\nx. Y",
            "\n\n a \n\n",
            "A.B. C! D?) E",
        ] {
            assert_eq!(split(text).concat(), text);
            assert!(split(text).len() < 2 || split(text).iter().all(|s| !s.trim().is_empty()), "{text:?}");
        }
    }
}
