//! How bytes become landed images: reads, cut-off ends, long messages, checks.
//!
//! The part of [`Reception`] that touches received bytes. It copies only what a read has cut off,
//! and what a chunk that is about to be retired would take away.

use deltaworks_image::{self as image, Inbound, Kind, PRELUDE_BYTES};
use deltaworks_runtime::clock::Now;

use super::{Around, Partial, READ_BYTES_MAX, READ_BYTES_MIN, Reception, State};
use crate::chunk::Landed;
use crate::limits::RESERVE_ABOVE_BYTES;
use crate::mailbox::Mailboxes;
use crate::message::{Message, SessionId};
use crate::port::{SessionFault, SessionPort};

impl Reception {
    /// Room for the next read of `session`: in its unfinished message, or at a chunk's tail.
    /// `None` when there is none; [`SessionPort::resume_reading`] tells when to ask again.
    pub fn read_room(&mut self, id: SessionId) -> Option<&mut [u8]> {
        let session = &mut self.sessions[id.0 as usize];
        if session.is_ending || session.is_paused {
            return None;
        }
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
                let least = carried + READ_BYTES_MIN.min(self.pool.chunk_bytes() / 2);
                !self.pool.ensure_tail(least)
            });
        if is_stuck {
            self.pause(id);
            return None;
        }
        match &mut self.sessions[id.0 as usize].partial {
            Partial::None => {
                let tail = self.pool.tail();
                let length = tail.len().min(READ_BYTES_MAX);
                Some(&mut tail[..length])
            }
            Partial::Carried(bytes) => {
                let tail = &mut self.pool.tail()[bytes.len()..];
                let length = tail.len().min(READ_BYTES_MAX);
                Some(&mut tail[..length])
            }
            Partial::Reserved { reservation, filled } => {
                Some(&mut self.pool.reserved(reservation)[*filled as usize..])
            }
            Partial::Aside { buffer, filled } => Some(&mut buffer[*filled..]),
        }
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
        if let Err(fault) = self.take(id, count, around) {
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
                session.partial = Partial::None;
                self.reserved_bytes -= u64::from(reservation.bytes());
                let checked = check(self.pool.reserved(&reservation), &self.image_limits);
                let landed = self.pool.land_reserved(reservation);
                self.pass_on(id, checked?, landed, around.boxes)
            }
            Partial::Aside { filled, .. } => {
                *filled += count;
                self.land_aside(id, around.boxes)
            }
        }
    }

    /// Takes the messages that stand in the first `available` bytes of the tail.
    fn take_messages<P: SessionPort>(
        &mut self,
        id: SessionId,
        available: usize,
        around: &mut Around<'_, P>,
    ) -> Result<(), SessionFault> {
        let mut left = available;
        // Control is left in place until an image follows: at the end it costs no room.
        let mut passed = 0;
        while let Some(prelude) = self.pool.tail()[passed..passed + left].first_chunk() {
            let prelude = image::check_prelude(prelude, &self.image_limits);
            let prelude = prelude.map_err(SessionFault::Malformed)?;
            let bytes = prelude.bytes as usize;
            if bytes > left {
                break;
            }
            let message = &self.pool.tail()[passed..passed + bytes];
            if matches!(prelude.kind, Kind::Batch | Kind::Info) {
                let inbound = check(message, &self.image_limits)?;
                self.pool.skip(passed as u32);
                passed = 0;
                let landed = self.pool.land(prelude.bytes);
                self.pass_on(id, inbound, landed, around.boxes)?;
            } else {
                let body = &message[PRELUDE_BYTES..bytes - usize::from(prelude.padding)];
                let action = around.port.control(id, prelude.kind.number(), body, around.now);
                passed += bytes;
                self.try_act(id, action, around)?;
                if self.sessions[id.0 as usize].is_ending {
                    return Ok(());
                }
            }
            left -= bytes;
        }
        self.carry_over(id, passed, left, around.now)
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

    /// Checks handle and credit, and sends the descriptor to the owner.
    #[inline]
    fn pass_on(
        &mut self,
        id: SessionId,
        inbound: Inbound,
        landed: Landed,
        boxes: &mut Mailboxes,
    ) -> Result<(), SessionFault> {
        let number = inbound.handle;
        let session = &mut self.sessions[id.0 as usize];
        let Some(handle) = session.handles.get_mut(number as usize) else {
            return Err(SessionFault::UnknownHandle { handle: number });
        };
        match handle.state {
            State::Open => {}
            // On its way when the server closed the handle: told with `closed`, taken by nobody.
            State::Closing | State::Dead => return Ok(()),
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
        let range = landed.range();
        handle.balance_bytes -= i64::from(range.bytes());
        self.pool.sent(range, handle.worker);
        self.counts.received_images += 1;
        let producer = handle.producer;
        let core = self.worker_cores[handle.worker as usize];
        boxes.to(core).send(Message::Batch { landed, session: id, producer });
        Ok(())
    }

    fn land_aside(&mut self, id: SessionId, boxes: &mut Mailboxes) -> Result<(), SessionFault> {
        let session = &mut self.sessions[id.0 as usize];
        let Partial::Aside { buffer, filled } = &mut session.partial else { return Ok(()) };
        if *filled < buffer.len() || !self.pool.ensure_tail(buffer.len() as u32) {
            return Ok(());
        }
        let buffer = core::mem::take(buffer);
        session.partial = Partial::None;
        self.carry_bytes -= buffer.len() as u64;
        self.counts.carried_bytes += buffer.len() as u64;
        let inbound = check(&buffer, &self.image_limits)?;
        self.pool.tail()[..buffer.len()].copy_from_slice(&buffer);
        let landed = self.pool.land(buffer.len() as u32);
        self.pass_on(id, inbound, landed, boxes)
    }

    pub(super) fn find_room<P: SessionPort>(
        &mut self,
        id: SessionId,
        around: &mut Around<'_, P>,
    ) -> bool {
        let session = &mut self.sessions[id.0 as usize];
        match &session.partial {
            Partial::None | Partial::Reserved { .. } => self.pool.ensure_tail(READ_BYTES_MIN),
            Partial::Carried(bytes) => {
                let carried = bytes.len() as u32;
                let Some(total) = announced(bytes).filter(|it| *it > RESERVE_ABOVE_BYTES) else {
                    return self.pool.ensure_tail(carried + READ_BYTES_MIN);
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
            Partial::Aside { buffer, filled } if *filled < buffer.len() => true,
            Partial::Aside { buffer, .. } => {
                if !self.pool.ensure_tail(buffer.len() as u32) {
                    return false;
                }
                if let Err(fault) = self.land_aside(id, around.boxes) {
                    around.port.fault(id, fault);
                    self.end_session(id, around);
                }
                true
            }
        }
    }
}

/// The length that a message's beginning announces, if its prelude is there.
fn announced(beginning: &[u8]) -> Option<u32> {
    let prelude: &[u8; PRELUDE_BYTES] = beginning.first_chunk()?;
    Some(u32::from_le_bytes([prelude[0], prelude[1], prelude[2], prelude[3]]))
}

#[inline]
fn check(message: &[u8], limits: &image::Limits) -> Result<Inbound, SessionFault> {
    let is_batch = message.get(4) == Some(&Kind::Batch.number());
    let checked = if is_batch {
        image::check_batch(message, limits)
    } else {
        image::check_info(message, limits)
    };
    checked.map_err(SessionFault::Malformed)
}
