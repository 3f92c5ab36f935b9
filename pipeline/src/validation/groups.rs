//! Groups: how arrivals are judged one after another, while the lines of those behind are on their way.
//!
//! The part of [`Validation`] that walks what has come. It asks for lines in steps, because each tells the
//! address of the next, and sets aside what must wait: batches behind a slow one of their document,
//! and those whose steps have run out.

use deltaworks_runtime::clock::Now;

use super::aside::Line;
use super::usual::Trial;
use super::{ASIDE, Arrival, Behind, Machine, Stall, Validation};
use crate::collection::BatchCheck;
use crate::document::STALLED;
use crate::mailbox::Mailboxes;

/// Batches whose lines are asked for in one step.
const GROUP: usize = 16;

/// The same where lines are far: a core has room for some twenty that are on their way, and what is asked for beyond
/// that waits, with all behind it.
const GROUP_FAR: usize = 4;

/// Producers that stay near, with their documents.
const NEAR: u32 = 1 << 14;

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
        let size = if self.registry.producers.used() > NEAR { GROUP_FAR } else { GROUP };
        let groups = arrivals.len().div_ceil(size);
        let group = |step: usize, arrivals: &[Arrival]| {
            let end = arrivals.len();
            (step * size).min(end)..((step + 1) * size).min(end)
        };
        let Some(mut machine) = self.machines.pop() else {
            unreachable!("one machine is kept for arrivals")
        };
        for step in 0..groups + 3 {
            self.ask_for_producers(&arrivals[group(step, arrivals)]);
            if let Some(step) = step.checked_sub(1) {
                let range = group(step, arrivals);
                self.ask_for_documents(&mut arrivals[range]);
            }
            if let Some(step) = step.checked_sub(2) {
                self.ask_for_nodes(&arrivals[group(step, arrivals)]);
            }
            if let Some(step) = step.checked_sub(3) {
                let range = group(step, arrivals);
                let mut left = &mut arrivals[range];
                self.is_judging = true;
                let mut before = *begun;
                while let Some(trial) = self.judge_usual(left, begun, &mut machine, now) {
                    let (_, behind) = left.split_at_mut(*begun - before - 1);
                    let Some((arrival, behind)) = behind.split_first_mut() else { break };
                    self.judge(arrival, trial, &mut machine, mailboxes, now);
                    (left, before) = (behind, *begun);
                }
                self.is_judging = false;
            }
        }
        self.machines.push(machine);
    }

    #[inline(never)]
    fn ask_for_producers(&self, arrivals: &[Arrival]) {
        for arrival in arrivals {
            self.registry.producers.prefetch(arrival.producer);
            if arrival.core != self.core {
                arrival.landed.prefetch_header(&self.memory);
            }
        }
    }

    #[inline(never)]
    fn ask_for_documents(&self, arrivals: &mut [Arrival]) {
        self.registry.prefetch(arrivals.iter_mut().map(|arrival| {
            arrival.place = self.registry.producers.place(arrival.producer);
            arrival.place
        }));
    }

    #[inline(never)]
    fn ask_for_nodes(&self, arrivals: &[Arrival]) {
        let documents = &*self.registry.documents;
        let nodes = self.registry.nodes();
        for arrival in arrivals {
            let document = &documents[arrival.place as usize];
            nodes.prefetch_to_write(document.tail_block, document.tail_index);
        }
    }

    /// Judges an arrival that is not usual, with `machine`, which another takes the place of if it is
    /// needed on.
    #[inline(never)]
    fn judge(
        &mut self,
        arrival: &mut Arrival,
        mut trial: Trial,
        machine: &mut Box<Machine>,
        mailboxes: &mut Mailboxes,
        now: Now,
    ) {
        let index = arrival.place as usize;
        if self.registry.documents[index].flags & ASIDE != 0 {
            self.set_aside(index, Behind::Batch(arrival.take()));
            return;
        }
        if trial.outcome.is_none() {
            trial.share = self.turn.share(self.limits.steps_per_batch, self.row.steps);
            trial.steps = trial.share;
        }
        let Trial { check, steps, outcome, .. } = &mut trial;
        let outcome = outcome.take();
        let judged =
            self.judge_with(arrival, index, check, machine, steps, outcome, mailboxes, now);
        // No share: its steps were counted when it was tried.
        if trial.share > 0 {
            self.turn.take(trial.used());
            self.heat.steps += u64::from(trial.used());
        }
        if !judged {
            self.stall(arrival, index, trial.check, machine);
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
