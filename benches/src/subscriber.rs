//! The subscribers and writers of one core, as the stages see them: a port that reads everything.
//!
//! It takes each image as it is offered, compares its first word with that of the script's images and both
//! of its checksums with its bytes, as a client does, and holds each document's next sequence, as a client
//! does that wants no gap. So every bit of every image is asked for, and which image it is goes into the
//! account by document, sequence and checksum. It has no socket: what a `send` costs the kernel is not in here. Nor does it
//! look at whose session a `send` is for: an image that went to another reader of the same core is not seen.

use std::time::Instant;

use deltaworks_image::builder::image_bytes;
use deltaworks_image::crc::are_right;
use deltaworks_image::header::{
    COUNT, DOCUMENT, FIRST_SEQUENCE, HEADER_BYTES, PAYLOAD_CRC, TIME_US,
};
use deltaworks_image::{DocumentId, Image, Kind, Prelude};
use deltaworks_pipeline::document::{home, index};
use deltaworks_pipeline::message::{
    Ack, BatchRefusal, CloseReason, Missed, OpenRefusal, OpenRequest, Opened, Refusal, SessionId,
};
use deltaworks_pipeline::port::{ControlAction, Sent, SessionFault, SessionPort};
use deltaworks_runtime::clock::{Clock, Now, SystemClock};
use deltaworks_runtime::prefetch::prefetch_entry;
use deltaworks_runtime::zeroed::ZeroedArray;

use crate::hash;
use crate::payload::Payloads;
use crate::plant::{PLANTED_IMAGE, Plant};

/// Images between the one that is read and the one whose document's line is looked at, which was asked for then.
const AHEAD: usize = 16;

// Both are read as one word.
const _: () = assert!(COUNT == PAYLOAD_CRC + 4);

/// Bytes of the images of which most figures are told: of one delta of 46 bytes.
const USUAL_BYTES: usize = 104;

/// Documents whose sequences stay in a near cache, so that nothing is asked for.
const NEAR: usize = 1 << 15;

/// What the subscribers read and the writers were told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Heard {
    /// Images read.
    pub images: u64,
    /// Deltas in them.
    pub deltas: u64,
    /// The sum of the images' numbers.
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
    /// Of the images that were read last, if documents are many: what is still to be compared.
    awaited: [Option<Numbered>; AHEAD],
    turn: usize,
    /// The first word of every image, and its bytes.
    prelude: u64,
    image_bytes: usize,
    opened: u32,
    /// By handle of the writing session.
    documents: Vec<DocumentId>,
    writer: SessionId,
    batch: u32,
    plant: Option<Plant>,
    held: Option<Vec<u8>>,
    clock: ReadingClock,
    /// Tells the stages when images were taken; `None` if latency is not measured.
    sent: Option<SystemClock>,
}

