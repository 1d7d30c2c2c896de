//! HTTP: routes, who may use them, and the bodies of requests.

mod answers;
mod connections;
mod fault;
mod fields;
mod guard;
mod memories;
mod page;
mod requests;

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{MatchedPath, Request, State};
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use http_body_util::BodyExt;
use serde_json::json;
use tokio::sync::watch;

pub use connections::serve;
use fault::Fault;
use guard::Guard;

use super::Shared;

/// How long a client that sends too much is listened to.
const DRAINED: Duration = Duration::from_secs(2);

/// What the body of a request is read as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RequestBody {
    /// Of `/v1/chat/completions`.
    Chat,
    /// Of `/v1/completions`.
    Completion,
    /// Of `POST /v1/memories`.
    Document,
}

impl RequestBody {
    /// Reads a body as the server does.
    ///
    /// # Errors
    /// What the client would be told.
    pub fn check(self, body: &[u8]) -> crate::Result<()> {
        let read = match self {
            Self::Chat => requests::chat(body).map(drop),
            Self::Completion => requests::completion(body).map(drop),
            Self::Document => requests::document(body).map(drop),
        };
        read.map_err(|fault| crate::Error::file("request", fault.json()["error"]["message"].to_string()))
    }
}

/// What every route knows.
struct App {
    shared: Arc<Shared>,
    guard: Guard,
    /// Turns true when the server is told to stop.
    closing: watch::Receiver<bool>,
}

type Handle = State<Arc<App>>;

fn router(app: &Arc<App>) -> Router {
    let guarded = Router::new()
        .route("/v1/chat/completions", post(answers::chat))
        .route("/v1/completions", post(answers::completion))
        .route("/v1/models", get(answers::models))
        .route("/v1/models/{name}", get(answers::model))
        .route("/v1/memories", get(memories::list).post(memories::put))
        .route("/v1/memories/{name}", get(memories::show).delete(memories::remove))
        .route("/v1/memories/{name}/events", get(memories::events))
        .route("/metrics", get(metrics))
        .layer(from_fn_with_state(Arc::clone(app), guard::token));
    Router::new()
        .route("/", get(page::page))
        .route("/page.js", get(page::script))
        .route("/page.css", get(page::style))
        .route("/health", get(health))
        .merge(guarded)
        .fallback(async || Fault::new(StatusCode::NOT_FOUND, "there is nothing at this path"))
        .method_not_allowed_fallback(async || {
            Fault::new(StatusCode::METHOD_NOT_ALLOWED, "this path does not take this method")
        })
        .layer(from_fn_with_state(Arc::clone(app), guard::host))
        .layer(from_fn_with_state(Arc::clone(app), counted))
        .with_state(Arc::clone(app))
}

async fn health(State(app): Handle) -> Response {
    let closing = *app.closing.borrow();
    let (status, word) = match closing {
        true => (StatusCode::SERVICE_UNAVAILABLE, "stopping"),
        false => (StatusCode::OK, "ok"),
    };
    (status, axum::Json(json!({ "status": word, "version": env!("CARGO_PKG_VERSION") }))).into_response()
}

async fn metrics(State(app): Handle) -> Response {
    let text = app.shared.metrics.text(app.shared.desk.len(), app.shared.models.in_memory());
    ([(CONTENT_TYPE, "application/openmetrics-text; version=1.0.0; charset=utf-8")], text).into_response()
}

/// Counts a request by its route; paths that nobody knows are counted together.
async fn counted(State(app): Handle, path: Option<MatchedPath>, request: Request, next: Next) -> Response {
    let began = Instant::now();
    let response = next.run(request).await;
    let route = path.as_ref().map_or("none", MatchedPath::as_str);
    app.shared.metrics.answered(route, response.status().as_u16(), began.elapsed().as_secs_f64());
    response
}

/// The body of a request, which must be JSON: browsers ask before they send JSON to another site's server, so that no page
/// can make its reader's browser write here.
async fn body(app: &App, request: Request) -> Result<Bytes, Fault> {
    let kind = request.headers().get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let plain = kind.split(';').next().unwrap_or_default().trim();
    if !plain.eq_ignore_ascii_case("application/json") {
        let reason = "the body must be JSON, with `Content-Type: application/json`";
        return Err(Fault::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, reason));
    }
    let limits = &app.shared.limits;
    let most = limits.body_bytes;
    let large = || {
        let reason = format!("the body is larger than the {most} bytes that this server takes");
        Fault::new(StatusCode::PAYLOAD_TOO_LARGE, reason)
    };
    let size = http_body::Body::size_hint(request.body());
    if size.lower() > most as u64 {
        drain(request.into_body()).await;
        return Err(large());
    }
    let read = axum::body::to_bytes(request.into_body(), most);
    match tokio::time::timeout(limits.request_time, read).await {
        Ok(Ok(body)) => Ok(body),
        Ok(Err(fault)) if is_limit(&fault) => Err(large()),
        Ok(Err(fault)) => Err(Fault::new(StatusCode::BAD_REQUEST, format!("the body broke off: {fault}"))),
        Err(_) => Err(Fault::new(StatusCode::REQUEST_TIMEOUT, "the body took too long to come")),
    }
}

/// Takes in what a client is about to send, for a moment: one that finds its connection closed while it still sends does not
/// read why.
async fn drain(mut body: Body) {
    let all = async { while body.frame().await.is_some_and(|frame| frame.is_ok()) {} };
    drop(tokio::time::timeout(DRAINED, all).await);
}

fn is_limit(fault: &axum::Error) -> bool {
    let mut cause: Option<&dyn std::error::Error> = Some(fault);
    while let Some(fault) = cause {
        if fault.is::<http_body_util::LengthLimitError>() {
            return true;
        }
        cause = fault.source();
    }
    false
}

/// Runs what reads files or computes away from the threads that serve connections.
async fn aside<T: Send + 'static>(
    app: &Arc<App>,
    work: impl FnOnce(&Shared) -> Result<T, Fault> + Send + 'static,
) -> Result<T, Fault> {
    let shared = Arc::clone(&app.shared);
    match tokio::task::spawn_blocking(move || work(&shared)).await {
        Ok(done) => done,
        Err(_) => Err(Fault::internal("the request could not be worked on")),
    }
}

/// A fault of the library that is the server's own.
fn internal(fault: crate::Error) -> Fault {
    Fault::internal(fault.to_string())
}

/// An answer in JSON.
fn ok(value: serde_json::Value) -> Response<Body> {
    axum::Json(value).into_response()
}
