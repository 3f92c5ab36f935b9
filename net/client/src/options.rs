//! What a user chooses: how a client behaves, and how a document is opened.

use std::time::Duration;

use deltaworks_protocol::client::Healing;
use deltaworks_protocol::message::{self, Access, Policy, Start};

/// How a client behaves.
#[derive(Clone, Debug)]
pub struct ClientOptions {
    /// The program's name, told to the server; at most 64 bytes.
    pub program: String,
    /// Whether faults are healed by reconnecting, or end the client (healed).
    pub healing: Healing,
    /// How long an answer may take before the connection counts as broken (10 s).
    pub answer_timeout: Duration,
    /// The first pause before a reconnect; each next is twice as long (50 ms).
    pub backoff_min: Duration,
    /// The longest pause before a reconnect (5 s).
    pub backoff_max: Duration,
    /// Reconnects in a row that fail before the client gives up; `None` for never (never).
    pub reconnects_max: Option<u32>,
    /// Bytes of unanswered batches that each document keeps at most (1 MiB).
    pub backlog_bytes_max: usize,
    /// Bytes of unread events that each document keeps before reading stops (1 MiB), each event
    /// with 64 bytes for its place. One read of the socket may exceed it.
    pub unread_bytes_max: usize,
}

impl Default for ClientOptions {
    fn default() -> ClientOptions {
        ClientOptions {
            program: concat!("deltaworks-client/", env!("CARGO_PKG_VERSION")).into(),
            healing: Healing::On,
            answer_timeout: Duration::from_secs(10),
            backoff_min: Duration::from_millis(50),
            backoff_max: Duration::from_secs(5),
            reconnects_max: None,
            backlog_bytes_max: 1 << 20,
            unread_bytes_max: 1 << 20,
        }
    }
}

/// How a document is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OpenOptions {
    /// Reading, writing, or both.
    pub access: Access,
    /// Where the subscription begins (live).
    pub start: Start,
    /// What happens when the subscription falls behind (what the collection says).
    pub policy: Policy,
    /// The writer's identity: not 0, random, kept over restarts to be recognised.
    pub producer: u64,
    /// Whether one's own batches are read back (yes).
    pub echo: bool,
}

impl OpenOptions {
    /// Subscribe.
    pub const fn read() -> OpenOptions {
        OpenOptions {
            access: Access::Read,
            start: Start::Live,
            policy: Policy::OfCollection,
            producer: 0,
            echo: true,
        }
    }

    /// Publish as this producer.
    pub const fn write(producer: u64) -> OpenOptions {
        OpenOptions { access: Access::Write, producer, ..OpenOptions::read() }
    }

    /// Subscribe, and publish as this producer.
    pub const fn read_write(producer: u64) -> OpenOptions {
        OpenOptions { access: Access::Both, producer, ..OpenOptions::read() }
    }

    /// Begin elsewhere than live.
    #[must_use]
    pub const fn from(self, start: Start) -> OpenOptions {
        OpenOptions { start, ..self }
    }

    /// Another policy than the collection's for a subscription that falls behind.
    #[must_use]
    pub const fn policy(self, policy: Policy) -> OpenOptions {
        OpenOptions { policy, ..self }
    }

    /// Slow the document's writers rather than miss something.
    #[must_use]
    pub const fn wait(self) -> OpenOptions {
        OpenOptions { policy: Policy::Wait, ..self }
    }

    /// Do not read one's own batches back.
    #[must_use]
    pub const fn without_echo(self) -> OpenOptions {
        OpenOptions { echo: false, ..self }
    }

    pub(crate) fn to_message(self) -> message::OpenOptions {
        let OpenOptions { access, start, policy, producer, echo } = self;
        message::OpenOptions { access, start, policy, producer, echo }
    }
}
