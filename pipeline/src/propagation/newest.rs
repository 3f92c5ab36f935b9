//! The usual send: images each of which is its document's newest, and all that its reader lacks.
//!
//! The part of [`Propagation`] with the short way. Cursors are moved as parts are gathered, because a
//! socket that is not full takes everything; where it does not, they are moved back, and all is settled
//! as groups are.

use deltaworks_runtime::chunk_memory::ChunkMemory;

use super::{Group, PARTS, Propagation};
use crate::chunk::{ImageRange, published};
use crate::document::SharedDocument;
use crate::message::{Policy, SessionId};
use crate::stream::{NO_BLOCK, NodeMemory, Place};
use crate::subscription::{Lists, NO_SUBSCRIPTION, NOT_READY, Subscription};

/// What one send has of such images.
#[derive(Debug, Default)]
pub(super) struct Newest {
    /// How many.
    pub images: usize,
    /// Their bytes.
    pub bytes: usize,
    /// The last one.
    pub last: Option<ImageRange>,
}

impl Propagation {
    /// Gathers the newest images of the session's ready subscriptions, up to the first that lacks more, or
    /// that its policy or its document's end has something to say to; moves their cursors. Whether there
    /// were any.
    #[inline]
    pub(super) fn gather_newest<'m>(
        &mut self,
        session: SessionId,
        memory: &'m ChunkMemory,
        parts: &mut [&'m [u8]; PARTS],
        part_count: &mut usize,
        newest: &mut Newest,
    ) -> bool {
        let Self { subscriptions, outlets, nodes, progressed, .. } = self;
        let outlet = &mut outlets[session.0 as usize];
        let (entries, lists) = subscriptions.apart();
        let mut place = outlet.first_ready;
        let first_part = *part_count;
        let (mut images, mut bytes, mut last) = (0, 0, ImageRange::from_word(0));
        let room = parts[first_part..].iter_mut().zip(&mut self.newest_of[first_part..]);
        for (part, newest_of) in room {
            // Nobody's place is that of no subscription.
            let Some(entry) = entries.get_mut(place as usize) else { break };
            let (at, range) = match entry.only_lacks() {
                Some(range) => {
                    entry.forget_only_lacks();
                    (entry.place, range)
                }
                None => {
                    let Some(found) = find_newest(entry, lists, nodes) else { break };
                    found
                }
            };
            entry.place = Place { node: at.node + 1, block: at.block, index: at.index + 1 };
            entry.position = entry.position.after_image(range);
            if entry.policy == Policy::Wait {
                progressed.push(entry.slot);
            }
            *part = published(memory, range);
            *newest_of = place;
            images += 1;
            bytes += range.bytes() as usize;
            last = range;
            place = core::mem::replace(&mut entry.next_ready, NOT_READY);
        }
        outlet.first_ready = place;
        if place == NO_SUBSCRIPTION {
            outlet.last_ready = NO_SUBSCRIPTION;
        }
        if images == 0 {
            return false;
        }
        *part_count += images;
        newest.images += images;
        newest.bytes += bytes;
        newest.last = Some(last);
        true
    }

    /// Moves the cursors of [`Self::gather_newest`] back, and puts a group for each of its images among
    /// `groups`, where its part stands. Nothing is allocated, once the list has been as long before.
    #[cold]
    pub(super) fn group_newest(&mut self, groups: &mut Vec<Group>, part_count: usize) {
        for (part, &subscription) in self.newest_of[..part_count].iter().enumerate() {
            if subscription == NO_SUBSCRIPTION {
                continue;
            }
            let entry = self.subscriptions.get(subscription);
            let after = entry.place;
            entry.place.node -= 1;
            entry.place.index -= 1;
            let range = self.nodes.node(after.block, after.index - 1).range;
            let bytes = range.bytes();
            entry.position = entry.position.before(u64::from(bytes));
            groups.push(Group {
                subscription,
                part,
                nodes: 1,
                bytes: bytes as usize,
                live_bytes: u64::from(bytes),
                after,
                newest: Some(range),
                more: false,
            });
        }
        groups.sort_unstable_by_key(|group| group.part);
    }
}

/// Where the image lies that is all that a subscription lacks, and its node; `None` if it lacks another number of
/// them, or something must be minded.
#[inline(always)]
pub(super) fn find_newest(
    entry: &Subscription,
    lists: Lists<'_>,
    nodes: &NodeMemory,
) -> Option<(Place, ImageRange)> {
    let shared = lists.shared(entry.slot);
    let Place { node, block, index } = entry.place;
    if !(entry.is_plain() && shared.ends_before(node + 1)) {
        return None;
    }
    debug_assert!(node >= entry.live_from(), "what was there before it is history");
    let at = Place { node, block, index };
    if let Some(range) = nodes.find_range(block, index) {
        return Some((at, range));
    }
    Some(find_in_next(at, shared, nodes))
}

/// The same, where the node's block is not known yet: it is the document's first, or follows.
#[inline(never)]
fn find_in_next(
    Place { node, block, index }: Place,
    shared: &SharedDocument,
    nodes: &NodeMemory,
) -> (Place, ImageRange) {
    let block = if block == NO_BLOCK { shared.first_block() } else { block };
    let at = Place { node, block, index };
    let at = nodes.normalise(at);
    (at, nodes.range(at.block, at.index))
}
