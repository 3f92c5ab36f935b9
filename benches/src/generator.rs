//! The generator: plays a script as images, written straight into the room that a session reads to.
//!
//! One per core, as the writers of all of the core's documents. What does not fit a chunk's end
//! is cut off as a socket would cut it, and comes with the next read.

use std::sync::Arc;

use deltaworks_image::builder::image_bytes;
use deltaworks_image::crc::crc32c;
use deltaworks_image::header::{COUNT, DOCUMENT, HEADER_BYTES, PAYLOAD_CRC, PRODUCER_SEQUENCE};
use deltaworks_image::{Kind, Prelude};
use deltaworks_runtime::prefetch::prefetch_entry;
use deltaworks_runtime::zeroed::ZeroedArray;

use crate::payload::{FAILING_BYTE, PAYLOADS, Payloads};
use crate::script::{Line, Script, Wish};

/// Lines that are read ahead, so that what they touch is asked for in time.
const AHEAD: usize = 16;

/// Documents whose writers stay in a near cache, so that no line is read ahead.
const NEAR: usize = 1 << 14;

/// What is copied to the beginning of an image at once; no image is shorter.
const HEAD_BYTES: usize = 64;

const _: () = assert!(HEADER_BYTES + 2 + crate::payload::BYTES_MIN >= HEAD_BYTES);

/// Stands with a document's last payload for a batch that was made to fail.
const FAILED: u32 = 1 << 31;

/// One word for each document, in huge pages where there are many: the number of its last batch, and in the
/// upper half the first payload of that.
#[derive(Debug)]
struct Writers(ZeroedArray<u64>);

impl Writers {
    fn new(documents: u32) -> Self {
        Self(ZeroedArray::new(documents as usize))
    }

    /// A new batch of `document`; its number.
    #[inline(always)]
    fn next(&mut self, document: u32, last: u32) -> u32 {
        let word = &mut self.0[document as usize];
        let number = *word as u32 + 1;
        *word = u64::from(last) << 32 | u64::from(number);
        number
    }

    /// Number and payload of the last batch of `document`; `None` if there was none.
    fn last(&self, document: u32) -> Option<(u32, u32)> {
        let word = self.0[document as usize];
        (word as u32 > 0).then_some((word as u32, (word >> 32) as u32))
    }
}

impl Clone for Writers {
    fn clone(&self) -> Self {
        let mut clone = ZeroedArray::new(self.0.len());
        clone.copy_from_slice(&self.0);
        Self(clone)
    }
}

/// Writes images.
#[derive(Clone, Debug)]
pub struct Generator {
    script: Script,
    writers: Writers,
    /// Empty if the writers stay near.
    ahead: Vec<Line>,
    turn: usize,
    stencil: Stencil,
    /// An image that was cut off, and how much of it is written.
    cut: Vec<u8>,
    written: usize,
    batches: u64,
    bytes: u64,
}

impl Generator {
    /// A generator of `documents` documents, whose handles are their numbers.
    pub fn new(mut script: Script, payloads: Arc<Payloads>, documents: u32) -> Self {
        let (batch, delta_bytes) = (payloads.batch(), payloads.delta_bytes());
        let unpadded = HEADER_BYTES + batch * 2 + batch * delta_bytes;
        let mut front = vec![0; HEADER_BYTES];
        let prelude = Prelude::for_unpadded(Kind::Batch, unpadded as u32);
        front[..DOCUMENT].copy_from_slice(&prelude.to_bytes());
        front[COUNT..COUNT + 4].copy_from_slice(&(batch as u32).to_le_bytes());
        front.extend(((delta_bytes - 1) as u16).to_le_bytes().repeat(batch));
        let is_far = documents as usize > NEAR;
        let ahead = (0..AHEAD).filter(|_| is_far).map(|_| script.next_line()).collect();
        let writers = Writers::new(documents);
        let image_bytes = image_bytes(batch, batch * delta_bytes);
        let checksums = Checksums::new(&front, &payloads, image_bytes);
        let front_bytes = front.len();
        front.resize(front_bytes.max(HEAD_BYTES), 0);
        let table = front.split_off(HEAD_BYTES);
        let mut head = [0; HEAD_BYTES];
        head.copy_from_slice(&front);
        let shape = Shape { image_bytes, front_bytes, run_bytes: batch * delta_bytes };
        Self {
            script,
            writers,
            ahead,
            turn: 0,
            stencil: Stencil { head, table, shape, payloads, checksums },
            cut: Vec::new(),
            written: 0,
            batches: 0,
            bytes: 0,
        }
    }

    /// Bytes of each image.
    pub fn image_bytes(&self) -> usize {
        self.stencil.shape.image_bytes
    }

    /// Batches begun.
    pub fn batches(&self) -> u64 {
        self.batches
    }

    /// Bytes written.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Whether an image is written only half.
    pub fn is_cut(&self) -> bool {
        self.written < self.cut.len()
    }

