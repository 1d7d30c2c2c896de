//! OpenAI's routes: chats, completions, models.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use axum::extract::{Path, Request, State};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::stream::unfold;
use serde_json::{Value, json};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::time::{Instant, timeout_at};

use super::fault::Fault;
use super::requests::{self, Asked};
use super::{App, Handle, aside, body, internal, ok};
use crate::serve::asking::{self, End, Given, Said};
use crate::serve::models::Listed;

/// `POST /v1/chat/completions`
pub async fn chat(State(app): Handle, request: Request) -> Result<Response, Fault> {
    let asked = requests::chat(&body(&app, request).await?)?;
    answer(app, asked).await
}

/// `POST /v1/completions`
pub async fn completion(State(app): Handle, request: Request) -> Result<Response, Fault> {
    let asked = requests::completion(&body(&app, request).await?)?;
    answer(app, asked).await
}

/// `GET /v1/models`
pub async fn models(State(app): Handle) -> Result<Response, Fault> {
    let models = aside(&app, |shared| shared.models.list().map_err(internal)).await?;
    let models: Vec<_> = models.iter().map(listed).collect();
    Ok(ok(json!({ "object": "list", "data": models })))
}

/// `GET /v1/models/NAME`
pub async fn model(State(app): Handle, Path(name): Path<String>) -> Result<Response, Fault> {
    let models = aside(&app, |shared| shared.models.list().map_err(internal)).await?;
    let found = models.iter().find(|model| model.name == name);
    found.map(|model| ok(listed(model))).ok_or_else(|| Fault::unknown("model", &name))
}

fn listed(model: &Listed) -> Value {
    json!({ "id": model.name, "object": "model", "created": model.created, "owned_by": "perk" })
}

/// An answer on its way.
struct Answering {
    app: Arc<App>,
    form: Form,
    from: UnboundedReceiver<Said>,
    until: Instant,
    prompt_tokens: usize,
}

/// What comes after the beginning.
enum More {
    Text(String),
    End(End),
}

/// What answers look like.
struct Form {
    model: String,
    id: String,
    created: u64,
    is_chat: bool,
    include_usage: bool,
}

async fn answer(app: Arc<App>, asked: Asked) -> Result<Response, Fault> {
    let is_chat = matches!(asked.given, Given::Question(_));
    let created = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let prefix = if is_chat { "chatcmpl" } else { "cmpl" };
    let form = Form {
        id: format!("{prefix}-{:032x}", rand::random::<u128>()),
        model: asked.model.clone(),
        created,
        is_chat,
        include_usage: asked.include_usage,
    };
    let (to, from) = unbounded_channel();
    let request = asking::Request { model: asked.model, given: asked.given, manner: asked.manner, to };
    if *app.closing.borrow() {
        return Err(Fault::closing());
    }
    app.shared.desk.put(request).map_err(|_| Fault::full())?;
    let until = Instant::now() + app.shared.limits.answer_time;
    let mut answering = Answering { app, form, from, until, prompt_tokens: 0 };
    // What is wrong with the request is known before anything is sent.
    match answering.next().await? {
        Said::Begun { prompt_tokens } => answering.prompt_tokens = prompt_tokens,
        _ => return Err(Fault::internal("the answer had no beginning")),
    }
    match asked.stream {
        true => Ok(answering.stream()),
        false => answering.whole().await,
    }
}

impl Answering {
    /// What is said next.
    async fn next(&mut self) -> Result<Said, Fault> {
        match timeout_at(self.until, self.from.recv()).await {
            Err(_) => Err(Fault::late()),
            Ok(None) => Err(Fault::closing()),
            Ok(Some(Said::Fault(fault))) => Err(Fault::of_answer(fault, &self.form.model)),
            Ok(Some(said)) => Ok(said),
        }
    }

    /// More of the answer.
    async fn more(&mut self) -> Result<More, Fault> {
        match self.next().await? {
            Said::Text(text) => Ok(More::Text(text)),
            Said::Ended(end) => Ok(More::End(end)),
            Said::Begun { .. } | Said::Fault(_) => Err(Fault::internal("the answer began twice")),
        }
    }

