//! Lanes: how a hot document shares a core with the others of its worker.
//!
//! A document that has an elastic worker without a core of its own has a lane. What comes for it,
//! batches and control, waits there in order, and each turn judges so much of it as the lane's share
//! allows, behind everything that came for the others: however much comes for a hot document, the
//! others wait for one share at most. Lanes that have something to do divide the share by weight, and
//! who needs less leaves the rest to the others. A batch is judged whole, and what it was too long
//! is owed.
//! More than a bound never waits: the oldest are judged at once, which is counted.
//!
//! ```text
//! arrivals ─▶ laned? ─▶ lane ─▶ end of turn: a share of each ─▶ judged
//!                └─ no ─▶ judged at once
//! ```

use deltaworks_image::Image;
use deltaworks_runtime::clock::Now;

use super::aside::{Aside, Line};
use super::{ARRIVALS_AT_ONCE, Arrival, Behind, Validation};
use crate::chunk::published;
use crate::document::{LANED, LEAVING, STALLED};
use crate::latency::Histogram;
use crate::mailbox::Mailboxes;
use crate::placement::PlacementLimits;

/// What a batch or a control message counts, beside its bytes: it costs as much as so many.
const BYTES_PER_ENTRY: i64 = 256;
/// What a validation step counts.
const BYTES_PER_STEP: i64 = 4;

/// A document's lane.
#[derive(Debug)]
struct Laned {
    place: usize,
    slot: u32,
    generation: u32,
    line: Line,
    /// What it may still judge in this turn; below zero what it owes.
    balance: i64,
    /// It ends as soon as nothing waits in it.
    is_closing: bool,
    /// Until its first batch is appended: nodes before it, and when the last of these was, in
    /// microseconds.
    paused: Option<(u64, u64)>,
}

#[derive(Debug)]
struct Lane {
    elastic: u16,
    weight: u16,
    laned: Option<Laned>,
}

/// The lanes of one worker.
#[derive(Debug)]
pub(super) struct Lanes {
    lanes: Vec<Lane>,
    /// What waits in all of them.
    waiting: usize,
    first: usize,
    /// A lane that is to end waits for a slow batch.
    is_closing: bool,
    turn_bytes: i64,
    waiting_max: usize,
    run: Vec<Arrival>,
    /// From a document's last append outside of its lane to its first in it.
    pause: Histogram,
}

impl Lanes {
    /// Lanes for these elastic workers, each with its weight.
    pub fn new(elastic: &[(u16, u16)], limits: &PlacementLimits) -> Self {
        let lane = |&(elastic, weight): &(u16, u16)| Lane { elastic, weight, laned: None };
        Self {
            lanes: elastic.iter().map(lane).collect(),
            waiting: 0,
            first: 0,
            is_closing: false,
            turn_bytes: i64::from(limits.lane_bytes_per_turn.max(1)),
            waiting_max: limits.lane_waiting_max as usize,
            run: Vec::new(),
            pause: Histogram::default(),
        }
    }

    /// Whether nothing waits.
    #[inline]
    pub fn is_idle(&self) -> bool {
        self.waiting == 0
    }

    /// Whether the elastic worker shares this worker's core.
    pub fn has(&self, elastic: u16) -> bool {
        self.lanes.iter().any(|lane| lane.elastic == elastic)
    }

    #[inline]
    fn is_overfull(&self) -> bool {
        self.waiting > self.waiting_max
    }

    fn of_document(&self, place: usize) -> Option<usize> {
        let is_it = |lane: &Lane| lane.laned.as_ref().is_some_and(|laned| laned.place == place);
        self.lanes.iter().position(is_it)
    }

    fn push(&mut self, place: usize, behind: Behind, aside: &mut Aside) {
        let lane = self.of_document(place);
        let Some(laned) = lane.and_then(|lane| self.lanes[lane].laned.as_mut()) else {
            unreachable!("a laned document has a lane")
        };
        aside.push(&mut laned.line, behind);
        self.waiting += 1;
    }

