//! Many prompts that are continued side by side.

use std::ops::ControlFlow;

use super::continuation::Continuation;
use super::rows::Rows;
use super::{Ended, Generation, check};
use crate::Result;
use crate::model::Decoder;
use crate::model::lora::AdapterRef;
use crate::model::sampling::Decoding;

/// Most new tokens a row that have room from the start; the cache grows for more.
const FIRST_ROOM: usize = 256;

/// Continues every one of `prompts` as [`Session::generate`](super::Session::generate) would continue it alone, as its own
/// `Decoding` says, all of them in one batch: each forward pass gives every prompt its next token.
///
/// `on_token` gets the number of a prompt and its new token, in the order of the prompts at every step; its break
/// ends that prompt alone. A prompt that has ended leaves the batch. Random sampling starts from its seed for
/// every prompt, so that the tokens do not depend on the company. Prompts may differ in length, but all take the
/// memory and the time of the longest. The results are in the order of the prompts.
///
/// # Errors
/// An empty prompt, a token outside the vocabulary, sampling out of range, an adapter that does not fit, logits
/// that are not numbers, a device out of memory, or what `on_token` fails with; the first fault ends all.
pub fn generate_many(
    model: &Decoder,
    adapter: Option<AdapterRef<'_>>,
    prompts: &[(&[u32], &Decoding)],
    on_token: &mut dyn FnMut(usize, u32) -> Result<ControlFlow<()>>,
) -> Result<Vec<Generation>> {
    prompts.iter().try_for_each(|(prompt, _)| check(model, prompt))?;
    // Those that go on, with the numbers of their prompts; one a row.
    let mut open = Vec::with_capacity(prompts.len());
    for (number, (_, decoding)) in prompts.iter().enumerate() {
        let continuation = Continuation::new(decoding)?;
        if decoding.max_new_tokens > 0 {
            open.push((number, continuation));
        }
    }
    let mut generations = vec![Generation { tokens: Vec::new(), ended: Ended::Limit }; prompts.len()];
    let first: Vec<&[u32]> = open.iter().map(|(number, _)| prompts[*number].0).collect();
    let Some(longest) = first.iter().map(|prompt| prompt.len()).max() else { return Ok(generations) };
    let new = open.iter().map(|(number, _)| prompts[*number].1.max_new_tokens).max().unwrap_or(0);
    let mut rows = Rows::new(model, adapter, open.len(), longest + new.min(FIRST_ROOM))?;
    let mut logits = rows.read(&first)?;
    loop {
        let mut kept = Vec::with_capacity(open.len());
        for (row, (prompt, mut continuation)) in std::mem::take(&mut open).into_iter().enumerate() {
            match continuation.extend(&logits.get(row)?, |token| on_token(prompt, token))? {
                Some(ended) => generations[prompt] = continuation.end(ended),
                None => {
                    kept.push(row);
                    open.push((prompt, continuation));
                }
            }
        }
        if open.is_empty() {
            return Ok(generations);
        }
        rows.keep(&kept)?;
        let next = open.iter().filter_map(|(_, continuation)| continuation.last());
        logits = rows.read(&next.map(std::slice::from_ref).collect::<Vec<_>>())?;
    }
}
