//! Generated text for pretraining a tiny base: it learns the words, their grammar, the form of queries, and
//! to copy from what it has read.

use rand::Rng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;

use crate::config::{CorpusConfig, QuestionsAbout};
use crate::tasks::segment::prefix;
use crate::tasks::stream::{Purpose, stream};
use crate::tasks::world::{self, Asked, Story, StoryForm, tell};
use crate::tasks::{Qa, Split, built_in, student_records};
use crate::text::Template;
use crate::text::word_level::Splitter;
use crate::{Error, Result};

/// Documents that repeat their own sentences have about this many tokens.
const REPEATED_TOKENS: usize = 100;
/// Student records beside those that a question is about.
const OTHER_RECORDS: std::ops::RangeInclusive<usize> = 0..=2;
/// Tokens of a numbered piece, about.
const PIECE_TOKENS: std::ops::RangeInclusive<usize> = 12..=40;

/// A part of a document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Piece {
    /// A context and what asks about it.
    Text(String),
    /// An answer, which the text before it decides.
    Answer(String),
}

impl Piece {
    /// Its text.
    pub fn text(&self) -> &str {
        match self {
            Self::Text(text) | Self::Answer(text) => text,
        }
    }
}

/// Documents by number; each is a pure function of (seed, index).
pub struct Corpus {
    config: CorpusConfig,
    template: Template,
    splitter: Splitter,
    seed: u64,
}

impl Corpus {
    /// A corpus. It draws background sentences of the training split only.
    ///
    /// # Errors
    /// If the prompt is no template.
    pub fn new(config: CorpusConfig, seed: u64) -> Result<Self> {
        let template =
            Template::parse(&config.prompt).map_err(|e| Error::Invalid(format!("corpus.prompt {e}")))?;
        Ok(Self { config, template, splitter: Splitter::new(), seed })
    }

    /// The document of this index as one text.
    ///
    /// # Errors
    /// As [`pieces`](Self::pieces).
    pub fn document(&self, index: u64) -> Result<String> {
        Ok(self.pieces(index)?.iter().map(Piece::text).collect())
    }

    /// The document of this index in its parts. Whoever packs documents ends each with the end token.
    ///
    /// # Errors
    /// If the configuration allows no story.
    pub fn pieces(&self, index: u64) -> Result<Vec<Piece>> {
        let rng = &mut stream(self.seed, Split::Train, Purpose::Corpus, index);
        // No number is drawn for a corpus without records, so that it stays what it was.
        if self.config.records_fraction > 0.0 && chance(self.config.records_fraction, rng) {
            let kind = kind_of_record_question(rng);
            let others = rng.random_range(OTHER_RECORDS);
            let (sentences, qa) = student_records::small(kind, others, rng);
            return Ok(self.asked(&sentences, qa.as_slice(), rng));
        }
        let asked = if chance(self.config.two_hop_fraction, rng) { Asked::Object } else { Asked::Person };
        let event_prefix = chance(self.config.event_fraction, rng);
        let questions = self.config.questions.max(1);
        let form = StoryForm { asked, also_asked: Vec::new(), questions, event_prefix };
        let story = tell(&self.config.world, &form, rng)?;
        if chance(self.config.repeat_fraction, rng) {
            return Ok(vec![Piece::Text(self.repeated(&story, rng))]);
        }
        let sentences = self.context(&story.facts, rng);
        Ok(self.asked(&sentences, &story.qa, rng))
    }

    /// The sentences, and below them the questions with their answers.
    fn asked(&self, sentences: &[String], qa: &[Qa], rng: &mut ChaCha8Rng) -> Vec<Piece> {
        let mut pieces = vec![Piece::Text(self.written(sentences, rng))];
        for qa in qa {
            // The number in the prompt, where it has one, is as good as any.
            let number = rng.random_range(1..=self.config.numbers.max(1));
            let prompt = self.template.prompt(number, &qa.question).text();
            pieces.push(Piece::Text(format!("\n{prompt}")));
            pieces.push(Piece::Answer(self.template.answer(qa.answer())));
        }
        pieces
    }

