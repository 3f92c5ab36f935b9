//! One number for everything that input can grow, counted by kind.
//!
//! ```text
//!  Budget 256 MiB ──account(limits)──▶ Account of core 0: live ≤ limit, kind by kind
//!                 └─account(limits)──▶ Account of core 1 …   (sum of all limits ≤ budget)
//! ```
//!
//! The budget is divided once, at the start; after that each account belongs to one core and
//! counts in plain integers. Nothing here allocates or frees what it counts. A kind that has
//! reached its limit refuses, and the caller does what is stated for that kind.

use crate::counters::{CounterReader, CounterWriter, counters};
use core::fmt;

/// The budget by default, if that is more than what the reception cores ask for.
pub const BUDGET_BYTES: u64 = 256 << 20;

/// The budget by default for each reception core, if that is more in all.
pub const BUDGET_BYTES_PER_RECEPTION_CORE: u64 = 64 << 20;

/// What input can make grow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Kind {
    /// Memory that sockets are read into.
    Chunks,
    /// Slots of the rings between cores.
    RingSlots,
    /// Nodes of the documents' streams.
    Nodes,
    /// State of documents, without names and payloads.
    Documents,
    /// Names of documents, and the directory of them.
    Names,
    /// What is remembered of producers, so that a resend is known.
    Producers,
    /// Subscriptions and their cursors.
    Subscriptions,
    /// Copies of batches that a slow subscriber has half taken.
    Spills,
    /// Cut-off ends of reads that wait for the rest.
    Carries,
    /// State of sessions.
    Sessions,
    /// Control messages that wait for room.
    Control,
}

/// How many kinds there are.
pub const KINDS: usize = 11;

impl Kind {
    /// Every kind, in the order of their numbers.
    pub const ALL: [Kind; KINDS] = [
        Kind::Chunks,
        Kind::RingSlots,
        Kind::Nodes,
        Kind::Documents,
        Kind::Names,
        Kind::Producers,
        Kind::Subscriptions,
        Kind::Spills,
        Kind::Carries,
        Kind::Sessions,
        Kind::Control,
    ];

    /// The word that people see.
    pub const fn name(self) -> &'static str {
        match self {
            Kind::Chunks => "chunks",
            Kind::RingSlots => "ring slots",
            Kind::Nodes => "nodes",
            Kind::Documents => "documents",
            Kind::Names => "names",
            Kind::Producers => "producers",
            Kind::Subscriptions => "subscriptions",
            Kind::Spills => "spills",
            Kind::Carries => "carries",
            Kind::Sessions => "sessions",
            Kind::Control => "control",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Bytes of each kind: a limit, or what is live.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Bytes([u64; KINDS]);

impl Bytes {
    /// No bytes of any kind.
    pub const ZERO: Bytes = Bytes([0; KINDS]);

    /// The same, with `bytes` of `kind`.
    #[must_use]
    pub const fn with(mut self, kind: Kind, bytes: u64) -> Self {
        self.0[kind as usize] = bytes;
        self
    }

    /// Bytes of `kind`.
    pub const fn of(&self, kind: Kind) -> u64 {
        self.0[kind as usize]
    }

    /// Bytes of all kinds together; stays at the largest number instead of wrapping.
    pub fn total(&self) -> u64 {
        self.0.iter().fold(0, |sum, bytes| sum.saturating_add(*bytes))
    }

    /// Kinds and their bytes, in the order of [`Kind::ALL`].
    pub fn iter(&self) -> impl Iterator<Item = (Kind, u64)> + '_ {
        Kind::ALL.into_iter().map(|kind| (kind, self.of(kind)))
    }
}

/// The whole budget, while it is being divided.
#[derive(Debug)]
pub struct Budget {
    bytes: u64,
    given: u64,
}

impl Budget {
    /// A budget of `bytes`.
    pub const fn new(bytes: u64) -> Self {
        Self { bytes, given: 0 }
    }

