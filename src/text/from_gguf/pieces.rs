//! Tokens that are pieces of SentencePiece with scores, as Llama 2 has them: a space is the letter U+2581, a character
//! without a piece is written in bytes.
//!
//! Two pieces side by side become the one that they spell, the best score first (`llm_tokenizer_spm` of llama.cpp), which is
//! what merges of pairs do that are ordered by the scores of what they make (transformers' `SpmConverter`).

use std::collections::HashSet;

use serde_json::json;

use super::{Form, Merges, NORMAL, UNKNOWN, USER_DEFINED, Vocabulary};
use crate::Result;
use crate::error::shown;
use crate::gguf::Gguf;

const SCORES: &str = "tokenizer.ggml.scores";
const ADD_SPACE: &str = "tokenizer.ggml.add_space_prefix";

/// No piece of a real vocabulary is as long, in bytes; a longer one would take forever to be looked through.
const LONGEST: usize = 1024;

/// How texts become tokens.
///
/// # Errors
/// A file without scores, without the types of its tokens, or with a token that is too long.
pub(super) fn form<'a>(gguf: &'a Gguf, vocabulary: &Vocabulary<'a>) -> Result<Form<'a>> {
    let unknown = vocabulary.types.iter().position(|found| *found == UNKNOWN);
    let unknown =
        unknown.ok_or_else(|| gguf.fault("names no token of its vocabulary as the unknown one (type 2)"))?;
    let spaced = gguf.flag(ADD_SPACE)?.unwrap_or(true);
    let space = json!({"type": "Replace", "pattern": {"String": " "}, "content": "\u{2581}"});
    let prepend = spaced.then(|| json!({"type": "Prepend", "prepend": "\u{2581}"}));
    let strip = spaced.then(|| json!({"type": "Strip", "content": " ", "start": 1, "stop": 0}));
    let back = [
        json!({"type": "Replace", "pattern": {"String": "\u{2581}"}, "content": " "}),
        json!({"type": "ByteFallback"}),
        json!({"type": "Fuse"}),
    ];
    Ok(Form {
        normalizer: Some(json!({
            "type": "Sequence", "normalizers": prepend.into_iter().chain([space]).collect::<Vec<_>>(),
        })),
        pre_tokenizer: None,
        decoder: json!({"type": "Sequence", "decoders": back.into_iter().chain(strip).collect::<Vec<_>>()}),
        merges: Merges::Found(merges(gguf, vocabulary)?),
        ignore_merges: false,
        unknown: Some(vocabulary.spelled(unknown)),
        adds_bos: true,
    })
}

/// All pairs of tokens that spell a third one, those of the best scores first.
fn merges<'a>(gguf: &'a Gguf, vocabulary: &Vocabulary<'a>) -> Result<Vec<(&'a str, &'a str)>> {
    let (tokens, scores) = (vocabulary.tokens, gguf.needed(SCORES, Ok(gguf.value(SCORES)))?);
    let numbers: Option<Vec<f64>> = scores.reals().map(Iterator::collect);
    let Some(numbers) = numbers.filter(|numbers| numbers.len() == tokens.len()) else {
        return Err(gguf.unfit(SCORES, scores, &format!("a number for each of {} tokens", tokens.len())));
    };
    let pieces = || {
        let is_piece = |id: &usize| matches!(vocabulary.types[*id], NORMAL | USER_DEFINED);
        (0..tokens.len()).filter(is_piece).filter_map(|id| Some((id, tokens.get(id)?)))
    };
    let known: HashSet<&str> = pieces().map(|(_, piece)| piece).collect();
    let mut found = Vec::new();
    for (id, piece) in pieces() {
        if piece.len() > LONGEST {
            let start: String = piece.chars().take(20).collect();
            return Err(gguf.fault(format!("has a token of {} bytes, `{}…`", piece.len(), shown(&start))));
        }
        let splits = piece.char_indices().skip(1).map(|(at, _)| piece.split_at(at));
        let pairs = splits.filter(|(left, right)| known.contains(left) && known.contains(right));
        found.extend(pairs.map(|pair| (numbers[id], pair)));
    }
    // Those of one score stay in the order of the vocabulary.
    found.sort_by(|(a, _), (b, _)| b.total_cmp(a));
    Ok(found.into_iter().map(|(_, pair)| pair).collect())
}
