//! How bytes become landed images: reads, cut-off ends, long messages, checks.
//!
//! The part of [`Reception`] that touches received bytes. It copies only what a read has cut off,
//! and what a chunk that is about to be retired would take away.

use deltaworks_image::{self as image, ImageError, InRun, Inbound, PRELUDE_BYTES, Prelude};
use deltaworks_runtime::clock::Now;
use deltaworks_runtime::prefetch::prefetch_entry;

use super::granting::count_deltas;
use super::turnstile::Cost;
use super::{Around, Handle, Partial, READ_BYTES_MAX, READ_BYTES_MIN, Reception, State};
use crate::chunk::{ChunkPool, Landed, Landing};
use crate::limits::RESERVE_ABOVE_BYTES;
use crate::mailbox::Mailboxes;
use crate::message::{Arrival, SessionId};
use crate::port::{SessionFault, SessionPort};

impl Reception {
    /// Room for the next read of `session`: in its unfinished message, or at a chunk's tail; no more
    /// than its share of the turn. `None` when there is none; [`SessionPort::resume_reading`] tells
    /// when to ask again.
    pub fn read_room(&mut self, id: SessionId) -> Option<&mut [u8]> {
        let session = &mut self.sessions[id.0 as usize];
        if session.is_ending || session.is_paused {
            return None;
        }
        let most = self.turnstile.room(&mut session.visitor, id.0)?.min(READ_BYTES_MAX);
        let carried = match &session.partial {
            Partial::Carried(bytes) => bytes.len() as u32,
            _ => 0,
        };
        let is_aside_full = matches!(&session.partial,
            Partial::Aside { buffer, filled } if buffer.len() == *filled);
        let needs_tail = matches!(session.partial, Partial::None | Partial::Carried(_));
        let long = match &session.partial {
            Partial::Carried(bytes) => announced(bytes).filter(|long| *long > RESERVE_ABOVE_BYTES),
            _ => None,
        };
        // A long message waits for room of its own; a complete one for a place to land.
        let is_stuck = is_aside_full
            || long.is_some()
            || (needs_tail && {
                let least = self.least_room(carried);
                !self.pool.ensure_tail(least)
            });
        if is_stuck {
            self.pause(id);
            return None;
        }
        match &mut self.sessions[id.0 as usize].partial {
            Partial::None => Some(first(self.pool.tail(), most)),
            Partial::Carried(bytes) => Some(first(&mut self.pool.tail()[bytes.len()..], most)),
            Partial::Reserved { reservation, filled } => {
                Some(first(&mut self.pool.reserved(reservation)[*filled as usize..], most))
            }
            Partial::Aside { buffer, filled } => Some(first(&mut buffer[*filled..], most)),
            // It stands in line until this has been taken.
            Partial::Backlog(_) => None,
        }
    }

    /// Room that the next read behind `carried` bytes needs at least; half a chunk where chunks are
    /// small.
    fn least_room(&self, carried: u32) -> u32 {
        carried + READ_BYTES_MIN.min(self.pool.chunk_bytes() / 2)
    }

    pub(crate) fn pause(&mut self, id: SessionId) {
        let session = &mut self.sessions[id.0 as usize];
        if !session.is_paused {
            session.is_paused = true;
            self.paused.push_back(id.0);
            self.counts.paused_reads += 1;
        }
    }

    /// Takes the `count` bytes that were read into the room that [`Reception::read_room`] gave.
    pub(crate) fn received<P: SessionPort>(
        &mut self,
        id: SessionId,
        count: usize,
        around: &mut Around<'_, P>,
    ) {
        self.counts.received_bytes += count as u64;
        if self.sessions[id.0 as usize].is_ending {
            return;
        }
        self.planted.received(self.counts.received_bytes);
        self.cost = Cost::of_read(count);
        let taken = self.take(id, count, around);
        self.charge(id, count);
        if let Err(fault) = taken {
            around.port.fault(id, fault);
            self.end_session(id, around);
        }
    }

    fn charge(&mut self, id: SessionId, bytes: usize) {
        let visitor = &mut self.sessions[id.0 as usize].visitor;
        self.turnstile.charge(visitor, bytes, self.cost);
    }

