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

use super::alike::Next;
use super::counts::Counting;
use super::turn_steps::TurnSteps;
use super::{Arrival, Fields, Machine, Validation, lengthen, stand, warm};
use crate::collection::{BatchCheck, Collection, Outcome};
use crate::document::{Document, GREW, LIVE};
use crate::heat::Heat;
use crate::message::SessionId;
use crate::producer::{BOUND, Producer};
use crate::registry::Registry;
use crate::stream::Node;

/// A document with one of these flags has batches that must wait, are refused, or are not only appended:
/// all but those that are known to ask nothing.
pub(super) const MINDED: u16 = !(LIVE | GREW);

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
    /// The row of batches with images in a chunk, and of a collection: this one, or a new one behind it.
    #[inline(always)]
    pub fn of(&mut self, of: (u32, u16), books: Books<'_>) -> &mut Self {
        if (self.chunk, self.collection) != of {
            self.end(books);
            (self.chunk, self.collection) = of;
        }
        self
    }

    /// Counts batches of one delta, each with an image of so many bytes that was accepted for so many steps.
    #[inline(always)]
    pub fn add_alike(&mut self, batches: u32, image_bytes: u32, steps: u32) {
        self.batches += batches;
        self.deltas += batches;
        self.bytes += u64::from(batches) * u64::from(image_bytes);
        self.alike += batches;
        self.steps += batches * steps;
    }

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

/// 0 if a batch of a session, which runs on a core, is the next one of the producer that the session writes as, and its
/// document has none of the flags `minded`.
#[inline(always)]
pub(super) fn unusual(
    (session, core): (SessionId, u16),
    document: &Document,
    producer: &Producer,
    image: &Image<'_>,
    minded: u16,
) -> u64 {
    u64::from(document.flags & minded)
        | u64::from(!producer.flags & BOUND)
        | u64::from(producer.session ^ session.0)
        | u64::from(producer.core ^ core)
        | u64::from(producer.handle ^ image.handle())
        | ((producer.last + 1) ^ image.producer_sequence())
}

/// The steps of an image whose check has not begun, if it has one delta, and one look accepts it.
#[inline(always)]
fn at_once(
    collection: &Collection,
    image: &Image<'_>,
    machine: &mut Machine,
    share: u32,
) -> Option<u32> {
    let delta = image.only_delta()?;
    let mut look = collection.look(machine, image.bytes().len(), delta.len(), share)?;
    look.accepts(delta).then(|| {
        look.count(1);
        look.steps()
    })
}

#[inline(never)]
fn try_on(collection: &Collection, bytes: &[u8], machine: &mut Machine, share: u32) -> Trial {
    let mut trial = Trial { share, steps: share, ..Trial::default() };
    let image = Image::checked_before(bytes).expect("it was one before");
    trial.outcome = Some(collection.check(&image, machine, &mut trial.check, &mut trial.steps));
    trial
}

/// Batches that may be usual, and who judges them.
struct Judging<'a> {
    validation: &'a mut Validation,
    arrivals: &'a mut [Arrival],
    apart: bool,
    begun: &'a mut usize,
    machine: &'a mut Machine,
    now: Now,
}

impl Stamping for Judging<'_> {
    type Output = (usize, Option<Trial>);

    #[inline(always)]
    fn work(self, stamp: impl Fn(&mut [u8], Stamp)) -> (usize, Option<Trial>) {
        let Self { validation, arrivals, apart, begun, machine, now } = self;
        validation.judge_others_with(arrivals, apart, begun, machine, now, stamp)
    }
}

