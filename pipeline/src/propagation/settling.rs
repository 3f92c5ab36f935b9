//! What becomes of cursors and half-sent images when a socket has taken something.
//!
//! The part of [`Propagation`] that follows a send. It tells nobody anything.

use super::{Group, Half, Propagation};
use crate::chunk::ImageRange;
use crate::message::{Policy, SessionId};
use crate::stream::Place;

impl Propagation {
    pub(super) fn settle_half(&mut self, session: SessionId, length: usize, taken: usize) {
        if length == 0 {
            return;
        }
        let outlet = &mut self.outlets[session.0 as usize];
        if taken < length {
            match &mut outlet.half {
                Half::None => {}
                Half::InChunk { sent, .. } => *sent += taken as u32,
                Half::Copied { sent, .. } => *sent += taken,
            }
            return;
        }
        self.counts.delivered_images += 1;
        match core::mem::replace(&mut outlet.half, Half::None) {
            Half::Copied { bytes, .. } => self.give_back_copy(bytes.len()),
            Half::InChunk { .. } | Half::None => {}
        }
    }

    /// Moves the cursors over the `rest` bytes that the socket took; what it took half is remembered. Returns how
    /// many images went whole, and the last of them if it was ordered since its subscription began.
    pub(super) fn settle_groups(
        &mut self,
        session: SessionId,
        groups: &[Group],
        mut rest: usize,
    ) -> (usize, Option<ImageRange>) {
        let (mut images, mut newest) = (0, None);
        for group in groups {
            if rest >= group.bytes {
                rest -= group.bytes;
                images += group.nodes as usize;
                newest = group.newest;
                self.move_cursor(group.subscription, group.after, group.live_bytes);
                if group.more {
                    self.make_ready(group.subscription, false);
                }
                continue;
            }
            let mut at = self.resolve(self.subscriptions.peek(group.subscription));
            let mut live_bytes = 0;
            while rest > 0 {
                at = self.nodes.normalise(at);
                let range = self.nodes.node(at.block, at.index).range;
                let entry = self.subscriptions.peek(group.subscription);
                let (slot, is_live) = (entry.slot, at.node >= entry.live_from());
                live_bytes += if is_live { u64::from(range.bytes()) } else { 0 };
                if rest < range.bytes() as usize {
                    self.outlets[session.0 as usize].half =
                        Half::InChunk { range, sent: rest as u32, slot, node: at.node };
                    rest = 0;
                } else {
                    rest -= range.bytes() as usize;
                    images += 1;
                    newest = is_live.then_some(range);
                }
                at.node += 1;
                at.index += 1;
            }
            self.move_cursor(group.subscription, at, live_bytes);
            self.make_ready(group.subscription, false);
        }
        (images, newest)
    }

    #[inline]
    pub(super) fn move_cursor(&mut self, place: u32, to: Place, live_bytes: u64) {
        let entry = self.subscriptions.get(place);
        entry.move_to(to);
        entry.position = entry.position.after(live_bytes);
        if entry.policy == Policy::Wait {
            let slot = entry.slot;
            self.progressed.push(slot);
        }
    }
}
