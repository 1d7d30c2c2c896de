//! The evaluator: a model's answers to the episodes of a cell, by one method. Benchmarks, held-out scores during
//! training and the table at its end are all its work.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::atomic::{AtomicBool, Ordering},
    time::Instant,
};

use candle_core::Tensor;

use crate::{
    benchmarks::{Cell, Metric},
    error::{Error, Result},
    meta::{Adapted, Learner, Limits, MetaParams, Tell, Workers, within},
    model::{Decoding, Sampling, lora::AdapterRef},
    tasks::{Encoder, Episode, EpisodeSource, count_tokens},
    text::Sequence,
};

use super::{Asker, Method, Reasoning, Reply, SampleRecord, best_segments, scores};

/// A model under evaluation, and how it is asked.
#[derive(Debug, Clone, Copy)]
pub struct Model<'a> {
    /// How it gets at the context.
    pub method: Method,
    /// Base, adapter layout and inner loop.
    pub learner: &'a Learner,
    /// The meta-trained parameters of [`Method::Perk`] and [`Method::NoAdaptation`], the fine-tuned adapter of
    /// [`Method::FtIcr`].
    pub params: Option<&'a MetaParams>,
    /// Contexts and questions to tokens.
    pub encoder: &'a Encoder,
    /// What trained models learned to write before the answer; `None` where it is the bare answer.
    pub reasoning: Option<&'a Reasoning>,
    /// Longest answer, in tokens, the end token included. Answers are greedy.
    pub max_new_tokens: usize,
    /// How many segments [`Method::Rag`] puts into a prompt.
    pub retrieved_segments: usize,
}

/// The cell that is asked.
pub struct CellSource<'a> {
    /// Which.
    pub cell: &'a Cell,
    /// The score that it is known by.
    pub metric: Metric,
    /// Its episodes.
    pub episodes: &'a dyn EpisodeSource,
    /// How many of them are asked, from the first.
    pub count: usize,
}

/// Takes the record of an answer, and the prompt that was answered, as soon as it is there; from several threads.
pub type Taker<'a> = &'a (dyn Fn(&SampleRecord, &[u32]) -> Result<()> + Sync);

/// Asks models.
#[derive(Clone, Copy)]
pub struct Evaluator<'a> {
    /// Threads that share the episodes.
    pub workers: &'a Workers,
    /// What each of them computes at once.
    pub limits: &'a Limits,
    /// Told of memory that was too small.
    pub tell: Tell<'a>,
}

/// An episode whose context has been read.
struct Encoded {
    index: u64,
    episode: Episode,
    segments: Vec<Sequence>,
    /// The adapter's tensors, in the layout's order; `None` for the base alone.
    adapter: Option<Vec<Tensor>>,
    encode_secs: f64,
}

/// A prompt, and how many tokens of the context had no room in it.
struct Cut {
    tokens: Vec<u32>,
    dropped: usize,
}

impl Evaluator<'_> {
    /// The records of a cell's answers, by episode and question. `known` are those of [`whole_episodes`] that were asked
    /// before; they are not asked again.
    ///
    /// `take` is given every new record; `done` is called after each episode, from several threads: once it returns
    /// false no further episode is begun, and `None` is returned.
    ///
    /// # Errors
    /// An episode that cannot be made or asked, a method without its parameters, an adapter that has diverged, and what
    /// `take` fails with.
    pub fn cell(
        &self,
        model: &Model<'_>,
        source: &CellSource<'_>,
        known: Vec<SampleRecord>,
        take: Taker<'_>,
        done: &(dyn Fn() -> bool + Sync),
    ) -> Result<Option<Vec<SampleRecord>>> {
        let mut records = known;
        let is_known: BTreeSet<usize> = records.iter().map(|record| record.index).collect();
        let missing: Vec<u64> =
            (0..source.count).filter(|index| !is_known.contains(index)).map(|index| index as u64).collect();
        let groups: Vec<&[u64]> = missing.chunks(self.limits.episodes_together.get()).collect();
        let stopped = AtomicBool::new(false);
        let go_on = || !stopped.load(Ordering::Relaxed);
        let asked = self.workers.map_while(&groups, &go_on, |group| {
            let mut episodes = vec![];
            for encoded in model.encode(source.episodes, group, self)? {
                episodes.push(model.ask(source, encoded, take, self)?);
                if !done() {
                    stopped.store(true, Ordering::Relaxed);
                    break;
                }
            }
            Ok(episodes)
        })?;
        let asked: Vec<_> = asked.into_iter().flatten().collect();
        let all = asked.len() == missing.len();
        records.extend(asked.into_iter().flatten());
        records.sort_by_key(|record| (record.index, record.question_index));
        Ok(all.then_some(records))
    }

    /// The adapters that have learned some contexts, together as far as there is memory.
    fn adapt(
        &self,
        learner: &Learner,
        params: &MetaParams,
        contexts: &[&[Sequence]],
    ) -> Result<Vec<Adapted>> {
        let segments = contexts.iter().map(|segments| segments.len()).max().unwrap_or(0);
        let limits =
            [(&self.limits.episodes_together, contexts.len()), (&self.limits.micro_batch_segments, segments)];
        within(limits, self.tell, |[together, segments]| {
            let learner = learner.with_micro_batch(segments);
            let parts = contexts.chunks(together).map(|part| learner.adapt_together(params, part));
            Ok(parts.collect::<Result<Vec<_>>>()?.concat())
        })
    }

    /// The replies to `prompts`, side by side as far as there is memory.
    fn replies(
        &self,
        asker: &Asker<'_>,
        adapter: Option<AdapterRef<'_>>,
        prompts: &[Vec<u32>],
        decoding: &Decoding,
    ) -> Result<Vec<Reply>> {
        let there = asker.at_once(prompts, decoding);
        within([(&self.limits.questions, there)], self.tell, |[most]| {
            asker.many(adapter, prompts, decoding, most)
        })
    }
}

