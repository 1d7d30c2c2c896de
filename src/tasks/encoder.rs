//! Episodes to tokens: segments to memorise, and queries without and with the context.

use rand::Rng;
use rand::seq::SliceRandom;
use serde::{Deserialize, Serialize};

use super::segment::{Segmenter, with_prefix};
use super::stream::{Purpose, stream};
use super::target::{Target, TargetWriter};
use super::{Episode, Qa, Split};
use crate::config::{DataConfig, Objective};
use crate::text::{Prompt, Sequence, Template, Tokenizer};
use crate::{Error, Result};

/// A question in tokens.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EncodedQuery {
    /// Begin token, prompt, target and end token; the target and the end token are predicted. No context.
    pub training: Sequence,
    /// What generation starts from: no context, no target.
    pub prompt: Vec<u32>,
    /// As `training`, with the documents and a line break before the prompt.
    pub in_context: Sequence,
    /// The expected answer.
    pub answer: String,
    /// The facts that decide it, in the order of targets; empty where they are not known.
    pub support: Vec<String>,
    /// Tokens of the target, and the end token.
    pub target_tokens: Vec<u32>,
}

impl EncodedQuery {
    /// What generation starts from with the context in the prompt.
    pub fn in_context_prompt(&self) -> &[u32] {
        &self.in_context.tokens[..self.in_context.loss_from]
    }
}

/// An episode in tokens.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EncodedEpisode {
    /// The episode's name.
    pub name: String,
    /// Its index in its source.
    pub index: u64,
    /// `doc_i: TEXT` behind the begin token, of which the text is predicted.
    pub segments: Vec<Sequence>,
    /// Questions, at least one.
    pub queries: Vec<EncodedQuery>,
    /// Tokens of all segments with their prefixes.
    pub context_tokens: usize,
}

/// A training episode in tokens: what its two losses are taken of.
#[derive(Debug, Clone, PartialEq)]
pub struct TrainingEpisode {
    /// As [`EncodedEpisode::segments`].
    pub segments: Vec<Sequence>,
    /// Each question's prompt with its target, which is predicted.
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

    /// Encodes an episode. In training, segments are shuffled and numbered from a random number where the
    /// configuration says so, as (seed, index) decide; held-out segments are numbered in order from 0.
    ///
    /// # Errors
    /// If the episode has an empty document or no question, a question lacks the facts that its target holds, or a
    /// text cannot be encoded; the error names the episode.
    pub fn encode(&self, episode: &Episode, index: u64, split: Split) -> Result<EncodedEpisode> {
        self.encode_for(&self.target, episode, index, split)
    }

    /// As [`encode`](Self::encode) a held-out episode, to be asked only: the targets are the bare answers, so that
    /// questions whose supporting facts are not known can be asked too.
    ///
    /// # Errors
    /// As [`encode`](Self::encode).
    pub fn encode_to_ask(&self, episode: &Episode, index: u64) -> Result<EncodedEpisode> {
        self.encode_for(&self.target.bare(), episode, index, Split::HeldOut)
    }

    /// Encodes a training episode for one objective; segments as [`encode`](Self::encode) does it. A context is
    /// tokenised again for a question only where the objective puts it in the prompt.
    ///
    /// # Errors
    /// As [`encode`](Self::encode).
    pub fn encode_training(
        &self,
        episode: &Episode,
        index: u64,
        objective: Objective,
    ) -> Result<TrainingEpisode> {
        let segments = self.checked_segments(episode, index, Split::Train)?;
        let context = episode.documents.join("\n");
        let query = |qa: &Qa| {
            let prompt = self.template.prompt(segments.len(), &qa.question);
            let (target, _) = self.target_of(&self.target, qa, &context)?;
            match objective {
                Objective::Perk => self.answered(&prompt, &target),
                Objective::InContext => self.answered(&prompt.behind(&context), &target),
            }
        };
        let queries = episode.qa.iter().map(query).collect::<Result<Vec<_>>>();
        let queries = queries.map_err(|error| named(episode, error))?;
        let context_tokens = count(&segments);
        Ok(TrainingEpisode { segments, queries, context_tokens })
    }

    fn encode_for(
        &self,
        target: &TargetWriter,
        episode: &Episode,
        index: u64,
        split: Split,
    ) -> Result<EncodedEpisode> {
        let segments = self.checked_segments(episode, index, split)?;
        let context = episode.documents.join("\n");
        let query = |qa: &Qa| self.query(target, qa, segments.len(), &context);
        let queries = episode.qa.iter().map(query).collect::<Result<Vec<_>>>();
        let queries = queries.map_err(|error| named(episode, error))?;
        let context_tokens = count(&segments);
        Ok(EncodedEpisode { name: episode.name.clone(), index, segments, queries, context_tokens })
    }

    /// The segments of an episode that has a question.
    fn checked_segments(&self, episode: &Episode, index: u64, split: Split) -> Result<Vec<Sequence>> {
        if episode.qa.is_empty() {
            return Err(named(episode, Error::Invalid("no question".into())));
        }
        self.segments(&episode.documents, index, split).map_err(|error| named(episode, error))
    }

    /// The segments of a context that comes without questions, numbered in order from 0.
    ///
    /// # Errors
    /// No document, a blank one, or one that cannot be encoded.
    pub fn context(&self, documents: &[String]) -> Result<Vec<Sequence>> {
        self.segments(documents, 0, Split::HeldOut)
    }

    fn segments(&self, documents: &[String], index: u64, split: Split) -> Result<Vec<Sequence>> {
        let mut texts = self.segmenter.cut(documents, &self.tokenizer)?;
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

    fn query(&self, target: &TargetWriter, qa: &Qa, documents: usize, context: &str) -> Result<EncodedQuery> {
        let prompt = self.template.prompt(documents, &qa.question);
        let (target, support) = self.target_of(target, qa, context)?;
        let training = self.answered(&prompt, &target)?;
        let in_context = self.answered(&prompt.behind(context), &target)?;
        let (prompt, target_tokens) = training.tokens.split_at(training.loss_from);
        Ok(EncodedQuery {
            prompt: prompt.to_vec(),
            answer: qa.answer.clone(),
            support,
            target_tokens: target_tokens.to_vec(),
            training,
            in_context,
        })
    }

    /// What a question's loss is taken of, and the facts in it.
    fn target_of(&self, writer: &TargetWriter, qa: &Qa, context: &str) -> Result<(Target, Vec<String>)> {
        let support = writer.facts(qa, context);
        let mut target = writer.write(qa, &support)?;
        // White space between the prompt and what follows goes with what follows.
        let first = if target.trace.is_empty() { &mut target.conclusion } else { &mut target.trace };
        *first = self.template.answer(first);
        Ok((target, support))
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

fn count(segments: &[Sequence]) -> usize {
    segments.iter().map(|segment| segment.tokens.len()).sum()
}

/// An error that says which episode it is about.
fn named(episode: &Episode, error: Error) -> Error {
    match error {
        Error::Invalid(reason) => Error::Invalid(format!("episode {}: {reason}", episode.name)),
        other => other,
    }
}