    /// The numbers of tokens, which are counted here.
    fn usage(&self, end: &End) -> Value {
        self.app.shared.metrics.tokens(self.prompt_tokens, end.tokens);
        let (prompt, answer) = (self.prompt_tokens, end.tokens);
        json!({ "prompt_tokens": prompt, "completion_tokens": answer, "total_tokens": prompt + answer })
    }

    /// The answer in one piece.
    async fn whole(mut self) -> Result<Response, Fault> {
        let mut text = String::new();
        let end = loop {
            match self.more().await? {
                More::Text(more) => text += &more,
                More::End(end) => break end,
            }
        };
        let mut answer = self.form.object("", &self.form.choice(&text, &end));
        answer["usage"] = self.usage(&end);
        answer["perk"] = json!({ "support": end.support });
        Ok(ok(answer))
    }

    /// The answer as it comes: events, the last of which is `[DONE]`.
    fn stream(self) -> Response {
        let first = self.form.is_chat.then(|| self.form.delta(json!({ "role": "assistant", "content": "" })));
        let waiting: Vec<String> = first.map(|first| first.to_string()).into_iter().collect();
        let events = unfold((Some(self), waiting.into_iter()), async |(answering, mut waiting)| {
            if let Some(event) = waiting.next() {
                return Some((Ok::<_, Infallible>(Event::default().data(event)), (answering, waiting)));
            }
            let (answering, events) = answering?.events().await;
            let mut waiting = events.into_iter();
            let event = waiting.next()?;
            Some((Ok(Event::default().data(event)), (answering, waiting)))
        });
        Sse::new(events).keep_alive(KeepAlive::default()).into_response()
    }

    /// The next events; nothing answers any more after the last.
    async fn events(mut self) -> (Option<Self>, Vec<String>) {
        let end = match self.more().await {
            Err(fault) => return (None, vec![fault.json().to_string()]),
            Ok(More::End(end)) => end,
            Ok(More::Text(text)) => {
                let event = match self.form.is_chat {
                    true => self.form.delta(json!({ "content": text })),
                    false => self.form.object(".chunk", &self.form.part(&text, Value::Null)),
                };
                return (Some(self), vec![event.to_string()]);
            }
        };
        let usage = self.usage(&end);
        let mut last = self.form.object(".chunk", &self.form.last(&end));
        last["perk"] = json!({ "support": end.support });
        let mut events = vec![last.to_string()];
        if self.form.include_usage {
            let mut event = self.form.object(".chunk", &json!(null));
            event["choices"] = json!([]);
            event["usage"] = usage;
            events.push(event.to_string());
        }
        events.push("[DONE]".to_owned());
        (None, events)
    }
}

impl Form {
    /// An answer or a part of one, `.chunk`, with its choice.
    fn object(&self, part: &str, choice: &Value) -> Value {
        // Parts of a completion are called as the whole.
        let kind = match self.is_chat {
            true => format!("chat.completion{part}"),
            false => "text_completion".to_owned(),
        };
        json!({
            "id": self.id, "object": kind, "created": self.created, "model": self.model, "choices": [choice],
        })
    }

    fn choice(&self, text: &str, end: &End) -> Value {
        match self.is_chat {
            true => json!({
                "index": 0, "message": { "role": "assistant", "content": text, "refusal": null }, "logprobs": null,
                "finish_reason": reason(end),
            }),
            false => self.part(text, reason(end)),
        }
    }

    /// A part of a completion.
    fn part(&self, text: &str, reason: Value) -> Value {
        json!({ "index": 0, "text": text, "logprobs": null, "finish_reason": reason })
    }

    /// The part of a chat that holds `delta`.
    fn delta(&self, delta: Value) -> Value {
        let choice = json!({ "index": 0, "delta": delta, "logprobs": null, "finish_reason": null });
        self.object(".chunk", &choice)
    }

    /// The choice that says what ended the answer.
    fn last(&self, end: &End) -> Value {
        match self.is_chat {
            true => json!({ "index": 0, "delta": {}, "logprobs": null, "finish_reason": reason(end) }),
            false => self.part("", reason(end)),
        }
    }
}

fn reason(end: &End) -> Value {
    if end.is_whole { json!("stop") } else { json!("length") }
}