    /// The budget that a daemon with so many reception cores has if nobody says otherwise.
    pub const fn default_for(reception_cores: u64) -> Self {
        let by_cores = BUDGET_BYTES_PER_RECEPTION_CORE.saturating_mul(reception_cores);
        Self::new(if by_cores > BUDGET_BYTES { by_cores } else { BUDGET_BYTES })
    }

    /// Bytes in all.
    pub const fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Bytes that no account has been given yet.
    pub const fn left_bytes(&self) -> u64 {
        self.bytes - self.given
    }

    /// An account with these limits, which are taken from what is left. Allocates a few lines.
    ///
    /// # Errors
    /// If less than the sum of the limits is left; nothing is taken then.
    pub fn account(&mut self, limits: Bytes) -> Result<Account, OverBudget> {
        let asked_bytes = limits.total();
        if asked_bytes > self.left_bytes() {
            return Err(OverBudget {
                asked_bytes,
                left_bytes: self.left_bytes(),
                budget_bytes: self.bytes,
            });
        }
        self.given += asked_bytes;
        let (live, reader) = counters();
        Ok(Account { limits, live, reader })
    }
}

/// The limits asked for do not fit into the budget.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OverBudget {
    /// The sum of the limits that were asked for.
    pub asked_bytes: u64,
    /// What was left of the budget.
    pub left_bytes: u64,
    /// The budget in all.
    pub budget_bytes: u64,
}

impl fmt::Display for OverBudget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} bytes asked for, {} left of the budget of {}: raise the budget by {} MiB or lower \
             a limit",
            self.asked_bytes,
            self.left_bytes,
            self.budget_bytes,
            (self.asked_bytes - self.left_bytes).div_ceil(1 << 20),
        )
    }
}

impl core::error::Error for OverBudget {}

/// A kind has reached its limit on this core.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Full {
    /// Which kind.
    pub kind: Kind,
    /// Its limit on this core.
    pub limit_bytes: u64,
}

impl fmt::Display for Full {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} have reached their {} bytes on this core", self.kind, self.limit_bytes)
    }
}

impl core::error::Error for Full {}

/// What one core has live, kind by kind, and how much it may have.
#[derive(Debug)]
pub struct Account {
    limits: Bytes,
    live: CounterWriter<KINDS>,
    reader: CounterReader<KINDS>,
}

impl Account {
    /// Counts `bytes` of `kind` as live. An addition and a comparison.
    ///
    /// # Errors
    /// If they do not fit under the limit; nothing is counted then.
    #[inline]
    pub fn try_charge(&mut self, kind: Kind, bytes: u64) -> Result<(), Full> {
        if bytes > self.room_bytes(kind) {
            return Err(Full { kind, limit_bytes: self.limits.of(kind) });
        }
        self.live.add(kind as usize, bytes);
        Ok(())
    }

    /// Counts `bytes` of `kind` as no longer live.
    ///
    /// # Panics
    /// In debug builds, if fewer are live; in release builds the count stays at zero.
    #[inline]
    pub fn release(&mut self, kind: Kind, bytes: u64) {
        let live = self.live.get(kind as usize);
        debug_assert!(bytes <= live, "{bytes} bytes of {kind} released, {live} were live");
        self.live.set(kind as usize, live.saturating_sub(bytes));
    }

    /// Bytes of `kind` that are live.
    #[inline]
    pub fn live_bytes(&self, kind: Kind) -> u64 {
        self.live.get(kind as usize)
    }

    /// Bytes of `kind` that may be live.
    #[inline]
    pub fn limit_bytes(&self, kind: Kind) -> u64 {
        self.limits.of(kind)
    }

    /// Bytes of `kind` that may be charged now.
    #[inline]
    pub fn room_bytes(&self, kind: Kind) -> u64 {
        self.limits.of(kind) - self.live.get(kind as usize)
    }

    /// Everything that is live.
    pub fn live(&self) -> Bytes {
        Bytes(core::array::from_fn(|kind| self.live.get(kind)))
    }