/// Of the episodes below `count` those of which every question has a record: the records, the last where a question has
/// several, and the number of episodes.
pub fn whole_episodes(records: Vec<SampleRecord>, count: usize) -> (Vec<SampleRecord>, usize) {
    let mut episodes: BTreeMap<usize, BTreeMap<usize, SampleRecord>> = BTreeMap::new();
    for record in records.into_iter().filter(|record| record.index < count) {
        episodes.entry(record.index).or_default().insert(record.question_index, record);
    }
    let is_whole = |episode: &BTreeMap<usize, SampleRecord>| {
        episode.values().all(|record| record.questions == episode.len())
    };
    episodes.retain(|_, episode| is_whole(episode));
    let count = episodes.len();
    (episodes.into_values().flat_map(BTreeMap::into_values).collect(), count)
}

impl Model<'_> {
    /// Episodes with what this model reads their questions with: an adapter that has learned the context, or none. The
    /// contexts are learned together.
    fn encode(
        &self,
        source: &dyn EpisodeSource,
        indices: &[u64],
        by: &Evaluator<'_>,
    ) -> Result<Vec<Encoded>> {
        let mut encoded = vec![];
        for &index in indices {
            let episode = source.episode(index)?;
            let segments = self.encoder.context(&episode.documents);
            let segments = segments.map_err(|fault| fault.in_episode(&episode.name))?;
            encoded.push(Encoded { index, episode, segments, adapter: None, encode_secs: 0.0 });
        }
        let needed = || {
            let reason = || Error::Invalid(format!("{} needs trained parameters", self.method.name()));
            self.params.ok_or_else(reason)
        };
        match self.method {
            Method::Perk => {
                let began = Instant::now();
                let contexts: Vec<_> = encoded.iter().map(|one| &one.segments[..]).collect();
                let adapted = by.adapt(self.learner, needed()?, &contexts)?;
                let encode_secs = began.elapsed().as_secs_f64() / indices.len().max(1) as f64;
                for (one, adapted) in encoded.iter_mut().zip(adapted) {
                    (one.adapter, one.encode_secs) = (Some(adapted.phi), encode_secs);
                }
            }
            Method::NoAdaptation | Method::FtIcr => {
                let adapter = &needed()?.adapter;
                encoded.iter_mut().for_each(|one| one.adapter = Some(adapter.clone()));
            }
            Method::Base | Method::Icr | Method::Rag => {}
        }
        Ok(encoded)
    }

    /// The records of an episode's questions, all of them read side by side.
    fn ask(
        &self,
        source: &CellSource<'_>,
        encoded: Encoded,
        take: Taker<'_>,
        by: &Evaluator<'_>,
    ) -> Result<Vec<SampleRecord>> {
        let Encoded { episode, segments, .. } = &encoded;
        let context = episode.documents.join("\n");
        let began = Instant::now();
        let texts = self.segment_texts(segments)?;
        let prompts = episode.qa.iter().map(|qa| match self.method {
            Method::Rag => self.prompt(segments.len(), &qa.question, &self.retrieved(&texts, &qa.question)),
            _ => self.prompt(segments.len(), &qa.question, &context),
        });
        let prompts = prompts.collect::<Result<Vec<_>>>();
        let prompts = prompts.map_err(|fault| fault.in_episode(&episode.name))?;
        let (prompts, dropped): (Vec<_>, Vec<_>) =
            prompts.into_iter().map(|cut| (cut.tokens, cut.dropped)).unzip();
        let reasoning = self.reasoning.filter(|_| self.method.is_trained());
        let tokenizer = self.encoder.tokenizer();
        let asker = Asker { decoder: &self.learner.backbone.decoder, tokenizer, reasoning };
        let decoding = Decoding {
            stops: tokenizer.stop_ids().to_vec(),
            max_new_tokens: self.max_new_tokens,
            sampling: Sampling::Greedy,
        };
        let adapter = encoded.adapter.as_deref().map(|phi| (&self.learner.layout, phi));
        // Looking for segments is a part of asking.
        let retrieval_secs = began.elapsed().as_secs_f64() / episode.qa.len().max(1) as f64;
        let replies = by.replies(&asker, adapter, &prompts, &decoding)?;
        let mut records = vec![];
        for (question_index, (mut reply, dropped_tokens)) in replies.into_iter().zip(dropped).enumerate() {
            if self.method == Method::Rag {
                reply.secs += retrieval_secs;
            }
            let facts = self.encoder.facts(&episode.qa[question_index], &context);
            let support = reasoning.and_then(|reasoning| reasoning.score(&reply, &facts));
            let record = self.record(source, &encoded, question_index, reply)?;
            let record = SampleRecord { facts, support, dropped_tokens, ..record };
            take(&record, &prompts[question_index])?;
            records.push(record);
        }
        Ok(records)
    }

    fn record(
        &self,
        source: &CellSource<'_>,
        encoded: &Encoded,
        question_index: usize,
        reply: Reply,
    ) -> Result<SampleRecord> {
        let Encoded { index, episode, segments, .. } = encoded;
        let qa = &episode.qa[question_index];
        if qa.answers.is_empty() {
            let reason = "a question has no answer to compare with".to_owned();
            return Err(Error::Invalid(reason).in_episode(&episode.name));
        }
        let cell = source.cell;
        Ok(SampleRecord {
            method: self.method,
            cell: cell.clone(),
            index: *index as usize,
            question_index,
            questions: episode.qa.len(),
            scores: scores(source.metric, &cell.subtask, &qa.question, &qa.answers, &reply.answer)?,
            name: episode.name.clone(),
            context_tokens: count_tokens(segments),
            dropped_tokens: 0,
            question: qa.question.clone(),
            answers: qa.answers.clone(),
            concluded: (reply.answer != reply.output).then_some(reply.answer),
            facts: Vec::new(),
            support: None,
            output: reply.output,
            ended: reply.ended,
            encode_secs: encoded.encode_secs,
            ask_secs: reply.secs,
        })
    }

    /// The texts that are retrieved from, where any are.
    fn segment_texts(&self, segments: &[Sequence]) -> Result<Vec<String>> {
        let tokenizer = self.encoder.tokenizer();
        let text = |segment: &Sequence| tokenizer.decode(&segment.tokens[segment.loss_from..]);
        match self.method {
            Method::Rag => segments.iter().map(text).collect(),
            _ => Ok(Vec::new()),
        }
    }

    /// The segments that are most like the question, in the order of the text.
    fn retrieved(&self, segments: &[String], question: &str) -> String {
        let best = best_segments(segments, question, self.retrieved_segments);
        best.into_iter().map(|index| segments[index].trim()).collect::<Vec<_>>().join("\n")
    }

    /// What the model reads before it answers. A context that is too long loses its middle.
    fn prompt(&self, segments: usize, question: &str, context: &str) -> Result<Cut> {
        let positions = self.learner.backbone.decoder.config.max_positions;
        let room = positions.saturating_sub(self.max_new_tokens);
        let bare = self.encoder.prompt(segments, question, None)?;
        if bare.len() > room {
            let (tokens, answer) = (bare.len(), self.max_new_tokens);
            return Err(Error::Invalid(format!(
                "a question of {tokens} tokens and an answer of up to {answer} (--max-tokens, eval.max_new_tokens) \
                 do not fit the {positions} positions of the model"
            )));
        }
        if !self.method.reads_context() {
            return Ok(Cut { tokens: bare, dropped: 0 });
        }
        let whole = self.encoder.prompt(segments, question, Some(context))?;
        let dropped = whole.len().saturating_sub(room);
        if dropped == 0 {
            return Ok(Cut { tokens: whole, dropped });
        }
        let kept = whole.len() - bare.len() - dropped;
        // What comes before the context stays, whatever else goes: the begin token, or a chat template's opening.
        let opening = whole.iter().zip(&bare).take_while(|(a, b)| a == b).count();
        let head = (kept / 2).max(opening);
        Ok(Cut { tokens: [&whole[..head], &whole[head + dropped..]].concat(), dropped })
    }
}
