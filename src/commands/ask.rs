//! Asking: the model answers a question from its adapter, without the context in its prompt.

use std::time::Instant;

use serde::Serialize;

use crate::{
    error::{Error, Result},
    eval::Reasoning,
    model::lora::Adapter,
    model::{self, Decoder, Decoding, Ended, Generation, HubSettings},
    store::{RECORD_FILE, StoredAdapter},
    text::{AnswerForm, ChatForm, Closing, Prompt, Template, Tokenizer},
};

use super::{
    Compute, Setup,
    setup::{dtypes, recorded_tokenizer},
};

/// A base with an encoded context, ready to be asked.
#[derive(Debug)]
pub struct Memory {
    /// Where the adapter is, and where it came from.
    pub stored: StoredAdapter,
    /// What to tell a person of the base.
    pub notes: Vec<String>,
    decoder: Decoder,
    adapter: Adapter,
    tokenizer: Tokenizer,
    template: Template,
    /// How answers recall their facts, where the adapter was trained on such.
    reasoning: Option<Reasoning>,
}

/// How the model gets at the context.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access<'a> {
    /// From the adapter.
    Adapter,
    /// Not at all: the base alone.
    Base,
    /// From its prompt: the base alone, with this context.
    InContext(&'a str),
}

/// An answer, and what it took.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Reply {
    /// What was concluded, without the facts and the marks around it.
    pub answer: String,
    /// The facts that it recalled, where it names any.
    pub support: Option<Vec<String>>,
    /// All that the model wrote.
    pub output: String,
    /// The tokens that the model wrote, without the one that ended it.
    pub token_ids: Vec<u32>,
    /// Number of these tokens.
    pub tokens: usize,
    /// Whether the model ended the answer itself, before the limit.
    pub ended: bool,
    /// Whether an answer that was to recall its facts lacks a mark of its form.
    pub malformed: bool,
    /// Length of the prompt, in tokens.
    pub prompt_tokens: usize,
    /// Seconds from the question to the first token.
    pub first_token_secs: f64,
    /// Seconds from the question to the last token.
    pub secs: f64,
}

impl Memory {
    /// Loads the adapter and the base that it belongs to; `base` says where that is, if not where it was.
    ///
    /// # Errors
    /// A base that cannot be found or is another one, an adapter that is damaged, a device that is not there.
    pub fn open(
        stored: StoredAdapter,
        base: Option<&str>,
        compute: Compute,
        hub: &HubSettings,
    ) -> Result<Self> {
        let model = &stored.record.base.model;
        let folder = stored.own_base(base, hub)?.folder;
        let (storage, dtype) = dtypes(model.storage);
        let tokenizer = recorded_tokenizer(model, &folder)?;
        let device = compute.device.open()?.device;
        let (decoder, note) = Decoder::load_and_note(&folder, storage, dtype, &device)?;
        let decoder = decoder.packed(compute.matmul_precision.unwrap_or(model.matmul_precision))?;
        let memory = Self::new(stored, decoder, tokenizer)?;
        Ok(Self { notes: note.into_iter().collect(), ..memory })
    }

    /// The adapter on a base that is loaded already.
    ///
    /// # Errors
    /// An adapter that is damaged.
    pub fn of_setup(stored: StoredAdapter, setup: &Setup) -> Result<Self> {
        Self::new(stored, setup.decoder().clone(), setup.tokenizer.clone())
    }

    fn new(stored: StoredAdapter, decoder: Decoder, tokenizer: Tokenizer) -> Result<Self> {
        // Loading names the tensor that is wrong; the digest sees any change of the files.
        let adapter = stored.load(&decoder.config, decoder.dtype, &decoder.device)?;
        stored.verify()?;
        let recipe = &stored.record.recipe;
        let fault = |key: &str, reason: String| {
            Error::file(stored.dir.join(RECORD_FILE), format!("`{key}` {reason}"))
        };
        let template = Template::parse(&recipe.prompt).map_err(|reason| fault("prompt", reason))?;
        let chat = recipe.chat_template.as_deref().map(ChatForm::parse).transpose();
        let template = template.in_chat(chat.map_err(|reason| fault("chat_template", reason))?);
        let reasoning = recipe.reasoning.as_ref().map(|reasoning| {
            let form = AnswerForm::parse_template(&reasoning.form)?;
            Ok(Reasoning { form, separator: reasoning.separator.clone() })
        });
        let reasoning = reasoning.transpose().map_err(|reason| fault("reasoning.form", reason))?;
        Ok(Self { stored, notes: Vec::new(), decoder, adapter, tokenizer, template, reasoning })
    }

