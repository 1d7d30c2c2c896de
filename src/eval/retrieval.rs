//! Retrieval: which segments of a context are most like a question, by BM25.

use std::collections::HashMap;

/// How soon further occurrences of a word add little, and how much a segment's length counts against it: Lucene's values.
const K1: f64 = 1.2;
const B: f64 = 0.75;

/// The indices of the `count` segments that score highest for `question`, or of all where they are fewer, in the order of
/// the text. Of segments that score alike the earlier one is taken.
pub fn best_segments(segments: &[String], question: &str, count: usize) -> Vec<usize> {
    let scores = bm25(segments, question);
    let mut best: Vec<usize> = (0..segments.len()).collect();
    // The sort is stable.
    best.sort_by(|&a, &b| scores[b].total_cmp(&scores[a]));
    best.truncate(count);
    best.sort_unstable();
    best
}

/// The score of each segment for `question`, 0 where they share no word.
///
/// Σ idf(w) · f(w) (k₁ + 1) / (f(w) + k₁ (1 − b + b · l / l̄))
///
/// The sum is over the words w of the question, as often as they stand there; f(w) is how often w stands in the segment,
/// l its number of words and l̄ the mean of all. idf(w) = ln(1 + (N − n(w) + ½) / (n(w) + ½)), where n(w) of N segments hold w, is never negative.
/// Robertson and Zaragoza 2009, eq. 3.15, with the idf of Lucene.
fn bm25(segments: &[String], question: &str) -> Vec<f64> {
    let counted: Vec<(usize, HashMap<String, usize>)> =
        segments.iter().map(|text| count_words(text)).collect();
    let words: usize = counted.iter().map(|(length, _)| length).sum();
    let total = segments.len() as f64;
    let mean_length = words as f64 / total;
    let mut scores = vec![0.0; segments.len()];
    for word in words_of(question) {
        let holding = counted.iter().filter(|(_, counts)| counts.contains_key(&word)).count() as f64;
        let idf = (1.0 + (total - holding + 0.5) / (holding + 0.5)).ln();
        for (score, (length, counts)) in scores.iter_mut().zip(&counted) {
            if let Some(&times) = counts.get(&word) {
                let times = times as f64;
                let norm = K1 * (1.0 - B + B * *length as f64 / mean_length);
                *score += idf * times * (K1 + 1.0) / (times + norm);
            }
        }
    }
    scores
}

/// The number of words of a text, and how often each of them stands there.
fn count_words(text: &str) -> (usize, HashMap<String, usize>) {
    let mut counts = HashMap::new();
    let mut length = 0;
    for word in words_of(text) {
        *counts.entry(word).or_insert(0) += 1;
        length += 1;
    }
    (length, counts)
}

/// Runs of letters and digits, in lower case.
fn words_of(text: &str) -> impl Iterator<Item = String> {
    let words = text.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty());
    words.map(str::to_lowercase)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(texts: &[&str]) -> Vec<String> {
        texts.iter().map(|text| (*text).to_owned()).collect()
    }

    fn near(found: f64, expected: f64) -> bool {
        (found - expected).abs() < 1e-6
    }

    #[test]
    fn scores_agree_with_a_case_worked_by_hand() {
        // Lengths 2, 4 and 6, mean 4, so that k1 (1 - b + b l / mean) is 0.75, 1.2 and 1.65.
        let segments = texts(&["Red apple.", "a red, red house", "the green house by the sea"]);
        // "red" is in 2 of 3: ln(1 + 1.5/2.5) = 0.470004. Once in 2 words: 2.2/1.75; twice in 4: 4.4/3.2.
        let red = bm25(&segments, "red?");
        assert!(near(red[0], 0.470_003_6 * 1.257_142_9) && near(red[1], 0.470_003_6 * 1.375), "{red:?}");
        assert_eq!(red[2], 0.0);
        // "sea" is in 1 of 3: ln(1 + 2.5/1.5) = 0.980829; "house" in 2. Once in 6 words: 2.2/2.65; in 4: 2.2/2.2.
        let both = bm25(&segments, "SEA house");
        assert!(near(both[2], (0.980_829_3 + 0.470_003_6) * 0.830_188_7), "{both:?}");
        assert!(near(both[1], 0.470_003_6) && both[0] == 0.0, "{both:?}");
        // A word of the question counts as often as it stands there.
        assert!(near(bm25(&segments, "red red")[1], 2.0 * 0.470_003_6 * 1.375));
    }

    #[test]
    fn the_best_segments_come_in_the_order_of_the_text() {
        let segments = texts(&["a red, red house", "the sea", "Red apple.", "a lamp"]);
        assert_eq!(best_segments(&segments, "red", 2), [0, 2]);
        assert_eq!(best_segments(&segments, "red sea", 1), [1], "a rarer word in a shorter segment");
        assert_eq!(best_segments(&segments, "a lamp by the sea", 2), [1, 3]);
    }

    #[test]
    fn of_segments_that_score_alike_the_earlier_is_taken() {
        let segments = texts(&["a", "sea lamp", "lamp sea", "sea lamp", "b"]);
        assert_eq!(best_segments(&segments, "lamp", 2), [1, 2]);
        assert_eq!(best_segments(&segments, "lamp", 4), [0, 1, 2, 3]);
        assert_eq!(best_segments(&segments, "nothing of it", 2), [0, 1]);
    }

    #[test]
    fn few_or_empty_segments_are_all_there_is() {
        assert_eq!(best_segments(&texts(&["a", "b"]), "b", 9), [0, 1]);
        assert_eq!(best_segments(&texts(&["", "..."]), "b", 1), [0]);
        assert_eq!(best_segments(&[], "b", 3), [0_usize; 0]);
        assert_eq!(best_segments(&texts(&["a"]), "", 0), [0_usize; 0]);
    }

    #[test]
    fn a_needle_is_found_among_others_by_its_key() {
        let needle =
            |i: usize| format!("One of the special magic numbers for quiet-harbor{i} is: {}.", 7_000_000 + i);
        let segments: Vec<String> = (0..200).map(needle).collect();
        let question = "What is the special magic number for quiet-harbor137 mentioned in the provided text?";
        assert_eq!(best_segments(&segments, question, 1), [137]);
    }
}
