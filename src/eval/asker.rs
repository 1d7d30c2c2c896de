//! Asking a model: one question whose answer is watched as it comes, or many side by side.

use std::time::Instant;

use crate::{
    error::Result,
    model::{Decoder, Decoding, Ended, Generation, Session, generate_many, lora::AdapterRef},
    text::{Answer, AnswerForm, Tokenizer},
};

use super::{Growing, Reasoning, Reply};

/// Most tokens that the questions of one batch and their answers may fill in the cache of keys and values: 400 MB
/// in f32 at the shapes of Qwen2.5-0.5B, for each episode that is asked at the same time. A question that is longer
/// is answered alone.
const BATCH_TOKENS: usize = 16_384;

/// Asks a model and reads what it answers.
#[derive(Debug, Clone, Copy)]
pub struct Asker<'a> {
    /// The frozen model.
    pub decoder: &'a Decoder,
    /// For answers to read.
    pub tokenizer: &'a Tokenizer,
    /// What the model was trained to write before the answer; `None` where it is the bare answer.
    pub reasoning: Option<&'a Reasoning>,
}

/// When tokens came.
struct Times {
    first_token_secs: f64,
    secs: f64,
}

impl Asker<'_> {
    /// The reply to `prompt`, which `session` has not read yet; `on_text` is given the answer as it comes, without the
    /// facts that it was led to by.
    ///
    /// # Errors
    /// An adapter that has diverged, a device out of memory, and what `on_text` returns.
    pub fn one(
        &self,
        session: &mut Session<'_>,
        prompt: &[u32],
        decoding: &Decoding,
        on_text: &mut dyn FnMut(&str) -> Result<()>,
    ) -> Result<Reply> {
        let began = Instant::now();
        session.clear();
        let form = self.form();
        let (mut growing, mut first_token_secs) = (Growing::new(&form, self.tokenizer), None);
        let generation = session.generate(prompt, decoding, &mut |token| {
            first_token_secs.get_or_insert_with(|| began.elapsed().as_secs_f64());
            let flow = growing.push(token)?;
            if !growing.more().is_empty() {
                on_text(growing.more())?;
            }
            Ok(flow)
        })?;
        let grown = growing.finish()?;
        let secs = began.elapsed().as_secs_f64();
        let times = Times { first_token_secs: first_token_secs.unwrap_or(secs), secs };
        on_text(&grown.rest)?;
        Ok(self.reply(grown.output, grown.answer, generation, prompt.len(), times))
    }

    /// How many of `prompts` the cache of keys and values is to hold at once.
    pub fn at_once(&self, prompts: &[Vec<u32>], decoding: &Decoding) -> usize {
        let longest = prompts.iter().map(Vec::len).max().unwrap_or(0);
        let rows = BATCH_TOKENS / longest.saturating_add(decoding.max_new_tokens).max(1);
        rows.min(prompts.len()).max(1)
    }

    /// The replies to `prompts`, each for itself but many side by side, at most `most`, with `adapter` or with the base
    /// alone.
    ///
    /// # Errors
    /// An adapter that has diverged, a device out of memory.
    pub fn many(
        &self,
        adapter: Option<AdapterRef<'_>>,
        prompts: &[Vec<u32>],
        decoding: &Decoding,
        most: usize,
    ) -> Result<Vec<Reply>> {
        let rows = self.at_once(prompts, decoding).min(most).max(1);
        let batches = prompts.chunks(rows).map(|batch| self.batch(adapter, batch, decoding));
        Ok(batches.collect::<Result<Vec<_>>>()?.concat())
    }

    fn batch(
        &self,
        adapter: Option<AdapterRef<'_>>,
        prompts: &[Vec<u32>],
        decoding: &Decoding,
    ) -> Result<Vec<Reply>> {
        let began = Instant::now();
        let form = self.form();
        let mut growing: Vec<_> = prompts.iter().map(|_| Growing::new(&form, self.tokenizer)).collect();
        let mut firsts = vec![None; prompts.len()];
        let mut watch = |row: usize, token| {
            firsts[row].get_or_insert_with(|| began.elapsed().as_secs_f64());
            growing[row].push(token)
        };
        let asked: Vec<_> = prompts.iter().map(|prompt| (prompt.as_slice(), decoding)).collect();
        let generations = generate_many(self.decoder, adapter, &asked, &mut watch)?;
        let secs = began.elapsed().as_secs_f64() / prompts.len() as f64;
        let replies = prompts.iter().zip(generations).zip(firsts).zip(growing).map(
            |(((prompt, generation), first), growing)| {
                let grown = growing.finish()?;
                let times = Times { first_token_secs: first.unwrap_or(secs), secs };
                Ok(self.reply(grown.output, grown.answer, generation, prompt.len(), times))
            },
        );
        replies.collect()
    }

    /// The form in which the model answers; answers of untrained models may have the authors' tags.
    fn form(&self) -> AnswerForm {
        self.reasoning.map_or_else(AnswerForm::default, |reasoning| reasoning.form.clone())
    }

    fn reply(
        &self,
        output: String,
        answer: Answer,
        generation: Generation,
        prompt_tokens: usize,
        times: Times,
    ) -> Reply {
        let separator = self.reasoning.map_or(" ", |reasoning| &reasoning.separator);
        Reply {
            malformed: self.reasoning.is_some() && !answer.is_whole,
            support: answer.facts(separator),
            answer: answer.answer,
            output,
            tokens: generation.tokens.len(),
            token_ids: generation.tokens,
            ended: generation.ended != Ended::Limit,
            prompt_tokens,
            first_token_secs: times.first_token_secs,
            secs: times.secs,
        }
    }
}