    /// Makes the present counts visible to [`LiveBytes`]; once a turn.
    #[inline]
    pub fn publish(&mut self) {
        self.live.publish();
    }

    /// A view for other threads.
    pub fn reader(&self) -> LiveBytes {
        LiveBytes { limits: self.limits, live: self.reader.clone() }
    }
}

/// Another thread's view of an account, as of its latest `publish`.
#[derive(Debug, Clone)]
pub struct LiveBytes {
    limits: Bytes,
    live: CounterReader<KINDS>,
}

impl LiveBytes {
    /// What was live.
    pub fn live(&self) -> Bytes {
        Bytes(self.live.snapshot())
    }

    /// What may be live.
    pub fn limits(&self) -> Bytes {
        self.limits
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    const _: () = assert!(Kind::ALL.len() == KINDS);

    #[test]
    fn kinds_stand_at_their_numbers() {
        assert!(Kind::ALL.iter().enumerate().all(|(index, kind)| *kind as usize == index));
    }

    #[test]
    fn a_charge_beyond_the_limit_counts_nothing() {
        let mut budget = Budget::new(100);
        let limits = Bytes::ZERO.with(Kind::Spills, 10);
        let mut account = budget.account(limits).unwrap();
        assert_eq!(account.try_charge(Kind::Spills, 7), Ok(()));
        let full = Full { kind: Kind::Spills, limit_bytes: 10 };
        assert_eq!(account.try_charge(Kind::Spills, 4), Err(full));
        assert_eq!(account.try_charge(Kind::Spills, u64::MAX), Err(full));
        assert_eq!(account.live_bytes(Kind::Spills), 7);
        assert_eq!(account.try_charge(Kind::Nodes, 1).unwrap_err().limit_bytes, 0);
        assert_eq!(account.try_charge(Kind::Spills, 3), Ok(()));
        account.release(Kind::Spills, 10);
        assert_eq!(account.live(), Bytes::ZERO);
    }

    #[test]
    fn limits_beyond_the_budget_are_refused() {
        let mut budget = Budget::new(100);
        budget.account(Bytes::ZERO.with(Kind::Chunks, 60)).unwrap();
        let refused = budget.account(Bytes::ZERO.with(Kind::Chunks, 41)).unwrap_err();
        assert_eq!((refused.asked_bytes, refused.left_bytes), (41, 40));
        assert!(refused.to_string().contains("raise the budget by 1 MiB"));
        let wrapping = Bytes::ZERO.with(Kind::Chunks, u64::MAX).with(Kind::Nodes, 2);
        assert!(budget.account(wrapping).is_err());
        budget.account(Bytes::ZERO.with(Kind::Nodes, 40)).unwrap();
        assert_eq!(budget.left_bytes(), 0);
    }

    #[test]
    fn the_default_grows_with_reception_cores() {
        assert_eq!(Budget::default_for(1).bytes(), 256 << 20);
        assert_eq!(Budget::default_for(4).bytes(), 256 << 20);
        assert_eq!(Budget::default_for(5).bytes(), 320 << 20);
    }

    #[test]
    fn a_planted_leak_is_seen_from_another_thread() {
        let mut budget = Budget::new(1 << 20);
        let mut account = budget.account(Bytes::ZERO.with(Kind::Spills, 1 << 16)).unwrap();
        let seen = account.reader();
        for turn in 1..=3_000u64 {
            account.try_charge(Kind::Spills, 16).unwrap();
            let forgotten = turn.is_multiple_of(1_000);
            if !forgotten {
                account.release(Kind::Spills, 16);
            }
        }
        account.publish();
        let live = std::thread::spawn(move || seen.live()).join().unwrap();
        assert_eq!(live.of(Kind::Spills), 48);
        assert_eq!(live.total(), 48);
    }

    #[test]
    #[cfg(debug_assertions)]
    #[should_panic(expected = "were live")]
    fn releasing_what_is_not_live_is_a_bug() {
        let mut account = Budget::new(1).account(Bytes::ZERO).unwrap();
        account.release(Kind::Names, 1);
    }
}
