//! Who is asked: a base with an encoded context, or the base alone.

use crate::{
    error::{Error, Result},
    eval::Reasoning,
    model::{Decoder, lora::Adapter},
    store::{RECORD_FILE, StoredAdapter},
    text::{AnswerForm, ChatForm, Prompt, Template, Tokenizer},
};

use super::Setup;

/// A base that answers questions from its adapter, or from what it knows itself.
#[derive(Debug, Clone)]
pub struct Respondent {
    /// The frozen base.
    pub decoder: Decoder,
    /// What was learned of a context; `None` for the base alone.
    pub adapter: Option<Adapter>,
    /// The base's tokenizer.
    pub tokenizer: Tokenizer,
    /// How answers recall their facts, where the adapter was trained on such.
    pub reasoning: Option<Reasoning>,
    /// Longest answer that was asked for in training, in tokens; of the base alone there is no such length.
    pub usual_tokens: usize,
    template: Template,
    /// How many segments the prompt says that the model knows.
    documents: usize,
}

impl Respondent {
    /// A stored adapter on its base, which is loaded already.
    ///
    /// # Errors
    /// An adapter that is damaged, or that does not fit the base.
    pub fn of_adapter(stored: &StoredAdapter, decoder: Decoder, tokenizer: Tokenizer) -> Result<Self> {
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
        Ok(Self {
            decoder,
            adapter: Some(adapter),
            tokenizer,
            reasoning,
            usual_tokens: recipe.max_new_tokens,
            template,
            documents: stored.record.context.segments,
        })
    }

    /// The base of `setup`, which is asked in its own chat template if it has one, and else in the prompt of the
    /// configuration.
    ///
    /// # Errors
    /// A chat template that cannot be used.
    pub fn of_base(setup: &Setup) -> Result<Self> {
        let tokenizer = setup.tokenizer.clone();
        let (prompt, chat) = match setup.base.files.chat(None, &tokenizer)? {
            Some(chat) => ("{question}{answer}", Some(chat.form)),
            None => (setup.config.data.prompt.as_str(), None),
        };
        let template = Template::parse(prompt)
            .map_err(|reason| Error::Invalid(format!("`data.prompt` {reason}")))?
            .in_chat(chat);
        Ok(Self {
            decoder: setup.decoder().clone(),
            adapter: None,
            tokenizer,
            reasoning: None,
            usual_tokens: usize::MAX,
            template,
            documents: 0,
        })
    }

    /// The form in which it answers; answers of untrained models may have the authors' tags.
    pub fn form(&self) -> AnswerForm {
        self.reasoning.as_ref().map_or_else(AnswerForm::default, |reasoning| reasoning.form.clone())
    }

    /// The prompt of a question.
    ///
    /// # Errors
    /// An empty question.
    pub fn question(&self, question: &str) -> Result<Prompt> {
        match question.trim() {
            "" => Err(Error::Invalid("the question is empty".to_owned())),
            question => Ok(self.template.prompt(self.documents, question)),
        }
    }
}

/// Refuses a prompt that leaves no room for the answer among the model's positions.
///
/// # Errors
/// Too many tokens; `hint` says what to do.
pub(super) fn filled(decoder: &Decoder, prompt: usize, new: usize, hint: &str) -> Result<()> {
    let (needed, room) = (prompt.saturating_add(new), decoder.config.max_positions);
    if needed <= room {
        return Ok(());
    }
    Err(Error::Invalid(format!("question and answer need {needed} positions, the model has {room}: {hint}")))
}