    /// Takes messages that were read and had to wait, as many as the session's share allows.
    pub(crate) fn take_backlog<P: SessionPort>(
        &mut self,
        id: SessionId,
        around: &mut Around<'_, P>,
    ) {
        let session = &mut self.sessions[id.0 as usize];
        let Partial::Backlog(bytes) = &mut session.partial else { return };
        let count = bytes.len();
        if !self.pool.ensure_tail(count as u32) {
            self.turnstile.wait(&mut session.visitor, id.0, true);
            return;
        }
        self.pool.tail()[..count].copy_from_slice(bytes);
        session.partial = Partial::None;
        self.carry_bytes -= count as u64;
        self.cost = Cost::default();
        let taken = self.take_messages(id, count, around);
        self.charge(id, 0);
        if let Err(fault) = taken {
            around.port.fault(id, fault);
            self.end_session(id, around);
        }
    }

    fn take<P: SessionPort>(
        &mut self,
        id: SessionId,
        count: usize,
        around: &mut Around<'_, P>,
    ) -> Result<(), SessionFault> {
        let session = &mut self.sessions[id.0 as usize];
        match &mut session.partial {
            Partial::None => self.take_messages(id, count, around),
            Partial::Carried(bytes) => {
                let carried = bytes.len();
                let tail = self.pool.tail();
                // The prelude may lie in both: the room before the new bytes is the carry's.
                let known = carried.min(PRELUDE_BYTES);
                let mut prelude = [0; PRELUDE_BYTES];
                prelude[..known].copy_from_slice(&bytes[..known]);
                let total = if carried + count >= PRELUDE_BYTES {
                    let rest = &tail[carried..carried + PRELUDE_BYTES - known];
                    prelude[known..].copy_from_slice(rest);
                    let prelude = image::check_prelude(&prelude, &self.image_limits);
                    Some(prelude.map_err(SessionFault::Malformed)?.bytes as usize)
                } else {
                    None
                };
                let is_short =
                    |total| carried + count < total && total <= RESERVE_ABOVE_BYTES as usize;
                if total.is_none_or(is_short) {
                    // Still cut off: only what is new is copied.
                    bytes.extend_from_slice(&tail[carried..carried + count]);
                    self.counts.carried_bytes += count as u64;
                    return self.charge_carry(count);
                }
                tail[..carried].copy_from_slice(bytes);
                self.carry_bytes -= carried as u64;
                session.partial = Partial::None;
                self.take_messages(id, carried + count, around)
            }
            Partial::Reserved { reservation, filled } => {
                *filled += count as u32;
                if *filled < reservation.bytes() {
                    return Ok(());
                }
                let reservation = *reservation;
                let checked = check(self.pool.reserved(&reservation), &self.image_limits);
                session.partial = Partial::None;
                self.reserved_bytes -= u64::from(reservation.bytes());
                let landed = self.pool.land_reserved(reservation);
                let Inbound { handle, count, .. } = checked?;
                self.cost.add_images(1, count);
                self.pass_on(id, handle, landed, around.boxes, around.now)
            }
            Partial::Aside { filled, .. } => {
                *filled += count;
                self.land_aside(id, around.boxes, around.now)
            }
            Partial::Backlog(_) => unreachable!("it is not read while it stands in line"),
        }
    }

    /// Takes the messages that stand in the first `available` bytes of the tail: runs of images,
    /// and the control between them.
    fn take_messages<P: SessionPort>(
        &mut self,
        id: SessionId,
        available: usize,
        around: &mut Around<'_, P>,
    ) -> Result<(), SessionFault> {
        // Control is left in place until an image follows: at the end it costs no room.
        let (mut passed, mut left) = (0, available);
        let mut run = Run::default();
        loop {
            let end = self.find_run(id, passed, left, &mut run);
            if run.count > 0 {
                let bytes = run.end;
                self.pass_on_run(id, bytes, &run, around.boxes, around.now)?;
                left -= bytes as usize - passed;
                passed = 0;
                self.cost.add_images(run.count, run.deltas);
            }
            match end {
                RunEnd::Full | RunEnd::Control(_) if self.is_to_wait(id, left) => {
                    return self.set_aside(id, passed, left);
                }
                RunEnd::Full => {}
                RunEnd::CutOff => return self.carry_over(id, passed, left, around.now),
                RunEnd::Fault(fault) => return Err(fault),
                RunEnd::Control(prelude) => {
                    let bytes = prelude.bytes as usize;
                    let message = &self.pool.tail()[passed..passed + bytes];
                    let unpadded = bytes - usize::from(prelude.padding);
                    let (body, padding) = (&message[PRELUDE_BYTES..unpadded], &message[unpadded..]);
                    if padding.iter().any(|byte| *byte != 0) {
                        return Err(SessionFault::Malformed(ImageError::Padding));
                    }
                    let action = around.port.control(id, prelude.kind.number(), body, around.now);
                    passed += bytes;
                    left -= bytes;
                    self.cost.add_control();
                    self.try_act(id, action, around)?;
                    if self.sessions[id.0 as usize].is_ending {
                        return Ok(());
                    }
                }
            }
        }
    }

