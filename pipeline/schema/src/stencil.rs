//! Stencils: the layout of an accepted delta, laid over the next one of the same length.
//!
//! Most deltas of a collection look like one before: the same keys in the same places, heads of the
//! same sizes. A stencil holds which bits of such a delta decided that it was accepted, and what they
//! were; a delta that has the same ones is accepted, too, whatever its other bits are. What no single
//! bits decide (one of an enum's texts, a finite number, a timestamp) is looked at apart. One that does not
//! fit is judged as if there were no stencil, so this way, too, can only agree, and the steps that
//! it takes off are those of the quick way.
//!
//! Each check machine draws its own, from what it meets, by length; how often one is drawn anew is bounded.

use std::sync::Arc;

use crate::RECORD_ID_BYTES_MAX;
use crate::compile::Schema;
use crate::head::{self, Head};
use crate::kind::Kind;
use crate::program::{Form, Program, Shape};
use crate::timestamp;

/// Bytes that are compared at once.
const LANE_BYTES: usize = 16;
/// Lanes of the longest stencil, but for the one at its end.
const LANES: usize = 8;
/// Shortest delta that has a stencil.
const BYTES_MIN: usize = LANE_BYTES;
/// Longest delta that has a stencil.
const BYTES_MAX: usize = LANES * LANE_BYTES + LANE_BYTES - 1;
/// Values of one delta that are looked at apart.
const APART_MAX: usize = 4;
/// Stencils of one worker.
const SLOTS: usize = 8;
/// Deltas that do not fit a stencil, after which those that did must be more.
const TRIAL: u32 = 16;
/// Deltas that are let pass after one that was of no use; twice as many each time.
const REST_MIN: u32 = 16;
const REST_MAX: u32 = 4_096;

/// What one worker has drawn.
#[derive(Debug)]
pub(crate) struct Stencils([Slot; SLOTS]);

impl Default for Stencils {
    fn default() -> Self {
        Self(std::array::from_fn(|_| Slot::default()))
    }
}

#[derive(Debug, Default)]
struct Slot {
    stencil: Stencil,
    /// The address of its schema's identity, which the reference keeps from being used again.
    owner: usize,
    reference: Option<Arc<()>>,
    /// Deltas that fitted, and such that did not and were accepted.
    hits: u32,
    misses: u32,
    /// So many of those, and this is thought over.
    misses_max: u32,
    rest: u32,
}

/// Bits that decide, and what they are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(align(16))]
struct Lane {
    mask: [u8; LANE_BYTES],
    bits: [u8; LANE_BYTES],
}

/// A value that is looked at apart.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Apart {
    /// Not all bits of the mask are set in the word that begins at `at`: a finite number.
    #[default]
    Nothing,
    NotAll {
        at: u16,
        mask: u64,
    },
    /// The masked word that begins at `at`, shifted to its beginning, is one of the enum's.
    Word {
        at: u16,
        names: u16,
        shift: u32,
        mask: u64,
    },
    /// The text is one of the enum's.
    Names {
        at: u16,
        end: u16,
        names: u16,
    },
    Timestamp {
        at: u16,
        end: u16,
    },
}

#[derive(Clone, Debug, Default)]
struct Stencil {
    bytes: usize,
    steps: u32,
    apart_count: usize,
    /// Of the delta's last bytes, which may be in the lane before, too.
    last: Lane,
    lanes: [Lane; LANES],
    apart: [Apart; APART_MAX],
}

impl Stencils {
    /// What an accepted delta costs, if a stencil fits it.
    #[inline(always)]
    pub(crate) fn accept(&mut self, schema: &Schema, bytes: &[u8]) -> Option<u32> {
        let slot = &mut self.0[bytes.len() % SLOTS];
        if slot.stencil.bytes == bytes.len()
            && slot.owner == address(schema)
            && slot.stencil.fits(&schema.program, bytes)
        {
            slot.hits = slot.hits.wrapping_add(1);
            return Some(slot.stencil.steps);
        }
        None
    }

    /// Learns of a delta that the quick way has accepted for so many steps, and that did not fit.
    #[inline]
    pub(crate) fn learn(&mut self, schema: &Schema, bytes: &[u8], steps: u32) {
        if !(BYTES_MIN..=BYTES_MAX).contains(&bytes.len()) {
            return;
        }
        let slot = &mut self.0[bytes.len() % SLOTS];
        slot.misses += 1;
        if slot.misses >= slot.misses_max {
            slot.reconsider(schema, bytes, steps);
        }
    }
}

