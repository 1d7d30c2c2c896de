//! Asking: the model answers a question from its adapter, without the context in its prompt.

use crate::{
    error::{Error, Result},
    eval::{Asker, Reasoning, Reply},
    model::lora::Adapter,
    model::{self, Decoder, Decoding, HubSettings},
    store::{RECORD_FILE, StoredAdapter},
    text::{AnswerForm, ChatForm, Prompt, Template, Tokenizer},
};

use super::{
    Compute, Setup,
    setup::{keeping, recorded_tokenizer},
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
        let files = stored.own_base(base, hub)?.files;
        let (storage, dtype) = keeping(model.storage);
        let tokenizer = recorded_tokenizer(model, &files)?;
        let device = compute.device.open()?.device;
        let (decoder, notes) = files.decoder(storage, dtype, &device)?;
        let decoder = decoder.packed(compute.matmul_precision.unwrap_or(model.matmul_precision))?;
        let memory = Self::new(stored, decoder, tokenizer)?;
        Ok(Self { notes, ..memory })
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
        Ok(Answerer { memory: self, access, reasoning, session })
    }
}

/// Answers questions about one context, each for itself.
pub struct Answerer<'m> {
    memory: &'m Memory,
    access: Access<'m>,
    /// `None` where only an answer is expected.
    reasoning: Option<&'m Reasoning>,
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
        let prompt = self.memory.tokenizer.encode_prompt(&self.prompt(question)?)?;
        self.require_room(prompt.len().saturating_add(decoding.max_new_tokens))?;
        let asker = Asker {
            decoder: &self.memory.decoder,
            tokenizer: &self.memory.tokenizer,
            reasoning: self.reasoning,
        };
        asker.one(&mut self.session, &prompt, decoding, on_text)
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