    /// Whether the session has had its share, and what is left must wait for the next. If there is
    /// no room to keep it aside, it need not: that costs others a longer turn, and nobody a session.
    fn is_to_wait(&self, id: SessionId, left: usize) -> bool {
        let visitor = &self.sessions[id.0 as usize].visitor;
        left > 0
            && self.turnstile.is_used_up(visitor, self.cost)
            && self.carry_bytes + left as u64 <= self.limits.carry_bytes_per_core_max / 2
    }

    /// Keeps the `left` bytes behind `passed` of the tail until the session's turn comes again.
    fn set_aside(&mut self, id: SessionId, passed: usize, left: usize) -> Result<(), SessionFault> {
        let bytes = self.pool.tail()[passed..passed + left].to_vec();
        let session = &mut self.sessions[id.0 as usize];
        session.partial = Partial::Backlog(bytes);
        self.turnstile.wait(&mut session.visitor, id.0, true);
        self.counts.carried_bytes += left as u64;
        self.counts.set_aside_reads += 1;
        self.charge_carry(left)
    }

    /// Makes `run` of the images from `passed` on, until something else follows: checks them, and asks
    /// for the lines that their handles need.
    #[inline]
    fn find_run(&mut self, id: SessionId, passed: usize, left: usize, run: &mut Run) -> RunEnd {
        let handles = &self.sessions[id.0 as usize].handles;
        let mut rest = &self.pool.tail()[passed..passed + left];
        (run.count, run.deltas, run.end) = (0, 0, passed as u32);
        loop {
            let room = &mut run.images[run.count..];
            let walked = image::check_run(rest, run.end, &self.image_limits, room, |handle| {
                prefetch_entry(handles, handle as usize);
            });
            run.count += walked.images;
            run.deltas += walked.deltas;
            run.end += walked.bytes;
            rest = &rest[walked.bytes as usize..];
            let Some(found) = run.images.get_mut(run.count) else { return RunEnd::Full };
            match check_first(rest, &self.image_limits) {
                Ok((bytes, Inbound { handle, count, .. })) => {
                    *found = InRun { offset: run.end, bytes, handle, count };
                    run.count += 1;
                    run.deltas += count;
                    run.end += bytes;
                    rest = &rest[bytes as usize..];
                }
                Err(end) => return end,
            }
        }
    }

    fn pass_on_run(
        &mut self,
        id: SessionId,
        bytes: u32,
        run: &Run,
        boxes: &mut Mailboxes,
        now: Now,
    ) -> Result<(), SessionFault> {
        let landing = self.pool.take_run(bytes);
        let mut images = &run.images[..run.count];
        loop {
            let passed = self.pass_on_usual(id, &landing, images, boxes, now);
            let Some((found, behind)) = images[passed..].split_first() else { return Ok(()) };
            let landed = landing.land(found.offset, found.bytes);
            self.pass_on(id, found.handle, landed, boxes, now)?;
            images = behind;
        }
    }