    /// Where every answer must end.
    pub fn stops(&self) -> &[u32] {
        self.tokenizer.stop_ids()
    }

    /// Somebody who answers questions, each for itself, with this access to the context.
    ///
    /// # Errors
    /// A device out of memory.
    pub fn answerer<'m>(&'m self, access: Access<'m>) -> Result<Answerer<'m>> {
        let adapter = (access == Access::Adapter).then(|| self.adapter.parts());
        let session = model::Session::new(&self.decoder, adapter, 256)?;
        // Only the adapter has learned to answer so.
        let reasoning = self.reasoning.as_ref().filter(|_| access == Access::Adapter);
        Ok(Answerer { memory: self, access, reasoning: reasoning.cloned(), session })
    }
}

/// Answers questions about one context, each for itself.
pub struct Answerer<'m> {
    memory: &'m Memory,
    access: Access<'m>,
    /// `None` where only an answer is expected.
    reasoning: Option<Reasoning>,
    session: model::Session<'m>,
}

impl Answerer<'_> {
    /// Answers `question`; `on_text` is given the answer as it comes, without the facts that it was led to by.
    ///
    /// # Errors
    /// A prompt that is longer than the model's positions, an adapter that has diverged, and what `on_text`
    /// returns.
    pub fn ask(
        &mut self,
        question: &str,
        decoding: &Decoding,
        on_text: &mut dyn FnMut(&str) -> Result<()>,
    ) -> Result<Reply> {
        let began = Instant::now();
        let tokenizer = &self.memory.tokenizer;
        let prompt = tokenizer.encode_prompt(&self.prompt(question)?)?;
        self.require_room(prompt.len().saturating_add(decoding.max_new_tokens))?;
        self.session.clear();
        let tags = Reasoning::default();
        let Reasoning { form, separator } = self.reasoning.as_ref().unwrap_or(&tags);
        let (mut closing, mut printed, mut first_token_secs) =
            (Closing::new(form, tokenizer), String::new(), None);
        let Generation { tokens, ended } = self.session.generate(&prompt, decoding, &mut |token| {
            first_token_secs.get_or_insert_with(|| began.elapsed().as_secs_f64());
            let flow = closing.push(token)?;
            // A mark in an unusual place takes back what was shown: then the rest waits for the end.
            if let Some(more) = form.shown(closing.text()).strip_prefix(&printed).filter(|m| !m.is_empty()) {
                on_text(more)?;
                printed += more;
            }
            Ok(flow)
        })?;
        let (output, secs) = (closing.finish()?, began.elapsed().as_secs_f64());
        let answer = form.parse(&output);
        match answer.answer.strip_prefix(&printed) {
            // What might have become a mark was held back.
            Some(more) => on_text(more)?,
            None => on_text(&format!("\n{}", answer.answer))?,
        }
        Ok(Reply {
            malformed: self.reasoning.is_some() && !answer.is_whole,
            support: answer.facts(separator),
            answer: answer.answer,
            output: output.trim().to_owned(),
            tokens: tokens.len(),
            token_ids: tokens,
            ended: ended != Ended::Limit,
            prompt_tokens: prompt.len(),
            first_token_secs: first_token_secs.unwrap_or(secs),
            secs,
        })
    }

    fn prompt(&self, question: &str) -> Result<Prompt> {
        if question.trim().is_empty() {
            return Err(Error::Invalid("the question is empty".to_owned()));
        }
        let documents = self.memory.stored.record.context.segments;
        let prompt = self.memory.template.prompt(documents, question.trim());
        Ok(match self.access {
            Access::InContext(context) => prompt.behind(context),
            Access::Adapter | Access::Base => prompt,
        })
    }

    fn require_room(&self, needed: usize) -> Result<()> {
        let room = self.memory.decoder.config.max_positions;
        if needed <= room {
            return Ok(());
        }
        let hint = match self.access {
            Access::InContext(_) => "the context is too long for a prompt: encode it",
            Access::Adapter | Access::Base => "ask a shorter question, or allow fewer tokens (--max-tokens)",
        };
        Err(Error::Invalid(format!(
            "question and answer need {needed} positions, the model has {room}: {hint}"
        )))
    }
}
