//! Node blocks on loan: between the old owner of a document and the new, and to workers without any.
//!
//! The part of [`Validation`] that settles whose node blocks are whose. All belong to homes. A
//! document goes with its blocks, so its new owner owes as many to the home that they belong to; it
//! pays with blocks that are free, some a turn. A worker that is nobody's home has only what it was
//! lent, asks homes for more before it runs out, and gives back what it does not need. Blocks are
//! never more or fewer; who gets none refuses batches.

use super::Validation;
use crate::document::GREW;
use crate::mailbox::Mailboxes;
use crate::message::Message;
use crate::stream::Chain;

/// Blocks that are paid in one turn at most.
const BLOCKS_PER_TURN: u32 = 256;
/// Blocks of one loan at most.
const LOAN_MAX: u32 = 1024;

/// What one worker owes to homes.
#[derive(Debug)]
pub(super) struct Lending {
    worker: u16,
    /// By home.
    owes: Vec<u32>,
    /// All of it.
    debts: u32,
    /// Blocks of one loan.
    loan: u32,
    /// The home that is asked next.
    next_home: u16,
    is_asked: bool,
    is_short: bool,
}

impl Lending {
    /// Of `worker`; each of the `homes` workers that are a home began with `blocks_each`.
    pub fn new(worker: u16, homes: usize, blocks_each: u32) -> Self {
        Self {
            worker,
            owes: vec![0; homes],
            debts: 0,
            loan: (blocks_each / 16).clamp(1, LOAN_MAX),
            next_home: worker % homes as u16,
            is_asked: false,
            is_short: false,
        }
    }

    fn is_elastic(&self) -> bool {
        usize::from(self.worker) >= self.owes.len()
    }

    /// Blocks of one loan.
    pub fn loan(&self) -> u32 {
        self.loan
    }

    /// Blocks that are owed to all homes together.
    pub fn debts(&self) -> u32 {
        self.debts
    }

    fn borrow(&mut self, home: u16, count: u32) {
        self.owes[usize::from(home)] += count;
        self.debts += count;
    }

    /// Pays up to `count` of what is owed to `home`; returns how many.
    fn repay(&mut self, home: u16, count: u32) -> u32 {
        let owed = &mut self.owes[usize::from(home)];
        let paid = count.min(*owed);
        *owed -= paid;
        self.debts -= paid;
        paid
    }

    /// Blocks go to `worker`: to whom it owes them then. What is owed to itself is paid so.
    pub fn hand_on(&mut self, worker: u16, mut count: u32) -> Vec<(u16, u32)> {
        if usize::from(worker) < self.owes.len() {
            count -= self.repay(worker, count);
        }
        let mut debts = Vec::new();
        if !self.is_elastic() {
            debts.push((self.worker, count));
            return debts;
        }
        for home in 0..self.owes.len() as u16 {
            let passed = self.repay(home, count);
            count -= passed;
            if passed > 0 {
                debts.push((home, passed));
            }
        }
        debug_assert!(count == 0, "such a worker owes all that it has");
        debts
    }

    /// Owes what another has owed.
    pub fn take_on(&mut self, debts: &[(u16, u32)]) {
        for &(home, count) in debts {
            if home != self.worker {
                self.borrow(home, count);
            }
        }
    }

    /// A batch found no block.
    pub fn run_short(&mut self) {
        self.is_short = self.is_elastic();
    }
}

impl Validation {
    /// Pays what can be spared, and asks for more if documents here run short.
    pub(super) fn settle_blocks(&mut self, boxes: &mut Mailboxes) -> usize {
        let guests = self.registry.guest_count();
        let lending = &mut self.moves.lending;
        let blocks = &mut self.registry.blocks;
        let documents = &self.registry.documents;
        let has_grown = |(place, _): &(u32, u32)| documents[*place as usize].flags & GREW != 0;
        if lending.is_elastic()
            && blocks.free() <= lending.loan
            && self.touched.iter().any(has_grown)
        {
            lending.is_short = true;
        }
        let worker = self.registry.worker;
        if core::mem::take(&mut lending.is_short) && !lending.is_asked {
            lending.is_asked = true;
            boxes.to_worker(lending.next_home).send(Message::WantBlocks { worker });
            return 1;
        }
        if lending.debts == 0 {
            return 0;
        }
        // A document that has come without nodes is to find blocks, too.
        let kept = match (lending.is_elastic(), blocks.used()) {
            (true, _) if guests == 0 => 0,
            (true, _) => 4 * lending.loan,
            (false, 0) => 0,
            (false, _) => lending.loan,
        };
        let mut spare = blocks.free().saturating_sub(kept).min(BLOCKS_PER_TURN);
        let mut work = 0;
        for home in 0..lending.owes.len() as u16 {
            let count = lending.repay(home, spare);
            if count > 0 {
                spare -= count;
                let chain = blocks.take_chain(count);
                self.moves.counts.lent_blocks += u64::from(chain.count);
                boxes.to_worker(home).send(Message::Blocks { chain, worker });
                work += 1;
            }
        }
        work
    }

    /// Lends some blocks, or tells that there are none to spare.
    pub(super) fn lend_blocks(&mut self, to: u16, boxes: &mut Mailboxes) {
        let blocks = &mut self.registry.blocks;
        let chain = blocks.take_chain(self.moves.lending.loan.min(blocks.free() / 2));
        self.moves.counts.lent_blocks += u64::from(chain.count);
        let worker = self.registry.worker;
        boxes.to_worker(to).send(Message::Blocks { chain, worker });
    }

    /// Takes blocks in: a loan, or what was lent.
    pub(super) fn take_blocks(&mut self, chain: Chain, from: u16) {
        let lending = &mut self.moves.lending;
        if lending.is_elastic() {
            lending.borrow(from, chain.count);
            lending.is_asked = false;
            if chain.count == 0 {
                // Perhaps the next one has some.
                lending.next_home = (lending.next_home + 1) % lending.owes.len() as u16;
            }
        }
        self.registry.blocks.add_chain(chain);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two homes, 0 and 1, with 32 blocks each; 2 and 3 have none.
    fn lending(worker: u16) -> Lending {
        Lending::new(worker, 2, 32)
    }

    #[test]
    fn who_hands_borrowed_blocks_on_owes_them_no_more() {
        let (mut home, mut first, mut second) = (lending(0), lending(2), lending(3));
        let debts = home.hand_on(2, 5);
        assert_eq!((debts.as_slice(), home.debts()), (&[(0, 5)][..], 0));
        first.take_on(&debts);
        first.borrow(1, 2);
        let debts = first.hand_on(3, 6);
        assert_eq!((debts.as_slice(), first.owes.as_slice()), (&[(0, 5), (1, 1)][..], &[0, 1][..]));
        second.take_on(&debts);
        let debts = second.hand_on(1, 2);
        assert_eq!(debts, [(0, 1)], "what home 1 is owed is paid first");
        assert_eq!((second.owes.as_slice(), second.debts()), (&[4, 0][..], 4));
        let mut other = lending(1);
        other.take_on(&debts);
        assert_eq!(other.debts(), 1);
        home.take_on(&other.hand_on(0, 3));
        assert_eq!(home.owes, [0, 2], "one of three was its own");
    }
}
