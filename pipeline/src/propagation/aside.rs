//! Images that were copied for a `wait` subscription: how they are sent, and given back.
//!
//! The part of [`Propagation`] that sends what [`retiring`](super::retiring) has copied. Each goes
//! alone, behind control that waits.

use deltaworks_image::Image;

use super::{Half, Propagation};
use crate::message::SessionId;
use crate::port::SessionPort;
use crate::subscription::NO_SUBSCRIPTION;

impl Propagation {
    /// The next subscription to be sent to, if it has copied images and none is half sent.
    pub(super) fn next_aside(&self, session: SessionId) -> Option<u32> {
        let outlet = &self.outlets[session.0 as usize];
        let is_free = matches!(outlet.half, Half::None) && outlet.first_ready != NO_SUBSCRIPTION;
        let place = is_free.then_some(outlet.first_ready)?;
        self.subscriptions.peek(place).oldest_aside().is_some().then_some(place)
    }

    /// Sends the oldest copied image of a subscription, behind control that waits. Only when the
    /// socket has taken some of it, is it the session's half-sent one, which nothing may precede.
    pub(super) fn send_aside(
        &mut self,
        session: SessionId,
        place: u32,
        port: &mut impl SessionPort,
    ) -> (usize, bool) {
        let oldest = self.subscriptions.peek(place).oldest_aside();
        let bytes: &[u8] = oldest.map_or(&[], |(_, bytes)| bytes);
        let length = bytes.len();
        let sent = port.send(session, &[], &[bytes]);
        self.counts.sends += 1;
        self.counts.delivered_bytes += sent.parts_bytes as u64;
        if sent.parts_bytes > 0 {
            self.take_aside(session);
            self.settle_half(session, length, sent.parts_bytes);
        }
        (1, self.settle_outlet(session, sent.blocked))
    }

    /// Makes the oldest copied image of a ready `wait` subscription the session's half-sent one.
    pub(super) fn take_aside(&mut self, session: SessionId) {
        let first = self.outlets[session.0 as usize].first_ready;
        if first == NO_SUBSCRIPTION {
            return;
        }
        let entry = self.subscriptions.get(first);
        let slot = entry.slot;
        let Some(slow) = &mut entry.slow else { return };
        let Some((_, bytes)) = slow.aside.pop_front() else { return };
        if slow.missed_from < slow.missed_to {
            slow.missed_from = end_of_image(&bytes).min(slow.missed_to);
        }
        self.subscriptions.calm(first);
        self.outlets[session.0 as usize].half = Half::Copied { bytes, sent: 0 };
        self.progressed.push(slot);
    }

    /// Counts a copy as gone.
    pub(super) fn give_back_copy(&mut self, bytes: usize) {
        #[cfg(feature = "testing")]
        if let Some(one_in) = self.leaks_one_in {
            self.copies_given_back += 1;
            if self.copies_given_back.is_multiple_of(one_in) {
                return;
            }
        }
        self.spill_bytes -= bytes as u64;
    }
}

/// The sequence behind an image.
fn end_of_image(image: &[u8]) -> u64 {
    Image::checked_before(image).map_or(0, |it| it.first_sequence() + u64::from(it.count()))
}
