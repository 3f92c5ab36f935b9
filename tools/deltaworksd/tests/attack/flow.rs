//! A publisher that keeps to its credit.

use crate::wire::{Peer, Told, batch};

/// One handle's numbers and balance.
#[derive(Debug)]
pub(crate) struct Flow {
    pub handle: u32,
    /// The last number that was sent.
    pub number: u64,
    /// The last that was acknowledged.
    pub acked: u64,
    pub balance: i64,
    /// How the server ended the session, if it did.
    pub ended_by: Option<u16>,
}

impl Flow {
    pub fn open(peer: &mut Peer, name: &str, producer: u64) -> Flow {
        let opened = peer.write(name, producer);
        let number = opened.producer_sequence;
        let balance = opened.credit as i64;
        Flow { handle: opened.handle, number, acked: number, balance, ended_by: None }
    }

    /// Sends a batch as soon as the credit allows it; whether the session still lives.
    pub fn publish(&mut self, peer: &mut Peer, deltas: &[&[u8]]) -> bool {
        while self.balance <= 0 && self.ended_by.is_none() {
            let told = peer.next();
            self.hear(&told);
        }
        if self.ended_by.is_some() {
            return false;
        }
        self.send(peer, deltas);
        true
    }

    /// Sends a batch whatever the balance is.
    pub fn send(&mut self, peer: &mut Peer, deltas: &[&[u8]]) {
        self.number += 1;
        let image = batch(self.handle, self.number, deltas);
        self.balance -= image.len() as i64;
        // If it is not taken, the next answer tells why.
        peer.send(&image);
    }

    /// Takes in what the server said of this handle or of the session.
    pub fn hear(&mut self, told: &Told) {
        match told {
            Told::Ack { handle, number, credit, duplicates, .. } if *handle == self.handle => {
                assert!(*number >= self.acked && *duplicates == 0, "{told:?}");
                self.acked = *number;
                self.balance += *credit as i64;
            }
            Told::Credit { handle, bytes } if *handle == self.handle => {
                self.balance += *bytes as i64;
            }
            Told::Ack { .. } | Told::Credit { .. } => {}
            Told::Error(error) if error.code < 300 => {}
            Told::Closed { handle: None, code } => self.ended_by = Some(*code),
            told => panic!("a publisher was told {told:?}"),
        }
    }

    /// Waits until everything is acknowledged.
    pub fn settle(&mut self, peer: &mut Peer) {
        while self.acked < self.number && self.ended_by.is_none() {
            let told = peer.next();
            self.hear(&told);
        }
    }
}