/// What an image said of its document's sequence.
#[derive(Clone, Copy, Debug)]
struct Numbered {
    place: usize,
    first: u32,
    count: u32,
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
    /// The port of a core whose writers use session `writer` for `documents` documents and write `payloads`,
    /// where each of `workers` workers owns `per_worker` documents at most.
    pub fn new(
        writer: SessionId,
        documents: u32,
        workers: usize,
        per_worker: usize,
        payloads: &Payloads,
        plant: Option<Plant>,
    ) -> Self {
        let (batch, payload_bytes) = (payloads.batch(), payloads.batch() * payloads.delta_bytes());
        let unpadded = HEADER_BYTES + 2 * batch + payload_bytes;
        let prelude = Prelude::for_unpadded(Kind::Batch, unpadded as u32);
        Self {
            heard: Heard::default(),
            last: ZeroedArray::new(per_worker * workers),
            per_worker,
            awaited: [None; AHEAD],
            turn: 0,
            prelude: u64::from_le_bytes(prelude.to_bytes()),
            image_bytes: image_bytes(batch, payload_bytes),
            opened: 0,
            documents: vec![DocumentId { slot: u32::MAX, generation: 0 }; documents as usize],
            writer,
            batch: batch as u32,
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

    /// By which id each document is known, by its number.
    pub fn ids(&self) -> &[DocumentId] {
        &self.documents
    }

    /// The clock of reading.
    pub fn clock(&mut self) -> &mut ReadingClock {
        &mut self.clock
    }

    /// Reads what a plant still holds back, and compares what has not been yet.
    pub fn finish(&mut self) {
        if let Some(held) = self.held.take() {
            self.read_one(&held);
        }
        for _ in 0..AHEAD {
            let numbered = self.next_awaited(None);
            follow(&mut self.last, numbered, &mut self.heard);
        }
    }

    /// Puts one behind those that are still to be compared; returns the one that has waited longest.
    #[inline(always)]
    fn next_awaited(&mut self, numbered: Option<Numbered>) -> Option<Numbered> {
        let earlier = core::mem::replace(&mut self.awaited[self.turn], numbered);
        self.turn = (self.turn + 1) % AHEAD;
        earlier
    }

    #[inline]
    fn place_of(&self, slot: u32) -> usize {
        home(slot) * self.per_worker + index(slot)
    }

    /// Reads the images of a part.
    #[inline(always)]
    fn take_part<const FAR: bool>(
        &mut self,
        mut part: &[u8],
        image_bytes: usize,
        heard: &mut Heard,
    ) {
        while let Some((image, rest)) = part.split_at_checked(image_bytes) {
            let mut numbered = self.read(image, heard);
            if FAR {
                if let Some(numbered) = &numbered {
                    prefetch_entry(&self.last, numbered.place);
                }
                numbered = self.next_awaited(numbered);
            }
            follow(&mut self.last, numbered, heard);
            part = rest;
        }
        heard.faults += u64::from(!part.is_empty());
    }

    /// Reads an image; returns what its document's sequence is to be compared with. What is none of the script's,
    /// or has another bit than its checksums say, is a fault.
    #[inline(always)]
    fn read(&self, bytes: &[u8], heard: &mut Heard) -> Option<Numbered> {
        let Some((header, body)) = bytes.split_first_chunk::<HEADER_BYTES>() else {
            return fault(heard);
        };
        let word = |at| u64::from_le_bytes(*header[at..].first_chunk().unwrap_or(&[0; 8]));
        if word(0) != self.prelude || !are_right(header, body) {
            return fault(heard);
        }
        let (document, first) = (DocumentId::from_bits(word(DOCUMENT)), word(FIRST_SEQUENCE));
        // Checksum and count, neighbours in one word.
        let (payload_crc, count) = (word(PAYLOAD_CRC) as u32, (word(PAYLOAD_CRC) >> 32) as u32);
        heard.hash = heard.hash.wrapping_add(hash::image(document, first, payload_crc));
        heard.images += 1;
        heard.deltas += u64::from(count);
        Some(Numbered { place: self.place_of(document.slot), first: first as u32, count })
    }

    fn read_one(&mut self, bytes: &[u8]) {
        let mut heard = self.heard;
        let numbered = self.read(bytes, &mut heard);
        follow(&mut self.last, numbered, &mut heard);
        self.heard = heard;
    }

    /// As [`Self::take_part`], with a fault at one image.
    #[cold]
    fn take_planted(&mut self, mut part: &[u8]) {
        while let Some((image, rest)) = part.split_at_checked(self.image_bytes) {
            self.read_planted(image);
            part = rest;
        }
        self.heard.faults += u64::from(!part.is_empty());
    }

    fn read_planted(&mut self, bytes: &[u8]) {
        let of = |image| Image::checked_before(image).map(|image| image.document());
        if let Some(held) = self.held.take() {
            let is_same = of(&held) == of(bytes);
            match self.plant {
                Some(Plant::Bodies) if !is_same => {
                    // Each with the other's bytes from the payload's checksum on: both are right.
                    let swap = |one: &[u8], other: &[u8]| {
                        [&one[..PAYLOAD_CRC], &other[PAYLOAD_CRC..]].concat()
                    };
                    let (one, other) = (swap(&held, bytes), swap(bytes, &held));
                    self.plant = None;
                    self.read_one(&one);
                    self.read_one(&other);
                }
                Some(Plant::Bodies) => {
                    self.read_one(&held);
                    self.held = Some(bytes.to_vec());
                }
                _ => {
                    self.read_one(bytes);
                    self.held = Some(held);
                    if is_same {
                        self.plant = None;
                        self.finish();
                    }
                }
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
            Some(Plant::HeaderBit) => {
                copy[TIME_US] ^= 1;
                self.read_one(&copy);
            }
            Some(Plant::Swap | Plant::Bodies) => {
                self.held = Some(copy);
                return;
            }
            Some(Plant::Doubled) => {
                self.read_one(bytes);
                self.read_one(bytes);
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
            match self.image_bytes {
                // The same, with a length that is known.
                USUAL_BYTES => self.take_near(parts, USUAL_BYTES),
                image_bytes => self.take_near(parts, image_bytes),
            }
        }
        Sent { half_bytes: half.len(), parts_bytes, blocked: false }
    }

    #[inline(always)]
    fn take_near(&mut self, parts: &[&[u8]], image_bytes: usize) {
        let mut heard = self.heard;
        for part in parts {
            self.take_part::<false>(part, image_bytes, &mut heard);
        }
        self.heard = heard;
    }

    /// The same with a fault at one image, or with a line for each document that is asked for in time.
    #[inline(never)]
    fn take_slowly(&mut self, parts: &[&[u8]]) {
        let mut heard = self.heard;
        for part in parts {
            if self.plant.is_some() {
                self.heard = heard;
                self.take_planted(part);
                heard = self.heard;
            } else {
                self.take_part::<true>(part, self.image_bytes, &mut heard);
            }
        }
        self.heard = heard;
    }
}

/// Compares what an image said with what the images of its document before it said.
#[inline(always)]
fn follow(last: &mut [u32], numbered: Option<Numbered>, heard: &mut Heard) {
    let Some(Numbered { place, first, count }) = numbered else { return };
    let Some(last) = last.get_mut(place) else {
        fault(heard);
        return;
    };
    if last.wrapping_add(1) != first {
        heard.faults += 1;
    }
    *last = last.wrapping_add(count);
}

#[cold]
#[inline(never)]
fn fault(heard: &mut Heard) -> Option<Numbered> {
    heard.faults += 1;
    None
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
            self.documents[opened.request as usize] =
                DocumentId { slot: opened.slot, generation: opened.generation };
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::account::Account;
    use crate::generator::Generator;
    use crate::script::{Law, Script};
    use deltaworks_image::{PRELUDE_BYTES, Stamp, stamp};
    use std::sync::Arc;

    const IDS: [DocumentId; 2] =
        [DocumentId { slot: 1, generation: 7 }, DocumentId { slot: 3, generation: 8 }];
    const BATCHES: u64 = 12;

    fn script() -> Script {
        Script::new(3, Law::Uniform, IDS.len() as u32, crate::payload::PAYLOADS)
    }

    /// Images as an owner has stamped them, by document and in order, and their account.
    fn images(payloads: &Arc<Payloads>) -> (Vec<Vec<u8>>, Account) {
        let mut generator = Generator::new(script(), payloads.clone(), IDS.len() as u32);
        let mut bytes = vec![0; generator.image_bytes() * BATCHES as usize];
        assert_eq!(generator.fill(&mut bytes), bytes.len());
        let mut sequences = [1; IDS.len()];
        let mut images: Vec<Vec<u8>> =
            bytes.chunks_exact(generator.image_bytes()).map(<[u8]>::to_vec).collect();
        for (time_us, image) in images.iter_mut().enumerate() {
            let handle = Image::parse(image).expect("an image").handle() as usize;
            let (document, first_sequence) = (IDS[handle], sequences[handle]);
            sequences[handle] += payloads.batch() as u64;
            let time_us = time_us as u64;
            stamp(image, Stamp { document, first_sequence, time_us, origin: 1 });
        }
        images.sort_by_key(|it| Image::checked_before(it).map(|it| it.document()));
        (images, Account::of(script(), BATCHES, payloads, &IDS))
    }

    /// Whether the account is that of a subscriber that reads `images`, where all documents are near or far.
    fn is_right(payloads: &Payloads, images: &[Vec<u8>], account: &Account) -> bool {
        let hear = |per_worker| {
            let mut subscriber = Subscriber::new(SessionId(0), 2, 1, per_worker, payloads, None);
            let (one, other) = images.split_at(images.len() / 2);
            let parts = [one.concat(), other.concat()];
            subscriber.send(SessionId(0), &[], &[&parts[0], &parts[1]]);
            subscriber.finish();
            subscriber.heard()
        };
        let (near, far) = (hear(8), hear(NEAR + 1));
        assert_eq!(near, far);
        near.faults == 0
            && near.hash == account.hash
            && near.images == account.accepted_batches
            && near.deltas == account.accepted_deltas
    }

    #[test]
    fn a_bit_an_image_an_order_or_a_document_that_is_another_is_seen() {
        for batch in [1, 32] {
            let payloads = Arc::new(Payloads::new(46, batch).expect("a length that can be made"));
            let (sound, account) = images(&payloads);
            assert!(is_right(&payloads, &sound, &account));
            let first = sound.partition_point(|it| it[DOCUMENT] == sound[0][DOCUMENT]);
            assert!(first > 2 && sound.len() - first > 2, "both documents have some");
            let is_seen = |images: &[Vec<u8>]| !is_right(&payloads, images, &account);
            let mut images = sound.clone();
            // All bits of a short image, one of each byte of a long one.
            for bit in (0..sound[0].len() * 8).step_by(if batch == 1 { 1 } else { 9 }) {
                images[4][bit / 8] ^= 1 << (bit % 8);
                assert!(is_seen(&images), "bit {bit} of batches of {batch}");
                images[4][bit / 8] ^= 1 << (bit % 8);
            }
            for place in 0..sound.len() {
                let mut images = sound.clone();
                let image = images.remove(place);
                assert!(is_seen(&images), "image {place} is lost");
                images.insert(place, image.clone());
                images.insert(place, image);
                assert!(is_seen(&images), "image {place} comes twice");
                for other in 0..place {
                    let mut images = sound.clone();
                    images.swap(place, other);
                    // Between documents there is no order.
                    let told = |it: &Vec<u8>| {
                        let image = Image::checked_before(it)?;
                        Some((image.document(), image.first_sequence()))
                    };
                    let of = |document| {
                        images.iter().filter_map(told).filter(move |it| it.0 == document)
                    };
                    let is_ordered = IDS.iter().all(|id| of(*id).is_sorted());
                    assert_eq!(is_seen(&images), !is_ordered, "{other} and {place} change places");
                    // What the writers have said, with the checksum of that, in each other's place.
                    let mut images = sound.clone();
                    let (low, high) = images.split_at_mut(place);
                    low[other][PAYLOAD_CRC..].swap_with_slice(&mut high[0][PAYLOAD_CRC..]);
                    assert!(is_seen(&images), "{other} and {place} have changed bodies");
                }
            }
            // An owner that stamps well what is not so.
            let wrong = |change: fn(&mut Stamp)| {
                let mut images = sound.clone();
                let image = Image::checked_before(&images[4]).expect("an image");
                let (document, first_sequence) = (image.document(), image.first_sequence());
                let mut said = Stamp { document, first_sequence, time_us: 1, origin: 1 };
                change(&mut said);
                stamp(&mut images[4], said);
                images
            };
            assert!(!is_seen(&wrong(|it| it.time_us = 99)), "time is the owner's own");
            assert!(is_seen(&wrong(|it| it.first_sequence += 1)));
            assert!(is_seen(&wrong(|it| it.document.generation += 1)));
            assert!(is_seen(&wrong(|it| it.document.slot = 2)));
            assert!(is_seen(&wrong(|it| it.document.slot = 1 << 24)), "no such place");
        }
    }

    /// What is no image, or another than those of the script, is a fault: with a plant, without one, and
    /// with more documents than a near cache holds.
    #[test]
    fn a_part_that_holds_no_image_is_a_fault() {
        let payloads = Payloads::new(46, 1).expect("a length that can be made");
        for (plant, per_worker) in [(None, 8), (Some(Plant::Missing), 8), (None, NEAR + 1)] {
            for length in 0..=PRELUDE_BYTES as u8 {
                for part_bytes in [1, 64, 104] {
                    let mut subscriber =
                        Subscriber::new(SessionId(0), 1, 1, per_worker, &payloads, plant);
                    let mut part = vec![0; part_bytes];
                    part[0] = length;
                    let sent = subscriber.send(SessionId(0), &[], &[&part]);
                    assert_eq!(sent.parts_bytes, part.len());
                    assert_eq!(subscriber.heard(), Heard { faults: 1, ..Heard::default() });
                }
            }
        }
    }
}
