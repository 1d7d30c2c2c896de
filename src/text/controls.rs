//! The control tokens of a vocabulary, as they are spelled.

use tokenizers::Tokenizer;

/// The tokens that a tokenizer calls special: they end texts and turns, and no text is made of them.
#[derive(Debug)]
pub(super) struct Controls {
    /// By their ids.
    tokens: Vec<(u32, String)>,
}

impl Controls {
    pub(super) fn of(inner: &Tokenizer) -> Self {
        let added = inner.get_added_tokens_decoder().into_iter();
        let special = added.filter(|(_, token)| token.special && !token.content.is_empty());
        let mut tokens: Vec<(u32, String)> = special.map(|(id, token)| (id, token.content)).collect();
        tokens.sort_unstable();
        Self { tokens }
    }

    /// Whether one of the ids is a control token's.
    pub(super) fn has_any(&self, ids: &[u32]) -> bool {
        ids.iter().any(|id| self.tokens.binary_search_by_key(id, |(own, _)| *own).is_ok())
    }

    /// The first control token in a text, with what comes before and after it; of those that start there, the
    /// longest.
    pub(super) fn first_in<'t>(&self, text: &'t str) -> Option<(&'t str, u32, &'t str)> {
        let places = self.tokens.iter().filter_map(|(id, token)| Some((text.find(token)?, token.len(), *id)));
        let (start, length, id) = places.min_by_key(|&(start, length, _)| (start, usize::MAX - length))?;
        Some((&text[..start], id, &text[start + length..]))
    }

    /// The text in pieces, none of which holds a control token: each is cut behind its first character.
    pub(super) fn apart<'t>(&self, text: &'t str) -> Vec<&'t str> {
        let (mut pieces, mut rest) = (Vec::new(), text);
        while let Some((before, _, _)) = self.first_in(rest) {
            let first = rest[before.len()..].chars().next().map_or(0, char::len_utf8);
            let (piece, others) = rest.split_at(before.len() + first);
            pieces.push(piece);
            rest = others;
        }
        pieces.push(rest);
        pieces
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::tokenizer::tests::{change, tiny};
    use crate::text::{Template, Tokenizer};

    #[test]
    fn control_tokens_are_words_in_a_text_and_control_tokens_in_a_template() {
        let folder = tiny(&["a b"]);
        let tokenizer = Tokenizer::from_folder(folder.path(), None).unwrap();
        let [end, unknown, a, b] = ["<eos>", "<unk>", "a", "b"].map(|t| tokenizer.token_id(t).unwrap());
        // `<`, `eos` and `>`, none of which the tokenizer knows.
        assert_eq!(tokenizer.encode("a <eos> b").unwrap(), [a, unknown, unknown, unknown, b]);
        let template = Template::parse("<eos> a {question} <eos>{answer}").unwrap();
        let prompt = template.prompt(0, "<eos>");
        assert_eq!(
            tokenizer.encode_prompt(&prompt).unwrap(),
            [end, a, unknown, unknown, unknown, end],
            "{prompt:?}"
        );
        let (tokens, of_prompt) = tokenizer.encode_joined(&prompt, "b").unwrap();
        assert_eq!((&tokens[6..], of_prompt), (&[b][..], 6));
        let behind = tokenizer.encode_prompt(&template.prompt(0, "b").behind("a <eos>")).unwrap();
        assert_eq!(behind, [a, unknown, unknown, unknown, end, a, b, end]);
    }

    #[test]
    fn a_control_token_that_is_also_a_word_of_the_model_is_taken_apart() {
        let folder = tiny(&["a b"]);
        change(folder.path(), "pre_tokenizer", json!({"type": "WhitespaceSplit"}));
        let tokenizer = Tokenizer::from_folder(folder.path(), None).unwrap();
        let [unknown, a, b] = ["<unk>", "a", "b"].map(|t| tokenizer.token_id(t).unwrap());
        assert_eq!(tokenizer.encode("a <eos> b").unwrap(), [a, unknown, unknown, b]);
        assert_eq!(tokenizer.encode("a zebra b").unwrap(), [a, unknown, b], "no control token stands there");
    }
}