    /// Fills `room` with whole images, the rest of a cut one first; a room that does not hold one
    /// gets its beginning. Returns the bytes written, in one run from the start.
    /// Not inlined, because its instructions are counted apart.
    #[inline(never)]
    pub fn fill(&mut self, room: &mut [u8]) -> usize {
        let mut at = self.go_on(room);
        if !self.is_cut() {
            let room = &mut room[at..];
            at += match (self.ahead.is_empty(), self.stencil.shape) {
                // The same with all lengths known, so that nothing is asked of them image by image.
                (true, USUAL) => self.fill_whole(room, true, USUAL),
                (is_near, shape) => self.fill_whole(room, is_near, shape),
            };
        }
        if at == 0 && !room.is_empty() {
            let mut image = std::mem::take(&mut self.cut);
            image.resize(self.stencil.shape.image_bytes, 0);
            let line = self.next_line(self.ahead.is_empty());
            self.write(&mut image, line, self.stencil.shape);
            (self.cut, self.written) = (image, 0);
            at = self.go_on(room);
        }
        self.bytes += at as u64;
        at
    }

    /// Writes whole images; returns the bytes of all.
    #[inline(always)]
    fn fill_whole(&mut self, room: &mut [u8], is_near: bool, shape: Shape) -> usize {
        let mut bytes = 0;
        for image in room.chunks_exact_mut(shape.image_bytes) {
            let line = self.next_line(is_near);
            self.write(image, line, shape);
            bytes += shape.image_bytes;
        }
        bytes
    }

    /// Writes what is left of a cut image; returns how much.
    pub fn finish(&mut self, room: &mut [u8]) -> usize {
        let count = self.go_on(room);
        self.bytes += count as u64;
        count
    }

    fn go_on(&mut self, room: &mut [u8]) -> usize {
        let rest = &self.cut[self.written..];
        let count = rest.len().min(room.len());
        room[..count].copy_from_slice(&rest[..count]);
        self.written += count;
        count
    }

    #[inline(always)]
    fn next_line(&mut self, is_near: bool) -> Line {
        self.batches += 1;
        let later = self.script.next_line();
        if is_near {
            return later;
        }
        prefetch_entry(&self.writers.0, later.document as usize);
        self.stencil.payloads.prefetch(later.payload);
        let line = std::mem::replace(&mut self.ahead[self.turn], later);
        self.turn = (self.turn + 1) % AHEAD;
        line
    }

    #[inline(always)]
    fn write(&mut self, image: &mut [u8], line: Line, shape: Shape) {
        if line.wish != Wish::Fresh {
            return self.write_rare(image, line);
        }
        let number = self.writers.next(line.document, line.payload);
        self.stencil.write(image, shape, line.document, number, line.payload);
    }

    /// A batch that is made to fail, or the document's last one once more.
    #[cold]
    fn write_rare(&mut self, image: &mut [u8], line: Line) {
        let fails = if line.wish == Wish::Failing { FAILED } else { 0 };
        let before = self.writers.last(line.document).filter(|_| line.wish == Wish::Resend);
        let (number, last) = before.unwrap_or_else(|| {
            let last = line.payload | fails;
            (self.writers.next(line.document, last), last)
        });
        let shape = self.stencil.shape;
        self.stencil.write(image, shape, line.document, number, last & !FAILED);
        if last & FAILED != 0 {
            self.stencil.fail(image);
        }
    }
}

/// How long an image is, and what it is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Shape {
    image_bytes: usize,
    /// Header and table.
    front_bytes: usize,
    /// All payloads.
    run_bytes: usize,
}

/// The shape of single deltas of 46 bytes, of which most figures are told.
const USUAL: Shape = Shape { image_bytes: 104, front_bytes: HEADER_BYTES + 2, run_bytes: 46 };

/// What all images have in common, and what the others are made from.
#[derive(Clone, Debug)]
struct Stencil {
    /// The beginning of every image, without number, handle and checksum: header and table, zeros where
    /// those are shorter.
    head: [u8; HEAD_BYTES],
    /// What of the table lies behind it.
    table: Vec<u8>,
    shape: Shape,
    payloads: Arc<Payloads>,
    checksums: Checksums,
}

impl Stencil {
    /// Writes batch `number` of `document`, whose first payload is `first`.
    #[inline(always)]
    fn write(&self, image: &mut [u8], shape: Shape, document: u32, number: u32, first: u32) {
        let Some(image) = image.get_mut(..shape.image_bytes) else { return };
        // Padding, if there is any; the payload's end comes over the rest.
        if let Some(end) = image.last_chunk_mut::<8>() {
            *end = [0; 8];
        }
        if let Some(head) = image.first_chunk_mut::<HEAD_BYTES>() {
            *head = self.head;
            head[DOCUMENT..DOCUMENT + 4].copy_from_slice(&document.to_le_bytes());
            head[PRODUCER_SEQUENCE..PRODUCER_SEQUENCE + 4].copy_from_slice(&number.to_le_bytes());
            let crc = self.checksums.of(first, number);
            head[PAYLOAD_CRC..COUNT].copy_from_slice(&crc.to_le_bytes());
        }
        if shape.front_bytes > HEAD_BYTES {
            copy(&mut image[HEAD_BYTES..shape.front_bytes], &self.table);
        }
        // Over the zeros behind a short table.
        let payload = self.payloads.run_of(first, shape.run_bytes);
        copy(&mut image[shape.front_bytes..][..shape.run_bytes], payload);
    }

