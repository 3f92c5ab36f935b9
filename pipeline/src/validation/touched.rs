//! What a turn has touched: a pair for each batch that was appended, of a document's place and a producer.
//!
//! The part of [`Validation`](super::Validation) that its end works off. What of both is still to be done is told
//! by their flags. The list grows to what a turn brings, and keeps its room.

use core::ops::{Deref, DerefMut};

/// A document's place, and a producer that is owed an ack.
pub(super) type Pair = (u32, u32);

/// The pairs, first to last.
#[derive(Debug)]
pub(super) struct Touched {
    /// Behind those that count there is room.
    pairs: Vec<Pair>,
    count: usize,
}

impl Touched {
    /// None, and room for so many.
    pub fn with_room(pairs: usize) -> Self {
        Self { pairs: vec![(0, 0); pairs], count: 0 }
    }

    /// Adds one.
    #[inline]
    pub fn push(&mut self, pair: Pair) {
        let (room, count) = self.room(1);
        room[0] = pair;
        *count += 1;
    }

    /// Room for so many more, or for more than that, and how many there are: whoever writes there adds to it.
    #[inline]
    pub fn room(&mut self, more: usize) -> (&mut [Pair], &mut usize) {
        if self.pairs.len() - self.count < more {
            self.lengthen(more);
        }
        (&mut self.pairs[self.count..], &mut self.count)
    }

    #[cold]
    fn lengthen(&mut self, more: usize) {
        self.pairs.resize((self.count + more).next_power_of_two(), (0, 0));
    }

    /// Leaves the first so many.
    #[inline]
    pub fn truncate(&mut self, count: usize) {
        self.count = self.count.min(count);
    }
}

impl Deref for Touched {
    type Target = [Pair];

    #[inline]
    fn deref(&self) -> &[Pair] {
        &self.pairs[..self.count]
    }
}

impl DerefMut for Touched {
    #[inline]
    fn deref_mut(&mut self) -> &mut [Pair] {
        &mut self.pairs[..self.count]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_into_the_room_stands_behind_what_was_there() {
        let mut touched = Touched::with_room(2);
        for number in 0..5 {
            touched.push((number, 0));
        }
        let (room, count) = touched.room(20);
        assert!(room.len() >= 20);
        room[..2].copy_from_slice(&[(5, 0), (6, 0)]);
        *count += 2;
        assert!(touched.iter().map(|pair| pair.0).eq(0..7));
        touched.truncate(3);
        touched.truncate(9);
        assert!(touched.iter().map(|pair| pair.0).eq(0..3));
    }
}
