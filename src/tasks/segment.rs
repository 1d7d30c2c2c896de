//! Contexts cut into segments, `doc_i: TEXT`, of whole sentences.

use crate::text::{Sequence, Tokenizer, sentences};
use crate::{Error, Result};

/// Cuts contexts into segments.
///
/// Sentences are packed greedily. The limit counts the tokens of the text, not those of the prefix. A
/// sentence is cut only where it alone is longer than the limit; it then starts a segment of its own.
/// Documents follow each other on new lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Segmenter {
    /// Most tokens of a segment's text, at least 1.
    pub segment_tokens: usize,
    /// Whether a segment may hold sentences of several documents; if not, each document starts one.
    pub pack_documents: bool,
}

impl Segmenter {
    /// The segments' texts, in order, without prefixes. A segment's first word is encoded as after a space, since it comes
    /// after a prefix. `count` says what each token of a sentence counts.
    ///
    /// # Errors
    /// If a document is blank, or cannot be encoded.
    pub fn cut(
        &self,
        documents: &[String],
        tokenizer: &Tokenizer,
        count: impl Fn(&str) -> f64,
    ) -> Result<Vec<Text>> {
        if documents.is_empty() || self.segment_tokens == 0 {
            return Err(Error::Invalid("no documents, or segments of no tokens".into()));
        }
        let mut segments: Vec<Text> = Vec::new();
        let mut current = Text::default();
        for (index, document) in documents.iter().enumerate() {
            if document.trim().is_empty() {
                return Err(Error::Invalid(format!("document {index} (from 0) is empty")));
            }
            let line_break = self.pack_documents && index + 1 < documents.len();
            for sentence in pieces(document, line_break) {
                self.add(&sentence, count(&sentence), tokenizer, &mut current, &mut segments)?;
            }
            if !self.pack_documents {
                flush(&mut current, &mut segments);
            }
        }
        flush(&mut current, &mut segments);
        Ok(segments)
    }

    fn add(
        &self,
        text: &str,
        count: f64,
        tokenizer: &Tokenizer,
        current: &mut Text,
        all: &mut Vec<Text>,
    ) -> Result<()> {
        if !current.tokens.is_empty() {
            let tokens = tokenizer.encode(text)?;
            if current.tokens.len() + tokens.len() <= self.segment_tokens {
                current.extend(&tokens, count);
                return Ok(());
            }
            flush(current, all);
        }
        let first = if text.starts_with(char::is_whitespace) { text.to_owned() } else { format!(" {text}") };
        let tokens = tokenizer.encode(&first)?;
        let mut parts = tokens.chunks(self.segment_tokens);
        // The last part of a long sentence stays open for what follows.
        let last = parts.next_back().unwrap_or_default();
        all.extend(parts.map(|part| Text { tokens: part.to_vec(), counts: vec![count; part.len()] }));
        current.extend(last, count);
        Ok(())
    }
}

/// The text of a segment.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Text {
    /// Token ids.
    pub tokens: Vec<u32>,
    /// What the loss of each counts.
    pub counts: Vec<f64>,
}

impl Text {
    fn extend(&mut self, tokens: &[u32], count: f64) {
        self.tokens.extend_from_slice(tokens);
        self.counts.extend(std::iter::repeat_n(count, tokens.len()));
    }
}

fn flush(current: &mut Text, segments: &mut Vec<Text>) {
    if !current.tokens.is_empty() {
        segments.push(std::mem::take(current));
    }
}

/// The sentences of a document, with a line break after the last where one is wanted.
fn pieces(document: &str, line_break: bool) -> Vec<String> {
    let mut pieces: Vec<String> = sentences::split(document).into_iter().map(str::to_owned).collect();
    if let Some(last) = pieces.last_mut().filter(|last| line_break && !last.ends_with('\n')) {
        last.push('\n');
    }
    pieces
}

/// The begin token, if the tokenizer has one, and `doc_i:` before the text's tokens; only the text is predicted.
///
/// No end token follows, whatever the tokenizer's files say: a segment is a part of a longer text.
///
/// # Errors
/// If the tokenizer cannot encode the prefix.
pub fn with_prefix(number: usize, text: &Text, tokenizer: &Tokenizer) -> Result<Sequence> {
    let mut tokens = tokenizer.begin().to_vec();
    tokens.extend(tokenizer.encode(&prefix(number))?);
    let loss_from = tokens.len();
    tokens.extend_from_slice(&text.tokens);
    let even = text.counts.iter().all(|&count| count == 1.0);
    Ok(Sequence { tokens, loss_from, weights: (!even).then(|| text.counts.clone()) })
}

/// `doc_12:`
pub(crate) fn prefix(number: usize) -> String {
    format!("doc_{number}:")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::text::word_level;

    fn tokenizer(text: &str) -> Tokenizer {
        let folder = tempfile::tempdir().unwrap();
        word_level::save(folder.path(), [text, "doc_0123456789:"]).unwrap();
        Tokenizer::from_folder(folder.path(), None).unwrap()
    }

    fn cut(text: &[&str], segment_tokens: usize, pack_documents: bool) -> Vec<String> {
        let tokenizer = tokenizer(&text.concat());
        let documents: Vec<String> = text.iter().map(|&t| t.to_owned()).collect();
        let segments =
            Segmenter { segment_tokens, pack_documents }.cut(&documents, &tokenizer, |_| 1.0).unwrap();
        segments.iter().map(|text| tokenizer.decode(&text.tokens).unwrap()).collect()
    }

    #[test]
    fn whole_sentences_are_packed_up_to_the_limit() {
        assert_eq!(cut(&["A b. C d. Ee. F g h."], 6, true), ["A b. C d.", "Ee. F g h."]);
        assert_eq!(cut(&["A b. C d. Ee. F g h."], 5, true), ["A b.", "C d. Ee.", "F g h."]);
    }

    #[test]
    fn only_a_sentence_longer_than_the_limit_is_cut() {
        assert_eq!(cut(&["A b. C d e f g h. I j."], 4, true), ["A b.", "C d e f", "g h.", "I j."]);
        assert_eq!(cut(&["A b c d e f. G h."], 6, true), ["A b c d e f", ". G h."]);
    }

    #[test]
    fn documents_share_segments_only_where_asked() {
        assert_eq!(cut(&["A b.", "C d.", "E."], 6, true), ["A b. C d.", "E."]);
        assert_eq!(cut(&["A b.", "C d.", "E."], 6, false), ["A b.", "C d.", "E."]);
    }

    #[test]
    fn the_prefix_is_read_but_not_predicted() {
        let tokenizer = tokenizer("A b.");
        let mut text = Text::default();
        text.extend(&tokenizer.encode(" A b.").unwrap(), 1.0);
        let sequence = with_prefix(12, &text, &tokenizer).unwrap();
        assert_eq!(tokenizer.decode(&sequence.tokens[..sequence.loss_from]).unwrap(), "doc _ 12 :");
        assert_eq!(sequence.tokens[sequence.loss_from..], text.tokens);
    }

    #[test]
    fn blank_documents_are_refused() {
        let tokenizer = tokenizer("A.");
        let segmenter = Segmenter { segment_tokens: 4, pack_documents: true };
        assert!(segmenter.cut(&[], &tokenizer, |_| 1.0).is_err());
        let error = segmenter.cut(&["A.".into(), " \n".into()], &tokenizer, |_| 1.0).unwrap_err();
        assert!(error.to_string().contains("document 1"));
    }
}
