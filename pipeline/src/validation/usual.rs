//! The usual batch: the next one of the producer that its session writes as, for a document of which
//! nothing must be minded, and valid.
//!
//! The part of [`Validation`] that judges such batches, one after another and straight on: what tells that
//! one is usual is compared as one, and what is counted is counted of a row. It changes nothing before it knows
//! that, and gives every other batch to [`Validation::judge_with`], with what its check has come to if it
//! got so far. Both must come to the same.

use std::collections::VecDeque;

use deltaworks_image::{Image, Stamp, Stamping, received_ns, stamping};
use deltaworks_runtime::clock::Now;

use super::counts::Counting;
use super::turn_steps::TurnSteps;
use super::{Arrival, Fields, Machine, Validation, lengthen, stand};
use crate::collection::{BatchCheck, Collection, Outcome};
use crate::document::{GREW, LIVE};
use crate::heat::Heat;
use crate::producer::BOUND;
use crate::registry::Registry;
use crate::stream::Node;

/// A document with one of these flags has batches that must wait, are refused, or are not only appended:
/// all but those that are known to ask nothing.
const MINDED: u16 = !(LIVE | GREW);

/// What the check of a batch may cost, and what it has come to.
#[derive(Default)]
pub(super) struct Trial {
    pub check: BatchCheck,
    pub share: u32,
    pub steps: u32,
    /// `None` if it has not begun.
    pub outcome: Option<Outcome>,
}

impl Trial {
    /// Steps that it has taken.
    pub fn used(&self) -> u32 {
        self.share - self.steps.min(self.share)
    }
}

/// Batches that were appended one after another, with images in one chunk, and of one collection; they are
/// counted where they belong when another follows, and at the end.
#[derive(Debug, Default)]
pub(super) struct Row {
    chunk: u32,
    collection: u16,
    batches: u32,
    deltas: u32,
    bytes: u64,
    /// Those whose steps are counted here, and the steps.
    alike: u32,
    pub steps: u32,
}

/// Where a row's batches are counted.
pub(super) struct Books<'a> {
    pub answered: &'a mut [u32],
    pub answered_chunks: &'a mut VecDeque<u32>,
    pub counts: &'a mut Counting,
    pub turn: &'a mut TurnSteps,
    pub heat: &'a mut Heat,
}

impl Row {
    /// Ends the row: counts it, then begins it anew. A panic in between comes again when the row is ended
    /// behind it, and so is laid to no batch.
    #[inline(never)]
    pub fn end(&mut self, books: Books<'_>) {
        books.turn.take_all(self.steps, self.alike);
        books.heat.steps += u64::from(self.steps);
        if self.batches > 0 {
            books.counts.accepted(self.collection, self.batches, self.deltas, self.bytes);
            let answered = &mut books.answered[self.chunk as usize];
            if *answered == 0 {
                books.answered_chunks.push_back(self.chunk);
            }
            // The last that is counted: behind it nothing may panic, so that nothing is answered twice.
            *answered += self.batches;
        }
        *self = Self::default();
    }
}

#[inline(never)]
fn try_on(collection: &Collection, bytes: &[u8], machine: &mut Machine, share: u32) -> Trial {
    let mut trial = Trial { share, steps: share, ..Trial::default() };
    let image = Image::checked_before(bytes).expect("it was one before");
    trial.outcome = Some(collection.check(&image, machine, &mut trial.check, &mut trial.steps));
    trial
}

/// Usual batches that are judged, and who judges them.
struct Judging<'a> {
    validation: &'a mut Validation,
    arrivals: &'a mut [Arrival],
    begun: &'a mut usize,
    machine: &'a mut Machine,
    now: Now,
}

impl Stamping for Judging<'_> {
    type Output = Option<Trial>;

    #[inline(always)]
    fn work(self, stamp: impl Fn(&mut [u8], Stamp)) -> Option<Trial> {
        let Self { validation, arrivals, begun, machine, now } = self;
        validation.judge_usual_with(arrivals, begun, machine, now, stamp)
    }
}

