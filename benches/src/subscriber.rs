//! The subscribers and writers of one core, as the stages see them: a port that reads everything.
//!
//! It takes each image as it is offered, hashes every byte behind its header in place, and holds each
//! document's next sequence, as a client does that wants no gap. It has no socket: what a
//! `send` costs the kernel is not in here.

use std::time::Instant;

use deltaworks_image::header::HEADER_BYTES;
use deltaworks_image::{Image, PRELUDE_BYTES};
use deltaworks_pipeline::document::{home, index};
use deltaworks_pipeline::message::{
    Ack, BatchRefusal, CloseReason, Missed, OpenRefusal, OpenRequest, Opened, Refusal, SessionId,
};
use deltaworks_pipeline::port::{ControlAction, Sent, SessionFault, SessionPort};
use deltaworks_runtime::clock::{Clock, Now, SystemClock};
use deltaworks_runtime::prefetch::prefetch_entry;
use deltaworks_runtime::zeroed::ZeroedArray;

use crate::hash;
use crate::plant::{PLANTED_IMAGE, Plant};

/// One image in so many has both of its checksums compared.
const CHECKED: u64 = 256;

/// Parts between the one that is read and the one whose document's line is asked for.
const AHEAD: usize = 4;

/// Documents whose sequences stay in a near cache, so that nothing is asked for.
const NEAR: usize = 1 << 15;

/// What the subscribers read and the writers were told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Heard {
    /// Images read.
    pub images: u64,
    /// Deltas in them.
    pub deltas: u64,
    /// The sum of the images' hashes.
    pub hash: u64,
    /// Batches refused, by the place that fails.
    pub refused: u64,
    /// Resends that were told as such.
    pub duplicates: u64,
    /// Credit that came back.
    pub credit_bytes: u64,
    /// Anything that may not be: an image out of order, a checksum, a gap, a fault, a close, a
    /// refusal for another reason than was planted.
    pub faults: u64,
}

/// The port.
#[derive(Debug)]
pub struct Subscriber {
    heard: Heard,
    /// By home worker and place: the low half of the last sequence; 0 before the first.
    last: ZeroedArray<u32>,
    per_worker: usize,
    opened: u32,
    /// By handle of the writing session.
    slots: Vec<u32>,
    writer: SessionId,
    batch: u32,
    plant: Option<Plant>,
    held: Option<Vec<u8>>,
    clock: ReadingClock,
    /// Tells the stages when images were taken; `None` if latency is not measured.
    sent: Option<SystemClock>,
}

/// How long reading took, in turns that are sampled.
#[derive(Clone, Copy, Debug, Default)]
pub struct ReadingClock {
    /// Whether this turn is.
    pub is_on: bool,
    /// Time in `send`.
    pub ns: u64,
    /// Sends.
    pub sends: u64,
}

impl Subscriber {
    /// The port of a core whose writers use session `writer` for `documents` documents, where each
    /// of `workers` workers owns `per_worker` documents at most.
    pub fn new(
        writer: SessionId,
        documents: u32,
        workers: usize,
        per_worker: usize,
        batch: u32,
        plant: Option<Plant>,
    ) -> Self {
        Self {
            heard: Heard::default(),
            last: ZeroedArray::new(per_worker * workers),
            per_worker,
            opened: 0,
            slots: vec![u32::MAX; documents as usize],
            writer,
            batch,
            plant,
            held: None,
            clock: ReadingClock::default(),
            sent: None,
        }
    }

    /// Tells the stages when images were taken, as a server does that measures latency.
    pub fn measure_latency(&mut self) {
        self.sent = Some(SystemClock::new());
    }

    /// What was heard.
    pub fn heard(&self) -> Heard {
        self.heard
    }

    /// Handles that were opened.
    pub fn opened(&self) -> u32 {
        self.opened
    }

    /// The slot of each document.
    pub fn slots(&self) -> &[u32] {
        &self.slots
    }

    /// The clock of reading.
    pub fn clock(&mut self) -> &mut ReadingClock {
        &mut self.clock
    }

    /// Reads what a plant still holds back; without it, nothing.
    pub fn finish(&mut self) {
        if let Some(held) = self.held.take() {
            self.read_one(&held);
        }
    }

    #[inline]
    fn place_of(&self, slot: u32) -> usize {
        home(slot) * self.per_worker + index(slot)
    }

