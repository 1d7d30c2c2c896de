//! One request while it is answered beside others.

use std::ops::ControlFlow;

use super::{End, Fault, Given, Request, Said};
use crate::commands::Respondent;
use crate::eval::Growing;
use crate::model::{Decoding, Ended, Generation};
use crate::text::{AnswerForm, Prompt, StopStrings, TextStream};

/// A request whose prompt is known.
pub struct Row<'a> {
    request: &'a Request,
    /// Its tokens.
    pub prompt: Vec<u32>,
    /// How it is gone on with.
    pub decoding: Decoding,
}

/// What a row has written.
pub struct Written<'a> {
    request: &'a Request,
    respondent: &'a Respondent,
    text: Option<Text<'a>>,
    stop: StopStrings,
    fault: Option<Fault>,
}

/// How tokens become what a client reads.
enum Text<'a> {
    /// An answer, without the facts that lead to it.
    Answer(Growing<'a>),
    /// All of it.
    Plain(TextStream<'a>),
}

impl<'a> Row<'a> {
    /// The row of a request.
    ///
    /// # Errors
    /// A question that cannot be asked, or a prompt too long for the model; the client's fault.
    pub fn new(request: &'a Request, respondent: &Respondent, most_tokens: usize) -> Result<Self, Fault> {
        let refused = |fault: crate::Error| Fault::Refused(fault.to_string());
        let (tokenizer, shape) = (&respondent.tokenizer, &respondent.decoder.config);
        let prompt = match &request.given {
            Given::Question(question) => {
                respondent.question(question).and_then(|prompt| tokenizer.encode_prompt(&prompt))
            }
            Given::Text(text) => tokenizer.encode_prompt(&Prompt::given(text)),
        };
        let prompt = prompt.map_err(refused)?;
        if prompt.is_empty() {
            return Err(Fault::Refused("the prompt is empty".to_owned()));
        }
        let wanted = request.manner.max_tokens.unwrap_or(respondent.usual_tokens).min(most_tokens);
        let room = shape.max_positions.saturating_sub(prompt.len());
        if room == 0 {
            let (has, most) = (prompt.len(), shape.max_positions);
            let reason = format!("the prompt has {has} tokens, and the model's positions end at {most}");
            return Err(Fault::Refused(reason));
        }
        let decoding = Decoding {
            stops: tokenizer.stop_ids().to_vec(),
            max_new_tokens: wanted.min(room),
            sampling: request.manner.sampling,
        };
        Ok(Self { request, prompt, decoding })
    }

    /// Tells the client why there is no answer.
    pub fn fail(&self, fault: Fault) {
        self.request.say(Said::Fault(fault));
    }

    /// Most tokens that the row fills in the cache of keys and values.
    pub fn most_tokens(&self) -> usize {
        self.prompt.len() + self.decoding.max_new_tokens
    }

    /// Tells the client that its answer begins; `form` is that of the model's answers.
    pub fn begin(&self, respondent: &'a Respondent, form: &'a AnswerForm) -> Written<'a> {
        let text = match &self.request.given {
            Given::Question(_) => Text::Answer(Growing::new(form, &respondent.tokenizer)),
            Given::Text(_) => Text::Plain(respondent.tokenizer.stream()),
        };
        self.request.say(Said::Begun { prompt_tokens: self.prompt.len() });
        let stop = StopStrings::new(&self.request.manner.stop);
        Written { request: self.request, respondent, text: Some(text), stop, fault: None }
    }
}

impl Written<'_> {
    /// Takes the next token; breaks where the answer ends, or the client has left. A fault of this row is kept for its end,
    /// so that the others go on.
    pub fn push(&mut self, token: u32) -> ControlFlow<()> {
        let pushed = match &mut self.text {
            None => return ControlFlow::Break(()),
            Some(Text::Answer(growing)) => growing.push(token).map(|flow| (growing.more().to_owned(), flow)),
            Some(Text::Plain(stream)) => {
                stream.push(token).map(|text| (text.unwrap_or_default(), ControlFlow::Continue(())))
            }
        };
        let (text, flow) = match pushed {
            Ok(pushed) => pushed,
            Err(fault) => {
                self.fault = Some(Fault::Internal(fault.to_string()));
                return ControlFlow::Break(());
            }
        };
        self.say(&text);
        match self.stop.is_stopped() || self.request.to.is_closed() {
            true => ControlFlow::Break(()),
            false => flow,
        }
    }

    fn say(&mut self, text: &str) {
        let text = self.stop.push(text);
        if !text.is_empty() {
            self.request.say(Said::Text(text));
        }
    }

    /// Tells the client that its answer is whole, or what was wrong with it.
    pub fn end(mut self, generation: &Generation) {
        let request = self.request;
        match self.rest() {
            Err(fault) => request.say(Said::Fault(fault)),
            Ok((rest, support)) => {
                self.say(&rest);
                let is_whole = self.stop.is_stopped() || generation.ended != Ended::Limit;
                let held = self.stop.finish();
                if !held.is_empty() {
                    request.say(Said::Text(held));
                }
                request.say(Said::Ended(End { is_whole, tokens: generation.tokens.len(), support }));
            }
        }
    }

    /// The text that was not given yet, and the facts behind the answer.
    fn rest(&mut self) -> Result<(String, Option<Vec<String>>), Fault> {
        if let Some(fault) = self.fault.take() {
            return Err(fault);
        }
        let separator = self.respondent.reasoning.as_ref().map_or(" ", |reasoning| &reasoning.separator);
        let rest = match self.text.take() {
            None => Ok((String::new(), None)),
            Some(Text::Plain(stream)) => stream.finish().map(|rest| (rest, None)),
            Some(Text::Answer(growing)) => {
                growing.finish().map(|grown| (grown.rest, grown.answer.facts(separator)))
            }
        };
        rest.map_err(|fault| Fault::Internal(fault.to_string()))
    }
}