impl Validation {
    /// Judges `arrivals` up to one that is not usual, which `begun` counts, too: what its check has come
    /// to. `None` if all were. A function of its own, so that its registers are its own, too.
    #[inline(never)]
    pub(super) fn judge_usual(
        &mut self,
        arrivals: &mut [Arrival],
        begun: &mut usize,
        machine: &mut Machine,
        now: Now,
    ) -> Option<Trial> {
        stamping(Judging { validation: self, arrivals, begun, machine, now })
    }

    #[inline(always)]
    fn judge_usual_with(
        &mut self,
        arrivals: &mut [Arrival],
        begun: &mut usize,
        machine: &mut Machine,
        now: Now,
        stamp: impl Fn(&mut [u8], Stamp),
    ) -> Option<Trial> {
        let Registry { documents, producers, blocks, shared, cold, collections, .. } =
            &mut self.registry;
        let (documents, producers) = (&mut **documents, producers.entries());
        let minded = MINDED | self.closed;
        let share = self.limits.steps_per_batch;
        let mut look = collections.get(self.row.collection).look(share);
        for arrival in arrivals {
            *begun += 1;
            let place = arrival.place as usize;
            let document = &mut documents[place];
            let producer = &mut producers[arrival.producer as usize];
            let range = arrival.landed.range();
            let bytes = arrival.landed.bytes_mut(&self.memory);
            let Some(image) = Image::batch_checked_before(bytes) else {
                return Some(Trial::default());
            };
            let number = image.producer_sequence();
            let unusual = u64::from(document.flags & minded)
                | u64::from(!producer.flags & BOUND)
                | u64::from(producer.session ^ arrival.session.0)
                | u64::from(producer.core ^ arrival.core)
                | u64::from(producer.handle ^ image.handle())
                | ((producer.last + 1) ^ number);
            if unusual != 0 {
                return Some(Trial::default());
            }
            let row = &mut self.row;
            let chunk = range.chunk().0;
            if row.chunk != chunk || row.collection != document.collection {
                row.end(Books {
                    answered: &mut self.answered,
                    answered_chunks: &mut self.answered_chunks,
                    counts: &mut self.counts,
                    turn: &mut self.turn,
                    heat: &mut self.heat,
                });
                (row.chunk, row.collection) = (chunk, document.collection);
                look = collections.get(document.collection).look(share);
            }

            let name = || cold[place].as_ref().map_or("", |cold| &*cold.name);
            self.planted.check(name);
            if let Some(steps) = look.and_then(|look| look.steps(&image, machine)) {
                row.alike += 1;
                row.steps += steps;
            } else {
                let collection = collections.get(document.collection);
                let trial = try_on(collection, bytes, machine, self.turn.share(share, row.steps));
                if !matches!(trial.outcome, Some(Outcome::Valid)) {
                    return Some(trial);
                }
                self.turn.take(trial.used());
                self.heat.steps += u64::from(trial.used());
            }

            let count = image.count();
            let first_sequence = document.next_sequence;
            let node = Node { range, first_sequence };
            if !blocks.try_write(document.tail_block, document.tail_index, node) {
                if !lengthen(document, blocks, shared) {
                    return Some(Trial { outcome: Some(Outcome::Valid), ..Trial::default() });
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
            let fields = Fields { number, count, is_info: false };
            stand(arrival, document, producer, &fields, &mut self.touched, &mut self.heat);
            producer.credit_bytes += range.bytes();
            row.batches += 1;
            row.deltas += count;
            row.bytes += u64::from(range.bytes());
        }
        None
    }

    /// Ends the row of usual batches that were not counted yet.
    pub(super) fn end_row(&mut self) {
        self.row.end(Books {
            answered: &mut self.answered,
            answered_chunks: &mut self.answered_chunks,
            counts: &mut self.counts,
            turn: &mut self.turn,
            heat: &mut self.heat,
        });
    }
}