    /// The oldest that waits, if it is such a one.
    fn pop(
        &mut self,
        lane: usize,
        aside: &mut Aside,
        is_it: impl FnOnce(&Behind) -> bool,
    ) -> Option<Behind> {
        let laned = self.lanes[lane].laned.as_mut()?;
        let behind = aside.pop(&mut laned.line, is_it)?;
        self.waiting -= 1;
        Some(behind)
    }
}

impl Validation {
    /// Puts aside what must not be judged now: behind what waits for the same document.
    pub(super) fn set_aside(&mut self, place: usize, behind: Behind) {
        if self.registry.documents[place].flags & LANED != 0 {
            self.lanes.push(place, behind, &mut self.aside);
        } else {
            self.wait_behind(place, behind);
        }
    }

    /// Gives a document the lane of an elastic worker; `false` if that has one already, or is not one
    /// of this worker's.
    pub(super) fn give_lane(&mut self, place: usize, elastic: u16) -> bool {
        let paused = self.last_append(place);
        let document = &mut self.registry.documents[place];
        let lane = self.lanes.lanes.iter_mut().find(|lane| lane.elastic == elastic);
        let Some(lane) =
            lane.filter(|it| it.laned.is_none() && document.flags & (LANED | LEAVING) == 0)
        else {
            return false;
        };
        document.flags |= LANED;
        lane.laned = Some(Laned {
            place,
            slot: document.slot,
            generation: document.generation,
            line: Line::EMPTY,
            balance: 0,
            is_closing: false,
            paused,
        });
        true
    }

    /// How many nodes the document has, and when the last of them was appended, as its image says; `None`
    /// if that has left the window.
    fn last_append(&self, place: usize) -> Option<(u64, u64)> {
        let document = &self.registry.documents[place];
        let index = document.tail_index.checked_sub(1)?;
        if document.nodes == document.window_start {
            return None;
        }
        let node = self.registry.nodes().node(document.tail_block, index);
        let image = Image::checked_before(published(&self.memory, node.range))?;
        Some((document.nodes, image.time_us()))
    }

    /// Notes how long nobody appended, if the lane's document has now grown for the first time.
    fn end_pause(&mut self, lane: usize, now: Now) {
        let Some(laned) = &mut self.lanes.lanes[lane].laned else { return };
        let documents = &self.registry.documents;
        let grew = |(nodes, _): &mut (u64, u64)| documents[laned.place].nodes > *nodes;
        if let Some((_, before_us)) = laned.paused.take_if(grew) {
            self.lanes.pause.record(now.unix_us.saturating_sub(before_us) * 1000);
        }
    }

    pub(crate) fn lane_pause(&self) -> &Histogram {
        &self.lanes.pause
    }

    /// Takes a document's lane away, once what waits in it is judged: at once, unless a slow batch is
    /// in the way.
    pub(super) fn close_lane(&mut self, place: usize, boxes: &mut Mailboxes, now: Now) {
        let Some(lane) = self.lanes.of_document(place) else { return };
        if let Some(laned) = &mut self.lanes.lanes[lane].laned {
            laned.is_closing = true;
        }
        self.serve_lane(lane, boxes, now);
        self.lanes.is_closing |= self.lanes.lanes[lane].laned.is_some();
    }

    /// Goes on with lanes that are to end. Returns how much was done.
    #[cold]
    fn close_lanes(&mut self, boxes: &mut Mailboxes, now: Now) -> usize {
        self.lanes.is_closing = false;
        let mut work = 0;
        for lane in 0..self.lanes.lanes.len() {
            let is_closing = |lane: &Lane| lane.laned.as_ref().is_some_and(|it| it.is_closing);
            if is_closing(&self.lanes.lanes[lane]) {
                work += self.serve_lane(lane, boxes, now);
                self.lanes.is_closing |= is_closing(&self.lanes.lanes[lane]);
            }
        }
        work
    }