    /// Texts that hold every word that episodes, prompts and this corpus can have, of either split.
    pub fn lexicon_texts(&self) -> impl Iterator<Item = String> + use<> {
        let lists: [&[&str]; 7] = [
            &["0 1 2 3 4 5 6 7 8 9 : . ? Event doc_"],
            &world::ACTORS,
            &world::PLACES,
            &world::OBJECTS,
            &world::MOVES,
            &world::TAKES,
            &world::DROPS,
        ];
        let facts: Vec<String> = lists.iter().map(|list| list.join(" ")).collect();
        let queries = [
            "the there Where is was before".to_owned(),
            "You have memorized documents. Question: Answer:".to_owned(),
            self.template.prompt(0, "").text(),
        ];
        facts.into_iter().chain(queries).chain(built_in::lexicon()).chain(student_records::lexicon())
    }

    /// A few sentences, said again in changing order.
    fn repeated(&self, story: &Story, rng: &mut ChaCha8Rng) -> String {
        let facts = rng.random_range(0..=story.facts.len().min(3));
        let mut own: Vec<String> = story.facts[..facts].to_vec();
        for _ in 0..rng.random_range(1..=3) {
            own.push(built_in::sentence(Split::Train, rng));
        }
        let mut sentences = own.clone();
        let tokens: usize = own.iter().map(|s| self.splitter.count(s)).sum();
        for _ in 1..REPEATED_TOKENS.div_ceil(tokens.max(1)).max(2) {
            own.shuffle(rng);
            sentences.extend(own.iter().cloned());
        }
        self.written(&sentences, rng)
    }

    /// The facts in order among background sentences.
    fn context(&self, facts: &[String], rng: &mut ChaCha8Rng) -> Vec<String> {
        let choices = &self.config.background_tokens;
        let wanted = if choices.is_empty() { 0 } else { choices[rng.random_range(0..choices.len())] };
        let mut sentences = facts.to_vec();
        let mut tokens = 0;
        while tokens < wanted {
            let sentence = built_in::sentence(Split::Train, rng);
            tokens += self.splitter.count(&sentence);
            // Inserting anywhere keeps the order of the facts.
            sentences.insert(rng.random_range(0..=sentences.len()), sentence);
        }
        sentences
    }

    /// The sentences as one text, in some documents in numbered pieces.
    fn written(&self, sentences: &[String], rng: &mut ChaCha8Rng) -> String {
        if !chance(self.config.numbered_fraction, rng) {
            return sentences.join(" ");
        }
        let numbers = self.config.numbers.max(1);
        let (mut number, limit) = (rng.random_range(0..numbers), rng.random_range(PIECE_TOKENS));
        let (mut lines, mut line, mut tokens) = (Vec::new(), Vec::new(), 0);
        for sentence in sentences {
            tokens += self.splitter.count(sentence);
            if tokens > limit && !line.is_empty() {
                lines.push(numbered(&mut number, numbers, &mut line));
                tokens = self.splitter.count(sentence);
            }
            line.push(sentence.as_str());
        }
        lines.push(numbered(&mut number, numbers, &mut line));
        lines.join("\n")
    }
}

/// `doc_12: TEXT`, and the next number.
fn numbered(number: &mut usize, numbers: usize, line: &mut Vec<&str>) -> String {
    let text = format!("{} {}", prefix(*number), line.join(" "));
    *number = (*number + 1) % numbers;
    line.clear();
    text
}

/// What a document of records asks: mostly single fields, now and then one of the other questions, so that every word
/// comes up.
fn kind_of_record_question(rng: &mut ChaCha8Rng) -> QuestionsAbout {
    if rng.random_bool(0.8) {
        return QuestionsAbout::Recall;
    }
    let others = &QuestionsAbout::ALL[1..];
    others[rng.random_range(0..others.len())]
}

