//! What the admin socket answers: the status, and what is asked of cores out of band.
//!
//! Whoever may open the socket may ask everything here. Answers are JSON; an error is a status and
//! `{"error": sentence}`. One list is made at a time, and one recording; a core that does not answer
//! in time is told as an error, and nobody waits longer.

mod moving;
mod placing;

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::Router;
use axum::body::Body;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use deltaworks_server::census::{
    Cut, DocumentReport, DocumentSort, Sample, SessionReport, SessionSample, SessionSort,
};
use deltaworks_server::report::Status;
use deltaworks_server::trace_events::trace_events;
use deltaworks_server::{Observer, Unanswered};
use serde::{Deserialize, Serialize};
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};

use super::Seen;
use super::relocation::Relocations;

/// Rows of one page at most.
const ROWS_MAX: usize = 1000;
/// Time between two samples at most.
const SAMPLE_MS_MAX: u64 = 10_000;
/// How long a recording may last.
const RECORDING_SECONDS_MAX: f64 = 30.0;
/// How long cores may take to answer, besides the time that was asked for.
const ANSWER_TIME: Duration = Duration::from_secs(10);

/// What requests share.
#[derive(Debug)]
struct Desk {
    seen: Seen,
    /// One list of documents at a time: each takes some 150 bytes a document.
    list: Semaphore,
    /// One list of sessions at a time: each takes some 350 bytes a session and 32 a subscription.
    sessions: Semaphore,
    recording: Semaphore,
    relocations: Relocations,
}

impl Desk {
    fn observer(&self) -> Result<&Observer, Refusal> {
        self.seen.server.get().ok_or_else(Refusal::starting)
    }
}

type Desked = State<Arc<Desk>>;

/// Why something asked was not done.
#[derive(Debug, Serialize)]
struct Told {
    error: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    number: Option<u16>,
}

/// A refusal as an answer.
#[derive(Debug)]
pub(super) struct Refusal {
    status: StatusCode,
    told: Told,
}

impl Refusal {
    fn new(status: StatusCode, error: impl Into<String>) -> Self {
        Self { status, told: Told { error: error.into(), number: None } }
    }

    fn starting() -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "The server is still starting.")
    }

    fn wrong(told: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, told)
    }

    fn busy(told: &str) -> Self {
        Self::new(StatusCode::CONFLICT, told)
    }
}

impl From<QueryRejection> for Refusal {
    fn from(rejection: QueryRejection) -> Self {
        Self::wrong(rejection.body_text())
    }
}

impl From<Unanswered> for Refusal {
    fn from(unanswered: Unanswered) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, unanswered.to_string())
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        (self.status, Json(self.told)).into_response()
    }
}

/// The routes of the admin socket.
pub(super) fn router(seen: Seen) -> Router {
    let one = || Semaphore::new(1);
    let relocations = Relocations::default();
    let desk = Desk { seen, list: one(), sessions: one(), recording: one(), relocations };
    Router::new()
        .route("/v1/status", get(status))
        .route("/v1/documents", get(documents))
        .route("/v1/sessions", get(sessions))
        .merge(placing::routes())
        .merge(moving::routes())
        .route("/v1/trace", post(trace))
        .route("/v1/reload", post(reload))
        .fallback(unknown)
        .method_not_allowed_fallback(wrong_method)
        .with_state(Arc::new(desk))
}

async fn unknown() -> Refusal {
    Refusal::new(StatusCode::NOT_FOUND, "There is nothing of that name here.")
}

async fn wrong_method() -> Refusal {
    Refusal::new(StatusCode::METHOD_NOT_ALLOWED, "That is not asked with this method.")
}

/// What `asked` comes to, if it comes within `time`.
async fn in_time<T, E: Into<Refusal>>(
    time: Duration,
    asked: impl Future<Output = Result<T, E>>,
) -> Result<T, Refusal> {
    match timeout(time, asked).await {
        Ok(answer) => answer.map_err(Into::into),
        Err(_) => {
            let told = format!("The cores did not answer within {} seconds.", time.as_secs());
            Err(Refusal::new(StatusCode::GATEWAY_TIMEOUT, told))
        }
    }
}

fn cut(offset: usize, limit: usize) -> Result<Cut, Refusal> {
    if limit > ROWS_MAX {
        return Err(Refusal::wrong(format!("A page has {ROWS_MAX} rows at most, not {limit}.")));
    }
    Ok(Cut { offset, limit })
}

/// The time between two samples.
fn sampled(sample_ms: u64) -> Result<Duration, Refusal> {
    if sample_ms > SAMPLE_MS_MAX {
        let told = format!("sample_ms is {SAMPLE_MS_MAX} at most, not {sample_ms}.");
        return Err(Refusal::wrong(told));
    }
    Ok(Duration::from_millis(sample_ms))
}

