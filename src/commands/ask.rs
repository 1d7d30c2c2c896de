//! Asking: the model answers a question from its adapter, without the context in its prompt.

use crate::{
    error::Result,
    eval::{Asker, Reply},
    model::{self, Decoder, Decoding, HubSettings},
    store::StoredAdapter,
    text::{Prompt, Tokenizer},
};

use super::{
    Compute, Respondent, Setup,
    respondent::filled,
    setup::{keeping, recorded_tokenizer},
};

/// A base with an encoded context, ready to be asked.
#[derive(Debug)]
pub struct Memory {
    /// Where the adapter is, and where it came from.
    pub stored: StoredAdapter,
    /// What to tell a person of the base.
    pub notes: Vec<String>,
    respondent: Respondent,
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
        let respondent = Respondent::of_adapter(&stored, decoder, tokenizer)?;
        Ok(Self { stored, notes: Vec::new(), respondent })
    }

    /// Where every answer must end.
    pub fn stops(&self) -> &[u32] {
        self.respondent.tokenizer.stop_ids()
    }

    /// Somebody who answers questions, each for itself, with this access to the context.
    ///
    /// # Errors
    /// A device out of memory.
    pub fn answerer<'m>(&'m self, access: Access<'m>) -> Result<Answerer<'m>> {
        let Respondent { decoder, adapter, .. } = &self.respondent;
        let adapter = adapter.as_ref().filter(|_| access == Access::Adapter);
        let session = model::Session::new(decoder, adapter.map(|adapter| adapter.parts()), 256)?;
        Ok(Answerer { respondent: &self.respondent, access, session })
    }
}

/// Answers questions about one context, each for itself.
pub struct Answerer<'m> {
    respondent: &'m Respondent,
    access: Access<'m>,
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
        let Respondent { decoder, tokenizer, reasoning, .. } = self.respondent;
        let prompt = tokenizer.encode_prompt(&self.prompt(question)?)?;
        let hint = match self.access {
            Access::InContext(_) => "the context is too long for a prompt: encode it",
            Access::Adapter | Access::Base => "ask a shorter question, or allow fewer tokens (--max-tokens)",
        };
        filled(decoder, prompt.len(), decoding.max_new_tokens, hint)?;
        // Only the adapter has learned to answer so.
        let reasoning = reasoning.as_ref().filter(|_| self.access == Access::Adapter);
        Asker { decoder, tokenizer, reasoning }.one(&mut self.session, &prompt, decoding, on_text)
    }

    fn prompt(&self, question: &str) -> Result<Prompt> {
        let prompt = self.respondent.question(question)?;
        Ok(match self.access {
            Access::InContext(context) => prompt.behind(context),
            Access::Adapter | Access::Base => prompt,
        })
    }
}
