//! Granting: how much of a handle's credit it gets now, and how much is withheld.
//!
//! The part of [`Reception`] that gives credit. It is withheld while chunks run short, and as long as
//! a quota of the session, the producer, the address or the collection does not allow it. Handles
//! that something is withheld from stand in a list once; without quotas they get all of it as soon as
//! there are chunks, with quotas a share every [`GRANT_INTERVAL_NS`], [`GRANTS_AT_ONCE`] of them at a
//! time.

use deltaworks_image::{Image, InRun};
use deltaworks_runtime::chunk_memory::ChunkMemory;
use deltaworks_runtime::clock::Now;

use super::{Handle, Reception, Session, State};
use crate::chunk::Landed;
use crate::limits::CREDIT_FLOOR_BYTES;
use crate::message::{Ack, Opened, SessionId};
use crate::port::SessionPort;
use crate::quota::Quota;

/// Time between two looks at what quotas allow by now.
const GRANT_INTERVAL_NS: u64 = 2_000_000;
/// Entries of ended sessions that stay until their turn comes, unless most entries are such.
const STALE_ENTRIES_MAX: usize = 1_024;
/// Handles that are looked at then, at most.
const GRANTS_AT_ONCE: usize = 256;

impl Reception {
    /// Whether a quota may have something withheld, and when that is looked at.
    pub(crate) fn wake_at_ns(&self) -> u64 {
        if self.has_quotas && !self.withholding.is_empty() { self.next_grant_ns } else { u64::MAX }
    }

    /// The credit of a handle that is opened for writing.
    pub(super) fn first_credit(&mut self, opened: &Opened, now: Now) -> u64 {
        let (id, number) = (opened.session, opened.handle);
        let mut full = u64::from(self.limits.credit_bytes.min(opened.credit_bytes_max));
        if self.has_quotas {
            let of_collection = self.collection_quota(opened.collection);
            let quotas = &self.limits.quotas;
            for quota in [&quotas.session, &quotas.producer, &quotas.address, &of_collection] {
                full = full.min(quota.burst_bytes());
            }
        }
        let is_short = self.pool.is_short();
        let handle = &mut self.sessions[id.0 as usize].handles[number as usize];
        handle.balance_bytes = 0;
        handle.withheld_bytes = full;
        let most = if is_short { u64::from(CREDIT_FLOOR_BYTES).min(full) } else { full };
        let granted = self.grant(id, number, most, now);
        let handle = &self.sessions[id.0 as usize].handles[number as usize];
        if handle.withheld_bytes > 0 {
            self.list(id, number);
            self.counts.withheld_credits += u64::from(is_short);
        }
        granted
    }

    /// Withholds what of an acknowledgement's credit may not be granted now.
    #[cold]
    pub(super) fn grant_of_ack(&mut self, ack: &mut Ack, now: Now) {
        let handle = &mut self.sessions[ack.session.0 as usize].handles[ack.handle as usize];
        let is_listed = handle.withheld_bytes > 0;
        handle.withheld_bytes += u64::from(ack.credit_bytes);
        let withheld = handle.withheld_bytes;
        ack.credit_bytes = 0;
        if is_listed || withheld == 0 {
            return;
        }
        ack.credit_bytes = self.grant(ack.session, ack.handle, withheld, now) as u32;
        if u64::from(ack.credit_bytes) < withheld {
            self.list(ack.session, ack.handle);
        }
    }

    /// Has a handle looked at when credit can be given; it stands in the list once.
    pub(super) fn list(&mut self, id: SessionId, number: u32) {
        let handle = &mut self.sessions[id.0 as usize].handles[number as usize];
        if !handle.is_listed {
            handle.is_listed = true;
            self.withholding.push_back((id, number));
        }
    }

    /// Notes that a session that has ended leaves so many entries. They go when their turn comes, or when
    /// most entries are such.
    pub(super) fn leave_listed(&mut self, id: SessionId, listed: usize) {
        self.sessions[id.0 as usize].stale_entries += listed as u32;
        self.stale_entries += listed;
        if self.stale_entries > STALE_ENTRIES_MAX.max(self.withholding.len() / 2) {
            let sessions = &mut self.sessions;
            self.withholding.retain(|(id, _)| {
                let stale = &mut sessions[id.0 as usize].stale_entries;
                let is_live = *stale == 0;
                *stale = stale.saturating_sub(1);
                is_live
            });
            self.stale_entries = 0;
        }
    }

    /// Gives what was withheld, as far as may be.
    pub(super) fn give_withheld(&mut self, port: &mut impl SessionPort, now: Now) -> usize {
        let mut looks = self.withholding.len();
        if self.has_quotas {
            if now.monotonic_ns < self.next_grant_ns {
                return 0;
            }
            self.next_grant_ns = now.monotonic_ns + GRANT_INTERVAL_NS;
            looks = looks.min(GRANTS_AT_ONCE);
        }
        let mut work = 0;
        for _ in 0..looks {
            let Some((id, number)) = self.withholding.pop_front() else { break };
            let session = &mut self.sessions[id.0 as usize];
            if session.stale_entries > 0 {
                session.stale_entries -= 1;
                self.stale_entries -= 1;
                continue;
            }
            let Some(handle) = session.handles.get_mut(number as usize) else { continue };
            handle.is_listed = false;
            if handle.state != State::Open || handle.withheld_bytes == 0 {
                continue;
            }
            let withheld = handle.withheld_bytes;
            let bytes = self.grant(id, number, withheld, now);
            if bytes < withheld {
                self.list(id, number);
            }
            if bytes > 0 {
                port.credit(id, number, bytes);
                work += 1;
            }
        }
        work
    }

