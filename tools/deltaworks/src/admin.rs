//! The daemon's admin socket, as its client: one request a connection, JSON or a stream of bytes back.
//!
//! ```text
//! --admin or $DELTAWORKS_ADMIN, else the first that answers of
//!   $RUNTIME_DIRECTORY/admin.sock, $XDG_RUNTIME_DIR/deltaworks/admin.sock, /run/deltaworks/admin.sock
//! ```
//!
//! Owned by the command line. It never guesses: a daemon that cannot be asked is told with what to do
//! about it. An answer is read up to `ANSWER_BYTES_MAX`; a longer one is an error.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::net::UnixStream;
use tokio::time::timeout;

use crate::exit;
use crate::output;

/// Bytes of an answer that is read as one at most.
const ANSWER_BYTES_MAX: usize = 32 << 20;
/// How long the daemon may take to answer, beyond the time that it was asked to measure.
const PATIENCE: Duration = Duration::from_secs(10);
/// Where a packaged daemon has its socket.
const PACKAGED: &str = "/run/deltaworks/admin.sock";

/// Which daemon to ask.
#[derive(Clone, Debug, Default, Args)]
pub struct AdminArguments {
    /// Admin socket of the daemon; where daemons have theirs, if not given
    #[arg(long, value_name = "PATH", env = "DELTAWORKS_ADMIN", hide_env_values = true)]
    admin: Option<PathBuf>,
}

impl AdminArguments {
    /// The daemon with this socket.
    pub fn at(path: impl Into<PathBuf>) -> AdminArguments {
        AdminArguments { admin: Some(path.into()) }
    }

    /// The sockets that are tried, in this order.
    pub fn candidates(&self) -> Vec<PathBuf> {
        if let Some(path) = &self.admin {
            return vec![path.clone()];
        }
        let below = |variable: &str, rest: &str| {
            std::env::var_os(variable)
                .filter(|folder| !folder.is_empty())
                .map(|folder| Path::new(&folder).join(rest))
        };
        [
            below("RUNTIME_DIRECTORY", "admin.sock"),
            below("XDG_RUNTIME_DIR", "deltaworks/admin.sock"),
            Some(PathBuf::from(PACKAGED)),
        ]
        .into_iter()
        .flatten()
        .collect()
    }
}

/// A daemon that listens on its admin socket.
#[derive(Clone, Debug)]
pub struct Admin {
    path: PathBuf,
}

impl Admin {
    /// The first of the candidates that listens.
    ///
    /// # Errors
    /// What stood in the way: of the first socket that exists, or that there is none.
    pub async fn find(arguments: &AdminArguments) -> Result<Admin, AdminError> {
        let candidates = arguments.candidates();
        let mut first = None;
        for path in &candidates {
            match UnixStream::connect(path).await {
                Ok(_) => return Ok(Admin { path: path.clone() }),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) if first.is_none() => first = Some((path.clone(), error)),
                Err(_) => {}
            }
        }
        Err(match first {
            Some((path, error)) => AdminError::Unreachable(path, error),
            None => AdminError::Absent(candidates),
        })
    }

    /// The socket.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The answer to `GET place`, which the daemon may take `measuring` and some seconds for.
    ///
    /// # Errors
    /// Why there is none, or what the daemon says instead.
    pub async fn get<T: DeserializeOwned>(
        &self,
        place: &str,
        measuring: Duration,
    ) -> Result<T, AdminError> {
        self.read(Method::GET, place, measuring).await
    }

    /// The answer to `POST place`, the same.
    ///
    /// # Errors
    /// As [`Admin::get`].
    pub async fn post<T: DeserializeOwned>(
        &self,
        place: &str,
        measuring: Duration,
    ) -> Result<T, AdminError> {
        self.read(Method::POST, place, measuring).await
    }

    async fn read<T: DeserializeOwned>(
        &self,
        method: Method,
        place: &str,
        measuring: Duration,
    ) -> Result<T, AdminError> {
        let answer = self.request(method, place, measuring).await?;
        let body = timeout(PATIENCE, whole(answer)).await.map_err(|_| self.silent())?;
        let body = body.map_err(|why| AdminError::Answer(place.to_owned(), why))?;
        serde_json::from_slice(&body)
            .map_err(|error| AdminError::Answer(place.to_owned(), error.to_string()))
    }

    /// The answer's head; the body is still to be read.
    ///
    /// # Errors
    /// Why there is none, or what the daemon says instead.
    pub async fn request(
        &self,
        method: Method,
        place: &str,
        measuring: Duration,
    ) -> Result<Response<Incoming>, AdminError> {
        let lost = |error: hyper::Error| AdminError::Lost(self.path.clone(), error.to_string());
        let stream = UnixStream::connect(&self.path)
            .await
            .map_err(|error| AdminError::Unreachable(self.path.clone(), error))?;
        let (mut sender, connection) =
            http1::handshake(TokioIo::new(stream)).await.map_err(lost)?;
        tokio::spawn(connection);
        let request = Request::builder()
            .method(method)
            .uri(place)
            .header("host", "deltaworks")
            .header("content-length", "0")
            .body(Empty::<Bytes>::new())
            .map_err(|error| AdminError::Answer(place.to_owned(), error.to_string()))?;
        let answer = timeout(measuring + PATIENCE, sender.send_request(request))
            .await
            .map_err(|_| self.silent())?
            .map_err(lost)?;
        if answer.status() == StatusCode::OK {
            return Ok(answer);
        }
        let status = answer.status();
        let body = timeout(PATIENCE, whole(answer)).await.map_err(|_| self.silent())?;
        let told: Option<Value> = body.ok().and_then(|body| serde_json::from_slice(&body).ok());
        let told = told.unwrap_or_default();
        let number = told["number"].as_u64().and_then(|number| u16::try_from(number).ok());
        let error = match told["error"].as_str() {
            Some(error) => error.to_owned(),
            None => format!("no reason for {place}"),
        };
        Err(AdminError::Refused(status, number, error))
    }

    fn silent(&self) -> AdminError {
        AdminError::Silent(self.path.clone())
    }
}

