//! Memories: documents that are written into adapters, and what becomes of them.

use std::convert::Infallible;
use std::sync::Arc;

use axum::extract::{Path, Request, State};
use axum::http::StatusCode;
use axum::response::sse::{self, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::stream::unfold;
use serde_json::{Value, json};
use tokio::sync::watch;

use super::fault::Fault;
use super::requests;
use super::{Handle, aside, body, internal, ok};
use crate::error::Error;
use crate::serve::Shared;
use crate::serve::memories::{Event, Work};
use crate::serve::models::Missing;
use crate::store::StoredAdapter;
use crate::tasks::Context;

/// A memory that a request has led to.
enum Put {
    /// It was there already.
    There(String, Box<StoredAdapter>),
    /// It is on its way.
    Coming(Arc<Work>),
}

/// `POST /v1/memories`: takes a document, and returns before it is memorised.
pub async fn put(State(app): Handle, request: Request) -> Result<Response, Fault> {
    let context = requests::document(&body(&app, request).await?)?;
    if *app.closing.borrow() {
        return Err(Fault::closing());
    }
    Ok(match aside(&app, move |shared| take(shared, context)).await? {
        Put::There(name, stored) => ok(ready(&name, &stored)),
        Put::Coming(work) => (StatusCode::ACCEPTED, ok(of_work(&work))).into_response(),
    })
}

fn take(shared: &Shared, context: Context) -> Result<Put, Fault> {
    let key = shared.start.key(&context).map_err(internal)?;
    if let Some(stored) =
        shared.store.with_key(&key).map_err(internal)?.filter(|stored| stored.verify().is_ok())
    {
        return Ok(Put::There(name_of(&stored), Box::new(stored)));
    }
    let tokens = shared.start.tokens(&context).map_err(|fault| match fault {
        Error::Invalid(reason) => Fault::field("text", reason),
        other => internal(other),
    })?;
    if tokens > shared.limits.context_tokens {
        let most = shared.limits.context_tokens;
        let reason = format!("the document has {tokens} tokens, and this server takes {most}");
        return Err(Fault::new(StatusCode::PAYLOAD_TOO_LARGE, reason));
    }
    let name = shared.start.name(&key, &context);
    shared.memories.put(name, key, context).map(Put::Coming).map_err(|_| Fault::full())
}

/// `GET /v1/memories`
pub async fn list(State(app): Handle) -> Result<Response, Fault> {
    let all = aside(&app, |shared| {
        let stored = shared.models.stored().map_err(internal)?;
        let mut all: Vec<Value> = stored.iter().map(|(name, stored)| ready(name, stored)).collect();
        let is_stored = |work: &Arc<Work>| stored.iter().any(|(name, _)| *name == work.name);
        let others = shared.memories.all().into_iter().filter(|work| !is_stored(work));
        all.extend(others.filter(|work| work.history.last() != Event::Ready).map(|work| of_work(&work)));
        Ok(all)
    });
    Ok(ok(json!({ "object": "list", "data": all.await? })))
}

/// `GET /v1/memories/NAME`
pub async fn show(State(app): Handle, Path(name): Path<String>) -> Result<Response, Fault> {
    Ok(ok(aside(&app, move |shared| find(shared, &name)).await?))
}

fn find(shared: &Shared, name: &str) -> Result<Value, Fault> {
    let work = shared.memories.find(name);
    if let Some(work) = work.as_ref().filter(|work| work.goes_on()) {
        return Ok(of_work(work));
    }
    match (shared.models.open(name), work) {
        (Ok(stored), _) => Ok(ready(name, &stored)),
        (Err(_), Some(work)) if work.history.last() != Event::Ready => Ok(of_work(&work)),
        (Err(Missing::Unusable(reason)), _) => Err(Fault::new(StatusCode::CONFLICT, reason)),
        (Err(Missing::Unknown), _) => Err(Fault::unknown("memory", name)),
    }
}

/// `DELETE /v1/memories/NAME`: stops the encoding, or takes the adapter out of memory and store.
pub async fn remove(State(app): Handle, Path(name): Path<String>) -> Result<Response, Fault> {
    let gone = name.clone();
    aside(&app, move |shared| forget(shared, &gone)).await?;
    Ok(ok(json!({ "id": name, "object": "memory", "deleted": true })))
}

fn forget(shared: &Shared, name: &str) -> Result<(), Fault> {
    let work = shared.memories.find(name);
    if let Some(work) = work.as_ref().filter(|work| work.goes_on()) {
        work.cancel();
        return Ok(());
    }
    shared.memories.forget(name);
    shared.models.forget(name);
    match shared.store.has(name) {
        true => shared
            .store
            .remove(name)
            .map(drop)
            .map_err(|fault| Fault::new(StatusCode::CONFLICT, fault.to_string())),
        false if work.is_some() => Ok(()),
        false => Err(Fault::unknown("memory", name)),
    }
}

/// `GET /v1/memories/NAME/events`: what happened and happens, to the end.
pub async fn events(State(app): Handle, Path(name): Path<String>) -> Result<Response, Fault> {
    let following = match app.shared.memories.find(&name) {
        Some(work) => Following::new(work, app.closing.clone()),
        None => {
            // What was memorised before this server began has one event.
            let shown = name.clone();
            aside(&app, move |shared| find(shared, &shown)).await?;
            Following::done(app.closing.clone())
        }
    };
    let events = unfold(following, async |mut following| {
        let event = following.next().await?;
        let data = serde_json::to_string(&event).unwrap_or_default();
        Some((Ok::<_, Infallible>(sse::Event::default().data(data)), following))
    });
    Ok(Sse::new(events).keep_alive(KeepAlive::default()).into_response())
}

/// Somebody who follows a document.
struct Following {
    work: Option<(Arc<Work>, watch::Receiver<usize>)>,
    /// Events that were taken and not yet given, the next last.
    waiting: Vec<Event>,
    taken: usize,
    is_over: bool,
    closing: watch::Receiver<bool>,
}

impl Following {
    fn new(work: Arc<Work>, closing: watch::Receiver<bool>) -> Self {
        let count = work.history.watch();
        Self { work: Some((work, count)), waiting: vec![], taken: 0, is_over: false, closing }
    }

    fn done(closing: watch::Receiver<bool>) -> Self {
        Self { work: None, waiting: vec![Event::Ready], taken: 0, is_over: false, closing }
    }

    async fn next(&mut self) -> Option<Event> {
        loop {
            if self.is_over {
                return None;
            }
            if let Some(event) = self.waiting.pop() {
                self.is_over = event.is_last();
                return Some(event);
            }
            let (work, count) = self.work.as_mut()?;
            count.borrow_and_update();
            self.waiting = work.history.since(self.taken);
            self.taken += self.waiting.len();
            self.waiting.reverse();
            if self.waiting.is_empty() {
                tokio::select! {
                    changed = count.changed() => changed.ok()?,
                    _ = self.closing.wait_for(|closing| *closing) => return None,
                }
            }
        }
    }
}

fn name_of(stored: &StoredAdapter) -> String {
    stored.dir.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// A memory that can be asked.
fn ready(name: &str, stored: &StoredAdapter) -> Value {
    let record = &stored.record;
    json!({
        "id": name, "object": "memory", "status": "ready", "key": record.key, "sources": record.context.sources,
        "tokens": record.context.tokens, "segments": record.context.segments, "bytes": record.adapter.bytes,
        "inner_loss": record.losses.inner, "next_token_loss": record.losses.cross_entropy,
        "secs": record.cost.inner_secs,
    })
}

/// A memory that is on its way, or will never be.
fn of_work(work: &Work) -> Value {
    let last = work.history.last();
    let mut value = json!({ "id": work.name, "object": "memory", "status": last.status(), "key": work.key });
    if let Event::Failed { reason } = last {
        value["error"] = json!(reason);
    }
    value
}