async fn status(State(desk): Desked) -> Result<Json<Status>, Refusal> {
    Ok(Json(desk.observer()?.status()))
}

#[derive(Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct DocumentsAsked {
    sort: DocumentSort,
    offset: usize,
    limit: usize,
    sample_ms: u64,
}

impl Default for DocumentsAsked {
    fn default() -> Self {
        Self { sort: DocumentSort::default(), offset: 0, limit: 100, sample_ms: 500 }
    }
}

#[derive(Debug, Serialize)]
struct DocumentsTold {
    total: usize,
    sample_ms: u64,
    documents: Vec<DocumentReport>,
}

async fn documents(
    State(desk): Desked,
    asked: Result<Query<DocumentsAsked>, QueryRejection>,
) -> Result<Json<DocumentsTold>, Refusal> {
    let Query(DocumentsAsked { sort, offset, limit, sample_ms }) = asked?;
    let (observer, cut) = (desk.observer()?, cut(offset, limit)?);
    let sampled = sampled(sample_ms)?;
    let page = in_time(ANSWER_TIME + sampled, async {
        let _one = desk.list.acquire().await;
        let mut sample = Sample::default();
        if sample_ms > 0 {
            sample = observer.sample().await?;
            sleep(sampled).await;
        }
        observer.documents(&sample, sort, cut).await
    });
    let page = page.await?;
    Ok(Json(DocumentsTold { total: page.total, sample_ms, documents: page.rows }))
}

#[derive(Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct SessionsAsked {
    sort: SessionSort,
    offset: usize,
    limit: usize,
    sample_ms: u64,
}

impl Default for SessionsAsked {
    fn default() -> Self {
        Self { sort: SessionSort::default(), offset: 0, limit: 100, sample_ms: 0 }
    }
}

#[derive(Debug, Serialize)]
struct SessionsTold {
    total: usize,
    sample_ms: u64,
    sessions: Vec<SessionReport>,
}

async fn sessions(
    State(desk): Desked,
    asked: Result<Query<SessionsAsked>, QueryRejection>,
) -> Result<Json<SessionsTold>, Refusal> {
    let Query(SessionsAsked { sort, offset, limit, sample_ms }) = asked?;
    let (observer, cut) = (desk.observer()?, cut(offset, limit)?);
    let sampled = sampled(sample_ms)?;
    let page = in_time(ANSWER_TIME + sampled, async {
        let _one = desk.sessions.acquire().await;
        let mut before = SessionSample::default();
        if sample_ms > 0 {
            before = observer.session_sample().await?;
            sleep(sampled).await;
        }
        observer.sessions(&before, sort, cut).await
    });
    let page = page.await?;
    Ok(Json(SessionsTold { total: page.total, sample_ms, sessions: page.rows }))
}

/// What SIGHUP does, and what came of it. Reads files on this thread; a configuration with a mistake
/// changes nothing.
async fn reload(State(desk): Desked) -> Result<Json<serde_json::Value>, Refusal> {
    let reloader = desk.seen.reloader.get().ok_or_else(Refusal::starting)?;
    let report = reloader.reload().map_err(Refusal::wrong)?;
    Ok(Json(report.as_json()))
}

#[derive(Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct TraceAsked {
    seconds: f64,
}

impl Default for TraceAsked {
    fn default() -> Self {
        Self { seconds: 1.0 }
    }
}

async fn trace(
    State(desk): Desked,
    asked: Result<Query<TraceAsked>, QueryRejection>,
) -> Result<Response, Refusal> {
    let Query(TraceAsked { seconds }) = asked?;
    let observer = desk.observer()?;
    if !(seconds > 0.0 && seconds <= RECORDING_SECONDS_MAX) {
        let told =
            format!("A recording takes more than 0 and at most {RECORDING_SECONDS_MAX} seconds.");
        return Err(Refusal::wrong(told));
    }
    let busy = || Refusal::busy("Another recording is being made.");
    let one = desk.recording.try_acquire().map_err(|_| busy())?;
    let time = Duration::from_secs_f64(seconds);
    let recordings = in_time(ANSWER_TIME + time, observer.record(time)).await?;
    drop(one);
    let pieces = trace_events(recordings, std::process::id());
    let pieces = pieces.map(Ok::<_, std::convert::Infallible>);
    let body = Body::from_stream(futures_lite::stream::iter(pieces));
    Ok(([(header::CONTENT_TYPE, "application/json")], body).into_response())
}