#[inline(always)]
fn address(schema: &Schema) -> usize {
    Arc::as_ptr(&schema.identity).addr()
}

impl Slot {
    #[cold]
    fn reconsider(&mut self, schema: &Schema, bytes: &[u8], steps: u32) {
        if self.stencil.bytes == 0
            && let Some(stencil) = Stencil::draw(schema, bytes, steps)
        {
            self.stencil = stencil;
            self.owner = address(schema);
            self.reference = Some(Arc::clone(&schema.identity));
            self.misses_max = TRIAL;
        } else if self.stencil.bytes != 0 && self.hits >= self.misses {
            self.rest = 0;
        } else {
            self.stencil.bytes = 0;
            self.rest = (2 * self.rest).clamp(REST_MIN, REST_MAX);
            self.misses_max = self.rest;
        }
        (self.hits, self.misses) = (0, 0);
    }
}

impl Stencil {
    /// Whether a delta of this length has all bits that decide.
    #[inline(always)]
    fn fits(&self, program: &Program, bytes: &[u8]) -> bool {
        let Some(end) = bytes.last_chunk() else { return false };
        let mut wrong = self.last.wrong(end);
        let (chunks, _) = bytes.as_chunks();
        for (lane, chunk) in self.lanes.iter().zip(chunks) {
            let more = lane.wrong(chunk);
            for (sum, more) in wrong.iter_mut().zip(more) {
                *sum |= more;
            }
        }
        u128::from_ne_bytes(wrong) == 0
            && self.apart[..self.apart_count].iter().all(|apart| apart.holds(program, bytes))
    }

    /// The stencil of a delta that the quick way has accepted; none if its layout is not all that was
    /// needed for that.
    fn draw(schema: &Schema, bytes: &[u8], steps: u32) -> Option<Self> {
        let mut pen = Pen::new(bytes);
        let program = &schema.program;
        let form = match schema.kind() {
            Kind::Opaque => return None,
            Kind::Cbor => program.root,
            Kind::Rows => pen.row(program)?,
        };
        pen.map(program, form)?;
        let stencil = pen.finish(steps)?;
        // It fits what it was drawn from, or there is no sense in it.
        stencil.fits(program, bytes).then_some(stencil)
    }
}

impl Lane {
    /// The bits that are not as they are in the lane.
    #[inline(always)]
    fn wrong(&self, bytes: &[u8; LANE_BYTES]) -> [u8; LANE_BYTES] {
        let mut wrong = [0; LANE_BYTES];
        for place in 0..LANE_BYTES {
            wrong[place] = (bytes[place] ^ self.bits[place]) & self.mask[place];
        }
        wrong
    }
}

impl Apart {
    #[inline(always)]
    fn holds(&self, program: &Program, bytes: &[u8]) -> bool {
        match *self {
            Self::NotAll { at, mask } => word(bytes, at) & mask != mask,
            Self::Word { at, names, shift, mask } => {
                let word = (word(bytes, at) & mask) >> (shift % 64);
                program.words[usize::from(names)].as_ref().is_some_and(|words| words.has(word))
            }
            _ => self.holds_far(program, bytes),
        }
    }

    #[inline(never)]
    fn holds_far(&self, program: &Program, bytes: &[u8]) -> bool {
        let text = |at: u16, end: u16| bytes.get(usize::from(at)..usize::from(end));
        match *self {
            Self::Names { at, end, names } => text(at, end)
                .is_some_and(|text| program.enums[usize::from(names)].find(text).is_some()),
            Self::Timestamp { at, end } => text(at, end).is_some_and(timestamp::is_timestamp),
            _ => false,
        }
    }
}

#[inline(always)]
fn word(bytes: &[u8], at: u16) -> u64 {
    let word = bytes.get(usize::from(at)..).and_then(|rest| rest.first_chunk());
    // None begins so near the end.
    word.map_or(0, |word| u64::from_le_bytes(*word))
}

/// Draws a stencil, from the delta's first byte to its last.
struct Pen<'a> {
    bytes: &'a [u8],
    at: usize,
    mask: [u8; BYTES_MAX],
    apart: [Apart; APART_MAX],
    apart_count: usize,
}

impl<'a> Pen<'a> {
    fn new(bytes: &'a [u8]) -> Self {
        Self {
            bytes,
            at: 0,
            mask: [0; BYTES_MAX],
            apart: [Apart::Nothing; APART_MAX],
            apart_count: 0,
        }
    }