    /// Passes images on as [`Self::pass_on`] does, up to the first one that is not as most are: with an
    /// open handle that has credit and knows where its document is. Returns how many; what is counted of
    /// them is written once, by [`Passed`] also if something panics between them. Quotas are charged behind
    /// it: a panic, which ends the session, leaves out the deltas of those that it came behind.
    #[inline]
    fn pass_on_usual(
        &mut self,
        id: SessionId,
        landing: &Landing,
        images: &[InRun],
        boxes: &mut Mailboxes,
        now: Now,
    ) -> usize {
        let handles = &mut self.sessions[id.0 as usize].handles[..];
        let (core, worker) = (boxes.own_core(), boxes.own_worker());
        let writer = Writer { session: id, core, worker, routed_at: boxes.routes.version() };
        let (own, mut others) = boxes.apart();
        let (mut room, put) = own.batch_room(images.len());
        let (pool, received_images) = (&mut self.pool, &mut self.counts.received_images);
        let mut passed = Passed { pool, received_images, put, landing, count: 0, owners: 0 };
        let memory = &**passed.pool.memory();
        let note = |landed: &mut Landed| {
            image::note_received(landed.bytes_mut(memory), now.monotonic_ns);
        };
        while let Some(rest) = images.get(passed.count as usize..).filter(|it| !it.is_empty()) {
            let before = *passed.received_images + u64::from(passed.count);
            self.planted.passing(before);
            let some = &rest[..rest.len().min(self.planted.until_passing(before))];
            let count = if self.measures_latency {
                writer.pass_on_own(handles, landing, some, room, note)
            } else {
                writer.pass_on_own(handles, landing, some, room, |_| ())
            };
            if count > 0 {
                passed.count += count as u32;
                *passed.put += count;
                passed.owners |= 1 << worker;
                room = &mut room[count..];
            }
            if count == some.len() {
                continue;
            }
            let found = &some[count];
            let Some(handle) = handles.get_mut(found.handle as usize) else { break };
            if !is_usual(handle, writer.routed_at) {
                break;
            }
            // It is for another core.
            let mut landed = landing.land(found.offset, found.bytes);
            if self.measures_latency {
                note(&mut landed);
            }
            handle.balance_bytes -= i64::from(found.bytes);
            passed.count += 1;
            passed.owners |= 1 << handle.worker;
            others.worker(handle.worker).send_batch(landed, id, handle.producer);
        }
        let count = passed.count as usize;
        drop(passed);
        if self.has_quotas {
            self.take_deltas_of(id, &images[..count], now);
        }
        count
    }

    /// Keeps the `left` bytes behind `passed` of the tail: a message that has not arrived whole.
    fn carry_over(
        &mut self,
        id: SessionId,
        passed: usize,
        left: usize,
        now: Now,
    ) -> Result<(), SessionFault> {
        if left == 0 {
            return Ok(());
        }
        self.sessions[id.0 as usize].partial_since_ns = now.monotonic_ns;
        let long = announced(&self.pool.tail()[passed..passed + left])
            .filter(|total| *total > RESERVE_ABOVE_BYTES);
        if let Some(total) = long
            && self.may_reserve(total)
        {
            // In place, if the chunk has the room; else the beginning moves to the next chunk.
            let rest = &self.pool.tail()[passed..];
            let moved = (rest.len() < total as usize).then(|| rest[..left].to_vec());
            if moved.is_none() {
                self.pool.skip(passed as u32);
            }
            if let Some(reservation) = self.pool.reserve(total) {
                if let Some(beginning) = moved {
                    self.pool.reserved(&reservation)[..left].copy_from_slice(&beginning);
                    self.counts.carried_bytes += left as u64;
                }
                self.reserved_bytes += u64::from(total);
                self.sessions[id.0 as usize].partial =
                    Partial::Reserved { reservation, filled: left as u32 };
                return Ok(());
            }
        }
        let carried = self.pool.tail()[passed..passed + left].to_vec();
        self.sessions[id.0 as usize].partial = Partial::Carried(carried);
        self.counts.carried_bytes += left as u64;
        self.charge_carry(left)
    }

    fn may_reserve(&self, total: u32) -> bool {
        let quarter = self.pool.count() as u64 * u64::from(self.pool.chunk_bytes()) / 4;
        self.reserved_bytes == 0 || self.reserved_bytes + u64::from(total) <= quarter
    }

    pub(super) fn charge_carry(&mut self, bytes: usize) -> Result<(), SessionFault> {
        self.carry_bytes += bytes as u64;
        if self.carry_bytes > self.limits.carry_bytes_per_core_max {
            return Err(SessionFault::CarryLimit);
        }
        Ok(())
    }

