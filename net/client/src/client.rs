//! A client: one connection to a server, and the documents opened over it.
//!
//! Cloning is cheap; all clones share the connection. When the last clone and the last document are
//! dropped, the connection is closed.

use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::io;
use std::sync::Arc;
use std::time::Duration;

use deltaworks_protocol::client::{
    self as protocol, Counters, Fault, Refusal, ServerLimits, Session,
};
use tokio::time::timeout;

use crate::backoff::Backoff;
use crate::connection::Connection;
use crate::document::Document;
use crate::endpoint::{Connector, Endpoint};
use crate::options::{ClientOptions, OpenOptions};
use crate::state::{Shared, Slot};

/// How long `close` waits for the goodbye to be written.
const GOODBYE: Duration = Duration::from_secs(1);

/// A connection to a server that heals itself.
#[derive(Clone, Debug)]
pub struct Client {
    guard: Arc<Guard>,
}

/// Ends the connection's task when the last handle goes.
#[derive(Debug)]
pub(crate) struct Guard {
    pub(crate) shared: Arc<Shared>,
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.shared.lock().is_quitting = true;
        self.shared.work.notify_one();
    }
}

/// Why there is no first connection.
#[derive(Debug)]
pub enum ConnectError {
    /// The system told why.
    Io(io::Error),
    /// The server ended the session, or never said hello.
    Fault(Fault),
}

impl fmt::Display for ConnectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ConnectError::Io(error) => write!(f, "no connection: {error}"),
            ConnectError::Fault(fault) => write!(f, "no session: {fault}"),
        }
    }
}

impl std::error::Error for ConnectError {}

/// Why a document was not opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OpenError {
    /// It cannot be asked for.
    Invalid(protocol::OpenError),
    /// The server refused.
    Refused(Refusal),
    /// The client has failed.
    Failed(Fault),
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            OpenError::Invalid(error) => write!(f, "{error}"),
            OpenError::Refused(refusal) => write!(f, "{refusal}"),
            OpenError::Failed(fault) => write!(f, "{fault}"),
        }
    }
}

impl std::error::Error for OpenError {}

impl Client {
    /// A client of the server at `endpoint`, with default options.
    ///
    /// # Errors
    /// As [`connect_with`](Self::connect_with).
    pub async fn connect(endpoint: Endpoint) -> Result<Client, ConnectError> {
        Client::connect_with(endpoint, ClientOptions::default()).await
    }

    /// A client over connections that `connector` makes; resolves when the server has said hello.
    ///
    /// # Errors
    /// Why the first connection failed; only later ones are healed.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub async fn connect_with(
        connector: impl Connector,
        options: ClientOptions,
    ) -> Result<Client, ConnectError> {
        let stream = match timeout(options.answer_timeout, connector.connect()).await {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => return Err(ConnectError::Io(error)),
            Err(_) => return Err(ConnectError::Io(io::ErrorKind::TimedOut.into())),
        };
        let session = Session::new(protocol::Config {
            client: options.program.clone(),
            healing: options.healing,
            answer_timeout_ms: options.answer_timeout.as_millis().min(u128::from(u32::MAX)) as u32,
            backlog_bytes_max: options.backlog_bytes_max,
        });
        let shared = Arc::new(Shared::new(session, options.unread_bytes_max));
        let guard = Arc::new(Guard { shared: Arc::clone(&shared) });
        let seed = RandomState::new().hash_one("jitter");
        let connection = Connection {
            shared: Arc::clone(&shared),
            connector: Box::new(connector),
            backoff: Backoff::new(options.backoff_min, options.backoff_max, seed),
            settled_after: options.backoff_max,
            answer_timeout: options.answer_timeout,
            reconnects_max: options.reconnects_max,
        };
        tokio::spawn(connection.run(stream));
        loop {
            let change = shared.change.notified();
            tokio::pin!(change);
            change.as_mut().enable();
            {
                let state = shared.lock();
                if let Some(fault) = state.session.failure() {
                    return Err(ConnectError::Fault(fault.clone()));
                }
                if state.is_connected {
                    return Ok(Client { guard });
                }
            }
            change.await;
        }
    }

    /// Opens a document; resolves when the server has answered.
    ///
    /// # Errors
    /// What is wrong with the request, or why the server or the session refuses it.
    pub async fn open(&self, name: &str, options: OpenOptions) -> Result<Document, OpenError> {
        let shared = &self.guard.shared;
        let document = loop {
            let change = shared.change.notified();
            tokio::pin!(change);
            change.as_mut().enable();
            match self.ask(name, options) {
                // A dropped handle of the same document is still being closed.
                Err(OpenError::Invalid(protocol::OpenError::Ending)) => change.await,
                asked => break asked?,
            }
        };
        shared.work.notify_one();
        document.opened_or_refused().await?;
        Ok(document)
    }

    fn ask(&self, name: &str, options: OpenOptions) -> Result<Document, OpenError> {
        let shared = &self.guard.shared;
        let mut state = shared.lock();
        let asked = state.session.open(shared.now_ns(), name, options.to_message());
        let key = match (asked, state.session.failure()) {
            (Ok(key), _) => key,
            (Err(_), Some(fault)) => return Err(OpenError::Failed(fault.clone())),
            (Err(error), None) => return Err(OpenError::Invalid(error)),
        };
        let index = key.0 as usize;
        if state.slots.len() <= index {
            state.slots.resize_with(index + 1, || None);
        }
        let slot = Slot::new();
        let signals = Arc::clone(&slot.signals);
        state.slots[index] = Some(slot);
        drop(state);
        Ok(Document::new(Arc::clone(&self.guard), key, signals))
    }

    /// What the server told of its limits, last.
    pub fn server_limits(&self) -> Option<ServerLimits> {
        self.guard.shared.lock().session.server_limits()
    }

    /// What was counted since the client began.
    pub fn counters(&self) -> Counters {
        self.guard.shared.lock().session.counters()
    }

    /// Why the client has failed for good, if it has.
    pub fn failure(&self) -> Option<Fault> {
        self.guard.shared.lock().session.failure().cloned()
    }

    /// Says goodbye and ends the client; documents end, what was not sent is told so.
    ///
    /// To have everything answered first, close the documents.
    pub async fn close(self) {
        let shared = &self.guard.shared;
        shared.lock().is_quitting = true;
        shared.work.notify_one();
        let gone = async {
            loop {
                let change = shared.change.notified();
                tokio::pin!(change);
                change.as_mut().enable();
                if shared.lock().session.is_failed() {
                    return;
                }
                change.await;
            }
        };
        // A server that takes nothing more does not hold the user up.
        let _ = timeout(GOODBYE, gone).await;
    }
}
