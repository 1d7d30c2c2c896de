//! Who may use the server.

use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::http::header::{AUTHORIZATION, HOST, WWW_AUTHENTICATE};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::App;
use super::fault::Fault;

/// What a client must show.
pub struct Guard {
    /// Digest of the bearer token; comparing digests takes the same time wherever they differ.
    token: Option<blake3::Hash>,
    /// Whether only this machine can connect.
    is_local: bool,
}

impl Guard {
    /// Of a server at `address`.
    pub fn new(token: Option<&str>, address: IpAddr) -> Self {
        let token = token.map(|token| blake3::hash(token.as_bytes()));
        Self { token, is_local: address.is_loopback() }
    }

    fn lets_in(&self, authorization: Option<&str>) -> bool {
        let Some(token) = self.token else { return true };
        let shown = authorization.and_then(|header| {
            let (kind, shown) = header.split_once(' ')?;
            kind.eq_ignore_ascii_case("bearer").then(|| shown.trim())
        });
        shown.is_some_and(|shown| blake3::hash(shown.as_bytes()) == token)
    }

    /// A name of another site that was made to lead to this machine shows itself in the header: a page of that site could
    /// else read what is asked here.
    fn knows_host(&self, host: Option<&str>) -> bool {
        if !self.is_local || self.token.is_some() {
            return true;
        }
        let Some(host) = host else { return true };
        let name = match host.rsplit_once(':') {
            Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
            _ => host,
        };
        let address = name.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
        name.eq_ignore_ascii_case("localhost") || address.is_ok_and(|address| address.is_loopback())
    }
}

/// Lets nobody pass without the token, if there is one.
pub async fn token(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    let shown = request.headers().get(AUTHORIZATION).and_then(|value| value.to_str().ok());
    if app.guard.lets_in(shown) {
        return next.run(request).await;
    }
    let reason = "this server wants its token: send `Authorization: Bearer TOKEN`";
    let mut response = Fault::new(StatusCode::UNAUTHORIZED, reason).into_response();
    response.headers_mut().insert(WWW_AUTHENTICATE, axum::http::HeaderValue::from_static("Bearer"));
    response
}

/// Answers nothing that was asked of another host.
pub async fn host(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    let host = request.headers().get(HOST).and_then(|value| value.to_str().ok());
    match app.guard.knows_host(host) {
        true => next.run(request).await,
        false => Fault::new(StatusCode::FORBIDDEN, "this server is asked as localhost alone").into_response(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_whole_token_opens_the_door() {
        let local = "127.0.0.1".parse().unwrap();
        let guard = Guard::new(Some("s3cret"), local);
        assert!(guard.lets_in(Some("Bearer s3cret")) && guard.lets_in(Some("bearer  s3cret")));
        for shown in
            [None, Some("s3cret"), Some("Bearer"), Some("Bearer s3cre"), Some("Basic s3cret"), Some("")]
        {
            assert!(!guard.lets_in(shown), "{shown:?}");
        }
        assert!(Guard::new(None, local).lets_in(None));
    }

    #[test]
    fn a_local_server_without_a_token_knows_this_machine_alone() {
        let guard = Guard::new(None, "127.0.0.1".parse().unwrap());
        for host in ["localhost", "localhost:8000", "127.0.0.1:8000", "[::1]:8000", "LOCALHOST"] {
            assert!(guard.knows_host(Some(host)), "{host}");
        }
        for host in ["evil.example", "evil.example:8000", "localhost.evil.example", "127.0.0.1.evil.example"]
        {
            assert!(!guard.knows_host(Some(host)), "{host}");
        }
        assert!(Guard::new(None, "0.0.0.0".parse().unwrap()).knows_host(Some("my-server:8000")));
        assert!(Guard::new(Some("t"), "::1".parse().unwrap()).knows_host(Some("tunnel.example")));
    }
}
