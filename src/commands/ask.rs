//! Asking: the model answers a question from its adapter, without the context in its prompt.

use std::{ops::ControlFlow, time::Instant};

use serde::Serialize;

use crate::{
    device::DeviceName,
    error::{Error, Result},
    lora::Adapter,
    model::{self, Decoder, Decoding, Ended, Generation, HubSettings},
    store::{RECORD_FILE, StoredAdapter},
    text::{Answer, Template, Tokenizer},
};

use super::{Session, session::dtypes};

/// A base with an encoded context, ready to be asked.
#[derive(Debug)]
pub struct Memory {
    /// Where the adapter is, and where it came from.
    pub stored: StoredAdapter,
    decoder: Decoder,
    adapter: Adapter,
    tokenizer: Tokenizer,
    template: Template,
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
    /// What the model wrote.
    #[serde(rename = "answer")]
    pub text: String,
    /// The same, taken apart.
    #[serde(flatten)]
    pub parsed: Answer,
    /// The tokens that the model wrote, without the one that ended it.
    pub token_ids: Vec<u32>,
    /// Number of these tokens.
    pub tokens: usize,
    /// Whether the model ended the answer itself, before the limit.
    pub ended: bool,
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
        device: DeviceName,
        hub: &HubSettings,
    ) -> Result<Self> {
        let model = &stored.record.base.model;
        let folder = stored.own_base(base, hub)?;
        let (storage, compute) = dtypes(model.storage);
        let tokenizer = Tokenizer::from_folder(&folder, model.end_token.as_deref())?;
        let decoder = Decoder::load(&folder, storage, compute, &device.open()?.device)?;
        Self::new(stored, decoder, tokenizer)
    }

    /// The adapter on a base that is loaded already.
    ///
    /// # Errors
    /// An adapter that is damaged.
    pub fn of_session(stored: StoredAdapter, session: &Session) -> Result<Self> {
        Self::new(stored, session.decoder().clone(), session.tokenizer.clone())
    }

    fn new(stored: StoredAdapter, decoder: Decoder, tokenizer: Tokenizer) -> Result<Self> {
        // Loading names the tensor that is wrong; the digest sees any change of the files.
        let adapter = stored.load(&decoder.config, decoder.dtype, &decoder.device)?;
        stored.verify()?;
        let template = Template::parse(&stored.record.recipe.prompt)
            .map_err(|reason| Error::file(stored.dir.join(RECORD_FILE), format!("`prompt` {reason}")))?;
        Ok(Self { stored, decoder, adapter, tokenizer, template })
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
        Ok(Answerer { memory: self, access, session: model::Session::new(&self.decoder, adapter, 256)? })
    }
}

/// Answers questions about one context, each for itself.
pub struct Answerer<'m> {
    memory: &'m Memory,
    access: Access<'m>,
    session: model::Session<'m>,
}

impl Answerer<'_> {
    /// Answers `question`; `on_text` is given the text as it comes.
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
        let prompt = tokenizer.encode(&self.prompt(question)?)?;
        self.require_room(prompt.len() + decoding.max_new_tokens)?;
        self.session.clear();
        let (mut stream, mut first_token_secs) = (tokenizer.stream(), None);
        let Generation { tokens, ended } = self.session.generate(&prompt, decoding, &mut |token| {
            first_token_secs.get_or_insert_with(|| began.elapsed().as_secs_f64());
            if let Some(text) = stream.push(token)? {
                on_text(&text)?;
            }
            Ok(ControlFlow::Continue(()))
        })?;
        on_text(&stream.finish()?)?;
        let (text, secs) = (tokenizer.decode(&tokens)?, began.elapsed().as_secs_f64());
        Ok(Reply {
            parsed: Answer::parse(&text),
            text: text.trim().to_owned(),
            tokens: tokens.len(),
            token_ids: tokens,
            ended: ended == Ended::StopToken,
            prompt_tokens: prompt.len(),
            first_token_secs: first_token_secs.unwrap_or(secs),
            secs,
        })
    }

    fn prompt(&self, question: &str) -> Result<String> {
        if question.trim().is_empty() {
            return Err(Error::Invalid("the question is empty".to_owned()));
        }
        let documents = self.memory.stored.record.context.segments;
        let prompt = self.memory.template.prompt(documents, question.trim());
        Ok(match self.access {
            Access::InContext(context) => format!("{context}\n{prompt}"),
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
