//! What a client session tells its user: answers, gaps, ends, and faults by name.

use core::fmt;

use deltaworks_image::{BuildError, ImageError};

use crate::error_code::ErrorCode;
use crate::message::{DURABILITY_MEMORY, ErrorMessage, Policy, ServerHello};

/// A document that a client opened; valid until it is forgotten, over all reconnects.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DocumentKey(pub u32);

/// What the server told in hello.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ServerLimits {
    /// The longest image, in bytes.
    pub batch_bytes_max: u32,
    /// The most deltas in a batch.
    pub deltas_per_batch_max: u32,
    /// The most handles of a session.
    pub documents_per_session_max: u32,
    /// How long the server stays silent at most.
    pub ping_timeout_ms: u32,
    /// The longest document name, in bytes.
    pub name_bytes_max: u32,
    /// Whether an acknowledgement promises more than the server's memory.
    pub is_durable: bool,
}

impl From<&ServerHello<'_>> for ServerLimits {
    fn from(hello: &ServerHello<'_>) -> ServerLimits {
        ServerLimits {
            batch_bytes_max: hello.batch_bytes_max,
            deltas_per_batch_max: hello.deltas_per_batch_max,
            documents_per_session_max: hello.documents_per_session_max,
            ping_timeout_ms: hello.ping_timeout_ms,
            name_bytes_max: hello.name_bytes_max,
            is_durable: hello.durability != DURABILITY_MEMORY,
        }
    }
}

/// A numbered error that concerns one open or one batch, kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The number; a newer server's may be unknown to [`ErrorCode`].
    pub code: u16,
    /// What happened, for a person.
    pub text: String,
    /// The delta's index in its batch.
    pub delta: Option<u32>,
    /// Where in the delta.
    pub instance_path: Option<String>,
    /// Where in the schema.
    pub schema_path: Option<String>,
    /// At which byte of the delta.
    pub offset: Option<u32>,
}

impl Refusal {
    /// The row of the registry, if this version knows it.
    pub fn error_code(&self) -> Option<ErrorCode> {
        ErrorCode::from_number(self.code)
    }
}

impl From<&ErrorMessage<'_>> for Refusal {
    fn from(error: &ErrorMessage<'_>) -> Refusal {
        Refusal {
            code: error.code,
            text: error.text.into(),
            delta: error.delta,
            instance_path: error.instance_path.map(Into::into),
            schema_path: error.schema_path.map(Into::into),
            offset: error.offset,
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.error_code() {
            Some(code) => write!(f, "{code}")?,
            None => write!(f, "error {}", self.code)?,
        }
        if let Some(delta) = self.delta {
            write!(f, " Delta {delta}")?;
        }
        if let Some(path) = &self.instance_path {
            write!(f, " at {path:?}")?;
        }
        write!(f, " ({})", self.text)
    }
}

impl core::error::Error for Refusal {}

/// What became of a published batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It is in the document's stream.
    Accepted {
        /// The sequence of its first delta; `None` if a later batch was acknowledged with it.
        sequence: Option<u64>,
    },
    /// It was sent again and had been answered before; it was not applied twice.
    Duplicate {
        /// The sequence of its first delta. `None`: no longer known, or it was refused and the
        /// refusal was lost with the earlier connection.
        sequence: Option<u64>,
    },
    /// It was refused, whole.
    Refused(Refusal),
    /// It was sent, and whether it was applied cannot be known.
    Unknown(UnknownReason),
    /// It was not sent and will not be.
    NotSent,
}

/// Why nobody knows whether a batch was applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UnknownReason {
    /// The document has a new epoch: its history was lost, with or without the batch.
    EpochChanged,
    /// The server no longer remembers the producer that far back.
    Forgotten,
    /// The handle ended, with this number, before the answer came.
    HandleEnded(u16),
    /// The session failed before the answer came.
    SessionFailed,
}

/// What a session tells. The user drains events after each call of `handle_*`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// Hello was answered: documents are being opened.
    Connected(ServerLimits),
    /// A document was opened, or opened again after a reconnect.
    Opened(DocumentKey, Box<OpenedDocument>),
    /// An open was refused; the document has ended.
    OpenRefused(DocumentKey, Box<Refusal>),
    /// A batch was answered; tickets of a document come in order, none is left out.
    Answered {
        /// The document.
        document: DocumentKey,
        /// What publishing it returned.
        ticket: u64,
        /// What became of it.
        outcome: Outcome,
    },
    /// Sequences will not come: the subscription was too slow for its policy.
    Gap {
        /// The document.
        document: DocumentKey,
        /// The first missing sequence.
        from: u64,
        /// The first that follows.
        to: u64,
        /// The policy that left them out.
        policy: Policy,
        /// How far behind the subscription was, in bytes; 0 if the server did not tell.
        behind_bytes: u64,
    },
    /// The document's history was lost; the stream begins anew.
    EpochChanged {
        /// The document.
        document: DocumentKey,
        /// The new epoch.
        epoch: u64,
        /// The sequence that the stream goes on with.
        sequence: u64,
    },
    /// A document has ended: what was asked with close, or what the number tells.
    Closed {
        /// The document.
        document: DocumentKey,
        /// Why.
        code: u16,
    },
    /// The session has failed for good; every document has ended.
    Failed(Fault),
}