    fn finish(self, steps: u32) -> Option<Stencil> {
        let length = self.bytes.len();
        if self.at != length || !(BYTES_MIN..=BYTES_MAX).contains(&length) {
            return None;
        }
        let lane = |at: usize| {
            let mut lane = Lane::default();
            for place in 0..LANE_BYTES {
                lane.mask[place] = self.mask[at + place];
                lane.bits[place] = self.bytes[at + place] & self.mask[at + place];
            }
            lane
        };
        let mut stencil = Stencil {
            bytes: length,
            steps,
            apart_count: self.apart_count,
            last: lane(length - LANE_BYTES),
            lanes: [Lane::default(); LANES],
            apart: self.apart,
        };
        for (number, place) in stencil.lanes.iter_mut().enumerate().take(length / LANE_BYTES) {
            *place = lane(number * LANE_BYTES);
        }
        Some(stencil)
    }

    /// The next bytes, all under one mask.
    fn under(&mut self, mask: u8, count: usize) -> Option<&'a [u8]> {
        let bytes = self.bytes.get(self.at..self.at.checked_add(count)?)?;
        self.mask.get_mut(self.at..self.at + count)?.fill(mask);
        self.at += count;
        Some(bytes)
    }

    /// One byte, of which the bits of the mask decide.
    fn byte(&mut self, mask: u8) -> Option<u8> {
        self.under(mask, 1)?.first().copied()
    }

    fn exact(&mut self, count: usize) -> Option<&'a [u8]> {
        self.under(0xff, count)
    }

    fn set_apart(&mut self, apart: Apart) -> Option<()> {
        *self.apart.get_mut(self.apart_count)? = apart;
        self.apart_count += 1;
        Some(())
    }

    fn peek(&self) -> Option<Head> {
        head::read(self.bytes, self.at).ok()
    }

    /// A head that stays as it is.
    fn head(&mut self) -> Option<Head> {
        let head = self.peek()?;
        self.exact(head.end - self.at)?;
        Some(head)
    }

    /// Operation and record id; says the form of the map behind them.
    fn row(&mut self, program: &Program) -> Option<u16> {
        let form = match *self.exact(2)? {
            [0x83, 0 | 2] => program.root,
            [0x83, 1] => program.partial,
            _ => return None,
        };
        match self.peek()?.major {
            head::UNSIGNED => self.integer(u64::MAX)?,
            head::TEXT => {
                let length = self.head()?.argument as usize;
                (1..=RECORD_ID_BYTES_MAX).contains(&length).then_some(())?;
                self.under(0x80, length)?;
            }
            head::BYTES => {
                let length = self.head()?.argument as usize;
                (1..=RECORD_ID_BYTES_MAX).contains(&length).then_some(())?;
                self.under(0, length)?;
            }
            _ => return None,
        }
        Some(form)
    }

    fn map(&mut self, program: &Program, form: u16) -> Option<()> {
        let Shape::Properties(map) = program.forms[usize::from(form)].shape else { return None };
        let map = &program.maps[usize::from(map)];
        let head = self.head()?;
        if head.major != head::MAP || head.end != self.at || head.info > 23 {
            return None;
        }
        for _ in 0..head.argument {
            let key = self.head()?;
            let name = self.exact(key.argument as usize)?;
            let number = map.keys.find(name)?;
            self.value(program, &program.forms[usize::from(map.children[number])])?;
        }
        Some(())
    }

    fn value(&mut self, program: &Program, form: &Form) -> Option<()> {
        let head = self.peek()?;
        let first = self.bytes[self.at];
        if first == 0xf6 && (form.nullable || form.shape == Shape::Any) {
            return self.byte(0xff).map(drop);
        }
        match (form.shape, head.major) {
            (Shape::Boolean | Shape::Any, 7) if first & 0xfe == 0xf4 => self.byte(0xfe).map(drop),
            (Shape::Integer { max, .. }, head::UNSIGNED) => self.integer(u64::try_from(max).ok()?),
            (Shape::Integer { min, .. }, head::NEGATIVE) => {
                self.integer(u64::try_from(-1 - min).ok()?)
            }
            (Shape::Number | Shape::Any, head::UNSIGNED | head::NEGATIVE) => self.integer(u64::MAX),
            (Shape::Number | Shape::Any, 7) => self.float(first),
            (Shape::Text | Shape::Any, head::TEXT) => {
                let length = self.head()?.argument as usize;
                let text = self.under(0x80, length)?;
                text.is_ascii().then_some(())
            }
            (Shape::Enum(names), head::TEXT) => {
                let length = self.head()?.argument as usize;
                self.one_of(program, names, length)
            }
            (Shape::Timestamp, head::TEXT) => {
                let length = self.head()?.argument as usize;
                let at = self.at as u16;
                self.under(0, length)?;
                self.set_apart(Apart::Timestamp { at, end: self.at as u16 })
            }
            _ => None,
        }
    }

    /// An integer of either sign whose argument is at most `limit`, one less than a power of two.
    fn integer(&mut self, limit: u64) -> Option<()> {
        if limit & limit.wrapping_add(1) != 0 || limit < 0x1f {
            return None;
        }
        let head = self.peek()?;
        match head.info {
            // In the head itself: 0 to 15, or 16 to 23.
            0..16 => self.byte(0xf0).map(drop),
            16..24 => self.byte(0xf8).map(drop),
            _ => {
                self.byte(0xff)?;
                let count = head.end - self.at;
                for place in (0..count).rev() {
                    let above = !(limit >> (8 * place)).min(0xff) as u8;
                    self.byte(above)?;
                }
                Some(())
            }
        }
    }

    fn float(&mut self, first: u8) -> Option<()> {
        let exponent: u64 = match first {
            0xf9 => 0x7c00 << 48,
            0xfa => 0x7f80_0000 << 32,
            0xfb => 0x7ff0_0000_0000_0000,
            _ => return None,
        };
        let head = self.peek()?;
        self.byte(0xff)?;
        let at = self.at;
        self.under(0, head.end - at)?;
        let (at, mask) = self.word_at(at, u64::from_le_bytes(exponent.to_be_bytes()));
        self.set_apart(Apart::NotAll { at, mask })
    }

    /// A text of the enum, of this length.
    fn one_of(&mut self, program: &Program, names: u16, length: usize) -> Option<()> {
        if length == 0 {
            // Its head says it all.
            return Some(());
        }
        let at = self.at;
        self.under(0, length)?;
        if program.words[usize::from(names)].is_some() {
            // With its head, which is eight bytes at most. The head stays exact, because bytes behind a
            // shorter text are not to be taken for zeros behind a word.
            let head = at - 1;
            let (at, mask) = self.word_at(head, u64::MAX >> (56 - 8 * length));
            let shift = 8 * (head - usize::from(at)) as u32;
            return self.set_apart(Apart::Word { at, names, shift, mask });
        }
        self.set_apart(Apart::Names { at: at as u16, end: self.at as u16, names })
    }

    /// Where a whole word stands that has the one of the mask's bits at `at`, and the mask in it.
    fn word_at(&self, at: usize, mask: u64) -> (u16, u64) {
        let near = at.min(self.bytes.len().saturating_sub(8));
        (near as u16, mask << (8 * (at - near)))
    }
}

