//! Housekeeping: one unpinned thread that answers people, scrapers and the command line over HTTP.
//!
//! Belongs to the daemon; looks at the server through its [`Observer`] and never touches the data
//! path. Requests beyond the limit of connections wait in the kernel; whoever dawdles is cut off.
//!
//! ```text
//! http address ──▶ /metrics /healthz /readyz / /status.json       read only
//! admin socket ──▶ /v1/…                                          who may open the socket
//! ```

mod admin;
mod connection;
mod metrics;
mod relocation;
mod router;
mod socket;

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;

use deltaworks_runtime::pinned::confine;
use deltaworks_runtime::topology::CpuSet;
use deltaworks_server::Observer;
use socket::AdminSocket;
use tokio::sync::oneshot;
use tracing::{info, warn};

use crate::arrangement::{Arrangement, runtime_folder};
use crate::config::value::OrOff;
use crate::config::{Effective, Origin};
use crate::reload::Reloader;

/// The daemon as requests see it.
#[derive(Debug, Default)]
struct Sight {
    /// The server; not there before it has started.
    server: OnceLock<Observer>,
    /// Who reloads; the same.
    reloader: OnceLock<Arc<Reloader>>,
}

type Seen = Arc<Sight>;

/// A place to answer at, and whether somebody asked for it: what was only the default is done
/// without if it cannot be had.
#[derive(Clone, Debug)]
struct Place<T> {
    at: T,
    is_asked: bool,
}

/// What housekeeping listens on, and where it runs.
#[derive(Clone, Debug)]
pub struct HousekeepingConfig {
    http: Option<Place<SocketAddr>>,
    admin: Option<Place<PathBuf>>,
    /// The mode of the admin socket's file: who may open it.
    admin_mode: u32,
    admin_group: Option<u32>,
    cpus: CpuSet,
}

impl HousekeepingConfig {
    /// What the configuration says, on the CPUs that the plan leaves to housekeeping.
    pub fn new(effective: &Effective, arrangement: &Arrangement) -> Self {
        let config = &effective.config;
        let is_asked = |key| *effective.origin(key) != Origin::Default;
        let http = config.http.0.map(|at| Place { at, is_asked: is_asked("http") });
        let admin = match &config.admin_socket {
            Some(OrOff(path)) => path.clone().map(|at| Place { at, is_asked: true }),
            None => default_admin_socket().map(|at| Place { at, is_asked: false }),
        };
        let admin_group = arrangement.unix_group;
        Self {
            http,
            admin,
            admin_mode: if admin_group.is_some() { 0o660 } else { 0o600 },
            admin_group,
            cpus: arrangement.placement.housekeeping.clone(),
        }
    }
}

/// In the folder that the service manager gives, else in that of the user's session.
fn default_admin_socket() -> Option<PathBuf> {
    let of_session = || {
        let folder = std::env::var_os("XDG_RUNTIME_DIR").filter(|folder| !folder.is_empty())?;
        Some(PathBuf::from(folder).join("deltaworks"))
    };
    runtime_folder().or_else(of_session).map(|folder| folder.join("admin.sock"))
}

/// The running thread; it ends when this is dropped.
#[derive(Debug)]
pub struct Housekeeping {
    http: Option<SocketAddr>,
    admin: Option<PathBuf>,
    seen: Seen,
    end: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Housekeeping {
    /// Binds what `config` says and answers from then on; the server is told later.
    ///
    /// # Errors
    /// What was asked for and could not be bound, and why.
    pub fn start(config: HousekeepingConfig) -> Result<Self, String> {
        let HousekeepingConfig { http, admin, admin_mode, admin_group, cpus } = config;
        let listener = bound(http, "http", |at| bind_tcp(*at))?;
        let admin = bound(admin, "admin_socket", |at: &PathBuf| {
            AdminSocket::bind(at, admin_mode, admin_group)
                .map_err(|error| format!("{}: {error}", at.display()))
        })?;
        let address = listener.as_ref().map(std::net::TcpListener::local_addr).transpose();
        let address = address.map_err(|error| format!("http: {error}"))?;
        let path = admin.as_ref().map(|socket| socket.path().to_owned());
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| format!("housekeeping: {error}"))?;
        let seen = Seen::default();
        let (end, ended) = oneshot::channel();
        let see = Arc::clone(&seen);
        let thread = std::thread::Builder::new().name("housekeeping".to_owned());
        let thread = thread.spawn(move || {
            // Where it runs changes only whom it disturbs; a set that is empty says nothing.
            let _ = confine(&cpus);
            runtime.block_on(answer(listener, admin, see, ended));
        });
        let thread = thread.map_err(|error| format!("housekeeping: {error}"))?;
        Ok(Self { http: address, admin: path, seen, end: Some(end), thread: Some(thread) })
    }

    /// Lets requests see the server.
    pub fn serve(&self, observer: Observer) {
        let _ = self.seen.server.set(observer);
    }

    /// Lets requests reload.
    pub fn may_reload(&self, reloader: Arc<Reloader>) {
        let _ = self.seen.reloader.set(reloader);
    }

    /// Where HTTP is answered, with the port that the system gave.
    pub fn http(&self) -> Option<SocketAddr> {
        self.http
    }

    /// Where the admin socket is.
    pub fn admin(&self) -> Option<&Path> {
        self.admin.as_deref()
    }

    /// Logs where it answers.
    pub fn log(&self) {
        if let Some(address) = self.http {
            info!("status page and metrics on http://{address}/");
        }
        match &self.admin {
            Some(path) => info!("administration on unix {}", path.display()),
            None => info!("no administration: there is no admin socket"),
        }
    }
}

impl Drop for Housekeeping {
    fn drop(&mut self) {
        drop(self.end.take());
        if let Some(thread) = self.thread.take() {
            // A panic there has told why on standard error; the daemon ends in any case.
            let _ = thread.join();
        }
    }
}

/// What `bind` makes of a place; nothing, with a warning, if it was only the default.
fn bound<T, B>(
    place: Option<Place<T>>,
    key: &str,
    bind: impl FnOnce(&T) -> Result<B, String>,
) -> Result<Option<B>, String> {
    let Some(place) = place else { return Ok(None) };
    match bind(&place.at) {
        Ok(bound) => Ok(Some(bound)),
        Err(fault) if place.is_asked => Err(format!("{key} {fault}")),
        Err(fault) => {
            warn!("{key} is off: {fault}");
            Ok(None)
        }
    }
}

fn bind_tcp(address: SocketAddr) -> Result<std::net::TcpListener, String> {
    let bound = std::net::TcpListener::bind(address);
    let nonblocking = |listener: std::net::TcpListener| -> io::Result<_> {
        listener.set_nonblocking(true)?;
        Ok(listener)
    };
    bound.and_then(nonblocking).map_err(|error| format!("{address}: {error}"))
}

/// Answers on both ways until `ended`.
async fn answer(
    http: Option<std::net::TcpListener>,
    admin: Option<AdminSocket>,
    seen: Seen,
    ended: oneshot::Receiver<()>,
) {
    let public = async {
        match http.map(tokio::net::TcpListener::from_std) {
            Some(Ok(listener)) => {
                connection::serve_tcp(listener, router::public(Arc::clone(&seen))).await
            }
            Some(Err(_)) | None => std::future::pending().await,
        }
    };
    let private = async {
        match &admin {
            Some(socket) => match socket.listener() {
                Ok(listener) => {
                    connection::serve_unix(listener, admin::router(Arc::clone(&seen))).await
                }
                Err(_) => std::future::pending().await,
            },
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        () = public => {}
        () = private => {}
        _ = ended => {}
    }
}
