//! Outputs against accepted answers, as SQuAD compares them (Rajpurkar et al. 2016): after normalisation,
//! and the best over the accepted answers.

/// Lower case, without ASCII punctuation and the articles a, an and the, single spaces between words.
///
/// Punctuation goes without leaving a space: `well-known` becomes `wellknown`.
pub fn normalise(text: &str) -> String {
    let text = text.to_lowercase().replace(|c: char| c.is_ascii_punctuation(), "");
    without_articles(&text).split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Whether the output equals an accepted answer after normalisation.
pub fn exact_match(output: &str, answers: &[String]) -> bool {
    let output = normalise(output);
    answers.iter().any(|answer| normalise(answer) == output)
}

/// Whether an accepted answer occurs in the output after normalisation, in the middle of a word too.
///
/// An answer of which normalisation leaves nothing occurs in an output of which it leaves nothing alone.
pub fn contains(output: &str, answers: &[String]) -> bool {
    let output = normalise(output);
    answers.iter().map(|answer| normalise(answer)).any(|answer| match answer.is_empty() {
        true => output.is_empty(),
        false => output.contains(&answer),
    })
}

/// 2PR / (P + R) of the output's words, best over the accepted answers, 0 to 1; a word counts as often as it
/// occurs on both sides. Where normalisation leaves nothing of one side, 1 if it leaves nothing of both.
pub fn f1(output: &str, answers: &[String]) -> f64 {
    let output = normalise(output);
    answers.iter().map(|answer| f1_of(&output, &normalise(answer))).fold(0.0, f64::max)
}

fn f1_of(output: &str, answer: &str) -> f64 {
    let given: Vec<&str> = output.split_whitespace().collect();
    let mut wanted: Vec<&str> = answer.split_whitespace().collect();
    let total = given.len() + wanted.len();
    if given.is_empty() || wanted.is_empty() {
        return if total == 0 { 1.0 } else { 0.0 };
    }
    let mut common = 0;
    for word in given {
        if let Some(place) = wanted.iter().position(|other| *other == word) {
            wanted.swap_remove(place);
            common += 1;
        }
    }
    // P = common / given, R = common / wanted.
    2.0 * f64::from(common) / total as f64
}

/// A space in the place of each word a, an and the; words are runs of letters and digits.
fn without_articles(text: &str) -> String {
    let mut kept = String::with_capacity(text.len());
    for run in text.split_inclusive(|c: char| !c.is_alphanumeric()) {
        let word = run.trim_end_matches(|c: char| !c.is_alphanumeric());
        match word {
            "a" | "an" | "the" => kept.push(' '),
            _ => kept += word,
        }
        kept += &run[word.len()..];
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answers(answers: &[&str]) -> Vec<String> {
        answers.iter().map(|answer| (*answer).to_owned()).collect()
    }

    #[test]
    fn normalisation_takes_case_punctuation_articles_and_white_space_away() {
        for (text, expected) in [
            ("The Kitchen.", "kitchen"),
            ("  a\tthe\n An ", ""),
            ("well-known", "wellknown"),
            ("apple, milk", "apple milk"),
            ("apple,milk", "applemilk"),
            ("Theatre an' anthem", "theatre anthem"),
            ("U.S.A.", "usa"),
            // The article's dot goes first, so that an article appears.
            ("a.n. x", "x"),
            ("«the» Œuvre – a—b", "« » œuvre – —b"),
            ("", ""),
        ] {
            assert_eq!(normalise(text), expected, "{text}");
        }
    }

    #[test]
    fn an_exact_match_is_with_any_accepted_answer_and_with_all_of_it() {
        let accepted = answers(&["The hallway", "corridor"]);
        assert!(exact_match("hallway.", &accepted));
        assert!(exact_match("A corridor", &accepted));
        assert!(!exact_match("the hallway or the corridor", &accepted));
        assert!(!exact_match("", &accepted));
        assert!(!exact_match("hallway", &[]));
    }

    #[test]
    fn f1_counts_repeated_words_once_for_each_pair() {
        let f1 = |output, accepted: &[&str]| f1(output, &answers(accepted));
        assert_eq!(f1("kitchen", &["the kitchen"]), 1.0);
        // P = 1/3, R = 1/1.
        assert_eq!(f1("in the big kitchen", &["kitchen"]), 0.5);
        // One pair of `milk`: P = 1/3, R = 1/2.
        assert_eq!(f1("milk milk milk", &["milk apple"]), 0.4);
        // P = 2/3, R = 2/2 with the second answer, nothing with the first.
        assert_eq!(f1("new york city", &["boston", "york new"]), 0.8);
        assert_eq!(f1("garden", &["kitchen"]), 0.0);
        assert_eq!(f1("", &["kitchen"]), 0.0);
        assert_eq!(f1("the", &["a"]), 1.0);
        assert_eq!(f1("kitchen", &[]), 0.0);
    }

    #[test]
    fn an_answer_is_contained_in_a_word_too_but_an_empty_one_is_not_contained_in_all() {
        assert!(contains("It is in the New York office.", &answers(&["york", "boston"])));
        assert!(contains("kitchenette", &answers(&["kitchen"])));
        assert!(!contains("kit chen", &answers(&["kitchen"])));
        assert!(!contains("kitchen", &answers(&["The"])));
        assert!(contains("...", &answers(&["The"])));
        assert!(!contains("kitchen", &[]));
    }
}
