//! Episodes to tokens: segments to memorise, and queries without or with the context.

use std::collections::HashSet;

use rand::Rng;
use rand::seq::SliceRandom;
use serde::{Deserialize, Serialize};

use super::segment::{Segmenter, with_prefix};
use super::stream::{Purpose, stream};
use super::target::{Target, TargetWriter};
use super::{Episode, Qa, Split};
use crate::config::{DataConfig, Objective};
use crate::error::shown;
use crate::text::{Prompt, Sequence, Template, Tokenizer, sentences};
use crate::{Error, Result};

/// An episode in tokens: what its two losses are taken of.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EncodedEpisode {
    /// `doc_i: TEXT` behind the begin token, of which the text is predicted.
    pub segments: Vec<Sequence>,
    /// Each question's prompt, target and end token, of which the target and the end token are predicted.
    pub queries: Vec<Sequence>,
    /// Tokens of all segments with their prefixes.
    pub context_tokens: usize,
}

/// Encodes episodes.
#[derive(Debug, Clone)]
pub struct Encoder {
    segmenter: Segmenter,
    number_offset_max: usize,
    shuffle_segments: bool,
    background_repeats: f64,
    background_repeats_ramp: u64,
    template: Template,
    target: TargetWriter,
    /// What the loss of a token before the answer counts.
    support_weight: f64,
    tokenizer: Tokenizer,
    seed: u64,
}

impl Encoder {
    /// An encoder; `seed` decides the order and numbers of segments in training.
    ///
    /// # Errors
    /// A prompt or a form of reasoned answers that cannot be used.
    pub fn new(config: &DataConfig, tokenizer: Tokenizer, seed: u64) -> Result<Self> {
        let segmenter =
            Segmenter { segment_tokens: config.segment_tokens, pack_documents: config.pack_documents };
        let fault = |reason| Error::Invalid(format!("data.prompt {reason}"));
        Ok(Self {
            segmenter,
            number_offset_max: config.number_offset_max,
            shuffle_segments: config.shuffle_segments,
            background_repeats: config.background_repeats,
            background_repeats_ramp: config.background_repeats_ramp,
            template: Template::parse(&config.prompt).map_err(fault)?.in_chat(config.chat_template.form()?),
            target: TargetWriter::new(&config.target)?,
            support_weight: config.target.support_weight,
            tokenizer,
            seed,
        })
    }

    /// The tokenizer.
    pub fn tokenizer(&self) -> &Tokenizer {
        &self.tokenizer
    }

    /// Encodes an episode for one objective: the context stands in the prompts where the objective puts it there. In
    /// training, segments are shuffled and numbered from a random number where the configuration says so, as
    /// (seed, index) decide; held-out segments are numbered in order from 0.
    ///
    /// # Errors
    /// If the episode has an empty document or no question, a question lacks the facts that its target holds, or a
    /// text cannot be encoded; the error names the episode.
    pub fn encode(
        &self,
        episode: &Episode,
        index: u64,
        split: Split,
        objective: Objective,
    ) -> Result<EncodedEpisode> {
        let segments = self.checked_segments(episode, index, split)?;
        let context = episode.documents.join("\n");
        let query = |qa: &Qa| {
            let prompt = self.template.prompt(segments.len(), &qa.question);
            let target = self.target_of(qa, &context)?;
            match objective {
                Objective::Perk => self.answered(&prompt, &target),
                Objective::InContext => self.answered(&prompt.behind(&context), &target),
            }
        };
        let queries = episode.qa.iter().map(query).collect::<Result<Vec<_>>>();
        let queries = queries.map_err(|error| error.in_episode(&episode.name))?;
        let context_tokens = count_tokens(&segments);
        Ok(EncodedEpisode { segments, queries, context_tokens })
    }

    /// What a question is asked with, its context being known as so many segments; with `context`, behind that.
    ///
    /// # Errors
    /// A text that cannot be encoded.
    pub fn prompt(&self, segments: usize, question: &str, context: Option<&str>) -> Result<Vec<u32>> {
        let prompt = self.template.prompt(segments, question);
        self.tokenizer.encode_prompt(&match context {
            Some(context) => prompt.behind(context),
            None => prompt,
        })
    }

    /// The facts that decide a question about `context`, in the order of targets; empty where they are not known.
    pub fn facts(&self, qa: &Qa, context: &str) -> Vec<String> {
        self.target.facts(qa, context)
    }

    /// The segments of an episode that has a question.
    fn checked_segments(&self, episode: &Episode, index: u64, split: Split) -> Result<Vec<Sequence>> {
        if episode.qa.is_empty() {
            return Err(Error::Invalid("no question".into()).in_episode(&episode.name));
        }
        self.segments(&episode.documents, &episode.facts, index, split)
            .map_err(|error| error.in_episode(&episode.name))
    }

