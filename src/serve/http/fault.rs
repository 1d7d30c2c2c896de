//! What a client is told of a request that is not met: a status, and JSON in OpenAI's form.

use axum::http::{StatusCode, header::RETRY_AFTER};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use crate::error::shown_lines;
use crate::serve::asking;

/// Why a request is not met.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// Status of the answer.
    pub status: StatusCode,
    /// The field that is wrong, where it is one.
    pub field: Option<String>,
    /// What is wrong, and what would be right.
    pub reason: String,
}

impl Fault {
    /// Of a status.
    pub fn new(status: StatusCode, reason: impl Into<String>) -> Self {
        Self { status, field: None, reason: reason.into() }
    }

    /// A field of a request that is not what it should be.
    pub fn field(field: impl Into<String>, reason: impl Into<String>) -> Self {
        Self { field: Some(field.into()), ..Self::new(StatusCode::BAD_REQUEST, reason) }
    }

    /// No model or memory has this name.
    pub fn unknown(what: &str, name: &str) -> Self {
        let reason = format!("there is no {what} `{name}`: GET /v1/models lists those that there are");
        Self { field: Some("model".to_owned()), ..Self::new(StatusCode::NOT_FOUND, reason) }
    }

    /// Too many requests wait.
    pub fn full() -> Self {
        Self::new(StatusCode::TOO_MANY_REQUESTS, "too many requests wait: try again in a moment")
    }

    /// A request that took too long.
    pub fn late() -> Self {
        Self::new(StatusCode::GATEWAY_TIMEOUT, "the answer took longer than this server allows")
    }

    /// A server that is told to stop.
    pub fn closing() -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "the server is stopping")
    }

    /// Something that is nobody's fault but the server's.
    pub fn internal(reason: impl Into<String>) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, reason)
    }

    /// Why there is no answer from the model called `name`.
    pub fn of_answer(fault: asking::Fault, name: &str) -> Self {
        match fault {
            asking::Fault::UnknownModel => Self::unknown("model", name),
            asking::Fault::UnusableModel(reason) => {
                Self { field: Some("model".to_owned()), ..Self::new(StatusCode::CONFLICT, reason) }
            }
            asking::Fault::Refused(reason) => Self::new(StatusCode::BAD_REQUEST, reason),
            asking::Fault::Internal(reason) => Self::internal(reason),
        }
    }

    /// As clients of OpenAI read it.
    pub fn json(&self) -> Value {
        let kind = match self.status {
            StatusCode::UNAUTHORIZED => "authentication_error",
            StatusCode::TOO_MANY_REQUESTS => "rate_limit_error",
            status if status.is_server_error() => "server_error",
            _ => "invalid_request_error",
        };
        let reason = match &self.field {
            Some(field) if self.status == StatusCode::BAD_REQUEST => format!("`{field}`: {}", self.reason),
            _ => self.reason.clone(),
        };
        let code = match self.status {
            StatusCode::NOT_FOUND if self.field.is_some() => Some("model_not_found"),
            _ => None,
        };
        json!({ "error": {
            "message": shown_lines(&reason), "type": kind, "param": self.field, "code": code,
        } })
    }
}

impl IntoResponse for Fault {
    fn into_response(self) -> Response {
        let mut response = (self.status, axum::Json(self.json())).into_response();
        if self.status == StatusCode::TOO_MANY_REQUESTS {
            response.headers_mut().insert(RETRY_AFTER, 1.into());
        }
        response
    }
}