impl Validation {
    /// Judges `arrivals` up to one that is not usual, which `begun` counts, too: what its check has come
    /// to. `None` if all were.
    #[inline]
    pub(super) fn judge_usual(
        &mut self,
        arrivals: &mut [Arrival],
        begun: &mut usize,
        machine: &mut Machine,
        now: Now,
    ) -> Option<Trial> {
        let mut rest = arrivals;
        while !rest.is_empty() {
            let alike = self.judge_alike(rest, begun, machine, now);
            rest = &mut rest[alike.judged..];
            if alike.next != Next::Alike {
                let apart = alike.next == Next::Apart;
                let (judged, trial) = self.judge_others(rest, apart, begun, machine, now);
                if trial.is_some() {
                    return trial;
                }
                rest = &mut rest[judged..];
            }
        }
        None
    }

    /// Judges batches that may be usual, the first of which is not alike with others: it, and those behind
    /// it, up to one that has one delta if the first is `apart`. How many, and what the check of one that is
    /// not usual has come to. A function of its own, so that its registers are its own, too.
    #[inline(never)]
    fn judge_others(
        &mut self,
        arrivals: &mut [Arrival],
        apart: bool,
        begun: &mut usize,
        machine: &mut Machine,
        now: Now,
    ) -> (usize, Option<Trial>) {
        stamping(Judging { validation: self, arrivals, apart, begun, machine, now })
    }

    #[inline(always)]
    fn judge_others_with(
        &mut self,
        arrivals: &mut [Arrival],
        apart: bool,
        begun: &mut usize,
        machine: &mut Machine,
        now: Now,
        stamp: impl Fn(&mut [u8], Stamp),
    ) -> (usize, Option<Trial>) {
        let Registry { documents, producers, blocks, shared, cold, collections, .. } =
            &mut self.registry;
        let (documents, producers) = (&mut **documents, producers.entries());
        let minded = MINDED | self.closed;
        let mut judged = 0;
        for arrival in arrivals {
            *begun += 1;
            let place = arrival.place as usize;
            let document = &mut documents[place];
            let producer = &mut producers[arrival.producer as usize];
            let (range, of) = (arrival.landed.range(), (arrival.session, arrival.core));
            let bytes = arrival.landed.bytes_mut(&self.memory);
            let Some(image) = Image::batch_checked_before(bytes) else {
                return (judged, Some(Trial::default()));
            };
            let (number, count) = (image.producer_sequence(), image.count());
            if apart && count == 1 && judged > 0 {
                *begun -= 1;
                break;
            }
            if unusual(of, document, producer, &image, minded) != 0 {
                return (judged, Some(Trial::default()));
            }
            let chunk = range.chunk().0;
            let row = self.row.of(
                (chunk, document.collection),
                Books {
                    answered: &mut self.answered,
                    answered_chunks: &mut self.answered_chunks,
                    counts: &mut self.counts,
                    turn: &mut self.turn,
                    heat: &mut self.heat,
                },
            );

            let name = || cold[place].as_ref().map_or("", |cold| &*cold.name);
            self.planted.check(name);
            let collection = collections.get(document.collection);
            if let Some(steps) = at_once(collection, &image, machine, self.limits.steps_per_batch) {
                row.alike += 1;
                row.steps += steps;
            } else {
                let share = self.turn.share(self.limits.steps_per_batch, row.steps);
                let trial = try_on(collection, bytes, machine, share);
                if !matches!(trial.outcome, Some(Outcome::Valid)) {
                    return (judged, Some(trial));
                }
                self.turn.take(trial.used());
                self.heat.steps += u64::from(trial.used());
            }

            let first_sequence = document.next_sequence;
            let node = Node { range, first_sequence };
            if !blocks.try_write(document.tail_block, document.tail_index, node) {
                if !lengthen(document, blocks, shared) {
                    let outcome = Some(Outcome::Valid);
                    return (judged, Some(Trial { outcome, ..Trial::default() }));
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
            self.touched.push((arrival.place, arrival.producer));
            stand(arrival, document, producer, &fields, range.bytes());
            warm(&mut self.heat, document, count);
            producer.credit_bytes += range.bytes();
            row.batches += 1;
            row.deltas += count;
            row.bytes += u64::from(range.bytes());
            judged += 1;
        }
        (judged, None)
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
