//! Reception: from a session's bytes to landed images on their way to the owner.
//!
//! Belongs to the core of its sessions. Bytes are read straight into the free tail of a chunk;
//! whole images stay where they landed, the cut-off end of a read is carried over and copied
//! once, and a long message gets contiguous room as soon as its prelude is known. Wire format,
//! checksum, handle and credit are checked in place.
//! A turn takes so much and no more, shared among the sessions that have something to say by a
//! turnstile. When chunks or carries are used up it grants no credit, then reads no more; it never
//! drops.
//!
//! ```text
//! read_room ─▶ socket fills it ─▶ received ─▶ prelude ─▶ checksum ─▶ handle, credit ─▶ ring
//!                                    └▶ control ─▶ port        └▶ cut-off end ─▶ carry
//! ```

mod contain;
mod granting;
mod handles;
mod intake;
mod turnstile;

use std::collections::VecDeque;

use deltaworks_image::{self as image};
use deltaworks_runtime::clock::Now;
use deltaworks_runtime::sync::Arc;

use crate::chunk::{ChunkPool, Reservation};
use crate::collection::Collections;
use crate::limits::Limits;
use crate::mailbox::Mailboxes;
use crate::message::{Access, SessionId};
use crate::message::{Message, Policy};
use crate::planted::PlantedPanics;
use crate::port::{SessionFault, SessionPort};
use crate::propagation::Propagation;
use crate::quota::{SharedUse, Used};
use crate::stages::Tuning;
use turnstile::{Cost, Turnstile, Visitor};

/// Room that a read gets at least.
const READ_BYTES_MIN: u32 = 4096;
/// Room that a read gets at most, so that one session does not fill a chunk in one turn.
const READ_BYTES_MAX: usize = 256 << 10;
/// Time between two looks for overdue messages.
const DEADLINE_LOOK_NS: u64 = 250_000_000;
/// Sessions that are looked at in one turn, at most.
const LOOKS_PER_TURN: usize = 1024;
/// Sessions that are ended in one turn because their message is overdue, at most.
const ENDS_PER_TURN: usize = 64;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    Free,
    /// The owner has not answered yet; `true`: to be closed when it does.
    Opening(bool),
    Open,
    /// The owner has been told; its answer frees the handle or leaves it dead. `true`: the client
    /// has closed it, too, so that it is free in any case.
    Closing(bool),
    /// Closed by the server; stays until the client closes it, too.
    Dead,
}

/// One cache line.
#[repr(align(64))]
#[derive(Debug)]
struct Handle {
    state: State,
    access: Access,
    policy: Policy,
    slot: u32,
    generation: u32,
    worker: u16,
    producer: u32,
    subscription: u32,
    /// The number of the routes by which `worker` and `producer` are right.
    routed_at: u32,
    /// What may still be sent.
    balance_bytes: i64,
    /// Credit that came back while chunks were short, or beyond a quota.
    withheld_bytes: u64,
    /// Of its producer's quota.
    used: Used,
    collection: u16,
    /// Whether it stands in the list of those that something is withheld from; its place keeps that.
    is_listed: bool,
    /// The number of the quotas by which its balance was granted, all of it; an older one if not.
    quotas_at: u16,
}

const _: () = assert!(size_of::<Handle>() == 64);
const _: () = assert!(2 * size_of::<Handle>() + 8 <= 144, "what a handle is budgeted with");

#[derive(Debug)]
enum Partial {
    None,
    /// The beginning of a message; behind 8 bytes its length is known.
    Carried(Vec<u8>),
    /// A long message, filling its room in a chunk.
    Reserved {
        reservation: Reservation,
        filled: u32,
    },
    /// A long message that had to leave its chunk, or found no room in one.
    Aside {
        buffer: Vec<u8>,
        filled: usize,
    },
    /// Whole messages that were read and cost more than the session's share of the turn.
    Backlog(Vec<u8>),
}

#[derive(Debug)]
struct Session {
    is_used: bool,
    is_ending: bool,
    is_paused: bool,
    open_handles: u32,
    /// Entries of that list that an earlier session of this place has left; they come before its own.
    stale_entries: u32,
    handles: Vec<Handle>,
    free_handles: Vec<u32>,
    partial: Partial,
    partial_since_ns: u64,
    visitor: Visitor,
    /// Of its own quota, and of that of its address.
    used: Used,
    address: Option<Arc<SharedUse>>,
    /// Times that a quota has withheld credit from it.
    throttled: u64,
}

