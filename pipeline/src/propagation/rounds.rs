//! Rounds: which sessions are sent to in a turn, and in what order.
//!
//! The part of [`Propagation`] that shares its turns among sockets. There are two lines. In the
//! quick one stand sessions with an answer to be sent, and the first [`QUICK_READERS`] of each
//! document that grew; in the long one all other readers, and who has more than its share of a
//! turn. The quick one goes first and leaves the long one a quarter of each turn; so the thousand
//! readers of a busy document do not hold those of a quiet one. A round is over when every session
//! that stood in the long line at its beginning has been sent to once; it may take several turns.
//! Each session stands in one line, once.

use std::collections::VecDeque;

use deltaworks_runtime::chunk_memory::ChunkMemory;
use deltaworks_runtime::prefetch::{prefetch, prefetch_entry};
use deltaworks_runtime::sync::Arc;

use super::{PARTS, Propagation};
use crate::chunk::published;
use crate::limits::TurnBounds;
use crate::message::SessionId;
use crate::port::SessionPort;
use crate::subscription::NO_SUBSCRIPTION;

/// Readers of a document that do not wait behind those of others.
pub(super) const QUICK_READERS: usize = 16;

/// Sessions whose lists are walked side by side, to ask for lines.
pub(super) const SIDE_BY_SIDE: usize = 8;

/// Bytes of a cache line.
const LINE_BYTES: usize = 64;

/// Sends of one session before its cursors are moved out of a chunk that goes: some megabytes.
const SENDS_BEFORE_RETIRING: usize = 64;

/// The lines of sessions to be sent to.
#[derive(Debug, Default)]
pub(super) struct Rounds {
    quick: VecDeque<u32>,
    long: VecDeque<u32>,
    /// So many at the front of the quick line have stood there since an earlier turn.
    waited: usize,
    /// Sessions of this round that have not been sent to.
    left: usize,
}

impl Rounds {
    /// Whether nobody that could be sent to is left from the turns before.
    pub fn is_idle(&self) -> bool {
        self.quick.is_empty() && self.long.is_empty()
    }

    /// Whether some who could be sent to had to wait for another turn.
    #[inline]
    pub fn is_behind(&self) -> bool {
        self.waited > 0
    }

    /// Begins the next round if this one is over.
    fn go_on(&mut self) {
        if self.left == 0 {
            self.left = self.long.len();
        }
    }

    fn next_of_round(&mut self) -> Option<u32> {
        self.left = self.left.checked_sub(1)?;
        self.long.pop_front()
    }
}

/// What a turn may still send.
#[derive(Clone, Copy)]
struct Purse {
    sends: usize,
    bytes: u32,
    /// Fewer bytes are left for the next turn: a send is not cut to what is left.
    least_bytes: u32,
}

impl Purse {
    const EMPTY: Self = Self { sends: 0, bytes: 0, least_bytes: 0 };

    fn holds_more_than(self, kept: Self) -> bool {
        self.sends > kept.sends && self.bytes > kept.bytes
    }

    fn take(&mut self, bytes: u64) {
        self.sends = self.sends.saturating_sub(1);
        self.bytes = self.bytes.saturating_sub(bytes.try_into().unwrap_or(u32::MAX));
        if self.bytes < self.least_bytes {
            self.bytes = 0;
        }
    }
}

/// What sends are laid out on, one after another.
pub(super) struct Tray<'m> {
    pub memory: &'m ChunkMemory,
    pub parts: [&'m [u8]; PARTS],
    /// Bytes of one subscription in one send.
    pub send_bytes: u32,
    /// The lines that a send needs have been asked for in this turn, when the documents grew.
    is_asked: bool,
}

impl<'m> Tray<'m> {
    fn new(memory: &'m ChunkMemory, send_bytes: u32) -> Self {
        Self { memory, parts: [&[]; PARTS], send_bytes, is_asked: false }
    }
}

impl Propagation {
    /// Whether some session of the round has not been sent to yet.
    pub(crate) fn is_in_a_round(&self) -> bool {
        self.rounds.left > 0
    }

    #[inline]
    pub(super) fn list(&mut self, session: SessionId, is_quick: bool) {
        let outlet = &mut self.outlets[session.0 as usize];
        if outlet.is_to_list() {
            outlet.is_listed = true;
            let rounds = &mut self.rounds;
            let line = if is_quick { &mut rounds.quick } else { &mut rounds.long };
            line.push_back(session.0);
        }
    }