    /// Marks a document again whose mark was taken away to handle what had waited for it.
    pub(super) fn mark_laned(&mut self, place: usize) {
        let lane = self.lanes.of_document(place);
        let laned = lane.and_then(|lane| self.lanes.lanes[lane].laned.as_ref());
        if laned.is_some_and(|laned| self.is_there(laned)) {
            self.registry.documents[place].flags |= LANED;
        }
    }

    /// Whether the lane's document is still the one of its place.
    fn is_there(&self, laned: &Laned) -> bool {
        self.registry.is_live(laned.place, laned.slot, laned.generation)
    }

    /// Whether something of the lane can be judged now.
    fn may_serve(&self, lane: usize) -> bool {
        let laned = self.lanes.lanes[lane].laned.as_ref();
        laned.is_some_and(|laned| {
            laned.line.waiting() > 0 && self.registry.documents[laned.place].flags & STALLED == 0
        })
    }

    /// Judges a share of what waits. Returns how much was done.
    pub(super) fn serve_lanes(&mut self, boxes: &mut Mailboxes, now: Now) -> usize {
        let mut work = if self.lanes.is_closing { self.close_lanes(boxes, now) } else { 0 };
        if self.lanes.is_idle() {
            return work;
        }
        let (lanes, mut left) = (self.lanes.lanes.len(), self.lanes.turn_bytes);
        while left > 0 && !self.lanes.is_idle() {
            let served = (0..lanes).filter(|lane| self.may_serve(*lane));
            let weights: i64 = served.map(|lane| i64::from(self.lanes.lanes[lane].weight)).sum();
            if weights == 0 {
                break;
            }
            let (shared, first) = (left, self.lanes.first);
            for lane in (0..lanes).map(|at| (first + at) % lanes) {
                if !self.may_serve(lane) {
                    continue;
                }
                let share = (shared * i64::from(self.lanes.lanes[lane].weight) / weights).max(1);
                left -= share;
                work += self.serve_for(lane, share, boxes, now);
                // What it did not need is the others'.
                if let Some(laned) = &mut self.lanes.lanes[lane].laned
                    && laned.balance > 0
                {
                    left += core::mem::take(&mut laned.balance);
                }
            }
        }
        self.lanes.first = (self.lanes.first + 1) % lanes.max(1);
        // Who owes from a batch that was too long pays with turns, and must not sleep meanwhile.
        work + usize::from(!self.lanes.is_idle())
    }

    fn serve_for(&mut self, lane: usize, share: i64, boxes: &mut Mailboxes, now: Now) -> usize {
        if let Some(laned) = &mut self.lanes.lanes[lane].laned {
            laned.balance += share;
        }
        self.serve_lane(lane, boxes, now)
    }

    /// Judges until no more waits than may.
    #[cold]
    fn relieve_lanes(&mut self, boxes: &mut Mailboxes, now: Now) {
        self.counts.lane_overruns += 1;
        while self.lanes.is_overfull() {
            let waiting = |lane: &usize| {
                self.lanes.lanes[*lane].laned.as_ref().map_or(0, |laned| laned.line.waiting())
            };
            let lanes = 0..self.lanes.lanes.len();
            let fullest = lanes.filter(|lane| self.may_serve(*lane)).max_by_key(waiting);
            // Without one, slow batches are in the way: then the places for what waits bound it.
            let Some(fullest) = fullest else { return };
            if let Some(laned) = &mut self.lanes.lanes[fullest].laned {
                laned.balance = self.lanes.turn_bytes;
            }
            self.serve_lane(fullest, boxes, now);
        }
    }

    /// To be asked after each run of arrivals.
    #[inline]
    pub(super) fn keep_lanes_bounded(&mut self, boxes: &mut Mailboxes, now: Now) {
        if self.lanes.is_overfull() {
            self.relieve_lanes(boxes, now);
        }
    }

