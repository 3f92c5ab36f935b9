//! Client library: publish, subscribe, resume.
//!
//! A [`Client`] is one connection that heals itself; a [`Document`] is a stream to read and write.
//! The library needs tokio and the protocol, and knows nothing of the server's insides.
//!
//! ```no_run
//! use deltaworks_client::{Client, Endpoint, Event, OpenOptions, Outcome};
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let client = Client::connect(Endpoint::Tcp("127.0.0.1:7710".into())).await?;
//! let mut document = client.open("notes", OpenOptions::read_write(42)).await?;
//! let ticket = document.publish(&[b"hello"]).await?;
//! assert!(matches!(ticket.await, Outcome::Accepted { .. }));
//! while let Some(event) = document.next().await {
//!     if let Event::Batch(batch) = event {
//!         batch.deltas().for_each(|delta| println!("{delta:?}"));
//!     }
//! }
//! # Ok(())
//! # }
//! ```
//!
//! Memory is bounded: unanswered batches and unread events each have a limit of bytes per document. A
//! document whose events are not read stops the reading of the whole connection, acknowledgements
//! included; so read what you subscribe to, or open it for writing only.

#![forbid(unsafe_code)]

mod endpoint;

mod options;

mod client;

mod document;

mod batch;

mod state;

mod connection;

mod backoff;

pub use batch::{Batch, Info};
pub use client::{Client, ConnectError, OpenError};
pub use document::{Document, Event, PublishTicket, Publisher, Subscription};
pub use endpoint::{BoxedStream, Connector, Endpoint, EndpointError};
pub use options::{ClientOptions, OpenOptions};

pub use deltaworks_image::{BatchBuilder, BuildError, DocumentId, Image, Limits};
pub use deltaworks_protocol::ErrorCode;
pub use deltaworks_protocol::client::{
    Counters, Fault, Healing, OpenedDocument, Outcome, PublishError, Refusal, ServerLimits,
    UnknownReason,
};
pub use deltaworks_protocol::message::{Access, Policy, Start};
