//! What one core has sent to this one, in order, until it is delivered; a core's queue to itself, too.
//!
//! Belongs to one core. Batches and acks come once a batch, so they lie in lists of their own, as who takes
//! them wants them: written once, and read where they lie. What keeps the order of all kinds is a list of parts,
//! each a message of another kind, or so many batches or acks. It is never full: a core's own is
//! bounded as rings are, and out of a ring no more is put into one
//! than is judged at once, and nothing until that has been delivered.
//!
//! ```text
//! parts    3 batches │ close │ 2 acks │ (the last kind: noted when another follows)
//! batches  b b b     │       │        │ b b b b
//! acks               │       │ a a    │
//! ```

use std::collections::VecDeque;
use std::ops::Range;

use crate::message::{Ack, Arrival, Message};

#[derive(Debug)]
enum Part {
    Batches(usize),
    Acks(usize),
    Message(Message),
}

/// What is next in an [`Queue`].
#[derive(Debug)]
pub(crate) enum Next<'a> {
    /// Batches, in order.
    Batches(&'a mut [Arrival]),
    /// Acks, in order.
    Acks(&'a [Ack]),
    /// Another message.
    Message(Message),
    /// Nothing.
    Nothing,
}

/// The queue: **it is filled, then noted, then taken out by `next`, then cleared**.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    parts: VecDeque<Part>,
    /// Those that were put, and places that hold nothing.
    batches: Vec<Arrival>,
    put_batches: usize,
    acks: Vec<Ack>,
    /// Of each list, how many parts were made of; of one of them at most some are left.
    noted_batches: usize,
    noted_acks: usize,
    taken_batches: usize,
    taken_acks: usize,
    /// Messages among the parts.
    messages: usize,
}

impl Queue {
    /// Bytes that a queue takes at most which never held more than `messages`, each time of other kinds: a table
    /// for the budget. Lists grow by doubling, and stay as long as they have been.
    pub const fn bytes_max(messages: usize) -> u64 {
        let each = size_of::<Part>() + size_of::<Arrival>() + size_of::<Ack>();
        (messages.next_power_of_two() * each) as u64
    }

    /// Puts a message behind everything else.
    #[inline]
    pub fn push(&mut self, message: Message) {
        self.note();
        self.parts.push_back(Part::Message(message));
        self.messages += 1;
    }

    /// Puts a batch behind everything else.
    #[inline]
    pub fn push_batch(&mut self, batch: Arrival) {
        let (room, put) = self.batch_room(1);
        room[0] = batch;
        *put += 1;
    }

    /// Room for `count` batches or more behind everything else, front to back, and how many were put: whoever
    /// writes there adds to it.
    #[inline]
    pub fn batch_room(&mut self, count: usize) -> (&mut [Arrival], &mut usize) {
        if self.acks.len() != self.noted_acks {
            self.note();
        }
        let least = self.put_batches + count;
        if self.batches.len() < least {
            self.lengthen(least);
        }
        (&mut self.batches[self.put_batches..], &mut self.put_batches)
    }

    #[cold]
    fn lengthen(&mut self, least: usize) {
        self.batches.resize_with(least.next_power_of_two(), Arrival::nothing);
    }

    /// Where acks are put behind everything else. Nothing is taken out of it.
    #[inline]
    pub fn acks(&mut self) -> &mut Vec<Ack> {
        if self.put_batches != self.noted_batches {
            self.note();
        }
        &mut self.acks
    }

    /// Makes a part of what was put into a list since the last part.
    pub fn note(&mut self) {
        let batches = self.put_batches - self.noted_batches;
        if batches > 0 {
            self.parts.push_back(Part::Batches(batches));
            self.noted_batches += batches;
        }
        let acks = self.acks.len() - self.noted_acks;
        if acks > 0 {
            self.parts.push_back(Part::Acks(acks));
            self.noted_acks += acks;
        }
    }

    /// Batches that were not taken out.
    #[inline]
    pub fn landed(&self) -> &[Arrival] {
        &self.batches[self.taken_batches..self.put_batches]
    }

    /// Acks that were not taken out.
    #[inline]
    pub fn owed(&self) -> &[Ack] {
        &self.acks[self.taken_acks..]
    }

    /// How much is in it.
    #[inline]
    pub fn len(&self) -> usize {
        let batches = self.put_batches - self.taken_batches;
        self.messages + batches + self.acks.len() - self.taken_acks
    }

    #[inline]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether nothing that the sessions of this core are told is in it.
    #[inline]
    pub fn holds_only_batches(&self) -> bool {
        self.messages == 0 && self.acks.len() == self.taken_acks
    }

