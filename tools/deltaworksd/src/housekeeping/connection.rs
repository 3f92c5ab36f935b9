//! One HTTP connection, from whoever it may come: bounded in number, bytes and time.
//!
//! Runs on the housekeeping thread. What a peer can make it hold is [`CONNECTIONS_MAX`] times
//! [`BUFFER_BYTES_MAX`] on each way; beyond that connections wait in the kernel's queue. A peer that
//! dawdles is cut off, in its headers or altogether.

use std::fmt;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::{Extension, Router};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener, UnixStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{sleep, timeout};

/// Connections that are answered at once, on each of the two ways.
const CONNECTIONS_MAX: usize = 64;
/// Bytes that are read ahead of an answer, at most; longer headers are refused (431).
const BUFFER_BYTES_MAX: usize = 16 << 10;
/// Header lines of a request, at most.
const HEADERS_MAX: usize = 48;
/// How long the headers of a request may take.
const HEADER_TIME: Duration = Duration::from_secs(5);
/// How long a public connection is used again; then it ends behind its request, or at once.
const PUBLIC_TIME: Duration = Duration::from_secs(8);
/// How long an admin's may: a recording of 30 seconds, and time to write it.
const ADMIN_TIME: Duration = Duration::from_secs(120);
/// How long the last request of a connection may take after that.
const LAST_TIME: Duration = Duration::from_secs(4);
/// Pause behind an accept that failed, for want of descriptors most likely.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);

/// Who asks over the admin socket, as the kernel tells it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asker {
    user: Option<u32>,
    process: Option<i32>,
}

impl Asker {
    fn of(stream: &UnixStream) -> Self {
        let known = stream.peer_cred().ok();
        Self { user: known.map(|it| it.uid()), process: known.and_then(|it| it.pid()) }
    }
}

impl fmt::Display for Asker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.user, self.process) {
            (Some(user), Some(process)) => write!(f, "user {user}, process {process}"),
            (Some(user), None) => write!(f, "user {user}"),
            (None, _) => f.write_str("somebody"),
        }
    }
}

/// Answers over TCP; never ends.
pub(super) async fn serve_tcp(listener: TcpListener, router: Router) {
    let room = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let Ok(permit) = Arc::clone(&room).acquire_owned().await else { return };
        match listener.accept().await {
            Ok((stream, _)) => begin(stream, router.clone(), PUBLIC_TIME, permit),
            Err(_) => sleep(ACCEPT_PAUSE).await,
        }
    }
}

/// Answers over the admin socket; never ends.
pub(super) async fn serve_unix(listener: UnixListener, router: Router) {
    let room = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let Ok(permit) = Arc::clone(&room).acquire_owned().await else { return };
        match listener.accept().await {
            Ok((stream, _)) => {
                let asker = Asker::of(&stream);
                begin(stream, router.clone().layer(Extension(asker)), ADMIN_TIME, permit);
            }
            Err(_) => sleep(ACCEPT_PAUSE).await,
        }
    }
}

fn begin<S>(stream: S, router: Router, time: Duration, permit: OwnedSemaphorePermit)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    tokio::spawn(async move {
        let mut builder = http1::Builder::new();
        builder
            .timer(TokioTimer::new())
            .header_read_timeout(HEADER_TIME)
            .max_buf_size(BUFFER_BYTES_MAX)
            .max_headers(HEADERS_MAX);
        let service = TowerToHyperService::new(router);
        let mut served = pin!(builder.serve_connection(TokioIo::new(stream), service));
        // Whatever goes wrong is the peer's doing, and the peer is told what can be told.
        if timeout(time, served.as_mut()).await.is_err() {
            served.as_mut().graceful_shutdown();
            let _ = timeout(LAST_TIME, served).await;
        }
        drop(permit);
    });
}
