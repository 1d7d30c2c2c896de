//! `perk serve`: encode once, ask often, over HTTP.
//!
//! One base is held in memory. A thread answers questions (`asking`), another writes documents into adapters
//! (`memories`); HTTP (`http`) takes requests apart, waits for both, and puts replies together. Nothing that a client
//! sends ends the process.

mod asking;
mod http;
mod memories;
mod metrics;
mod models;

use std::net::TcpListener;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::commands::InnerStart;
use crate::commands::encode::{Changes, Destination, OpenStart};
use crate::error::{Error, Result};
use crate::model::HubSettings;
use crate::store::Store;

use asking::Desk;
use memories::Memories;
use metrics::Metrics;
use models::Models;

pub use http::RequestBody;

/// Bounds of what clients may take.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Longest body of a request, in bytes.
    pub body_bytes: usize,
    /// Most tokens of a document that is memorised.
    pub context_tokens: usize,
    /// Most tokens of an answer.
    pub answer_tokens: usize,
    /// Requests that may wait to be answered, and documents that may wait to be memorised.
    pub waiting: usize,
    /// Requests of one model that are answered side by side.
    pub together: usize,
    /// Connections at a time.
    pub connections: usize,
    /// Adapters that stay in memory.
    pub adapters: usize,
    /// How long a request may wait and be answered.
    pub answer_time: Duration,
    /// How long a client may take to send a request.
    pub request_time: Duration,
    /// How long requests that were begun may go on after the server was told to stop.
    pub closing_time: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            body_bytes: 32 << 20,
            context_tokens: 1_000_000,
            answer_tokens: 1024,
            waiting: 64,
            together: 16,
            connections: 256,
            adapters: 16,
            answer_time: Duration::from_secs(300),
            request_time: Duration::from_secs(30),
            closing_time: Duration::from_secs(30),
        }
    }
}

/// What a server is made of.
#[derive(Debug, Clone)]
pub struct Options {
    /// How documents are encoded, if not as the checkpoint says.
    pub changes: Changes,
    /// Where adapters are kept.
    pub store: PathBuf,
    /// What a client must show as its bearer token; `None` lets everybody in.
    pub token: Option<String>,
    /// Bounds.
    pub limits: Limits,
}

/// Everything that requests share.
struct Shared {
    start: OpenStart,
    store: Store,
    limits: Limits,
    models: Models,
    desk: Desk,
    memories: Memories,
    metrics: Metrics,
}

/// A server whose base is loaded.
pub struct Server {
    shared: Arc<Shared>,
    token: Option<String>,
}

impl Server {
    /// Loads the base of `start`.
    ///
    /// # Errors
    /// A checkpoint or a base that cannot be used, or a bound of zero.
    pub fn new(start: &InnerStart, options: Options, hub: &HubSettings) -> Result<Self> {
        let Options { changes, store, token, limits } = options;
        check(&limits)?;
        let start = OpenStart::new(start, &changes, hub)?;
        let store = Store::new(&store);
        let shared = Shared {
            models: Models::new(&start, store.clone(), limits.adapters)?,
            desk: Desk::new(limits.waiting, limits.together),
            memories: Memories::new(limits.waiting),
            metrics: Metrics::new(),
            start,
            store,
            limits,
        };
        Ok(Self { shared: Arc::new(shared), token })
    }

    /// What to tell a person of the base.
    pub fn notes(&self) -> &[String] {
        &self.shared.start.setup().notes
    }

    /// Answers requests that come to `listener`, until `stop` comes; then those that were begun are ended.
    ///
    /// # Errors
    /// A listener that cannot be used, or threads that the system does not grant.
    pub fn run(self, listener: TcpListener, stop: impl Future<Output = ()> + Send + 'static) -> Result<()> {
        let failed = |fault: std::io::Error| Error::Invalid(format!("the server cannot run: {fault}"));
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
        let runtime = runtime.map_err(failed)?;
        let Self { shared, token } = self;
        let thread = |name: &str, work: fn(&Shared)| {
            let shared = Arc::clone(&shared);
            std::thread::Builder::new().name(name.to_owned()).spawn(move || work(&shared)).map_err(failed)
        };
        let threads = [
            thread("asking", |shared| shared.desk.work(shared))?,
            thread("memorising", |shared| shared.memories.work(shared))?,
        ];
        let served = runtime.block_on(http::serve(Arc::clone(&shared), token, listener, stop));
        shared.desk.close();
        shared.memories.close();
        runtime.shutdown_background();
        for thread in threads {
            // A thread that panicked has said so.
            drop(thread.join());
        }
        served.map_err(failed)
    }
}

impl Shared {
    /// Where memories go.
    fn destination(&self) -> Destination {
        Destination { out: None, store: self.store.dir().to_owned(), force: false }
    }
}

fn check(limits: &Limits) -> Result<()> {
    let counts = [
        ("body bytes", limits.body_bytes),
        ("context tokens", limits.context_tokens),
        ("answer tokens", limits.answer_tokens),
        ("waiting requests", limits.waiting),
        ("requests together", limits.together),
        ("connections", limits.connections),
        ("adapters in memory", limits.adapters),
    ];
    match counts.into_iter().find(|(_, count)| *count == 0) {
        Some((what, _)) => Err(Error::Invalid(format!("the limit of {what} must be at least 1"))),
        None => Ok(()),
    }
}