    /// Sends as much as a turn may: the quick first, but never so much that the round gets less
    /// than a quarter, or nothing.
    pub(super) fn send_to_listed(&mut self, port: &mut impl SessionPort) -> usize {
        if self.rounds.is_idle() {
            return 0;
        }
        let TurnBounds { sends_per_turn: sends, bytes_per_turn: bytes, .. } = self.bounds;
        let all = Purse { sends, bytes, least_bytes: bytes / 8 };
        let kept = Purse { sends: sends / 4, bytes: bytes / 4, ..all };
        let mut left = all;
        let mut work = 0;
        let memory = Arc::clone(&self.memory);
        let mut tray = Tray::new(&memory, self.bounds.bytes_per_send);
        tray.is_asked = true;
        let (mut waited, mut asked) = (self.rounds.waited, 0);
        while left.holds_more_than(kept) {
            if asked == 0 && waited > 0 {
                asked = waited.min(SIDE_BY_SIDE).min(left.sends - kept.sends);
                self.ask_ahead(self.rounds.quick.iter().take(asked));
                waited -= asked;
            }
            asked = asked.saturating_sub(1);
            let Some(session) = self.rounds.quick.pop_front() else { break };
            work += self.send(SessionId(session), &mut left, &mut tray, port);
        }
        self.rounds.waited = self.rounds.quick.len();
        left = Purse {
            sends: left.sends.max(kept.sends).max(1),
            bytes: left.bytes.max(kept.bytes).max(1),
            ..all
        };
        tray.is_asked = false;
        tray.send_bytes = self.bounds.bytes_per_send_in_rounds();
        self.rounds.go_on();
        while left.holds_more_than(Purse::EMPTY)
            && let Some(session) = self.rounds.next_of_round()
        {
            work += self.send(SessionId(session), &mut left, &mut tray, port);
        }
        // Who waits for the next turn is work, also if nothing was sent in this.
        work.max(usize::from(!self.rounds.is_idle()))
    }

    /// Sends to a session whose cursors are to be moved, as much as its socket takes of some
    /// megabytes: what it takes it does not miss.
    pub(super) fn send_before_retiring(&mut self, session: SessionId, port: &mut impl SessionPort) {
        let mut left = Purse { sends: SENDS_BEFORE_RETIRING, bytes: u32::MAX, least_bytes: 0 };
        let memory = Arc::clone(&self.memory);
        let mut tray = Tray::new(&memory, self.bounds.bytes_per_send);
        tray.is_asked = true;
        self.send_while(session, &mut left, &mut tray, port);
    }

    /// Sends to one session until its socket, its share of the turn, or the turn is full.
    fn send(
        &mut self,
        session: SessionId,
        left: &mut Purse,
        tray: &mut Tray<'_>,
        port: &mut impl SessionPort,
    ) -> usize {
        self.outlets[session.0 as usize].is_listed = false;
        let mut share = Purse { sends: left.sends.min(self.bounds.sends_per_session), ..*left };
        let sends = share.sends;
        let work = self.send_while(session, &mut share, tray, port);
        *left = Purse { sends: left.sends - (sends - share.sends), ..share };
        work
    }

    fn send_while(
        &mut self,
        session: SessionId,
        left: &mut Purse,
        tray: &mut Tray<'_>,
        port: &mut impl SessionPort,
    ) -> usize {
        let mut work = 0;
        let mut is_asked = tray.is_asked;
        while left.holds_more_than(Purse::EMPTY) {
            if !core::mem::take(&mut is_asked) {
                self.ask_ahead([session.0].iter());
            }
            if !self.outlets[session.0 as usize].is_open {
                return work;
            }
            let before_bytes = self.counts.delivered_bytes;
            let (images, goes_on) = self.send_once(session, tray, port);
            left.take(self.counts.delivered_bytes - before_bytes);
            work += images;
            if !goes_on {
                return work;
            }
        }
        // More is there to be sent: that is work, also if nothing was sent yet.
        self.list(session, false);
        work.max(1)
    }

    /// Asks for the lines that a send to each of these sessions needs, [`SIDE_BY_SIDE`] at most: its images,
    /// where it is known what a subscription lacks, else where tails and newest nodes stand. They were near
    /// when the documents grew, which may be turns ago. Each list is a chain through lines that are far by
    /// now, so several are walked side by side: what one waits for is on its way beside the others'.
    #[inline(never)]
    pub(super) fn ask_ahead<'a>(&self, sessions: impl Iterator<Item = &'a u32>) {
        let mut places = [NO_SUBSCRIPTION; SIDE_BY_SIDE];
        let mut count = 0;
        for (place, session) in places.iter_mut().zip(sessions) {
            *place = self.outlets[*session as usize].first_ready;
            count += 1;
        }
        for _ in 0..PARTS {
            let mut is_over = true;
            for place in &mut places[..count] {
                // Nobody's place is that of no subscription.
                let Some(entry) = self.subscriptions.find(*place) else { continue };
                is_over = false;
                match entry.only_lacks() {
                    Some(range) => {
                        let image = published(&self.memory, range);
                        prefetch_entry(image, 0);
                        prefetch_entry(image, LINE_BYTES);
                    }
                    None => {
                        prefetch(self.shared.get(entry.slot));
                        self.nodes.prefetch(entry.place.block, entry.place.index);
                    }
                }
                *place = entry.next_ready;
            }
            if is_over {
                break;
            }
        }
    }
}