/// What `opened` told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenedDocument {
    /// Whether it was opened before, on an earlier connection.
    pub is_again: bool,
    /// The epoch.
    pub epoch: u64,
    /// The first sequence still in the server's memory.
    pub window_start: u64,
    /// The next sequence that the server will give.
    pub next_sequence: u64,
    /// The sequence that this subscription begins with.
    pub start_sequence: u64,
    /// The writer's own number.
    pub origin: u32,
    /// The producer's last answered number.
    pub producer_sequence: u64,
    /// The newest info, a CBOR map.
    pub info: Option<Vec<u8>>,
    /// The collection's kind.
    pub kind: String,
    /// What happens to the subscription when it falls behind: what was asked for, or what its collection
    /// says. Nothing for one that only writes, or if the server's is newer than this version knows.
    pub policy: Option<Policy>,
}

/// Why a connection is of no more use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The connection ended or could not be made.
    Disconnected(String),
    /// A message that is none, or a CRC that does not fit.
    Image(ImageError),
    /// A control message that is none.
    Control(ErrorCode),
    /// Sequences are missing, or batches were swapped.
    Missing {
        /// The document.
        document: DocumentKey,
        /// The sequence that should have come.
        expected: u64,
        /// The one that came.
        came: u64,
    },
    /// A batch came twice, or out of order; only told without healing.
    Doubled {
        /// The document.
        document: DocumentKey,
        /// The sequence that should have come.
        expected: u64,
        /// The one that came.
        came: u64,
    },
    /// The server told a gap; only a fault without healing.
    Gap {
        /// The document.
        document: DocumentKey,
        /// The first missing sequence.
        from: u64,
        /// The first that follows.
        to: u64,
    },
    /// The server missed a batch of ours: the way there lost one.
    Jump(DocumentKey),
    /// A message for a handle or document that is not open.
    Stray,
    /// Nothing was heard or answered in time.
    AnswerTimeout,
    /// The server ended the session, with this number.
    Ended {
        /// The number.
        code: u16,
        /// Why, for a person.
        text: String,
    },
}

impl Fault {
    /// Whether a new connection may do better.
    pub fn is_healable(&self) -> bool {
        !matches!(self, Fault::Ended { code, .. }
            if *code == ErrorCode::VersionNotSupported.number())
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fault::Disconnected(why) => write!(f, "disconnected: {why}"),
            Fault::Image(error) => write!(f, "bad message: {error}"),
            Fault::Control(code) => write!(f, "bad control message: {code}"),
            Fault::Missing { expected, came, .. } => {
                write!(f, "missing or swapped: sequence {expected} expected, {came} came")
            }
            Fault::Doubled { expected, came, .. } => {
                write!(f, "doubled: sequence {expected} expected, {came} came")
            }
            Fault::Gap { from, to, .. } => write!(f, "gap: sequences {from}..{to} will not come"),
            Fault::Jump(_) => f.write_str("the server missed a batch"),
            Fault::Stray => f.write_str("a message for a document that is not open"),
            Fault::AnswerTimeout => f.write_str("no answer in time"),
            Fault::Ended { code, text } => write!(f, "ended by the server: {code} ({text})"),
        }
    }
}

impl core::error::Error for Fault {}

/// Why a batch was not taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PublishError {
    /// The document was not opened for writing.
    NotAWriter,
    /// As much waits as may wait; try again after an answer.
    Backlog,
    /// The document has ended, or is ending.
    Ended,
    /// The batch or info cannot be an image.
    Build(BuildError),
}

impl fmt::Display for PublishError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PublishError::NotAWriter => f.write_str("the document is not open for writing"),
            PublishError::Backlog => f.write_str("too much waits to be answered"),
            PublishError::Ended => f.write_str("the document has ended"),
            PublishError::Build(error) => write!(f, "{error}"),
        }
    }
}

impl core::error::Error for PublishError {}

/// Why a document was not opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OpenError {
    /// The name is empty or too long.
    NameInvalid,
    /// This session has it open already.
    AlreadyOpen,
    /// This session is closing it: try again behind [`Event::Closed`].
    Ending,
    /// A writer without producer.
    AccessInvalid,
    /// The session has failed.
    Failed,
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            OpenError::NameInvalid => "the name is empty or too long",
            OpenError::AlreadyOpen => "this session has the document open already",
            OpenError::Ending => "this session is still closing the document",
            OpenError::AccessInvalid => "writing needs a producer that is not 0",
            OpenError::Failed => "the session has failed",
        })
    }
}

impl core::error::Error for OpenError {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::Config;

    #[test]
    fn a_client_knows_what_an_acknowledgement_promises() {
        let told = |durability: &str| {
            let hello = ServerHello {
                version: 1,
                server: "x",
                batch_bytes_max: 1,
                deltas_per_batch_max: 1,
                documents_per_session_max: 1,
                ping_interval_ms: 1,
                ping_timeout_ms: 1,
                name_bytes_max: 1,
                durability,
            };
            ServerLimits::from(&hello).is_durable
        };
        assert!(!told(&Config::default().durability), "this server keeps documents in memory");
        assert!(told("disk"));
    }
}
