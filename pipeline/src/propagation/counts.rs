//! What propagation counts and knows: what sockets took, how long it took, what they still lack.
//!
//! The part of [`Propagation`] that is read by whoever publishes figures. Plain integers of the agent;
//! a send costs a few additions, and reads the time that its last image was stamped with.

use deltaworks_image::Image;

use super::Propagation;
use crate::inventory::Reading;
use crate::latency::Histogram;
use crate::message::Policy;
use crate::port::SessionPort;

/// What propagation has counted since it began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PropagationCounts {
    /// Images that sockets took whole.
    pub delivered_images: u64,
    /// Bytes that sockets took.
    pub delivered_bytes: u64,
    /// Sends.
    pub sends: u64,
    /// How often subscriptions were told that sequences will not come.
    pub gaps: u64,
    /// The deltas of these sequences, by the policy that left them out.
    pub missed_deltas: [u64; Policy::COUNT],
    /// Images copied because a socket had taken them half, or for `wait`.
    pub spilled_images: u64,
}

impl Propagation {
    /// What was counted.
    pub fn counts(&self) -> PropagationCounts {
        self.counts
    }

    /// How long images took from the turn that ordered them until a socket had taken them, in
    /// whole microseconds: the last image of each send, if it was ordered since its subscription
    /// began. Empty if the port tells no time.
    pub fn latency(&self) -> &Histogram {
        &self.latency
    }

    /// Counts how long an image took that a socket has just taken.
    pub(super) fn measure(&mut self, image: &[u8], port: &mut impl SessionPort) {
        let sent_us = port.sent_at_us();
        if sent_us != 0
            && let Some(image) = Image::checked_before(image)
        {
            self.latency.record(sent_us.saturating_sub(image.time_us()) * 1_000);
        }
    }

    /// How far subscription `place` has come.
    pub(crate) fn reading(&self, place: u32) -> Reading {
        let entry = self.subscriptions.peek(place);
        let (tail, _) = self.shared.get(entry.slot).tail();
        let followed = self.passes.followed(entry);
        let first = followed.map_or_else(|| entry.taken_up_to(), |it| it.place.node);
        let next_sequence = match entry.oldest_aside() {
            Some((_, copied)) => Image::checked_before(copied).map(|it| it.first_sequence()),
            None if first < tail => {
                let at = followed.map_or_else(|| self.resolve(entry), |it| it.place);
                let at = self.nodes.normalise(at);
                Some(self.nodes.node(at.block, at.index).first_sequence)
            }
            None => None,
        };
        let backlog_nodes = tail.saturating_sub(first);
        let behind_bytes = match followed {
            Some(passed) => self.shared.get(entry.slot).appended().bytes_since(passed.position),
            None => self.behind_bytes(entry),
        };
        let backlog_bytes = behind_bytes + entry.aside_bytes();
        Reading {
            slot: entry.slot,
            generation: entry.generation,
            policy: entry.policy,
            backlog_nodes,
            backlog_bytes,
            next_sequence,
        }
    }
}