#[cfg(all(test, feature = "testing"))]
mod tests {
    use super::*;
    use crate::Machine;
    use crate::Progress;
    use crate::samples::ALL;

    /// Every sample that a stencil can be drawn from, and that.
    fn drawn() -> impl Iterator<Item = (Schema, &'static [u8], Stencil)> {
        ALL.iter()
            .flat_map(|sample| sample.deltas.iter().map(move |delta| (sample, *delta)))
            .filter_map(|(sample, delta)| {
                let schema = sample.schema();
                let stencil = Stencil::draw(&schema, delta, 1)?;
                Some((schema, delta, stencil))
            })
    }

    /// Whether a text in place of one, with zeros behind it, does so.
    fn is_red_with_a_shorter_text(
        place: usize,
        schema: &Schema,
        delta: &[u8],
        stencil: &Stencil,
    ) -> bool {
        let mut machine = Machine::new();
        let length = usize::from(delta[place] & 0x1f);
        ["", "buy"].into_iter().filter(|text| text.len() < length).any(|text| {
            let mut bent = delta.to_vec();
            bent[place] = 0x60 | text.len() as u8;
            bent[place + 1..][..length].fill(0);
            bent[place + 1..][..text.len()].copy_from_slice(text.as_bytes());
            machine.start();
            stencil.fits(&schema.program, &bent)
                && machine.run_general(schema, &bent, &mut 10_000) != Progress::Valid
        })
    }

