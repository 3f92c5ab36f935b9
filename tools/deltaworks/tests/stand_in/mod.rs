//! A stand-in for the daemon's admin socket: it answers what a test says, and keeps what it was asked.

use std::convert::Infallible;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::net::UnixListener;

/// What a stand-in answers: from method, path and query to status and body.
pub type Answer = dyn Fn(&str) -> (u16, String) + Send + Sync;

/// A running stand-in; it ends with the test's process.
pub struct StandIn {
    path: PathBuf,
    asked: Arc<Mutex<Vec<String>>>,
}

impl StandIn {
    /// One that listens on `path` when this returns.
    pub fn start(
        path: PathBuf,
        answer: impl Fn(&str) -> (u16, String) + Send + Sync + 'static,
    ) -> StandIn {
        let listener = std::os::unix::net::UnixListener::bind(&path).expect("a socket");
        listener.set_nonblocking(true).expect("a socket");
        let asked = Arc::new(Mutex::new(Vec::new()));
        let (answer, log): (Arc<Answer>, _) = (Arc::new(answer), Arc::clone(&asked));
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.expect("a runtime").block_on(serve(listener, answer, log));
        });
        StandIn { path, asked }
    }

    /// The socket, as an argument.
    pub fn path(&self) -> &str {
        Path::to_str(&self.path).expect("UTF-8")
    }

    /// What it was asked so far, as `GET /v1/status`.
    pub fn asked(&self) -> Vec<String> {
        self.asked.lock().expect("no test panicked here").clone()
    }
}

async fn serve(
    listener: std::os::unix::net::UnixListener,
    answer: Arc<Answer>,
    log: Arc<Mutex<Vec<String>>>,
) {
    let listener = UnixListener::from_std(listener).expect("a socket");
    while let Ok((stream, _)) = listener.accept().await {
        let (answer, log) = (Arc::clone(&answer), Arc::clone(&log));
        tokio::spawn(async move {
            let service = service_fn(|request: Request<Incoming>| {
                let place = request.uri().path_and_query().map_or("", |place| place.as_str());
                let asked = format!("{} {place}", request.method());
                let (status, body) = answer(&asked);
                log.lock().expect("no test panicked here").push(asked);
                let answer = Response::builder()
                    .status(status)
                    .body(Full::new(Bytes::from(body)))
                    .expect("a status");
                async { Ok::<_, Infallible>(answer) }
            });
            // A client that connects to see whether somebody listens is no fault.
            let connection = hyper::server::conn::http1::Builder::new();
            let _ = connection.serve_connection(TokioIo::new(stream), service).await;
        });
    }
}
