//! Groups: how arrivals are judged one after another, while the lines of those behind are on their way.
//!
//! The part of [`Validation`] that walks what has come. It asks for lines in steps, because each tells the
//! address of the next, and sets aside what must wait: batches behind a slow one of their document,
//! and those whose steps have run out.

use deltaworks_runtime::clock::Now;

use super::aside::Line;
use super::{ASIDE, Arrival, Behind, Machine, Stall, Validation};
use crate::collection::BatchCheck;
use crate::document::STALLED;
use crate::mailbox::Mailboxes;

/// Batches whose lines are asked for in one step.
const GROUP: usize = 16;

impl Validation {
    /// Judges `arrivals` from `begun` on, which counts those that were begun.
    pub(super) fn judge_groups(
        &mut self,
        arrivals: &mut [Arrival],
        begun: &mut usize,
        mailboxes: &mut Mailboxes,
        now: Now,
    ) {
        let arrivals = &mut arrivals[*begun..];
        let groups = arrivals.len().div_ceil(GROUP);
        let Some(mut machine) = self.machines.pop() else {
            unreachable!("one machine is kept for arrivals")
        };
        for step in 0..groups + 3 {
            for arrival in &arrivals[group(step, arrivals)] {
                self.registry.producers.prefetch(arrival.producer);
                if arrival.core != self.core {
                    arrival.landed.prefetch_header(&self.memory);
                }
            }
            if let Some(step) = step.checked_sub(1) {
                let range = group(step, arrivals);
                for arrival in &mut arrivals[range] {
                    arrival.place = self.registry.producers.get(arrival.producer).place;
                    self.registry.prefetch(arrival.place as usize);
                }
            }
            if let Some(step) = step.checked_sub(2) {
                for arrival in &arrivals[group(step, arrivals)] {
                    let document = &self.registry.documents[arrival.place as usize];
                    let nodes = self.registry.nodes();
                    nodes.prefetch_to_write(document.tail_block, document.tail_index);
                }
            }
            if let Some(step) = step.checked_sub(3) {
                let range = group(step, arrivals);
                for arrival in &mut arrivals[range] {
                    *begun += 1;
                    self.judge(arrival, &mut machine, mailboxes, now);
                }
            }
        }
        self.machines.push(machine);
    }

    /// Judges an arrival with `machine`, which another takes the place of if it is needed on.
    #[inline(always)]
    fn judge(
        &mut self,
        arrival: &mut Arrival,
        machine: &mut Box<Machine>,
        mailboxes: &mut Mailboxes,
        now: Now,
    ) {
        let index = arrival.place as usize;
        if self.registry.documents[index].flags & ASIDE != 0 {
            self.set_aside(index, Behind::Batch(arrival.take()));
            return;
        }
        let mut check = BatchCheck::default();
        let share = self.turn.share(self.limits.steps_per_batch);
        let mut steps = share;
        self.is_judging = true;
        let judged =
            self.judge_with(arrival, index, &mut check, machine, &mut steps, mailboxes, now);
        self.is_judging = false;
        let used = share - steps.min(share);
        self.turn.take(used);
        self.heat.steps += u64::from(used);
        if !judged {
            self.stall(arrival, index, check, machine);
        }
    }

    /// Sets a batch aside whose steps have run out: with the machine that it stands in if there is
    /// another one for arrivals, else to be checked from its beginning.
    #[cold]
    fn stall(
        &mut self,
        arrival: &mut Arrival,
        index: usize,
        mut check: BatchCheck,
        machine: &mut Box<Machine>,
    ) {
        self.counts.stalled_batches += 1;
        self.registry.documents[index].flags |= STALLED;
        let machine = self.machines.pop().map(|other| core::mem::replace(machine, other));
        if machine.is_none() {
            check = BatchCheck::default();
        }
        let current = Some(arrival.take());
        let stall = Stall { index, current, check, machine, behind: Line::EMPTY };
        self.aside.push_stall(&mut self.stalls, stall);
    }
}

/// The arrivals of group `number`; empty behind the last.
#[inline]
fn group(number: usize, arrivals: &[Arrival]) -> core::ops::Range<usize> {
    let end = arrivals.len();
    (number * GROUP).min(end)..((number + 1) * GROUP).min(end)
}