    /// Makes an image's last payload fail at its last byte.
    fn fail(&self, image: &mut [u8]) {
        image[self.shape.front_bytes + self.shape.run_bytes - 1] = FAILING_BYTE;
        let crc = crc32c(&image[COUNT..]);
        image[PAYLOAD_CRC..COUNT].copy_from_slice(&crc.to_le_bytes());
    }
}

/// Copies by blocks of 16 bytes, the last of which may overlap the one before: short runs of any
/// length without a call.
#[inline]
fn copy(to: &mut [u8], from: &[u8]) {
    if from.len() > 256 {
        to.copy_from_slice(from);
        return;
    }
    if from.len() <= 64
        && let (Some(first), Some(last)) = (from.first_chunk::<32>(), from.last_chunk::<32>())
    {
        if let Some(to) = to.first_chunk_mut() {
            *to = *first;
        }
        if let Some(to) = to.last_chunk_mut() {
            *to = *last;
        }
        return;
    }
    let (blocks, _) = to.as_chunks_mut::<16>();
    for (to, from) in blocks.iter_mut().zip(from.as_chunks::<16>().0) {
        *to = *from;
    }
    match (to.last_chunk_mut::<16>(), from.last_chunk::<16>()) {
        (Some(to), Some(from)) => *to = *from,
        _ => to.copy_from_slice(from),
    }
}

/// Checksums of all images that a generator writes, without reading them: a CRC is linear, so that
/// of a payload run with number 0 and that of the number make that of both.
#[derive(Clone, Debug)]
struct Checksums {
    of_run: Vec<u32>,
    /// By byte of the number, lowest first.
    of_number: [[u32; 256]; 4],
}

impl Checksums {
    fn new(front: &[u8], payloads: &Payloads, image_bytes: usize) -> Self {
        let mut image = vec![0; image_bytes];
        let nothing = crc32c(&image[COUNT..]);
        let mut of_number = [[0; 256]; 4];
        for (place, of_byte) in of_number.iter_mut().enumerate() {
            for (value, crc) in of_byte.iter_mut().enumerate() {
                image[PRODUCER_SEQUENCE + place] = value as u8;
                *crc = crc32c(&image[COUNT..]) ^ nothing;
            }
            image[PRODUCER_SEQUENCE + place] = 0;
        }
        image[..front.len()].copy_from_slice(front);
        let of_run = |first| {
            let run = payloads.run(first);
            image[front.len()..front.len() + run.len()].copy_from_slice(run);
            crc32c(&image[COUNT..])
        };
        Self { of_run: (0..PAYLOADS).map(of_run).collect(), of_number }
    }

    #[inline]
    fn of(&self, run: u32, number: u32) -> u32 {
        let [low, high, ..] = number.to_le_bytes();
        let [of_low, of_high, ..] = &self.of_number;
        let crc = self.of_run[run as usize] ^ of_low[low as usize] ^ of_high[high as usize];
        // Few documents have so many batches.
        if number >> 16 == 0 { crc } else { self.of_upper(number) ^ crc }
    }

    #[inline(never)]
    fn of_upper(&self, number: u32) -> u32 {
        let [.., low, high] = number.to_le_bytes();
        self.of_number[2][low as usize] ^ self.of_number[3][high as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::script::Law;
    use deltaworks_image::{Limits, PRELUDE_BYTES, check_batch};

    /// Rooms of every size give the same bytes, and these are images that reception accepts.
    #[test]
    fn what_is_written_is_images_however_the_room_is_cut() {
        for batch in [1, 32] {
            let payloads = Arc::new(Payloads::new(46, batch).expect("a length that can be made"));
            let script = Script::new(5, Law::Uniform, 7, PAYLOADS);
            let mut whole = Generator::new(script, payloads, 7);
            let mut cut = whole.clone();
            let mut bytes = vec![0; 1 << 20];
            let count = whole.fill(&mut bytes);
            let mut pieces: Vec<u8> = Vec::new();
            let mut room_bytes = 1;
            while pieces.len() < count {
                let mut room = vec![0; room_bytes];
                let count = cut.fill(&mut room);
                assert!(count > 0);
                pieces.extend(&room[..count]);
                room_bytes = room_bytes * 5 % 4099 + 1;
            }
            assert_eq!(pieces[..count], bytes[..count]);
            let mut rest = &bytes[..count];
            let mut images = 0;
            while let Some(prelude) = rest.first_chunk::<PRELUDE_BYTES>() {
                let length = u32::from_le_bytes([prelude[0], prelude[1], prelude[2], prelude[3]]);
                let (image, after) = rest.split_at(length as usize);
                let inbound = check_batch(image, &Limits::default()).expect("a whole image");
                assert_eq!(inbound.count as usize, batch);
                rest = after;
                images += 1;
            }
            assert!(rest.is_empty());
            assert_eq!(images, whole.batches());
        }
    }
}
