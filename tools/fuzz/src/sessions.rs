//! Session state machines: whatever the peer says, and whatever the user or the time does meanwhile.
//!
//! Input: a byte that chooses the server's session or the client's, then actions. What a session sends
//! must be messages that the other side can read, in an order that the protocol allows; what it tells
//! its user must be whole: each ticket answered once, each sequence given or told to be missing.

mod asking;
mod serving;

use arbitrary::Unstructured;
use deltaworks_protocol::{client, server};

/// How sessions write what they have to send. Planted faults change what was written.
pub trait Writer {
    /// What a server's session has to send.
    fn server(&self, session: &mut server::Session, config: &server::Config, out: &mut Vec<u8>) {
        session.poll_transmit(config, out);
    }
    /// What a client's session has to send.
    fn client(&self, session: &mut client::Session, now_ns: u64, out: &mut Vec<u8>, max: usize) {
        session.poll_transmit(now_ns, out, max);
    }
}

/// The project's sessions as they are.
#[derive(Debug)]
pub struct Real;

impl Writer for Real {}

/// Runs the project's sessions.
pub fn run(data: &[u8]) {
    body(&Real, data);
}

/// Runs sessions whose messages `writer` writes.
///
/// # Panics
/// If a session breaks the protocol or a promise to its user.
pub fn body(writer: &impl Writer, data: &[u8]) {
    let Some((&side, actions)) = data.split_first() else { return };
    let actions = Unstructured::new(actions);
    if side % 2 == 0 {
        serving::story(writer, actions);
    } else {
        asking::story(writer, actions);
    }
}
