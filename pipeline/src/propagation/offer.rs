//! What a full socket is offered: its half-sent image, or its next one, alone.
//!
//! The part of [`Propagation`] for sockets that tell readiness only by trying to send.

use super::{Ended, Half, Propagation};
use crate::chunk::published;
use crate::message::{CloseReason, SessionId};
use crate::port::SessionPort;

impl Propagation {
    /// What a blocked session's socket is to be offered alone: the rest of its half-sent image,
    /// or its next image, which so becomes the half-sent one. Empty if there is nothing, or if
    /// something was told that must go out first.
    ///
    /// For sockets that tell readiness only by trying to send.
    pub(crate) fn offer(&mut self, session: SessionId, port: &mut impl SessionPort) -> &[u8] {
        while matches!(self.outlets[session.0 as usize].half, Half::None) {
            if let Some(place) = self.next_aside(session) {
                // What is told first goes out first.
                if !self.tell_before_aside(place, port) {
                    self.take_aside(session);
                }
                break;
            }
            let Some(place) = self.pop_ready(session.0) else { break };
            if self.judge(place, port) {
                // What was told goes out first.
                self.make_ready(place, false);
                break;
            }
            self.begin_half(session, place);
        }
        self.half(session)
    }

    /// What is left of the image that is on its way alone.
    fn half(&self, session: SessionId) -> &[u8] {
        match &self.outlets[session.0 as usize].half {
            Half::None => &[],
            Half::InChunk { range, sent, .. } => &published(&self.memory, *range)[*sent as usize..],
            Half::Copied { bytes, sent, .. } => &bytes[*sent..],
        }
    }

    /// Whether an image is on its way alone.
    pub(crate) fn has_half(&self, session: SessionId) -> bool {
        !matches!(self.outlets[session.0 as usize].half, Half::None)
    }

    fn begin_half(&mut self, session: SessionId, place: u32) {
        let entry = self.subscriptions.peek(place);
        let (slot, (tail, ended)) = (entry.slot, self.shared.get(entry.slot).tail());
        let mut at = self.resolve(entry);
        if at.node < tail {
            at = self.nodes.normalise(at);
            let range = self.nodes.node(at.block, at.index).range;
            self.outlets[session.0 as usize].half =
                Half::InChunk { range, sent: 0, slot, node: at.node };
            let is_live = at.node >= entry.live_from();
            let live_bytes = if is_live { u64::from(range.bytes()) } else { 0 };
            at.node += 1;
            at.index += 1;
            self.move_cursor(place, at, live_bytes);
            self.make_ready(place, false);
        } else if ended {
            let (session, handle) = (entry.session, entry.handle);
            self.ended.push(Ended { session, handle, reason: CloseReason::Dropped });
        }
    }

    /// The socket has taken `count` bytes of what was offered.
    pub(crate) fn took(&mut self, session: SessionId, count: usize) {
        let length = self.half(session).len();
        self.counts.delivered_bytes += count as u64;
        self.settle_half(session, length, count);
    }
}