/// Finds the daemon and does `ask` with it; what goes wrong is told, and is the exit code.
pub fn ask(
    arguments: &AdminArguments,
    ask: impl AsyncFnOnce(Admin) -> Result<ExitCode, AdminError>,
) -> ExitCode {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            output::complain(error);
            return exit::failed();
        }
    };
    let asked = runtime.block_on(async { ask(Admin::find(arguments).await?).await });
    asked.unwrap_or_else(|error| {
        output::complain(&error);
        if error.is_unreachable() { exit::unreachable() } else { exit::failed() }
    })
}

/// The text as a value of a query: everything but letters and digits escaped (RFC 3986, section 2.1).
pub fn in_query(text: &str) -> String {
    let mut query = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' => query.push(char::from(byte)),
            _ => query += &format!("%{byte:02X}"),
        }
    }
    query
}

/// What `told` says of `what`.
///
/// # Errors
/// That it is not understood.
pub fn understood<T: DeserializeOwned>(what: &str, told: Value) -> Result<T, AdminError> {
    serde_json::from_value(told)
        .map_err(|error| AdminError::Answer(what.to_owned(), error.to_string()))
}

async fn whole(answer: Response<Incoming>) -> Result<Bytes, String> {
    let body = Limited::new(answer.into_body(), ANSWER_BYTES_MAX);
    body.collect().await.map(|whole| whole.to_bytes()).map_err(|error| error.to_string())
}

/// Why the daemon's answer is not there.
#[derive(Debug)]
pub enum AdminError {
    /// None of these sockets exists.
    Absent(Vec<PathBuf>),
    /// The socket cannot be connected to.
    Unreachable(PathBuf, io::Error),
    /// The connection ended before the answer.
    Lost(PathBuf, String),
    /// The daemon takes the connection and does not answer.
    Silent(PathBuf),
    /// The daemon says why not, with the reason's number if it has one.
    Refused(StatusCode, Option<u16>, String),
    /// The answer to this is none that this program understands.
    Answer(String, String),
}

impl AdminError {
    /// The number of the reason for which the daemon refuses.
    pub fn number(&self) -> Option<u16> {
        match self {
            AdminError::Refused(_, number, _) => *number,
            _ => None,
        }
    }

    /// Whether no daemon could be asked at all.
    pub fn is_unreachable(&self) -> bool {
        matches!(self, AdminError::Absent(_) | AdminError::Unreachable(..) | AdminError::Silent(_))
    }
}

impl fmt::Display for AdminError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            AdminError::Absent(paths) => {
                let paths: Vec<String> =
                    paths.iter().map(|path| path.display().to_string()).collect();
                write!(
                    f,
                    "no daemon is there: {} does not exist; start deltaworksd, or name its admin \
                     socket with --admin PATH",
                    paths.join(", nor ")
                )
            }
            AdminError::Unreachable(path, error) => {
                let path = path.display();
                match error.kind() {
                    io::ErrorKind::NotFound => write!(
                        f,
                        "no daemon is there: {path} does not exist; start deltaworksd, or name \
                         its admin socket with --admin PATH"
                    ),
                    io::ErrorKind::PermissionDenied => write!(
                        f,
                        "{path} may not be opened: run this as the daemon's user or as root, or \
                         join the group that unix_group names"
                    ),
                    io::ErrorKind::ConnectionRefused => write!(
                        f,
                        "nobody listens on {path} any more: the daemon has ended; start \
                         deltaworksd again"
                    ),
                    _ => write!(f, "{path} cannot be connected to: {error}"),
                }
            }
            AdminError::Lost(path, error) => {
                write!(f, "{}: the daemon ended before it answered ({error})", path.display())
            }
            AdminError::Silent(path) => write!(
                f,
                "{}: the daemon takes connections and does not answer; its log may say why",
                path.display()
            ),
            AdminError::Refused(status, number, error) => {
                let number = number.unwrap_or(status.as_u16());
                write!(f, "the daemon refuses: {error} ({number})")
            }
            AdminError::Answer(place, why) => write!(
                f,
                "the answer to {place} is not understood ({why}); is the daemon of this version?"
            ),
        }
    }
}

impl std::error::Error for AdminError {}
