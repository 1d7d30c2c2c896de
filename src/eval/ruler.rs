//! RULER's own score of an output (Hsieh et al. 2024, arXiv 2404.06654): how many of the answers it holds.

/// The share of `answers`, 0 to 1, that occur in the output, whatever their case, in the middle of a word too; 0 without
/// answers. RULER's `string_match_all` (github.com/NVIDIA/RULER, `scripts/eval`), after its treatment of outputs.
pub fn string_match_all(output: &str, answers: &[String]) -> f64 {
    let output = treated(output).to_lowercase();
    let found = answers.iter().filter(|answer| output.contains(&answer.to_lowercase())).count();
    found as f64 / answers.len().max(1) as f64
}

/// The output without white space around it and with line breaks in the place of all control characters.
fn treated(output: &str) -> String {
    let lines = output.trim().replace(|c: char| c < ' ', "\n");
    lines.trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn share(output: &str, answers: &[&str]) -> f64 {
        let answers: Vec<String> = answers.iter().map(|answer| (*answer).to_owned()).collect();
        string_match_all(output, &answers)
    }

    #[test]
    fn the_share_is_of_the_answers_found_anywhere_in_the_output() {
        assert_eq!(share("They are QWERT, asdfg and zxcvb.", &["QWERT", "ASDFG", "YUIOP", "ZXCVB"]), 0.75);
        assert_eq!(share("1234567", &["1234567"]), 1.0);
        assert_eq!(share("12345678", &["1234567"]), 1.0, "within a longer number too");
        assert_eq!(share("1234 567", &["1234567"]), 0.0);
        assert_eq!(share("", &["1234567"]), 0.0);
        assert_eq!(share("lamp", &["lamp", "lamp"]), 1.0, "an answer counts each time");
        assert_eq!(share("anything", &[]), 0.0);
    }

    #[test]
    fn control_characters_are_line_breaks_and_white_space_around_the_output_goes() {
        assert_eq!(treated(" \t one\ttwo\u{0}three \u{1f}\r\n"), "one\ntwo\nthree");
        assert_eq!(share("sea\tlamp", &["sea\nlamp", "sea\tlamp"]), 0.5);
        assert_eq!(share(" lamp ", &["lamp "]), 0.0);
    }
}