    /// Takes the next message out, or `most` batches or acks that are next; fewer if others follow. What was put
    /// into it must have been noted.
    #[inline]
    pub fn next(&mut self, most: usize) -> Next<'_> {
        match self.parts.front() {
            Some(Part::Batches(_)) => {
                let batches = take_part(&mut self.parts, &mut self.taken_batches, most);
                Next::Batches(&mut self.batches[batches])
            }
            Some(Part::Acks(_)) => {
                let acks = take_part(&mut self.parts, &mut self.taken_acks, most);
                Next::Acks(&self.acks[acks])
            }
            Some(Part::Message(_)) => match self.parts.pop_front() {
                Some(Part::Message(message)) => {
                    self.messages -= 1;
                    Next::Message(message)
                }
                _ => Next::Nothing,
            },
            None => Next::Nothing,
        }
    }

    /// Makes room where all has been taken out; of batches, nothing is left where they lay.
    pub fn clear(&mut self) {
        debug_assert!(self.is_empty());
        self.put_batches = 0;
        self.acks.clear();
        (self.noted_batches, self.noted_acks) = (0, 0);
        (self.taken_batches, self.taken_acks) = (0, 0);
    }
}

/// Takes `most` out of the list that the part in front is of, or as many as are left of the part: where they lie.
#[inline]
fn take_part(parts: &mut VecDeque<Part>, taken: &mut usize, most: usize) -> Range<usize> {
    let Some(Part::Batches(left) | Part::Acks(left)) = parts.front_mut() else { return 0..0 };
    let (first, count) = (*taken, most.min(*left));
    *left -= count;
    if *left == 0 {
        parts.pop_front();
    }
    *taken += count;
    first..*taken
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::chunk::Landed;
    use crate::message::SessionId;

    fn batch(producer: u32) -> Arrival {
        let (landed, session) = (Landed::nothing(), SessionId(0));
        Arrival { landed, core: 0, session, producer, place: 0 }
    }

    fn ack(number: u32) -> Ack {
        Ack {
            session: SessionId(0),
            handle: number,
            producer_sequence: 0,
            sequence: 0,
            credit_bytes: 0,
            duplicates: 0,
        }
    }

    fn message(slot: u32) -> Message {
        Message::Drop { slot, generation: 0 }
    }

    /// Takes all out, at most so many at a time, each as its letter and number.
    fn take_all(queue: &mut Queue, most: usize) -> Vec<(char, u32)> {
        let mut all = Vec::new();
        loop {
            let before = queue.len();
            let count = match queue.next(most) {
                Next::Batches(batches) => {
                    all.extend(batches.iter().map(|batch| ('b', batch.producer)));
                    batches.len()
                }
                Next::Acks(acks) => {
                    all.extend(acks.iter().map(|ack| ('a', ack.handle)));
                    acks.len()
                }
                Next::Message(Message::Drop { slot, .. }) => {
                    all.push(('m', slot));
                    1
                }
                Next::Message(_) => unreachable!("no other was sent"),
                Next::Nothing => break,
            };
            assert!((1..=most).contains(&count));
            assert_eq!(queue.len(), before - count);
        }
        all
    }

    /// What its lists have room for.
    fn bytes(queue: &Queue) -> u64 {
        let parts = queue.parts.capacity() * size_of::<Part>();
        let batches = queue.batches.capacity() * size_of::<Arrival>();
        let acks = queue.acks.capacity() * size_of::<Ack>();
        (parts + batches + acks) as u64
    }

    #[test]
    fn it_takes_no_more_than_the_budget_counts() {
        for messages in [8, 100, 128] {
            let mut queue = Queue::default();
            for round in 0..4 {
                for number in 0..messages {
                    match round {
                        0 => queue.push_batch(batch(number)),
                        1 => queue.acks().push(ack(number)),
                        2 => queue.push(message(number)),
                        _ if number % 2 == 0 => queue.push_batch(batch(number)),
                        _ => queue.acks().push(ack(number)),
                    }
                }
                queue.note();
                assert_eq!(take_all(&mut queue, 7).len(), messages as usize);
                queue.clear();
            }
            assert_eq!(bytes(&queue), Queue::bytes_max(messages as usize), "{messages} messages");
        }
    }

    #[test]
    fn all_kinds_come_in_the_order_in_which_they_were_sent() {
        let mut random = 1_u64;
        let (mut filled, mut taken) = (Queue::default(), Queue::default());
        for round in 0..200 {
            let mut expected = Vec::new();
            for number in 0..50 {
                random = random.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(1);
                let kind = ['b', 'b', 'a', 'a', 'm'][(random >> 33) as usize % 5];
                match kind {
                    'b' => filled.push_batch(batch(number)),
                    'a' => filled.acks().push(ack(number)),
                    _ => filled.push(message(number)),
                }
                expected.push((kind, number));
                assert_eq!(filled.len(), expected.len());
                let are_batches = expected.iter().all(|(kind, _)| *kind == 'b');
                assert_eq!(filled.holds_only_batches(), are_batches);
            }
            filled.note();
            core::mem::swap(&mut filled, &mut taken);
            assert_eq!(take_all(&mut taken, 1 + round % 7), expected);
            assert!(taken.is_empty());
            taken.clear();
        }
    }
}