fn chance(part: f64, rng: &mut ChaCha8Rng) -> bool {
    rng.random::<f64>() < part
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn documents_depend_on_seed_and_index_alone() {
        let corpus = |seed| Corpus::new(CorpusConfig::default(), seed).unwrap();
        let (a, b) = (corpus(1), corpus(1));
        let backwards: Vec<String> = (0..20).rev().map(|i| a.document(i).unwrap()).collect();
        let forwards: Vec<String> = (0..20).map(|i| b.document(i).unwrap()).collect();
        assert!(backwards.iter().rev().eq(&forwards));
        assert_ne!(corpus(2).document(0).unwrap(), forwards[0]);
        assert!(forwards.iter().collect::<HashSet<_>>().len() > 18);
    }

    #[test]
    fn the_mix_of_documents_is_as_configured() {
        let corpus = Corpus::new(CorpusConfig::default(), 0).unwrap();
        let documents: Vec<String> = (0..2_000).map(|i| corpus.document(i).unwrap()).collect();
        let part =
            |test: &dyn Fn(&str) -> bool| documents.iter().filter(|d| test(d)).count() as f64 / 2_000.0;
        let asks = part(&|d| d.contains("Question: Where is") && d.contains("? Answer: "));
        assert!((asks - 0.7).abs() < 0.04, "{asks}");
        let two_hop = part(&|d| d.contains("Question: Where is the"));
        assert!((two_hop - 0.21).abs() < 0.04, "{two_hop}");
        let numbered = part(&|d| d.starts_with("doc_"));
        assert!((numbered - 0.5).abs() < 0.04, "{numbered}");
        for number in 0..100 {
            assert!(documents.iter().any(|d| d.contains(&prefix(number))), "{number}");
        }
    }

    #[test]
    fn documents_without_a_question_say_their_sentences_again() {
        let config = CorpusConfig { repeat_fraction: 1.0, numbered_fraction: 0.0, ..CorpusConfig::default() };
        let corpus = Corpus::new(config, 0).unwrap();
        for index in 0..100 {
            let document = corpus.document(index).unwrap();
            let sentences: Vec<&str> =
                crate::text::sentences::split(&document).iter().map(|s| s.trim()).collect();
            let different: HashSet<&str> = sentences.iter().copied().collect();
            assert!(different.len() * 2 <= sentences.len(), "{document}");
        }
    }

    #[test]
    fn a_part_of_the_documents_are_student_records_that_use_every_word_of_theirs() {
        let config = CorpusConfig { records_fraction: 0.5, ..CorpusConfig::default() };
        let corpus = Corpus::new(config, 0).unwrap();
        let documents: Vec<String> = (0..4_000).map(|i| corpus.document(i).unwrap()).collect();
        let records: Vec<&String> = documents.iter().filter(|d| d.contains("Student ")).collect();
        assert!((1_900..2_100).contains(&records.len()), "{}", records.len());
        assert!(records.iter().all(|d| d.contains(", grade ") && d.contains("\nQuestion: ")));
        let recall = records.iter().filter(|d| d.contains("Question: What is the") && !d.contains("with"));
        assert!(recall.count() * 4 > records.len() * 3);
        let words: HashSet<String> =
            records.iter().flat_map(|d| corpus.splitter.words(d)).map(|(word, _)| word).collect();
        for text in student_records::lexicon().chain(["0 1 2 3 4 5 6 7 8 9".to_owned()]) {
            for word in text.split_whitespace() {
                assert!(words.contains(word), "{word}");
            }
        }
        let longest = records.iter().map(|d| corpus.splitter.count(d)).max().unwrap();
        assert!(longest <= 200, "{longest}");
    }

    #[test]
    fn student_records_add_few_words_and_leave_the_ids_of_others() {
        let words = |texts: &mut dyn Iterator<Item = String>| -> Vec<String> {
            let splitter = Splitter::new();
            let mut seen = HashSet::new();
            let words = texts.flat_map(|text| splitter.words(&text)).map(|(word, _)| word);
            words.filter(|word| seen.insert(word.clone())).collect()
        };
        let corpus = Corpus::new(CorpusConfig::default(), 0).unwrap();
        let all = words(&mut corpus.lexicon_texts());
        let records = student_records::lexicon().count();
        let before = words(&mut corpus.lexicon_texts().take(corpus.lexicon_texts().count() - records));
        assert_eq!(all[..before.len()], before);
        assert!(all.len() - before.len() <= 112, "{}", all.len() - before.len());
    }

    #[test]
    fn no_pretraining_document_has_a_held_out_sentence() {
        let corpus = Corpus::new(CorpusConfig::default(), 0).unwrap();
        for index in 0..300 {
            let document = corpus.document(index).unwrap();
            let lines = document.lines().map(|line| line.split_once(": ").map_or(line, |(_, text)| text));
            for sentence in lines.flat_map(crate::text::sentences::split) {
                let sentence = sentence.trim();
                let background =
                    ["The ", "A ", "In ", "At ", "Every ", "After "].iter().any(|w| sentence.starts_with(w));
                assert!(!background || built_in::belongs(sentence, Split::Train), "{sentence}");
            }
        }
    }
}