    /// Checks handle and credit, notes when the image came, and sends the descriptor to the owner.
    #[inline]
    fn pass_on(
        &mut self,
        id: SessionId,
        number: u32,
        mut landed: Landed,
        boxes: &mut Mailboxes,
        now: Now,
    ) -> Result<(), SessionFault> {
        let session = &mut self.sessions[id.0 as usize];
        let Some(handle) = session.handles.get_mut(number as usize) else {
            return Err(SessionFault::UnknownHandle { handle: number });
        };
        match handle.state {
            State::Open => {}
            // On its way when the server closed the handle: told with `closed`, taken by nobody.
            State::Closing(_) | State::Dead => return Ok(()),
            State::Free | State::Opening(_) => {
                return Err(SessionFault::UnknownHandle { handle: number });
            }
        }
        if !handle.access.write {
            return Err(SessionFault::NotAWriter { handle: number });
        }
        if handle.balance_bytes <= 0 {
            return Err(SessionFault::CreditExceeded { handle: number });
        }
        if self.measures_latency {
            image::note_received(landed.bytes_mut(self.pool.memory()), now.monotonic_ns);
        }
        let deltas = if self.has_quotas { count_deltas(self.pool.memory(), &landed) } else { 0 };
        let range = landed.range();
        handle.balance_bytes -= i64::from(range.bytes());
        debug_assert!(handle.balance_bytes > -i64::from(range.bytes()), "below zero by one batch");
        self.counts.received_images += 1;
        if handle.routed_at == boxes.routes.version() {
            self.pool.sent(range, handle.worker);
            boxes.to_worker(handle.worker).send_batch(landed, id, handle.producer);
        } else {
            handle.look(&boxes.routes);
            self.pool.sent(range, handle.worker);
            handle.send(landed, id, boxes);
        }
        if deltas > 0 {
            self.take_deltas(id, number, deltas, now);
        }
        Ok(())
    }

    fn land_aside(
        &mut self,
        id: SessionId,
        boxes: &mut Mailboxes,
        now: Now,
    ) -> Result<(), SessionFault> {
        let session = &mut self.sessions[id.0 as usize];
        let Partial::Aside { buffer, filled } = &mut session.partial else { return Ok(()) };
        if *filled < buffer.len() || !self.pool.ensure_tail(buffer.len() as u32) {
            return Ok(());
        }
        let buffer = core::mem::take(buffer);
        session.partial = Partial::None;
        self.carry_bytes -= buffer.len() as u64;
        self.counts.carried_bytes += buffer.len() as u64;
        let Inbound { handle, count, .. } = check(&buffer, &self.image_limits)?;
        self.cost.add_images(1, count);
        self.pool.tail()[..buffer.len()].copy_from_slice(&buffer);
        let landed = self.pool.land(buffer.len() as u32);
        self.pass_on(id, handle, landed, boxes, now)
    }

    pub(super) fn find_room<P: SessionPort>(
        &mut self,
        id: SessionId,
        around: &mut Around<'_, P>,
    ) -> bool {
        let session = &mut self.sessions[id.0 as usize];
        match &session.partial {
            Partial::None | Partial::Reserved { .. } => {
                let least = self.least_room(0);
                self.pool.ensure_tail(least)
            }
            Partial::Carried(bytes) => {
                let carried = bytes.len() as u32;
                let Some(total) = announced(bytes).filter(|it| *it > RESERVE_ABOVE_BYTES) else {
                    let least = self.least_room(carried);
                    return self.pool.ensure_tail(least);
                };
                if !self.may_reserve(total) {
                    return false;
                }
                let Some(reservation) = self.pool.reserve(total) else { return false };
                let session = &mut self.sessions[id.0 as usize];
                let Partial::Carried(bytes) = core::mem::replace(
                    &mut session.partial,
                    Partial::Reserved { reservation, filled: carried },
                ) else {
                    return false;
                };
                self.pool.reserved(&reservation)[..bytes.len()].copy_from_slice(&bytes);
                self.reserved_bytes += u64::from(total);
                self.carry_bytes -= bytes.len() as u64;
                true
            }
            Partial::Backlog(_) => true,
            Partial::Aside { buffer, filled } if *filled < buffer.len() => true,
            Partial::Aside { buffer, .. } => {
                if !self.pool.ensure_tail(buffer.len() as u32) {
                    return false;
                }
                if let Err(fault) = self.land_aside(id, around.boxes, around.now) {
                    around.port.fault(id, fault);
                    self.end_session(id, around);
                }
                true
            }
        }
    }
}