    /// Whether a value that is looked at apart has its head at `place`.
    fn is_head_of_word(place: usize, stencil: &Stencil) -> bool {
        stencil.apart[..stencil.apart_count].iter().any(|apart| match apart {
            Apart::Word { at, shift, .. } => usize::from(*at) + *shift as usize / 8 == place,
            _ => false,
        })
    }

    /// Whether one change of a byte makes a delta that the stencil fits and the schema refuses.
    fn is_red(schema: &Schema, delta: &[u8], stencil: &Stencil) -> bool {
        (0..delta.len()).any(|place| is_red_at(place, schema, delta, stencil))
    }

    fn is_red_at(place: usize, schema: &Schema, delta: &[u8], stencil: &Stencil) -> bool {
        let mut machine = Machine::new();
        (0..=255).any(|byte| {
            let mut bent = delta.to_vec();
            bent[place] = byte;
            machine.start();
            stencil.fits(&schema.program, &bent)
                && machine.run_general(schema, &bent, &mut 10_000) != Progress::Valid
        })
    }

    #[test]
    fn a_stencil_that_leaves_a_byte_free_is_red() {
        let (mut planted, mut planted_heads) = (0, 0);
        for (schema, delta, whole) in drawn() {
            assert!(!is_red(&schema, delta, &whole), "{delta:02x?}");
            for place in 0..delta.len() {
                let mut stencil = whole.clone();
                let mut mask = 0;
                if let Some(lane) = stencil.lanes.get_mut(place / LANE_BYTES) {
                    mask |= std::mem::take(&mut lane.mask[place % LANE_BYTES]);
                    lane.bits[place % LANE_BYTES] = 0;
                }
                if let Some(place) = (place + LANE_BYTES).checked_sub(delta.len()) {
                    mask |= std::mem::take(&mut stencil.last.mask[place]);
                    stencil.last.bits[place] = 0;
                }
                if mask != 0 && is_head_of_word(place, &whole) {
                    // The word has it, too: it is of use where the enum has a shorter text.
                    let is_red = is_red_with_a_shorter_text(place, &schema, delta, &stencil);
                    planted_heads += u32::from(is_red);
                } else if mask != 0 {
                    assert!(
                        is_red_at(place, &schema, delta, &stencil),
                        "byte {place} of {delta:02x?}"
                    );
                    planted += 1;
                }
            }
        }
        assert!(planted > 300 && planted_heads > 0, "{planted} {planted_heads}");
    }

    #[test]
    fn a_stencil_that_looks_at_a_value_too_little_is_red() {
        let mut planted = 0;
        for (schema, delta, whole) in drawn() {
            for number in 0..whole.apart_count {
                let mut stencil = whole.clone();
                stencil.apart[number] = Apart::NotAll { at: 0, mask: u64::MAX };
                assert!(is_red(&schema, delta, &stencil), "value {number} of {delta:02x?}");
                planted += 1;
            }
        }
        assert!(planted > 10, "{planted}");
    }

    #[test]
    fn a_stencil_without_use_is_given_up_for_longer_each_time_and_another_one_is_drawn() {
        let sample = ALL[0];
        let schema = sample.schema();
        let of = |pos: &[u8], text: &str| {
            let mut delta = b"\xa5\x62op\x63ins\x63pos".to_vec();
            delta.extend(pos);
            delta.extend(b"\x64user\x05\x64text");
            delta.push(0x60 | text.len() as u8);
            delta.extend(text.as_bytes());
            delta.extend(b"\x64done\xf5");
            delta
        };
        // Two layouts of one length.
        let (one, other) = (of(b"\x05", "abcd"), of(b"\x18\x20", "abc"));
        let mut stencils = Stencils::default();
        let mut meet = |delta: &[u8]| match stencils.accept(&schema, delta) {
            Some(steps) => assert_eq!(steps, 6),
            None => stencils.learn(&schema, delta, 6),
        };
        // The one that came first stays as long as it is of use.
        for _ in 0..1_000 {
            meet(&one);
            meet(&one);
            meet(&other);
        }
        assert!(stencils.accept(&schema, &one).is_some());
        // Then the other one has its turn, after two trials and a rest.
        for _ in 0..3 * TRIAL + REST_MIN {
            match stencils.accept(&schema, &other) {
                Some(_) => {}
                None => stencils.learn(&schema, &other, 6),
            }
        }
        assert!(stencils.accept(&schema, &other).is_some());
    }
}
