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

mod pen;

use std::sync::Arc;

use crate::compile::Schema;
use crate::flat;
use crate::kind::Kind;
use crate::program::Program;
use crate::timestamp;
use crate::words::Words;
use pen::Pen;

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
#[derive(Clone, Debug, Default)]
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
        shift: u32,
        mask: u64,
        words: Arc<Words>,
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

    /// The stencil of deltas of `delta_bytes`, to be laid over one after the other; none if there is none, or if one of
    /// its values is a long text.
    #[inline(always)]
    pub(crate) fn overlay(&mut self, schema: &Schema, delta_bytes: usize) -> Option<Overlay<'_>> {
        let Slot { stencil, owner, hits, .. } = &mut self.0[delta_bytes % SLOTS];
        if stencil.bytes != delta_bytes || *owner != address(schema) {
            return None;
        }
        let apart = stencil.near()?;
        Some(Overlay { stencil, apart, hits })
    }

    /// What `count` deltas cost in all that have `delta_bytes` each and stand back to back, if that is not more
    /// than `steps` and a stencil fits all of them.
    #[inline(always)]
    pub(crate) fn accept_all(
        &mut self,
        schema: &Schema,
        bytes: &[u8],
        delta_bytes: usize,
        count: u32,
        steps: u32,
    ) -> Option<u32> {
        let slot = &mut self.0[delta_bytes % SLOTS];
        let each = u64::from(slot.stencil.steps);
        let taken = each * u64::from(count);
        // As many must be left for the last of them as each must find.
        let is_enough = u64::from(steps) + each >= u64::from(flat::STEPS_MAX) + taken;
        if is_enough
            && slot.stencil.bytes == delta_bytes
            && slot.owner == address(schema)
            && slot.stencil.fits_all(&schema.program, bytes)
        {
            slot.hits = slot.hits.wrapping_add(count);
            return Some(taken as u32);
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

/// A stencil none of whose values is a long text, and deltas of its length.
#[derive(Debug)]
pub(crate) struct Overlay<'a> {
    stencil: &'a Stencil,
    apart: Near<'a>,
    hits: &'a mut u32,
}

/// What of a stencil is looked at apart.
#[derive(Clone, Copy, Debug)]
enum Near<'a> {
    /// One word; most have one of them, or none.
    Word {
        at: u16,
        shift: u32,
        mask: u64,
        words: &'a Words,
    },
    All,
}