impl AsMut<Visitor> for Session {
    fn as_mut(&mut self) -> &mut Visitor {
        &mut self.visitor
    }
}

/// What reception has counted since it began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReceptionCounts {
    /// Bytes received.
    pub received_bytes: u64,
    /// Images passed on.
    pub received_images: u64,
    /// Bytes that were copied because a message was cut off.
    pub carried_bytes: u64,
    /// Times a session could not be read for want of a chunk.
    pub paused_reads: u64,
    /// Times what one read had brought was more than the session's share of a turn.
    pub set_aside_reads: u64,
    /// Times credit was withheld for want of chunks.
    pub withheld_credits: u64,
    /// Times credit was withheld because of a quota.
    pub quota_throttled: u64,
    /// Chunks retired.
    pub retired_chunks: u64,
    /// Sessions at whose input the server failed.
    pub failed_sessions: u64,
}

/// What reception works with besides itself: all of the same core.
pub(crate) struct Around<'a, P> {
    pub port: &'a mut P,
    pub boxes: &'a mut Mailboxes,
    pub propagation: &'a mut Propagation,
    pub now: Now,
}

/// The agent.
#[derive(Debug)]
pub struct Reception {
    pool: ChunkPool,
    sessions: Vec<Session>,
    free_sessions: Vec<u32>,
    paused: VecDeque<u32>,
    turnstile: Turnstile,
    /// Of what is being taken.
    cost: Cost,
    withholding: VecDeque<(SessionId, u32)>,
    /// Those of it that ended sessions have left.
    stale_entries: usize,
    reserved_bytes: u64,
    carry_bytes: u64,
    /// Places for handles that the sessions have memory for.
    handle_places: usize,
    open_handles: u32,
    worker_cores: std::sync::Arc<[u16]>,
    /// Those of them that documents are at home at, in front.
    homes: usize,
    collections: std::sync::Arc<Collections>,
    /// Some quota has been a bound.
    has_quotas: bool,
    /// Counts changes of the quotas.
    quotas_number: u16,
    /// When what quotas have withheld is looked at.
    next_grant_ns: u64,
    image_limits: image::Limits,
    limits: Limits,
    measures_latency: bool,
    next_look_ns: u64,
    /// Where the look for overdue messages goes on.
    look_place: usize,
    counts: ReceptionCounts,
    pub(crate) planted: PlantedPanics,
}

impl Reception {
    pub(crate) fn new(
        pool: ChunkPool,
        worker_cores: std::sync::Arc<[u16]>,
        collections: std::sync::Arc<Collections>,
        homes: usize,
        image_limits: image::Limits,
        limits: Limits,
        measures_latency: bool,
    ) -> Self {
        assert!(image_limits.image_bytes_max <= pool.chunk_bytes(), "an image must fit a chunk");
        Self {
            pool,
            sessions: Vec::new(),
            free_sessions: Vec::new(),
            paused: VecDeque::new(),
            turnstile: Turnstile::new(limits.turn.reception_cost, limits.turn.quantum_cost),
            cost: Cost::default(),
            withholding: VecDeque::new(),
            stale_entries: 0,
            reserved_bytes: 0,
            carry_bytes: 0,
            open_handles: 0,
            worker_cores,
            has_quotas: limits.quotas.is_some() || collections.have_quotas(),
            quotas_number: 0,
            next_grant_ns: 0,
            collections,
            homes,
            image_limits,
            limits,
            measures_latency,
            handle_places: 0,
            next_look_ns: 0,
            look_place: 0,
            counts: ReceptionCounts::default(),
            planted: PlantedPanics::default(),
        }
    }

    /// What was counted.
    pub fn counts(&self) -> ReceptionCounts {
        self.counts
    }

    /// The chunks of this core.
    pub fn pool(&self) -> &ChunkPool {
        &self.pool
    }

    /// The same, to be changed.
    #[cfg(feature = "testing")]
    pub(crate) fn pool_mut(&mut self) -> &mut ChunkPool {
        &mut self.pool
    }

