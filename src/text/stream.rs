//! Text of tokens that come one by one.

use tokenizers::{
    DecodeStream, DecoderWrapper, ModelWrapper, NormalizerWrapper, PostProcessorWrapper, PreTokenizerWrapper,
};

use super::{Tokenizer, tokenizer::entered};
use crate::{Error, Result};

type Inner<'a> = DecodeStream<
    'a,
    ModelWrapper,
    NormalizerWrapper,
    PreTokenizerWrapper,
    PostProcessorWrapper,
    DecoderWrapper,
>;

/// Turns tokens into text as they come. A character that is spread over several tokens is given whole, with
/// the last of them. Made by [`Tokenizer::stream`].
pub struct TextStream<'a> {
    tokenizer: &'a Tokenizer,
    inner: Inner<'a>,
    ids: Vec<u32>,
    given_bytes: usize,
}

impl<'a> TextStream<'a> {
    pub(super) fn new(tokenizer: &'a Tokenizer, inner: Inner<'a>) -> Self {
        Self { tokenizer, inner, ids: Vec::new(), given_bytes: 0 }
    }

    /// The text that token `id` adds; `None` while a character is not complete, or where it adds nothing.
    ///
    /// # Errors
    /// If the tokenizer's decoder fails, or takes back text that was already given.
    pub fn push(&mut self, id: u32) -> Result<Option<String>> {
        self.ids.push(id);
        let inner = &mut self.inner;
        let text = entered(self.tokenizer.path(), "cannot decode tokens one by one", || inner.step(id))?;
        self.given_bytes += text.as_ref().map_or(0, String::len);
        Ok(text)
    }

    /// What was held back: an incomplete character, shown as `�`. All pieces together are what
    /// [`Tokenizer::decode`] makes of all tokens.
    ///
    /// # Errors
    /// As [`push`](Self::push).
    pub fn finish(self) -> Result<String> {
        let mut text = self.tokenizer.decode(&self.ids)?;
        if !text.is_char_boundary(self.given_bytes) {
            let reason = "cannot decode tokens one by one: the decoder took back text that was given";
            return Err(Error::file(self.tokenizer.path(), reason));
        }
        Ok(text.split_off(self.given_bytes))
    }
}

#[cfg(test)]
mod tests {

    use super::*;
    use crate::text::word_level;

    /// The pieces of the pushes, and the rest.
    fn streamed(tokenizer: &Tokenizer, ids: &[u32]) -> (Vec<Option<String>>, String) {
        let mut stream = tokenizer.stream();
        let pieces = ids.iter().map(|&id| stream.push(id).unwrap()).collect();
        (pieces, stream.finish().unwrap())
    }

    fn assert_joins(tokenizer: &Tokenizer, ids: &[u32]) {
        let (pieces, rest) = streamed(tokenizer, ids);
        let joined = pieces.into_iter().flatten().chain([rest]).collect::<String>();
        assert_eq!(joined, tokenizer.decode(ids).unwrap(), "{ids:?}");
    }

    fn qwen() -> Tokenizer {
        Tokenizer::from_folder(&crate::shared_folder::shared("tokenizers/qwen2_5"), None).unwrap()
    }

    #[test]
    fn words_come_with_their_spaces_and_special_tokens_add_nothing() {
        let folder = tempfile::tempdir().unwrap();
        word_level::save(folder.path(), ["Mary moved to the kitchen. <support> Where, 42 ' t?"]).unwrap();
        let tokenizer = Tokenizer::from_folder(folder.path(), None).unwrap();
        let mut ids = tokenizer.encode("Mary moved to.").unwrap();
        ids.insert(2, tokenizer.end_id());
        ids.insert(0, tokenizer.end_id());
        let (pieces, rest) = streamed(&tokenizer, &ids);
        let pieces: Vec<_> = pieces.iter().map(Option::as_deref).collect();
        assert_eq!(pieces, [None, Some("Mary"), Some(" moved"), None, Some(" to"), Some(".")]);
        assert_eq!(rest, "");
        for seed in 0..50 {
            let ids: Vec<u32> =
                (0..30).map(|i| (seed * 31 + i * i * 7 + i * seed) % tokenizer.vocab_size() as u32).collect();
            assert_joins(&tokenizer, &ids);
        }
    }

    /// What holds of the real data that is not part of this repository.
    mod shared_data {
        use super::*;

        #[test]
        #[ignore = "needs the folder ../shared, or PERK_SHARED_DIR"]
        fn pieces_and_rest_join_to_the_decoded_text() {
            let tokenizer = qwen();
            for text in
                ["Mary moved to the bathroom.", "  two  spaces\n\nand é, ü, 漢字, 🦀🧑‍🚀, ꙮ.\t", "", "🦀"]
            {
                let mut ids = tokenizer.encode(text).unwrap();
                assert_joins(&tokenizer, &ids);
                for cut in 0..ids.len() {
                    assert_joins(&tokenizer, &ids[..cut]);
                    assert_joins(&tokenizer, &ids[cut..]);
                }
                ids.insert(ids.len() / 2, tokenizer.end_id());
                assert_joins(&tokenizer, &ids);
            }
            // Bytes that are no text, in any order.
            let mut state = 1u32;
            let mut next = || {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                // The first 256 tokens are the bytes.
                if state >> 31 == 0 { (state >> 8) % 256 } else { (state >> 8) % 151_643 }
            };
            for _ in 0..200 {
                let ids: Vec<u32> = (0..20).map(|_| next()).collect();
                assert_joins(&tokenizer, &ids);
            }
        }

        #[test]
        #[ignore = "needs the folder ../shared, or PERK_SHARED_DIR"]
        fn a_character_of_several_tokens_comes_whole_with_the_last_of_them() {
            let tokenizer = qwen();
            let ids = tokenizer.encode("ꙮ").unwrap();
            assert!(ids.len() > 1, "one token, so nothing is tested");
            let (pieces, rest) = streamed(&tokenizer, &ids);
            let (last, held) = pieces.split_last().unwrap();
            assert!(held.iter().all(Option::is_none), "{held:?}");
            assert_eq!((last.as_deref(), rest.as_str()), (Some("ꙮ"), ""));
            let (pieces, rest) = streamed(&tokenizer, &ids[..1]);
            assert_eq!((pieces, rest.as_str()), (vec![None], "\u{fffd}"));
        }
    }
}