    /// Reads the images of a part.
    #[inline(always)]
    fn take_part(&mut self, mut part: &[u8], heard: &mut Heard) {
        while let Some((image, rest)) = split_image(part) {
            self.read(image, heard);
            part = rest;
        }
        heard.faults += u64::from(!part.is_empty());
    }

    #[inline(always)]
    fn read(&mut self, bytes: &[u8], heard: &mut Heard) {
        if heard.images.is_multiple_of(CHECKED) {
            heard.faults += faults_of(bytes);
        }
        let Some(image) = Image::checked_before(bytes) else {
            heard.faults += 1;
            return;
        };
        let (slot, first, count) = (image.document().slot, image.first_sequence(), image.count());
        let place = self.place_of(slot);
        match self.last.get_mut(place) {
            Some(last) => {
                heard.faults += u64::from(last.wrapping_add(1) != first as u32);
                *last = last.wrapping_add(count);
            }
            None => heard.faults += 1,
        }
        let hash = hash::image(slot, first, count, &bytes[HEADER_BYTES..]);
        heard.hash = heard.hash.wrapping_add(hash);
        heard.images += 1;
        heard.deltas += u64::from(count);
    }

    fn read_one(&mut self, bytes: &[u8]) {
        let mut heard = self.heard;
        self.read(bytes, &mut heard);
        self.heard = heard;
    }

    /// As [`Self::take_part`], with a fault at one image.
    #[cold]
    fn take_planted(&mut self, mut part: &[u8]) {
        while let Some((image, rest)) = split_image(part) {
            self.read_planted(image);
            part = rest;
        }
        self.heard.faults += u64::from(!part.is_empty());
    }

    fn read_planted(&mut self, bytes: &[u8]) {
        if let Some(held) = &self.held {
            let of = |image| Image::checked_before(image).map(|image| image.document());
            let is_next = of(held) == of(bytes);
            self.read_one(bytes);
            if is_next {
                self.plant = None;
                self.finish();
            }
            return;
        }
        if self.heard.images != PLANTED_IMAGE {
            return self.read_one(bytes);
        }
        let mut copy = bytes.to_vec();
        match self.plant {
            Some(Plant::PayloadByte) => {
                let payloads = Image::checked_before(bytes).and_then(|image| image.deltas().next());
                let first = payloads.map_or(0, |delta| delta.as_ptr() as usize);
                copy[first - bytes.as_ptr() as usize] ^= 0x20;
                self.read_one(&copy);
            }
            Some(Plant::Swap) => {
                self.held = Some(copy);
                return;
            }
            Some(Plant::Missing) => {}
            Some(Plant::SkipValidation | Plant::DocumentsStay) | None => {
                return self.read_one(bytes);
            }
        }
        self.plant = None;
    }

    /// Reads what is sent. Not inlined, because its instructions are counted apart.
    #[inline(never)]
    fn take(&mut self, half: &[u8], parts: &[&[u8]]) -> Sent {
        let mut parts_bytes = 0;
        for part in parts {
            prefetch_entry(part, 0);
            prefetch_entry(part, 64);
            parts_bytes += part.len();
        }
        self.heard.faults += u64::from(!half.is_empty());
        if self.plant.is_some() || self.last.len() > NEAR {
            self.take_slowly(parts);
        } else {
            let mut heard = self.heard;
            for part in parts {
                self.take_part(part, &mut heard);
            }
            self.heard = heard;
        }
        Sent { half_bytes: half.len(), parts_bytes, blocked: false }
    }

    /// The same with a fault at one image, or with a line for each document that is asked for in time.
    #[inline(never)]
    fn take_slowly(&mut self, parts: &[&[u8]]) {
        let mut heard = self.heard;
        for (place, part) in parts.iter().enumerate() {
            if let Some(ahead) = parts.get(place + AHEAD).and_then(|it| Image::checked_before(it)) {
                prefetch_entry(&self.last, self.place_of(ahead.document().slot));
            }
            if self.plant.is_some() {
                self.heard = heard;
                self.take_planted(part);
                heard = self.heard;
            } else {
                self.take_part(part, &mut heard);
            }
        }
        self.heard = heard;
    }
}

/// Compares both checksums of an image, as a client does of every one.
#[cold]
fn faults_of(bytes: &[u8]) -> u64 {
    u64::from(Image::checked_before(bytes).is_none_or(|image| image.verify().is_err()))
}

