//! What the stages ask of the layer above: a session's own control, and the way out to its client.
//!
//! The pipeline knows no socket and no control encoding. A port belongs to the same core as the
//! sessions; none of its functions may wait.

use deltaworks_image::ImageError;
use deltaworks_runtime::clock::Now;

use crate::message::{
    Ack, CloseReason, Missed, OpenRefusal, OpenRequest, Opened, Refusal, SessionId,
};

/// What an inbound control message asks of the pipeline.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ControlAction {
    /// Nothing: the port has dealt with it.
    Done,
    /// Open a document.
    Open(OpenRequest),
    /// Close a handle.
    Close {
        /// The handle.
        handle: u32,
    },
    /// Drop the document of a handle that may write.
    Drop {
        /// The handle.
        handle: u32,
    },
    /// The session ends: the port has told why, if there is a reason to tell.
    End,
}

/// Why the pipeline ends a session.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SessionFault {
    /// A message that is no message.
    Malformed(ImageError),
    /// A batch, close or drop for a handle that was never opened.
    UnknownHandle {
        /// The handle.
        handle: u32,
    },
    /// A batch or drop through a handle without write access.
    NotAWriter {
        /// The handle.
        handle: u32,
    },
    /// A batch beyond the credit.
    CreditExceeded {
        /// The handle.
        handle: u32,
    },
    /// A message did not arrive whole in time.
    MessageDeadline,
    /// The room for unfinished messages is used up.
    CarryLimit,
    /// The room for what slow subscribers have not taken is used up.
    SpillLimit,
    /// The server failed at what the session sent.
    Internal,
}

/// What a socket took.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Sent {
    /// Bytes taken of the half-sent image.
    pub half_bytes: usize,
    /// Bytes taken of the parts.
    pub parts_bytes: usize,
    /// Nothing more is taken until [`crate::propagation::Propagation::writable`] is called.
    pub blocked: bool,
}

/// The layer above the stages, for the sessions of one core.
pub trait SessionPort {
    /// Handles an inbound control message (a kind other than batch and info).
    fn control(&mut self, session: SessionId, kind: u8, body: &[u8], now: Now) -> ControlAction;
    /// Tells that a document was opened, with the credit granted.
    fn opened(&mut self, opened: &Opened, credit_bytes: u64);
    /// Tells that an open was refused.
    fn open_refused(&mut self, session: SessionId, request: u32, reason: OpenRefusal);
    /// Tells a cumulative acknowledgement.
    fn ack(&mut self, ack: &Ack);
    /// Tells that a batch was refused.
    fn refused(&mut self, refusal: &Refusal);
    /// Tells that sequences of a subscription will not come.
    fn gap(&mut self, session: SessionId, handle: u32, missed: Missed);
    /// Grants credit outside of an acknowledgement.
    fn credit(&mut self, session: SessionId, handle: u32, bytes: u64);
    /// Tells that a handle is closed.
    fn closed(&mut self, session: SessionId, handle: u32, reason: CloseReason);
    /// Tells why the session ends.
    fn fault(&mut self, session: SessionId, fault: SessionFault);
    /// The session has ended behind the first part of an image: these bytes end the image, and
    /// come before anything that the port still has to say.
    fn remainder(&mut self, session: SessionId, bytes: &[u8]);
    /// The session may be read again after `read_room` had none.
    fn resume_reading(&mut self, session: SessionId);
    /// Nothing names the session any more; its place may be given to another.
    fn forgotten(&mut self, session: SessionId);
    /// Sends, in this order: the rest of a half-sent image, the port's own control messages,
    /// `parts`. Control goes out only behind a whole image, and parts only behind all control.
    fn send(&mut self, session: SessionId, half: &[u8], parts: &[&[u8]]) -> Sent;
    /// What time it is now, in microseconds since the Unix epoch, asked once behind a send that
    /// took images: how long they took is counted. 0, as by default: nothing is counted.
    fn sent_at_us(&mut self) -> u64 {
        0
    }
}