/// The first of `room`, at most so many bytes.
fn first(room: &mut [u8], most: usize) -> &mut [u8] {
    let length = room.len().min(most);
    &mut room[..length]
}

/// The length that a message's beginning announces, if its prelude is there.
fn announced(beginning: &[u8]) -> Option<u32> {
    let prelude: &[u8; PRELUDE_BYTES] = beginning.first_chunk()?;
    Some(u32::from_le_bytes([prelude[0], prelude[1], prelude[2], prelude[3]]))
}

/// Images that stand in a row.
#[derive(Default)]
struct Run {
    images: [InRun; RUN_IMAGES_MAX],
    count: usize,
    /// Of all of them.
    deltas: u32,
    /// Where they end, from the tail's beginning.
    end: u32,
}

/// What stands behind a run.
enum RunEnd {
    /// Perhaps more: the run is as long as it may be.
    Full,
    /// The beginning of a message, or nothing.
    CutOff,
    Control(Prelude),
    Fault(SessionFault),
}

/// Whose images are passed on, and what is so of all of them.
struct Writer {
    session: SessionId,
    core: u16,
    /// The worker of that core.
    worker: u16,
    routed_at: u32,
}

impl Writer {
    /// Writes images into `room` that are as most are and whose documents are this core's own, up to the first
    /// that is not so; returns how many. Nothing of them is sent or counted yet, and nothing panics.
    #[inline]
    fn pass_on_own(
        &self,
        handles: &mut [Handle],
        landing: &Landing,
        images: &[InRun],
        room: &mut [Arrival],
        note: impl Fn(&mut Landed),
    ) -> usize {
        let Self { session, core, worker, routed_at } = *self;
        let mut count = 0;
        for (found, room) in images.iter().zip(room) {
            let Some(handle) = handles.get_mut(found.handle as usize) else { break };
            if !(is_usual(handle, routed_at) && handle.worker == worker) {
                break;
            }
            let mut landed = landing.land(found.offset, found.bytes);
            note(&mut landed);
            handle.balance_bytes -= i64::from(found.bytes);
            *room = Arrival { landed, session, core, producer: handle.producer, place: 0 };
            count += 1;
        }
        count
    }
}

/// Whether images of the handle go on without a look at anything else.
#[inline(always)]
fn is_usual(handle: &Handle, routed_at: u32) -> bool {
    matches!(handle.state, State::Open)
        && handle.access.write
        && handle.balance_bytes > 0
        && handle.routed_at == routed_at
}

/// Images of a run that are counted as sent when this goes: whatever ends the sending, the chunk knows
/// of each, and is not filled anew while an owner holds one.
struct Passed<'a> {
    pool: &'a mut ChunkPool,
    received_images: &'a mut u64,
    /// How many of them this core has sent to itself.
    put: &'a mut usize,
    landing: &'a Landing,
    count: u32,
    owners: u64,
}

impl Drop for Passed<'_> {
    #[inline]
    fn drop(&mut self) {
        self.pool.sent_run(self.landing, self.count, self.owners);
        *self.received_images += u64::from(self.count);
    }
}

/// Images that are checked before they are passed on: their handles' lines arrive meanwhile.
const RUN_IMAGES_MAX: usize = 32;

/// Checks the message that `rest` begins with: an image and its length, or what else is there.
#[cold]
fn check_first(rest: &[u8], limits: &image::Limits) -> Result<(u32, Inbound), RunEnd> {
    let malformed = |error| RunEnd::Fault(SessionFault::Malformed(error));
    let Some(prelude) = rest.first_chunk() else { return Err(RunEnd::CutOff) };
    let prelude = image::check_prelude(prelude, limits).map_err(malformed)?;
    let Some(message) = rest.get(..prelude.bytes as usize) else { return Err(RunEnd::CutOff) };
    if !prelude.kind.is_image() {
        return Err(RunEnd::Control(prelude));
    }
    let inbound = image::check_behind(prelude, message, limits).map_err(malformed)?;
    Ok((prelude.bytes, inbound))
}

fn check(message: &[u8], limits: &image::Limits) -> Result<Inbound, SessionFault> {
    let prelude = message.first_chunk().map(|prelude| image::check_prelude(prelude, limits));
    let Some(Ok(prelude)) = prelude else { unreachable!("checked when its room was reserved") };
    image::check_behind(prelude, message, limits).map_err(SessionFault::Malformed)
}
