//! What a panic in the handling of a session's input costs: that session, nobody else.
//!
//! The part of [`Reception`] that goes on behind a panic. What input changes outside of its
//! session are the chunk's tail, subscriptions and mailboxes, each in steps that panic before they
//! change anything or not at all; sums over sessions may be wrong, and are made anew. Then the
//! session ends as any other does. A panic in that ending is not contained: it ends the core.

use super::{Around, Partial, Reception};
use crate::message::SessionId;
use crate::port::{SessionFault, SessionPort};

impl Reception {
    /// Ends the session with an internal error; `false` if it was ending already, so that the
    /// panic cannot be laid to its input.
    #[cold]
    pub(crate) fn contain<P: SessionPort>(
        &mut self,
        id: SessionId,
        around: &mut Around<'_, P>,
    ) -> bool {
        let session = &self.sessions[id.0 as usize];
        if session.is_ending || !session.is_used {
            return false;
        }
        self.count_partials();
        self.counts.failed_sessions += 1;
        around.port.fault(id, SessionFault::Internal);
        self.end_session(id, around);
        true
    }

    /// Makes the sums over unfinished messages anew.
    fn count_partials(&mut self) {
        (self.carry_bytes, self.reserved_bytes) = (0, 0);
        for session in &self.sessions {
            match &session.partial {
                Partial::None => {}
                Partial::Carried(bytes) | Partial::Backlog(bytes) => {
                    self.carry_bytes += bytes.len() as u64;
                }
                Partial::Reserved { reservation, .. } => {
                    self.reserved_bytes += u64::from(reservation.bytes());
                }
                Partial::Aside { buffer, .. } => self.carry_bytes += buffer.len() as u64,
            }
        }
    }
}