impl SessionPort for Subscriber {
    fn control(&mut self, _: SessionId, _: u8, _: &[u8], _: Now) -> ControlAction {
        self.heard.faults += 1;
        ControlAction::End
    }
    fn opened(&mut self, opened: &Opened, _: u64) {
        self.opened += 1;
        if opened.session == self.writer {
            // Handles are numbered in the order of the opens, as documents are.
            self.heard.faults += u64::from(opened.handle != opened.request);
            self.slots[opened.request as usize] = opened.slot;
        }
    }
    fn open_refused(&mut self, _: SessionId, _: u32, _: OpenRefusal) {
        self.heard.faults += 1;
        self.opened += 1;
    }
    #[inline]
    fn ack(&mut self, ack: &Ack) {
        self.heard.credit_bytes += u64::from(ack.credit_bytes);
        self.heard.duplicates += u64::from(ack.duplicates);
    }
    fn refused(&mut self, refusal: &Refusal) {
        match &refusal.reason {
            BatchRefusal::Invalid { delta, error }
                if *delta == self.batch - 1 && error.instance_path.ends_with("/done") =>
            {
                self.heard.refused += 1;
            }
            _ => self.heard.faults += 1,
        }
    }
    fn gap(&mut self, _: SessionId, _: u32, _: Missed) {
        self.heard.faults += 1;
    }
    fn credit(&mut self, _: SessionId, _: u32, bytes: u64) {
        self.heard.credit_bytes += bytes;
    }
    fn closed(&mut self, _: SessionId, _: u32, _: CloseReason) {
        self.heard.faults += 1;
    }
    fn fault(&mut self, _: SessionId, _: SessionFault) {
        self.heard.faults += 1;
    }
    fn remainder(&mut self, _: SessionId, _: &[u8]) {
        self.heard.faults += 1;
    }
    fn resume_reading(&mut self, _: SessionId) {}
    fn forgotten(&mut self, _: SessionId) {}
    #[inline]
    fn send(&mut self, _: SessionId, half: &[u8], parts: &[&[u8]]) -> Sent {
        if !self.clock.is_on {
            return self.take(half, parts);
        }
        let began = Instant::now();
        let sent = self.take(half, parts);
        self.clock.ns += began.elapsed().as_nanos() as u64;
        self.clock.sends += 1;
        sent
    }
    #[inline]
    fn sent_at_us(&mut self) -> u64 {
        self.sent.as_mut().map_or(0, |clock| clock.now().unix_us)
    }
}

/// Reads a document.
pub fn reading(request: u32, name: &std::sync::Arc<str>) -> OpenRequest {
    request_of(request, name, false)
}

/// Writes a document.
pub fn writing(request: u32, name: &std::sync::Arc<str>) -> OpenRequest {
    request_of(request, name, true)
}

fn request_of(request: u32, name: &std::sync::Arc<str>, write: bool) -> OpenRequest {
    use deltaworks_pipeline::message::{Access, From};
    OpenRequest {
        request,
        name: name.clone(),
        access: Access { read: !write, write },
        from: From::Live,
        policy: None,
        producer: u64::from(write),
    }
}

/// The first image of a part, and what lies behind it; `None` if it is not whole, or shorter than a prelude.
#[inline(always)]
fn split_image(part: &[u8]) -> Option<(&[u8], &[u8])> {
    let prelude = part.first_chunk::<PRELUDE_BYTES>()?;
    let length = u32::from_le_bytes([prelude[0], prelude[1], prelude[2], prelude[3]]) as usize;
    if length < PRELUDE_BYTES {
        return None;
    }
    part.split_at_checked(length)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is no image ends the reading of its part, and is one fault: with a plant, without one, and with
    /// more documents than a near cache holds.
    #[test]
    fn a_message_that_is_shorter_than_its_prelude_is_a_fault() {
        for (plant, per_worker) in [(None, 8), (Some(Plant::Missing), 8), (None, NEAR + 1)] {
            for length in 0..PRELUDE_BYTES as u8 {
                let mut subscriber = Subscriber::new(SessionId(0), 1, 1, per_worker, 1, plant);
                let mut part = [0; 64];
                part[0] = length;
                let sent = subscriber.send(SessionId(0), &[], &[&part]);
                assert_eq!(sent.parts_bytes, part.len());
                assert_eq!(subscriber.heard(), Heard { faults: 1, ..Heard::default() });
            }
        }
    }
}
