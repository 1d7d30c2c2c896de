//! `perk serve`.

use std::net::TcpListener;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use perk::{
    Error, Result,
    commands::encode::Changes,
    serve::{Limits, Options, Server},
};
use tokio::sync::Notify;

use super::{args::Serve, hub_env::hub_settings, signals, terminal};

/// The variable that holds the token that clients must show.
const TOKEN: &str = "PERK_TOKEN";

/// Runs the command.
pub fn run(args: &Serve) -> Result<ExitCode> {
    let start = args.start.open()?;
    let token = token()?;
    // An address that is taken is said before the base is loaded.
    let (host, port) = (args.host, args.port);
    let refused = |fault: std::io::Error| {
        let hint = "name another with --host and --port";
        Error::Invalid(format!("cannot listen at {host}, port {port}: {fault}: {hint}"))
    };
    let listener = TcpListener::bind((host, port)).map_err(refused)?;
    let address = listener.local_addr().map_err(refused)?;
    if token.is_none() && !host.is_loopback() {
        terminal::note(&format!(
            "note: everybody who reaches {host} can use this server: set {TOKEN} to let in only those who know it"
        ));
    }
    let server = Server::new(&start, options(args, token), &hub_settings())?;
    server.notes().iter().for_each(|note| terminal::note(note));
    let stop = Arc::new(Notify::new());
    let told = Arc::clone(&stop);
    signals::listen(move || {
        terminal::note("stopping: requests that were begun are ended; once more stops at once");
        told.notify_one();
    });
    terminal::print(&format!("listening at http://{address}"))?;
    server.run(listener, async move { stop.notified().await })?;
    Ok(ExitCode::SUCCESS)
}

/// The token; an empty one would let everybody in who thinks that there is one.
fn token() -> Result<Option<String>> {
    match std::env::var(TOKEN) {
        Err(std::env::VarError::NotPresent) => Ok(None),
        Ok(token) if !token.trim().is_empty() => Ok(Some(token.trim().to_owned())),
        _ => Err(Error::Invalid(format!("{TOKEN} holds no token: unset it, or put one in"))),
    }
}

fn options(args: &Serve, token: Option<String>) -> Options {
    let bounds = &args.bounds;
    let limits = Limits {
        body_bytes: bounds.max_body.saturating_mul(1_000_000),
        context_tokens: bounds.max_context_tokens,
        answer_tokens: bounds.max_tokens,
        waiting: bounds.queue,
        together: bounds.batch,
        adapters: bounds.cache,
        answer_time: Duration::from_secs(bounds.timeout),
        ..Limits::default()
    };
    let changes = Changes {
        steps: args.steps,
        micro_batch: args.micro_batch,
        segment_tokens: None,
        base: args.base.clone(),
        compute: args.compute.into(),
    };
    Options { changes, store: args.store.clone(), token, limits }
}