    /// Bytes of unfinished messages kept outside of chunks.
    pub fn carry_bytes(&self) -> u64 {
        self.carry_bytes
    }

    /// Sessions of this core.
    pub fn session_count(&self) -> usize {
        self.sessions.len() - self.free_sessions.len()
    }

    /// Places for sessions that were ever used; the place of each is below.
    pub(crate) fn session_places(&self) -> usize {
        self.sessions.len()
    }

    /// Entries of handles that credit is withheld from.
    #[cfg(feature = "testing")]
    pub(crate) fn withholding_entries(&self) -> usize {
        self.withholding.len()
    }

    /// Bytes of session state.
    pub fn session_bytes(&self) -> u64 {
        let handles = self.handle_places * size_of::<Handle>();
        (self.sessions.len() * size_of::<Session>() + handles) as u64
    }

    /// A place for a new session; `None` at the limit.
    pub fn begin_session(&mut self) -> Option<SessionId> {
        let place = match self.free_sessions.pop() {
            Some(place) => place,
            None if self.sessions.len() < self.limits.sessions_per_core_max as usize => {
                self.sessions.push(Session {
                    is_used: false,
                    is_ending: false,
                    is_paused: false,
                    open_handles: 0,
                    stale_entries: 0,
                    handles: Vec::new(),
                    free_handles: Vec::new(),
                    partial: Partial::None,
                    partial_since_ns: 0,
                    visitor: Visitor::NEW,
                    used: Used::default(),
                    address: None,
                    throttled: 0,
                });
                self.sessions.len() as u32 - 1
            }
            None => return None,
        };
        let session = &mut self.sessions[place as usize];
        session.is_used = true;
        session.is_ending = false;
        session.is_paused = false;
        session.visitor = Visitor::NEW;
        (session.used, session.address, session.throttled) = (Used::default(), None, 0);
        Some(SessionId(place))
    }

    /// Goes by other numbers from now on.
    pub(crate) fn tune(&mut self, tuning: Tuning) {
        self.limits.message_deadline_ns = tuning.message_deadline_ns;
        self.limits.credit_bytes = tuning.credit_bytes;
        if self.limits.quotas != tuning.quotas {
            self.quotas_number = self.quotas_number.wrapping_add(1);
        }
        self.limits.quotas = tuning.quotas;
        // Once there is a quota, what is withheld is given at its pace, also if it is lifted.
        self.has_quotas |= tuning.quotas.is_some();
    }

    /// The sessions that `address` is shared with send together what an address may.
    pub(crate) fn set_address(&mut self, id: SessionId, address: Arc<SharedUse>) {
        self.sessions[id.0 as usize].address = Some(address);
    }

    /// Times that a quota has withheld credit from a session.
    pub(crate) fn throttled(&self, id: SessionId) -> u64 {
        self.sessions[id.0 as usize].throttled
    }

    /// Whether no session stands in line to be read.
    pub(crate) fn is_idle(&self) -> bool {
        self.turnstile.is_idle()
    }

    /// Retires chunks, gives withheld credit, resumes reading, and looks for overdue messages.
    pub(crate) fn do_work<P: SessionPort>(
        &mut self,
        may_read: bool,
        around: &mut Around<'_, P>,
    ) -> usize {
        let mut work = self.retire_chunks(around);
        if !self.withholding.is_empty() && !self.pool.is_short() && (may_read || !self.has_quotas) {
            work += self.give_withheld(around.port, around.now);
        }
        if may_read && !self.paused.is_empty() {
            work += self.resume_paused(around);
        }
        if around.now.monotonic_ns >= self.next_look_ns {
            work += self.end_overdue(around);
        }
        work
    }

    fn retire_chunks<P: SessionPort>(&mut self, around: &mut Around<'_, P>) -> usize {
        if !self.pool.wants_retirement() {
            return 0;
        }
        if self.pool.oldest_has_reservations() {
            self.clear_oldest(around);
        }
        let mut work = 0;
        while let Some((chunk, mut owners)) = self.pool.begin_retirement() {
            self.counts.retired_chunks += 1;
            work += 1;
            while owners != 0 {
                let worker = owners.trailing_zeros() as usize;
                owners &= owners - 1;
                around.boxes.to(self.worker_cores[worker]).send(Message::Retire { chunk });
            }
        }
        work
    }

