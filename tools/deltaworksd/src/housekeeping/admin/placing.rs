//! What is asked of where documents are: the workers, and what the coordinator would do.

use std::sync::Arc;

use axum::Json;
use axum::Router;
use axum::extract::State;
use axum::routing::get;
use deltaworks_server::placing::{RehearsalReport, WorkersReport};

use super::{ANSWER_TIME, Desk, Desked, Refusal, in_time};

/// The routes of these.
pub(super) fn routes() -> Router<Arc<Desk>> {
    Router::new().route("/v1/workers", get(workers)).route("/v1/rehearsal", get(rehearsal))
}

async fn workers(State(desk): Desked) -> Result<Json<WorkersReport>, Refusal> {
    let observer = desk.observer()?;
    Ok(Json(in_time(ANSWER_TIME, observer.workers()).await?))
}

async fn rehearsal(State(desk): Desked) -> Result<Json<RehearsalReport>, Refusal> {
    let observer = desk.observer()?;
    Ok(Json(in_time(ANSWER_TIME, observer.rehearse()).await?))
}