    /// Judges what waits in a lane as far as its balance goes, or all of it if it is to end.
    fn serve_lane(&mut self, lane: usize, boxes: &mut Mailboxes, now: Now) -> usize {
        let mut work = 0;
        loop {
            let Some(laned) = &mut self.lanes.lanes[lane].laned else { return work };
            let (place, is_closing) = (laned.place, laned.is_closing);
            let flags = self.registry.documents[place].flags;
            if laned.line.waiting() == 0 {
                if is_closing && flags & STALLED == 0 {
                    self.registry.documents[place].flags &= !LANED;
                    self.lanes.lanes[lane].laned = None;
                }
                return work;
            }
            if flags & STALLED != 0 || laned.balance <= 0 && !is_closing {
                return work;
            }
            // Without its mark, so that what is handled now is not put into the lane again.
            self.registry.documents[place].flags &= !LANED;
            work += self.serve_run(lane, boxes, now);
            self.mark_laned(place);
            let laned = self.lanes.lanes[lane].laned.as_ref();
            if laned.is_some_and(|laned| !self.is_there(laned)) {
                work += self.give_up_lane(lane, boxes, now);
            }
        }
    }

    /// Judges the batches in front, or handles the control message there.
    fn serve_run(&mut self, lane: usize, boxes: &mut Mailboxes, now: Now) -> usize {
        let mut run = core::mem::take(&mut self.lanes.run);
        while run.len() < ARRIVALS_AT_ONCE
            && self.may_go_on(lane)
            && let Some(Behind::Batch(arrival)) =
                self.lanes.pop(lane, &mut self.aside, |it| matches!(it, Behind::Batch(_)))
        {
            self.charge(lane, BYTES_PER_ENTRY + i64::from(arrival.landed.range().bytes()));
            run.push(arrival);
        }
        let mut work = run.len();
        if work > 0 {
            self.counts.laned_batches += work as u64;
            let steps = self.heat.steps;
            self.judge_all(&mut run, boxes, now);
            self.charge(lane, BYTES_PER_STEP * (self.heat.steps - steps) as i64);
            self.end_pause(lane, now);
            run.clear();
        } else if let Some(behind) = self.lanes.pop(lane, &mut self.aside, |_| true) {
            self.charge(lane, BYTES_PER_ENTRY);
            self.handle_behind(behind, boxes, now);
            work = 1;
        }
        self.lanes.run = run;
        work
    }

    fn may_go_on(&self, lane: usize) -> bool {
        let laned = self.lanes.lanes[lane].laned.as_ref();
        laned.is_some_and(|laned| laned.balance > 0 || laned.is_closing)
    }

    fn charge(&mut self, lane: usize, bytes: i64) {
        if let Some(laned) = &mut self.lanes.lanes[lane].laned {
            laned.balance -= bytes;
        }
    }

    /// The document has gone: what still waits is answered, and the lane is free.
    fn give_up_lane(&mut self, lane: usize, boxes: &mut Mailboxes, now: Now) -> usize {
        let mut work = 0;
        while let Some(behind) = self.lanes.pop(lane, &mut self.aside, |_| true) {
            self.handle_behind(behind, boxes, now);
            work += 1;
        }
        self.lanes.lanes[lane].laned = None;
        work
    }

    /// Takes the lanes back of documents that have gone without a message through them. Returns how
    /// much was done.
    pub(super) fn sweep_lanes(&mut self, boxes: &mut Mailboxes, now: Now) -> usize {
        let mut work = 0;
        for lane in 0..self.lanes.lanes.len() {
            let laned = self.lanes.lanes[lane].laned.as_ref();
            if laned.is_some_and(|laned| !self.is_there(laned)) {
                work += self.give_up_lane(lane, boxes, now);
            }
        }
        work
    }
}
