//! Moves that are asked for: of a document, of all that a worker has, of what evens the loads.
//!
//! Each is recorded in the log with who asked. A list of moves goes on by itself; how far it has come
//! is asked for at `/v1/relocation`.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::Router;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Extension, Query, State};
use axum::http::StatusCode;
use axum::routing::{get, post};
use deltaworks_server::moving::{MoveFailure, MoveReport};
use serde::Deserialize;
use tracing::info;

use super::{ANSWER_TIME, Desk, Desked, Refusal, in_time};
use crate::housekeeping::connection::Asker;
use crate::housekeeping::relocation::{Begun, Relocation};

/// How long a move may be waited for.
const SECONDS_MAX: u64 = 60;

/// The routes of these.
pub(super) fn routes() -> Router<Arc<Desk>> {
    Router::new()
        .route("/v1/move", post(move_one))
        .route("/v1/drain", post(drain))
        .route("/v1/rebalance", post(rebalance))
        .route("/v1/relocation", get(relocation))
}

impl From<MoveFailure> for Refusal {
    fn from(failure: MoveFailure) -> Self {
        let status = match failure {
            MoveFailure::NoSuchDocument | MoveFailure::NoSuchWorker => StatusCode::NOT_FOUND,
            MoveFailure::NotInTime => StatusCode::GATEWAY_TIMEOUT,
            MoveFailure::Unanswered | MoveFailure::Ending => StatusCode::SERVICE_UNAVAILABLE,
            _ => StatusCode::CONFLICT,
        };
        let mut refusal = Self::new(status, failure.to_string());
        refusal.told.number = Some(failure.number());
        refusal
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct MoveAsked {
    document: String,
    to: u16,
    #[serde(default = "default_seconds")]
    seconds: u64,
}

fn default_seconds() -> u64 {
    10
}

async fn move_one(
    State(desk): Desked,
    Extension(asker): Extension<Asker>,
    asked: Result<Query<MoveAsked>, QueryRejection>,
) -> Result<Json<MoveReport>, Refusal> {
    let Query(MoveAsked { document, to, seconds }) = asked?;
    if !(1..=SECONDS_MAX).contains(&seconds) {
        return Err(Refusal::wrong(format!("A move is waited for 1 to {SECONDS_MAX} seconds.")));
    }
    let observer = desk.observer()?;
    let time = Duration::from_secs(seconds);
    let moved = desk.relocations.move_one(observer, &document, to, time).await;
    match &moved {
        Ok(report) if report.was_there => {
            info!("move of {document:?} to worker {to}: it was there ({asker})");
        }
        Ok(report) => {
            info!("move of {document:?}: from worker {} to worker {to} ({asker})", report.from);
        }
        Err(failure) => {
            let number = failure.number();
            info!("move of {document:?} to worker {to}: {number}, {failure} ({asker})");
        }
    }
    Ok(Json(moved?))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct DrainAsked {
    worker: u16,
    #[serde(default)]
    undo: bool,
}

async fn drain(
    State(desk): Desked,
    Extension(asker): Extension<Asker>,
    asked: Result<Query<DrainAsked>, QueryRejection>,
) -> Result<Json<Relocation>, Refusal> {
    let Query(DrainAsked { worker, undo }) = asked?;
    let observer = desk.observer()?.clone();
    if usize::from(worker) >= observer.worker_count() {
        return Err(MoveFailure::NoSuchWorker.into());
    }
    let begun = begin(&desk)?;
    info!("drain of worker {worker}{} ({asker})", if undo { ", undone" } else { "" });
    let relocation = in_time(ANSWER_TIME, async {
        match undo {
            true => begun.undo(observer, worker).await,
            false => begun.drain(observer, worker).await,
        }
    });
    Ok(Json(relocation.await?))
}

async fn rebalance(
    State(desk): Desked,
    Extension(asker): Extension<Asker>,
) -> Result<Json<Relocation>, Refusal> {
    let observer = desk.observer()?.clone();
    let begun = begin(&desk)?;
    let rehearsal = in_time(ANSWER_TIME, observer.rehearse()).await?;
    info!("rebalance ({asker})");
    Ok(Json(begun.rebalance(observer, rehearsal)))
}

fn begin(desk: &Desk) -> Result<Begun, Refusal> {
    let busy = || Refusal::busy("Other documents are being moved: see /v1/relocation.");
    desk.relocations.begin().ok_or_else(busy)
}

async fn relocation(State(desk): Desked) -> Result<Json<Relocation>, Refusal> {
    let none = || Refusal::new(StatusCode::NOT_FOUND, "No documents were moved so far.");
    Ok(Json(desk.relocations.latest().ok_or_else(none)?))
}
