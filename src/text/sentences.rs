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
    let (mut start, mut at) = (0, 0);
    // Whether anything but white space came since `start`.
    let mut has_words = false;
    while let Some(c) = text[at..].chars().next() {
        at += c.len_utf8();
        let end = if is_terminator(c) {
            match after_stop(text, at) {
                Ok(end) => (!is_short_form(text, start, at)).then_some(end),
                // The other stops on the way there are like this one.
                Err(next) => {
                    at = next;
                    None
                }
            }
        } else if c == '\n' && has_words {
            after_blank_line(text, at)
        } else {
            None
        };
        has_words |= !c.is_whitespace();
        if let Some(end) = end {
            sentences.push(&text[start..end]);
            (start, at, has_words) = (end, end, false);
        } else if c == '\n' {
            // No line break in the same white space ends a sentence either.
            at = text.len() - text[at..].trim_start().len();
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

/// Where a sentence ends whose stop is before byte `at`; else where to look for the next stop.
fn after_stop(text: &str, at: usize) -> Result<usize, usize> {
    let closing = |c: char| is_terminator(c) || matches!(c, '"' | '\'' | '”' | '’' | ')' | ']' | '_' | '*');
    let after = text[at..].trim_start_matches(closing);
    let end = text.len() - after.len();
    let next = after.trim_start().chars().next();
    match next {
        Some(next) if after.starts_with(char::is_whitespace) && !next.is_lowercase() => {
            Ok(end + line_breaks(after))
        }
        _ => Err(end),
    }
}

/// Whether the stop before byte `at` is of a short form and not of the sentence that begins at `start`.
fn is_short_form(text: &str, start: usize, at: usize) -> bool {
    text[..at].ends_with('.') && ends_with_short_form(&text[start..at - 1])
}

/// Where a sentence ends, if the line break before byte `at` begins a blank line.
fn after_blank_line(text: &str, at: usize) -> Option<usize> {
    let rest = &text[at..];
    let gap = rest.len() - rest.trim_start().len();
    (rest[..gap].contains('\n') && gap < rest.len()).then(|| at + line_breaks(rest))
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
    fn many_blank_lines_or_stops_take_no_longer_than_other_text() {
        let began = std::time::Instant::now();
        for many in ["\n", " \n", ".", ". ", "…\"", "\n.", "a.\n"] {
            let text = many.repeat(200_000);
            assert_eq!(split(&format!("{text}End. Here")).concat().len(), text.len() + 9);
        }
        assert!(began.elapsed().as_secs() < 5, "{:?}", began.elapsed());
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
