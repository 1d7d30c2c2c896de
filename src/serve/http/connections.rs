//! Connections: so many at a time, with a time for the head of a request, and an end in order.

use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;

use axum::http::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::sync::{Semaphore, watch};
use tower::ServiceExt;

use super::guard::Guard;
use super::{App, router};
use crate::serve::Shared;

/// How long to wait where the system has no more room for a connection.
const PAUSE: Duration = Duration::from_millis(50);

/// Serves connections until `stop` comes; those with a request may end it within the time that the limits say.
///
/// # Errors
/// A listener that cannot be used.
pub async fn serve(
    shared: Arc<Shared>,
    token: Option<String>,
    listener: TcpListener,
    stop: impl Future<Output = ()> + Send,
) -> std::io::Result<()> {
    listener.set_nonblocking(true)?;
    let listener = tokio::net::TcpListener::from_std(listener)?;
    let guard = Guard::new(token.as_deref(), listener.local_addr()?.ip());
    let (tell, closing) = watch::channel(false);
    let limits = shared.limits.clone();
    let router = router(&Arc::new(App { shared, guard, closing }));
    let room = Arc::new(Semaphore::new(limits.connections));
    let graceful = GracefulShutdown::new();
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(limits.request_time);
    tokio::pin!(stop);
    loop {
        let place = tokio::select! {
            () = &mut stop => break,
            place = Arc::clone(&room).acquire_owned() => place,
        };
        let accepted = tokio::select! {
            () = &mut stop => break,
            accepted = listener.accept() => accepted,
        };
        let Ok((stream, _)) = accepted else {
            tokio::time::sleep(PAUSE).await;
            continue;
        };
        // A stream of tokens goes out token by token.
        drop(stream.set_nodelay(true));
        let service =
            router.clone().map_request(|request: Request<Incoming>| request.map(axum::body::Body::new));
        let connection = builder.serve_connection(TokioIo::new(stream), TowerToHyperService::new(service));
        let connection = graceful.watch(connection);
        tokio::spawn(async move {
            let _place = place;
            // A client that leaves in the middle is nobody's fault.
            drop(connection.await);
        });
    }
    drop(listener);
    tell.send_replace(true);
    drop(tokio::time::timeout(limits.closing_time, graceful.shutdown()).await);
    Ok(())
}
