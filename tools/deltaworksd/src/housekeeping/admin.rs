//! What the admin socket answers: the status, and what is asked of cores out of band.
//!
//! Whoever may open the socket may ask everything here. Answers are JSON; an error is a status and
//! `{"error": sentence}`.

use axum::Json;
use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use deltaworks_server::report::Status;
use serde::Serialize;

use super::Seen;

/// Why something asked was not done.
#[derive(Debug, Serialize)]
struct Told {
    error: String,
}

/// A refusal as an answer.
#[derive(Debug)]
pub(super) struct Refusal(StatusCode, String);

impl Refusal {
    /// The server has not started, or is gone.
    fn starting() -> Self {
        Self(StatusCode::SERVICE_UNAVAILABLE, "The server is still starting.".to_owned())
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        (self.0, Json(Told { error: self.1 })).into_response()
    }
}

/// The routes of the admin socket.
pub(super) fn router(seen: Seen) -> Router {
    Router::new()
        .route("/v1/status", get(status))
        .fallback(unknown)
        .method_not_allowed_fallback(wrong_method)
        .with_state(seen)
}

async fn unknown() -> Refusal {
    Refusal(StatusCode::NOT_FOUND, "There is nothing of that name here.".to_owned())
}

async fn wrong_method() -> Refusal {
    let told = "That is not asked with this method.".to_owned();
    Refusal(StatusCode::METHOD_NOT_ALLOWED, told)
}

async fn status(State(seen): State<Seen>) -> Result<Json<Status>, Refusal> {
    let observer = seen.get().ok_or_else(Refusal::starting)?;
    Ok(Json(observer.status()))
}