    /// The segments of a context that comes without questions, numbered in order from 0.
    ///
    /// # Errors
    /// No document, a blank one, or one that cannot be encoded.
    pub fn context(&self, documents: &[String]) -> Result<Vec<Sequence>> {
        self.segments(documents, &[], 0, Split::HeldOut)
    }

    fn segments(
        &self,
        documents: &[String],
        facts: &[String],
        index: u64,
        split: Split,
    ) -> Result<Vec<Sequence>> {
        let told: HashSet<&str> = facts.iter().flat_map(|fact| trimmed(fact)).collect();
        let repeats = self.repeats(documents, &told, index, split)?;
        let count = |sentence: &str| if told.contains(sentence.trim()) { 1.0 } else { repeats };
        let mut texts = self.segmenter.cut(documents, &self.tokenizer, count)?;
        let mut first = 0;
        if split == Split::Train {
            let mut rng = stream(self.seed, split, Purpose::Segments, index);
            first = rng.random_range(0..=self.number_offset_max);
            if self.shuffle_segments {
                texts.shuffle(&mut rng);
            }
        }
        let numbered = texts.iter().enumerate();
        numbered.map(|(i, text)| with_prefix(first.saturating_add(i), text, &self.tokenizer)).collect()
    }

    /// How often the sentences count that are not among those `told`: so a short context has the gradient of a long one.
    fn repeats(&self, documents: &[String], told: &HashSet<&str>, index: u64, split: Split) -> Result<f64> {
        if split == Split::HeldOut || told.is_empty() || self.background_repeats == 1.0 {
            return Ok(1.0);
        }
        let sentences: HashSet<&str> = documents.iter().flat_map(|document| trimmed(document)).collect();
        if let Some(fact) = told.difference(&sentences).min() {
            let fact = shown(fact);
            return Err(Error::Invalid(format!(
                "the fact `{fact}` is no sentence of the context, so data.background_repeats cannot tell it from background"
            )));
        }
        let mut rng = stream(self.seed, split, Purpose::Repeats, index);
        Ok((rng.random_range(0.0..=1.0) * self.ramped(index) * self.background_repeats.ln()).exp())
    }

    /// What part of the orders of magnitude episode `index` may draw.
    fn ramped(&self, index: u64) -> f64 {
        let (done, ramp) = (index.saturating_add(1) as f64, self.background_repeats_ramp as f64);
        if done < ramp { done / ramp } else { 1.0 }
    }

    /// What a question's loss is taken of.
    fn target_of(&self, qa: &Qa, context: &str) -> Result<Target> {
        let mut target = self.target.write(qa, &self.target.facts(qa, context))?;
        // White space between the prompt and what follows goes with what follows.
        let first = if target.trace.is_empty() { &mut target.conclusion } else { &mut target.trace };
        *first = self.template.answer(first);
        Ok(target)
    }

    /// Prompt, target and end token, of which the target and the end token are predicted.
    fn answered(&self, prompt: &Prompt, target: &Target) -> Result<Sequence> {
        let Target { trace, conclusion } = target;
        let (mut tokens, loss_from) =
            self.tokenizer.encode_joined(prompt, &format!("{trace}{conclusion}"))?;
        tokens.push(self.tokenizer.end_id());
        if tokens.len() < loss_from + 2 {
            return Err(Error::Invalid(format!("the answer `{}` has no tokens", conclusion.trim())));
        }
        let mut sequence = Sequence::new(tokens, loss_from);
        if !trace.is_empty() && self.support_weight != 1.0 {
            let before = self.common(&sequence.tokens, prompt, trace)?;
            let weight = |at| if at < before { self.support_weight } else { 1.0 };
            sequence.weights = Some((loss_from..sequence.tokens.len()).map(weight).collect());
        }
        Ok(sequence)
    }

    /// How many tokens at the start of `tokens` are those of prompt and trace. Where the tokenizer joins the end of
    /// the trace to what follows, that token is not among them.
    fn common(&self, tokens: &[u32], prompt: &Prompt, trace: &str) -> Result<usize> {
        let (own, _) = self.tokenizer.encode_joined(prompt, trace)?;
        Ok(own.iter().zip(tokens).take_while(|(a, b)| a == b).count())
    }
}

/// The sentences of a text, without the white space around them.
fn trimmed(text: &str) -> impl Iterator<Item = &str> {
    sentences::split(text).into_iter().map(str::trim)
}

/// Tokens of all segments, prefixes included.
pub fn count_tokens(segments: &[Sequence]) -> usize {
    segments.iter().map(|segment| segment.tokens.len()).sum()
}