    /// Moves messages that are still arriving out of the chunk that is next to be retired.
    fn clear_oldest<P: SessionPort>(&mut self, around: &mut Around<'_, P>) {
        for place in 0..self.sessions.len() as u32 {
            let session = &mut self.sessions[place as usize];
            let Partial::Reserved { reservation, filled } = session.partial else { continue };
            if !self.pool.is_in_oldest(&reservation) {
                continue;
            }
            let mut buffer = vec![0; reservation.bytes() as usize];
            let arrived = filled as usize;
            buffer[..arrived].copy_from_slice(&self.pool.reserved(&reservation)[..arrived]);
            self.pool.release(reservation);
            self.reserved_bytes -= u64::from(reservation.bytes());
            self.counts.carried_bytes += arrived as u64;
            let bytes = buffer.len();
            session.partial = Partial::Aside { buffer, filled: arrived };
            if let Err(fault) = self.charge_carry(bytes) {
                around.port.fault(SessionId(place), fault);
                self.end_session(SessionId(place), around);
            }
        }
    }

    /// Gives paused sessions room, oldest first; those that still find none stay in line.
    fn resume_paused<P: SessionPort>(&mut self, around: &mut Around<'_, P>) -> usize {
        let mut work = 0;
        for _ in 0..self.paused.len() {
            let Some(place) = self.paused.pop_front() else { break };
            let id = SessionId(place);
            if self.sessions[place as usize].is_ending {
                continue;
            }
            if !self.find_room(id, around) {
                self.paused.push_back(place);
                continue;
            }
            let session = &mut self.sessions[place as usize];
            session.is_paused = false;
            // The time that the server did not read is not the client's.
            session.partial_since_ns = around.now.monotonic_ns;
            around.port.resume_reading(id);
            work += 1;
        }
        work
    }

    /// Puts sessions that stand in line and may go on into `resumed`.
    pub(crate) fn open_turnstile(
        &mut self,
        is_behind: bool,
        resumed: &mut Vec<u32>,
        now: Now,
    ) -> usize {
        let work = self.turnstile.turn(is_behind, &mut self.sessions, resumed);
        for place in resumed.iter() {
            // The time in which it stood in line is not the client's.
            self.sessions[*place as usize].partial_since_ns = now.monotonic_ns;
        }
        work
    }

    /// Whether messages of the session were read and have not been taken.
    pub(crate) fn was_set_aside(&self, id: SessionId) -> bool {
        matches!(self.sessions[id.0 as usize].partial, Partial::Backlog(_))
    }

    /// Ends sessions whose message is overdue, some in a turn: the rest is looked at in the next.
    fn end_overdue<P: SessionPort>(&mut self, around: &mut Around<'_, P>) -> usize {
        if self.carry_bytes == 0 && self.reserved_bytes == 0 {
            // Nobody has begun a message: thousands that are silent cost nothing.
            self.look_place = 0;
            self.next_look_ns = around.now.monotonic_ns + DEADLINE_LOOK_NS;
            return 0;
        }
        let last = self.sessions.len().min(self.look_place + LOOKS_PER_TURN);
        let mut ended = 0;
        while self.look_place < last && ended < ENDS_PER_TURN {
            let id = SessionId(self.look_place as u32);
            let session = &self.sessions[self.look_place];
            self.look_place += 1;
            let is_kept = session.is_paused || session.visitor.waits();
            let waits = !matches!(session.partial, Partial::None) && !is_kept;
            let age_ns = around.now.monotonic_ns.saturating_sub(session.partial_since_ns);
            if waits && session.is_used && age_ns > self.limits.message_deadline_ns {
                around.port.fault(id, SessionFault::MessageDeadline);
                self.end_session(id, around);
                ended += 1;
            }
        }
        if self.look_place >= self.sessions.len() {
            self.look_place = 0;
            self.next_look_ns = around.now.monotonic_ns + DEADLINE_LOOK_NS;
            return ended;
        }
        // The rest is work, too, so that the core does not park before it.
        ended + 1
    }
}

/// The home of `name`, one of `homes` workers: all cores come to the same one.
pub fn worker_of_name(name: &str, homes: usize) -> usize {
    // FNV-1a, finished by a mixer: stable over versions and machines.
    let hash = name.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    (crate::registry::mix(hash) % homes as u64) as usize
}
