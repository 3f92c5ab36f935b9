//! Batches alike: usual batches of one delta, equally long, in one chunk and of one collection.
//!
//! The part of [`Validation`] with the shortest way of a batch. What they have in common is looked up for the first
//! of them: the stencil of their deltas, what their preludes say, where they are counted. It goes as far as
//! batches are usual and alike and the stencil fits; the next one is judged as if nothing had been looked up.
//! What is counted of them is counted when they end, by [`Alike`] also if something panics between them.

use deltaworks_image::{Image, OneDelta, Stamp, Stamping, received_ns, stamping};
use deltaworks_runtime::clock::Now;

use super::usual::{Books, MINDED, Row, unusual};
use super::{Arrival, Fields, Machine, Validation, lengthen, stand};
use crate::chunk::RowOfImages;
use crate::collection::Look;
use crate::heat::Heat;
use crate::registry::Registry;
use crate::stream::Node;

/// How far batches were alike.
#[derive(Default)]
pub(super) struct Judged {
    pub judged: usize,
    pub next: Next,
}

/// What follows batches that were alike.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Next {
    /// Batches that may be alike among each other.
    Alike,
    /// One that must be judged apart.
    Apart,
    /// Batches of which no look tells anything.
    #[default]
    Any,
}

/// Batches that are alike, while they are judged.
struct Alike<'a> {
    begun: &'a mut usize,
    touched: &'a mut usize,
    row: &'a mut Row,
    heat: &'a mut Heat,
    look: Look<'a>,
    image_bytes: u32,
    /// Those that stand.
    batches: u32,
}

impl Drop for Alike<'_> {
    /// Counts those that stand.
    #[inline]
    fn drop(&mut self) {
        *self.begun += self.batches as usize;
        *self.touched += self.batches as usize;
        self.look.count(self.batches);
        self.heat.accept_singles(self.batches);
        self.row.add_alike(self.batches, self.image_bytes, self.look.steps());
    }
}

/// Batches that may be alike, and who judges them.
struct Judging<'a> {
    validation: &'a mut Validation,
    arrivals: &'a mut [Arrival],
    begun: &'a mut usize,
    machine: &'a mut Machine,
    now: Now,
}

impl Stamping for Judging<'_> {
    type Output = Judged;

    #[inline(always)]
    fn work(self, stamp: impl Fn(&mut [u8], Stamp)) -> Judged {
        let Self { validation, arrivals, begun, machine, now } = self;
        validation.judge_alike_with(arrivals, begun, machine, now, stamp)
    }
}

impl Validation {
    /// Judges batches from the first of `arrivals` on as long as they are alike; `begun` counts them. A function of
    /// its own, so that its registers are its own, too.
    #[inline(never)]
    pub(super) fn judge_alike(
        &mut self,
        arrivals: &mut [Arrival],
        begun: &mut usize,
        machine: &mut Machine,
        now: Now,
    ) -> Judged {
        if arrivals.is_empty() {
            return Judged::default();
        }
        // What panics is laid to the one behind those that stand.
        *begun += 1;
        let judged = stamping(Judging { validation: self, arrivals, begun, machine, now });
        // Whoever judges the one that has ended this counts it.
        *begun -= 1;
        judged
    }

    #[inline(always)]
    fn judge_alike_with(
        &mut self,
        arrivals: &mut [Arrival],
        begun: &mut usize,
        machine: &mut Machine,
        now: Now,
        stamp: impl Fn(&mut [u8], Stamp),
    ) -> Judged {
        let Registry { documents, producers, blocks, shared, cold, collections, .. } =
            &mut self.registry;
        let (documents, producers) = (&mut **documents, producers.entries());
        let minded = MINDED | self.closed;
        let Some(first) = arrivals.first() else { return Judged::default() };
        let (like, collection) = (first.landed.range(), documents[first.place as usize].collection);
        let chunk = like.chunk().0;
        let image = Image::batch_checked_before(first.landed.bytes(&self.memory));
        let Some(model) = image.and_then(|image| OneDelta::of(&image)) else {
            return Judged { judged: 0, next: Next::Apart };
        };
        let look = collections.get(collection).look(
            machine,
            like.bytes() as usize,
            model.delta_bytes(),
            self.limits.steps_per_batch,
        );
        let Some(look) = look else { return Judged::default() };
        // Behind so many one is to be measured.
        let room = arrivals.len().min(self.heat.singles_ahead());
        let row = self.row.of(
            (chunk, collection),
            Books {
                answered: &mut self.answered,
                answered_chunks: &mut self.answered_chunks,
                counts: &mut self.counts,
                turn: &mut self.turn,
                heat: &mut self.heat,
            },
        );
        let (pairs, touched) = self.touched.room(room);
        let (heat, image_bytes) = (&mut self.heat, like.bytes());
        let mut alike = Alike { begun, touched, row, heat, look, image_bytes, batches: 0 };
        let images = RowOfImages::of(like, &self.memory);
        let mut next = Next::Alike;
        for (arrival, pair) in arrivals[..room].iter_mut().zip(pairs) {
            let place = arrival.place as usize;
            let (range, of) = (arrival.landed.range(), (arrival.session, arrival.core));
            let Some(bytes) = arrival.landed.bytes_in(&images) else { break };
            let Some((image, delta)) = model.image(bytes) else { break };
            let document = &mut documents[place];
            let producer = &mut producers[arrival.producer as usize];
            let unusual = unusual(of, document, producer, &image, minded)
                | u64::from(document.collection ^ collection);
            if unusual != 0 {
                next = Next::Apart;
                break;
            }
            if !alike.look.accepts(delta) {
                // Where one does not fit, those behind it may not either: they are not looked up each.
                next = Next::Any;
                break;
            }
            let number = image.producer_sequence();
            let name = || cold[place].as_ref().map_or("", |cold| &*cold.name);
            self.planted.check(name);

            let first_sequence = document.next_sequence;
            let node = Node { range, first_sequence };
            if !blocks.try_write(document.tail_block, document.tail_index, node) {
                if !lengthen(document, blocks, shared) {
                    next = Next::Apart;
                    break;
                }
                blocks.write(document.tail_block, document.tail_index, node);
            }
            let received_ns = received_ns(bytes);
            if received_ns != 0 {
                self.counts.took(now.monotonic_ns.saturating_sub(received_ns));
            }
            let (time_us, origin) = (now.unix_us, producer.origin);
            stamp(bytes, Stamp { document: document.id(), first_sequence, time_us, origin });
            if document.last_chunk != chunk {
                document.last_chunk = chunk;
                let (block, index) = (document.tail_block, document.tail_index);
                self.retirements.touch(chunk, arrival.place, block, index);
            }
            self.planted.append(name);
            // From here on the batch stands, as in `append`: nothing may panic.
            let fields = Fields { number, count: 1, is_info: false };
            *pair = (arrival.place, arrival.producer);
            stand(arrival, document, producer, &fields, image_bytes);
            producer.credit_bytes += image_bytes;
            alike.batches += 1;
        }
        let judged = alike.batches as usize;
        // None may have been begun, where the first is one to be measured.
        Judged { judged, next: if judged == 0 && next == Next::Alike { Next::Apart } else { next } }
    }
}