    /// Grants at most so much of what is withheld from a handle.
    fn grant(&mut self, id: SessionId, number: u32, most: u64, now: Now) -> u64 {
        let bytes = if self.has_quotas { self.allowed(id, number, most, now) } else { most };
        let handle = &mut self.sessions[id.0 as usize].handles[number as usize];
        handle.withheld_bytes -= bytes;
        if handle.balance_bytes <= 0 {
            handle.quotas_at = self.quotas_number;
        }
        handle.balance_bytes += bytes as i64;
        bytes
    }

    /// Takes as much of `most` as all quotas allow, or nothing if that is too little to be told.
    fn allowed(&mut self, id: SessionId, number: u32, most: u64, now: Now) -> u64 {
        let now_ns = now.monotonic_ns;
        let quotas = self.limits.quotas;
        let session = &mut self.sessions[id.0 as usize];
        let Session { handles, used, address, throttled, .. } = session;
        let Handle { used: of_handle, collection, .. } = &mut handles[number as usize];
        let own = used.available(&quotas.session, now_ns);
        let own = own.min(of_handle.available(&quotas.producer, now_ns)).min(most);
        let least = most
            .min(u64::from(CREDIT_FLOOR_BYTES))
            .min(quotas.session.burst_bytes())
            .min(quotas.producer.burst_bytes());
        let mut bytes = 0;
        if own >= least {
            let of_address = address
                .as_ref()
                .map_or(own, |address| address.take_up_to(own, &quotas.address, now_ns));
            bytes = match self.collections.used(*collection) {
                None => of_address,
                Some((used, quota)) => used.take_up_to(of_address, quota, now_ns),
            };
            if let Some(address) = address {
                address.give_back(of_address - bytes, &quotas.address);
            }
            used.take_bytes(bytes, &quotas.session, now_ns);
            of_handle.take_bytes(bytes, &quotas.producer, now_ns);
        }
        if bytes < most {
            *throttled += 1;
            self.counts.quota_throttled += 1;
        }
        bytes
    }

    /// Takes deltas that have come out of all quotas.
    #[cold]
    pub(super) fn take_deltas(&mut self, id: SessionId, number: u32, deltas: u64, now: Now) {
        let now_ns = now.monotonic_ns;
        let quotas = &self.limits.quotas;
        let Session { handles, used, address, .. } = &mut self.sessions[id.0 as usize];
        let handle = &mut handles[number as usize];
        used.take_deltas(deltas, &quotas.session, now_ns);
        handle.used.take_deltas(deltas, &quotas.producer, now_ns);
        if let Some(address) = address {
            address.take_deltas(deltas, &quotas.address, now_ns);
        }
        if let Some((used, quota)) = self.collections.used(handle.collection) {
            used.take_deltas(deltas, quota, now_ns);
        }
    }

    /// The same of images that have come together: what several share is taken once for all of them, or for
    /// all that stand together.
    #[cold]
    pub(super) fn take_deltas_of(&mut self, id: SessionId, images: &[InRun], now: Now) {
        let now_ns = now.monotonic_ns;
        let quotas = &self.limits.quotas;
        let Session { handles, used, address, .. } = &mut self.sessions[id.0 as usize];
        let mut all = 0;
        let (mut collection, mut of_collection) = (0, 0);
        for &InRun { handle, count, .. } in images.iter().filter(|image| image.count > 0) {
            let (handle, deltas) = (&mut handles[handle as usize], u64::from(count));
            handle.used.take_deltas(deltas, &quotas.producer, now_ns);
            if handle.collection != collection {
                self.collections.take_deltas(collection, of_collection, now_ns);
                (collection, of_collection) = (handle.collection, 0);
            }
            of_collection += deltas;
            all += deltas;
        }
        self.collections.take_deltas(collection, of_collection, now_ns);
        if all > 0 {
            used.take_deltas(all, &quotas.session, now_ns);
            if let Some(address) = address {
                address.take_deltas(all, &quotas.address, now_ns);
            }
        }
    }

    /// Gives back the credit that a handle has not used and never will. Some of it was taken at another
    /// rate if quotas have changed since: at a lower one it would be worth more than was taken, so
    /// nothing of it is given back to these.
    #[cold]
    pub(super) fn give_back(&mut self, id: SessionId, number: u32) {
        let quotas = &self.limits.quotas;
        let Session { handles, used, address, .. } = &mut self.sessions[id.0 as usize];
        let handle = &mut handles[number as usize];
        let bytes = core::mem::take(&mut handle.balance_bytes).max(0) as u64;
        if handle.quotas_at == self.quotas_number {
            used.give_back(bytes, &quotas.session);
            handle.used.give_back(bytes, &quotas.producer);
            if let Some(address) = address {
                address.give_back(bytes, &quotas.address);
            }
        }
        if let Some((used, quota)) = self.collections.used(handle.collection) {
            used.give_back(bytes, quota);
        }
    }

    fn collection_quota(&self, collection: u16) -> Quota {
        self.collections.used(collection).map_or(Quota::NONE, |(_, quota)| *quota)
    }
}

/// The deltas of an image.
#[cold]
pub(super) fn count_deltas(memory: &ChunkMemory, landed: &Landed) -> u64 {
    Image::checked_before(landed.bytes(memory)).map_or(0, |image| u64::from(image.count()))
}