impl Overlay<'_> {
    /// Whether a delta of this length is accepted. Calls nothing.
    #[inline(always)]
    pub(crate) fn fits(&self, bytes: &[u8]) -> bool {
        self.stencil.lanes_fit(bytes)
            && match self.apart {
                Near::Word { at, shift, mask, words } => has(words, bytes, at, shift, mask),
                Near::All => self.stencil.aparts().all(|apart| apart.holds_at_once(bytes)),
            }
    }

    /// What each that is accepted costs.
    #[inline(always)]
    pub(crate) fn steps(&self) -> u32 {
        self.stencil.steps
    }

    /// So many were accepted.
    #[inline(always)]
    pub(crate) fn count(&mut self, accepted: u32) {
        *self.hits = self.hits.wrapping_add(accepted);
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
        self.lanes_fit(bytes) && self.aparts().all(|apart| apart.holds(program, bytes))
    }

    /// What is looked at apart, if none of it is a long text.
    #[inline(always)]
    fn near(&self) -> Option<Near<'_>> {
        match &self.apart[..self.apart_count.min(APART_MAX)] {
            [Apart::Word { at, shift, mask, words }] => {
                Some(Near::Word { at: *at, shift: *shift, mask: *mask, words })
            }
            apart => apart.iter().all(Apart::is_near).then_some(Near::All),
        }
    }

    /// The values that are looked at apart.
    #[inline(always)]
    fn aparts(&self) -> impl Iterator<Item = &Apart> {
        self.apart.iter().take(self.apart_count)
    }

    #[inline(always)]
    fn lanes_fit(&self, bytes: &[u8]) -> bool {
        let Some(end) = bytes.last_chunk() else { return false };
        let mut wrong = self.last.wrong(end);
        let mut add = |more: [u8; LANE_BYTES]| {
            for (sum, more) in wrong.iter_mut().zip(more) {
                *sum |= more;
            }
        };
        let (chunks, _) = bytes.as_chunks();
        if let Some([first, second]) = chunks.first_chunk()
            && bytes.len() <= 3 * LANE_BYTES
        {
            // Most are as long as this: three lanes, no loop.
            add(self.lanes[0].wrong(first));
            add(self.lanes[1].wrong(second));
        } else {
            for (lane, chunk) in self.lanes.iter().zip(chunks) {
                add(lane.wrong(chunk));
            }
        }
        u128::from_ne_bytes(wrong) == 0
    }

    /// Whether deltas of this length, which stand back to back, all have the bits that decide. First their
    /// lanes, then one value that is looked at apart after the other, so that what each look needs
    /// stays where it is.
    #[inline(always)]
    fn fits_all(&self, program: &Program, bytes: &[u8]) -> bool {
        let wrong = match self.bytes / LANE_BYTES {
            1 => self.wrong_in_any::<1>(bytes),
            2 => self.wrong_in_any::<2>(bytes),
            3 => self.wrong_in_any::<3>(bytes),
            4 => self.wrong_in_any::<4>(bytes),
            5 => self.wrong_in_any::<5>(bytes),
            6 => self.wrong_in_any::<6>(bytes),
            7 => self.wrong_in_any::<7>(bytes),
            8 => self.wrong_in_any::<8>(bytes),
            _ => return false,
        };
        u128::from_ne_bytes(wrong) == 0
            && self.aparts().all(|apart| apart.holds_in_all(program, bytes, self.bytes))
    }

    /// The bits of some delta's lanes that are not as they are in the stencil's, which has so many.
    #[inline(always)]
    fn wrong_in_any<const LANES_WHOLE: usize>(&self, bytes: &[u8]) -> [u8; LANE_BYTES] {
        let mut wrong = [0; LANE_BYTES];
        let mut add = |more: [u8; LANE_BYTES]| {
            for (sum, more) in wrong.iter_mut().zip(more) {
                *sum |= more;
            }
        };
        for delta in each(bytes, self.bytes) {
            let whole = delta.as_chunks().0.first_chunk::<LANES_WHOLE>();
            let (Some(whole), Some(end)) = (whole, delta.last_chunk()) else { return [1; _] };
            for (lane, chunk) in self.lanes.iter().zip(whole) {
                add(lane.wrong(chunk));
            }
            add(self.last.wrong(end));
        }
        wrong
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
        match self {
            Self::NotAll { .. } | Self::Word { .. } => self.holds_at_once(bytes),
            _ => self.holds_far(program, bytes),
        }
    }

    /// Whether all that is looked at is in one word.
    #[inline(always)]
    fn is_near(&self) -> bool {
        matches!(self, Self::NotAll { .. } | Self::Word { .. })
    }

    /// Whether it holds, and is in one word.
    #[inline(always)]
    fn holds_at_once(&self, bytes: &[u8]) -> bool {
        match self {
            Self::NotAll { at, mask } => word(bytes, *at) & mask != *mask,
            Self::Word { at, shift, mask, words } => has(words, bytes, *at, *shift, *mask),
            _ => false,
        }
    }

    /// Whether it holds in deltas of `delta_bytes` each that stand back to back.
    #[inline(always)]
    fn holds_in_all(&self, program: &Program, bytes: &[u8], delta_bytes: usize) -> bool {
        let mut deltas = each(bytes, delta_bytes);
        match self {
            Self::NotAll { at, mask } => deltas.all(|delta| word(delta, *at) & mask != *mask),
            Self::Word { at, shift, mask, words } => {
                deltas.all(|delta| words.has((word(delta, *at) & mask) >> (shift % 64)))
            }
            _ => deltas.all(|delta| self.holds_far(program, delta)),
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

/// Whether the masked word that begins at `at`, shifted to its beginning, is one of `words`.
#[inline(always)]
fn has(words: &Words, bytes: &[u8], at: u16, shift: u32, mask: u64) -> bool {
    words.has((word(bytes, at) & mask) >> (shift % 64))
}

#[inline(always)]
fn word(bytes: &[u8], at: u16) -> u64 {
    let at = usize::from(at);
    let word = bytes.get(at..at + 8).and_then(|word| word.first_chunk());
    // None begins so near the end.
    word.map_or(0, |word| u64::from_le_bytes(*word))
}

/// Deltas of `delta_bytes` each, not 0, that stand back to back.
#[inline(always)]
fn each(mut bytes: &[u8], delta_bytes: usize) -> impl Iterator<Item = &[u8]> {
    core::iter::from_fn(move || {
        let (delta, behind) = bytes.split_at_checked(delta_bytes)?;
        bytes = behind;
        Some(delta)
    })
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

    /// Whether the stencil fits; and that it fits a row of deltas if it fits each, wherever in it this one is.
    fn fits(stencil: &Stencil, schema: &Schema, bent: &[u8], delta: &[u8]) -> bool {
        let program = &schema.program;
        let fits = stencil.fits(program, bent);
        for row in [[bent, delta, delta], [delta, bent, delta], [delta, delta, bent]] {
            let fits_all = stencil.fits_all(program, &row.concat());
            assert_eq!(fits_all, fits && stencil.fits(program, delta), "{bent:02x?}");
        }
        let mut hits = 0;
        let apart = stencil.near();
        assert_eq!(apart.is_some(), stencil.aparts().all(Apart::is_near));
        if let Some(apart) = apart {
            let overlay = Overlay { stencil, apart, hits: &mut hits };
            assert_eq!(overlay.fits(bent), fits, "{bent:02x?}");
        }
        fits
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
            fits(stencil, schema, &bent, delta)
                && machine.run_general(schema, &bent, &mut 10_000) != Progress::Valid
        })
    }

    /// Whether a value that is looked at apart has its head at `place`.
    fn is_head_of_word(place: usize, stencil: &Stencil) -> bool {
        stencil.aparts().any(|apart| match apart {
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
            fits(stencil, schema, &bent, delta)
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
    fn deltas_for_which_steps_are_too_few_are_of_no_use() {
        let (schema, delta, stencil) = drawn().next().expect("samples have stencils");
        let mut stencils = Stencils::default();
        stencils.learn(&schema, delta, stencil.steps);
        let row = delta.repeat(3);
        let least = flat::STEPS_MAX + 2 * stencil.steps;
        for (steps, hits) in [(0, 0), (least - 1, 0), (least, 3)] {
            let taken = stencils.accept_all(&schema, &row, delta.len(), 3, steps);
            assert_eq!(taken, (hits > 0).then_some(3 * stencil.steps));
            assert_eq!(stencils.0[delta.len() % SLOTS].hits, hits);
        }
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
