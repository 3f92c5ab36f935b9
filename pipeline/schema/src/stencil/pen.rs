//! The pen: draws a stencil, from the first byte of an accepted delta to its last.
//!
//! It knows of each value which bits decide that a form accepts it, and says nothing of what no single bits
//! decide but where it stands.

use std::sync::Arc;

use super::{APART_MAX, Apart, BYTES_MAX, BYTES_MIN, LANE_BYTES, LANES, Lane, Stencil};
use crate::RECORD_ID_BYTES_MAX;
use crate::head::{self, Head};
use crate::program::{Form, Program, Shape};

/// Draws a stencil, from the delta's first byte to its last.
pub(super) struct Pen<'a> {
    bytes: &'a [u8],
    at: usize,
    mask: [u8; BYTES_MAX],
    apart: [Apart; APART_MAX],
    apart_count: usize,
}

impl<'a> Pen<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self {
            bytes,
            at: 0,
            mask: [0; BYTES_MAX],
            apart: [const { Apart::Nothing }; APART_MAX],
            apart_count: 0,
        }
    }

    pub(super) fn finish(self, steps: u32) -> Option<Stencil> {
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
    pub(super) fn row(&mut self, program: &Program) -> Option<u16> {
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

    pub(super) fn map(&mut self, program: &Program, form: u16) -> Option<()> {
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
        if let Some(words) = &program.words[usize::from(names)] {
            // With its head, which is eight bytes at most. The head stays exact, because bytes behind a
            // shorter text are not to be taken for zeros behind a word.
            let head = at - 1;
            let (at, mask) = self.word_at(head, u64::MAX >> (56 - 8 * length));
            let shift = 8 * (head - usize::from(at)) as u32;
            let words = Arc::clone(words);
            return self.set_apart(Apart::Word { at, shift, mask, words });
        }
        self.set_apart(Apart::Names { at: at as u16, end: self.at as u16, names })
    }

    /// Where a whole word stands that has the one of the mask's bits at `at`, and the mask in it.
    fn word_at(&self, at: usize, mask: u64) -> (u16, u64) {
        let near = at.min(self.bytes.len().saturating_sub(8));
        (near as u16, mask << (8 * (at - near)))
    }
}
