//! Quotas: how many bytes and deltas a second a session, a producer, an address or a collection may
//! send.
//!
//! A quota is told as credit before it bites: a handle is granted no more than its buckets hold, at
//! first and behind each answer, so who keeps to its credit keeps to its quotas; who does not is ended
//! like anybody who sends beyond its credit. Bytes are taken out of the buckets when they are granted,
//! deltas when they come, because credit counts bytes; while deltas are owed nothing is granted. Credit
//! that a handle has not used when it is closed is given back.
//! Those of one session and one producer belong to their core; those of an address and of a
//! collection are one word each that cores share ([`SharedBucket`]).

use deltaworks_runtime::token_bucket::{Rate, SharedBucket, TokenBucket};

/// Bytes of the smallest image: so many a delta are granted at most at once.
const IMAGE_BYTES_MIN: u64 = 64;

/// Bytes that are taken at once of what several share, if they are there: the smallest image.
const SHARE_BYTES_MIN: u64 = IMAGE_BYTES_MIN;

/// What one may send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quota {
    /// Bytes of images.
    pub bytes: Rate,
    /// Deltas.
    pub deltas: Rate,
}

impl Quota {
    /// No bound.
    pub const NONE: Self = Self { bytes: Rate::NONE, deltas: Rate::NONE };

    /// So many bytes and deltas a second; at once, what flows in in `burst_ns`.
    pub fn new(bytes: Option<u64>, deltas: Option<u64>, burst_ns: u64) -> Self {
        let rate = |per_second: Option<u64>| match per_second {
            None => Rate::NONE,
            per_second => Rate { per_second, burst_ns },
        };
        Self { bytes: rate(bytes), deltas: rate(deltas) }
    }

    /// Whether there is a bound.
    pub fn is_some(&self) -> bool {
        self.bytes.per_second.is_some() || self.deltas.per_second.is_some()
    }

    /// Credit that may be granted at once at most.
    pub(crate) fn burst_bytes(&self) -> u64 {
        self.bytes.burst().min(self.deltas.burst().saturating_mul(IMAGE_BYTES_MIN))
    }
}

impl Default for Quota {
    fn default() -> Self {
        Self::NONE
    }
}

/// The quotas that hold everywhere; those of collections are theirs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Quotas {
    /// Of each session.
    pub session: Quota,
    /// Of each producer of a document. It stays with the handle's place in the session, so that
    /// closing and opening again refills nothing.
    pub producer: Quota,
    /// Of all sessions of an address together.
    pub address: Quota,
}

impl Quotas {
    /// Whether one of them is a bound.
    pub fn is_some(&self) -> bool {
        self.session.is_some() || self.producer.is_some() || self.address.is_some()
    }
}

/// What has been used of a quota by one session or producer.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Used {
    bytes: TokenBucket,
    deltas: TokenBucket,
}

impl Used {
    /// Bytes that may be granted; none while deltas are owed.
    pub fn available(&self, quota: &Quota, now_ns: u64) -> u64 {
        if self.deltas.available(&quota.deltas, now_ns) == 0 {
            return 0;
        }
        self.bytes.available(&quota.bytes, now_ns)
    }

    /// Takes granted bytes.
    pub fn take_bytes(&mut self, bytes: u64, quota: &Quota, now_ns: u64) {
        self.bytes.take(bytes, &quota.bytes, now_ns);
    }

    /// Gives back granted bytes that were not used.
    pub fn give_back(&mut self, bytes: u64, quota: &Quota) {
        self.bytes.give_back(bytes, &quota.bytes);
    }

    /// Takes deltas that have come.
    pub fn take_deltas(&mut self, deltas: u64, quota: &Quota, now_ns: u64) {
        self.deltas.take(deltas, &quota.deltas, now_ns);
    }
}

/// The same by several sessions, of whatever cores.
#[derive(Debug, Default)]
pub struct SharedUse {
    bytes: SharedBucket,
    deltas: SharedBucket,
}

impl SharedUse {
    /// Takes as much of `wanted` as may be granted: a quarter of what is there at most, so that who
    /// always looks first leaves something to the others.
    pub(crate) fn take_up_to(&self, wanted: u64, quota: &Quota, now_ns: u64) -> u64 {
        if self.deltas.available(&quota.deltas, now_ns) == 0 {
            return 0;
        }
        let most = (self.bytes.available(&quota.bytes, now_ns) / 4).max(SHARE_BYTES_MIN);
        self.bytes.take_up_to(wanted.min(most), &quota.bytes, now_ns)
    }

    pub(crate) fn give_back(&self, bytes: u64, quota: &Quota) {
        if quota.bytes.per_second.is_some() {
            self.bytes.give_back(bytes, &quota.bytes);
        }
    }

    pub(crate) fn take_deltas(&self, deltas: u64, quota: &Quota, now_ns: u64) {
        self.deltas.take(deltas, &quota.deltas, now_ns);
    }
}
