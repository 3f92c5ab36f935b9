//! What the housekeeping address answers: read only, for people, scrapers and supervisors.
//!
//! Every answer is made from what cores have published; none is asked of a core except whether it
//! still turns. Requests carry no body.

use std::time::{Duration, Instant};

use axum::Json;
use axum::Router;
use axum::extract::{Request, State};
use axum::http::{HeaderName, HeaderValue, Method, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use deltaworks_server::report::Phase;
use hyper::body::Body as _;

use super::Seen;
use super::metrics;

/// How long a core may take to turn after its doorbell was rung.
const TURN_TIME: Duration = Duration::from_millis(1_000);
/// Between two looks at that.
const TURN_LOOK: Duration = Duration::from_millis(5);

const PAGE: &str = include_str!("page.html");

/// The page works alone: no other origin, nothing fetched but the status.
const PAGE_POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; \
    script-src 'unsafe-inline'; img-src data:; connect-src 'self'; base-uri 'none'; \
    form-action 'none'; frame-ancestors 'none'";

/// The routes of the housekeeping address.
pub(super) fn public(seen: Seen) -> Router {
    Router::new()
        .route("/", get(page))
        .route("/status.json", get(status))
        .route("/metrics", get(scrape))
        .route("/healthz", get(health))
        .route("/readyz", get(readiness))
        .with_state(seen)
        .layer(middleware::from_fn(without_body))
}

/// Refuses methods that change something, and bodies, which nothing here reads.
async fn without_body(request: Request, next: Next) -> Response {
    if request.method() != Method::GET && request.method() != Method::HEAD {
        let told = (StatusCode::METHOD_NOT_ALLOWED, [(header::ALLOW, "GET, HEAD")], "read only\n");
        return closing(told.into_response());
    }
    if !request.body().is_end_stream() {
        return closing((StatusCode::PAYLOAD_TOO_LARGE, "no body is read here\n").into_response());
    }
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

fn closing(mut response: Response) -> Response {
    response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    response
}

async fn page() -> Response {
    const POLICY: HeaderName = header::CONTENT_SECURITY_POLICY;
    let headers = [(header::CONTENT_TYPE, "text/html; charset=utf-8"), (POLICY, PAGE_POLICY)];
    (headers, PAGE).into_response()
}

fn starting() -> Response {
    (StatusCode::SERVICE_UNAVAILABLE, "starting\n").into_response()
}

async fn status(State(seen): State<Seen>) -> Response {
    match seen.server.get() {
        Some(observer) => Json(observer.status()).into_response(),
        None => starting(),
    }
}

async fn scrape(State(seen): State<Seen>) -> Response {
    let Some(observer) = seen.server.get() else { return starting() };
    match metrics::encode(observer) {
        Ok(text) => ([(header::CONTENT_TYPE, metrics::CONTENT_TYPE)], text).into_response(),
        Err(_) => (StatusCode::INTERNAL_SERVER_ERROR, "metrics\n").into_response(),
    }
}

/// 200 if every core turns: each is rung, and has to have turned within a second. A server that is
/// still starting is alive, too.
async fn health(State(seen): State<Seen>) -> Response {
    let Some(observer) = seen.server.get() else { return "alive, starting\n".into_response() };
    let before = observer.turns();
    observer.ring();
    let began = Instant::now();
    loop {
        let now = observer.turns();
        let stuck: Vec<String> = (0..now.len())
            .filter(|core| now[*core] == before[*core])
            .map(|core| core.to_string())
            .collect();
        if stuck.is_empty() {
            return "alive, every core turns\n".into_response();
        }
        if began.elapsed() > TURN_TIME {
            let told = format!("no turn within a second: core {}\n", stuck.join(", "));
            return (StatusCode::SERVICE_UNAVAILABLE, told).into_response();
        }
        tokio::time::sleep(TURN_LOOK).await;
    }
}

/// 200 while connections are accepted.
async fn readiness(State(seen): State<Seen>) -> Response {
    match seen.server.get().map(|observer| observer.phase()) {
        Some(Phase::Serving) => "ready\n".into_response(),
        Some(Phase::Draining) => (StatusCode::SERVICE_UNAVAILABLE, "draining\n").into_response(),
        None => starting(),
    }
}
