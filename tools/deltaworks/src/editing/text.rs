//! A text that is edited by code point, quickly where edits stay near one another.
//!
//! ```text
//! | h e l l | gap … | o   w o r l d |      an edit moves the gap to its place, then fills or widens it
//! ```
//!
//! A gap buffer of 4-byte code points: an edit costs the way from the last one, plus what it inserts.
//! Memory is at most twice the longest text it held, plus 256 bytes; beyond the text's limit an edit is
//! refused.

use std::fmt;

/// The most code points that a text may hold if nothing else is said.
pub const CHARS_MAX: usize = 16 << 20;

/// Why an edit was refused; the text is as it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PatchFault {
    /// The position lies behind the end.
    Position {
        /// The position that was asked for.
        position: u32,
        /// Code points that there are.
        chars: usize,
    },
    /// More is to be deleted than follows the position.
    Deleted {
        /// How much was to be deleted.
        deleted: u32,
        /// How much there is from the position on.
        chars: usize,
    },
    /// The text would have more code points than this, its limit.
    TooLong(usize),
}

impl fmt::Display for PatchFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PatchFault::Position { position, chars } => {
                write!(f, "position {position} in a text of {chars} code points")
            }
            PatchFault::Deleted { deleted, chars } => {
                write!(f, "{deleted} code points deleted where {chars} are left")
            }
            PatchFault::TooLong(max) => write!(f, "a text of more than {max} code points"),
        }
    }
}

impl std::error::Error for PatchFault {}

/// A text of bounded length.
#[derive(Clone)]
pub struct Text {
    /// Code points before the gap, the gap (its content means nothing), code points after it.
    buffer: Vec<char>,
    gap_start: usize,
    gap_end: usize,
    chars_max: usize,
}

impl Text {
    /// A text with the content `start`, whatever its length, and edits up to [`CHARS_MAX`].
    pub fn new(start: &str) -> Text {
        Text::with_limit(start, CHARS_MAX)
    }

    /// A text with the content `start`, whatever its length, and edits up to `chars_max` code points.
    pub fn with_limit(start: &str, chars_max: usize) -> Text {
        let buffer: Vec<char> = start.chars().collect();
        let end = buffer.len();
        Text { buffer, gap_start: end, gap_end: end, chars_max }
    }

    /// Code points in the text.
    pub fn chars(&self) -> usize {
        self.buffer.len() - (self.gap_end - self.gap_start)
    }

    /// Replaces `deleted` code points at `position` by `inserted`.
    ///
    /// Costs the distance to the place of the last edit and the length of `inserted`; allocates only
    /// when the gap is used up.
    ///
    /// # Errors
    /// What does not fit; the text is then as it was.
    pub fn apply(&mut self, position: u32, deleted: u32, inserted: &str) -> Result<(), PatchFault> {
        let chars = self.chars();
        let at = position as usize;
        if at > chars {
            return Err(PatchFault::Position { position, chars });
        }
        if deleted as usize > chars - at {
            return Err(PatchFault::Deleted { deleted, chars: chars - at });
        }
        let inserted_chars = inserted.chars().count();
        if chars - deleted as usize + inserted_chars > self.chars_max {
            return Err(PatchFault::TooLong(self.chars_max));
        }
        self.move_gap(at);
        self.gap_end += deleted as usize;
        if inserted_chars > self.gap_end - self.gap_start {
            self.widen(inserted_chars);
        }
        for char in inserted.chars() {
            self.buffer[self.gap_start] = char;
            self.gap_start += 1;
        }
        Ok(())
    }

    /// Code points that agree with `other` before the first that does not; `None` if all agree.
    pub fn first_difference(&self, other: &str) -> Option<usize> {
        let mut mine = self.iter();
        let mut theirs = other.chars();
        let mut position = 0;
        loop {
            match (mine.next(), theirs.next()) {
                (None, None) => return None,
                (a, b) if a == b => position += 1,
                _ => return Some(position),
            }
        }
    }

    /// The code points in order.
    pub fn iter(&self) -> impl Iterator<Item = char> {
        self.buffer[..self.gap_start].iter().chain(&self.buffer[self.gap_end..]).copied()
    }

    fn move_gap(&mut self, at: usize) {
        if at < self.gap_start {
            let moved = self.gap_start - at;
            self.buffer.copy_within(at..self.gap_start, self.gap_end - moved);
            self.gap_start = at;
            self.gap_end -= moved;
        } else if at > self.gap_start {
            let moved = at - self.gap_start;
            self.buffer.copy_within(self.gap_end..self.gap_end + moved, self.gap_start);
            self.gap_start = at;
            self.gap_end += moved;
        }
    }

    /// Makes the gap at least `chars` wide, and half as wide as the text, so that growing is rare.
    fn widen(&mut self, chars: usize) {
        let wanted = chars.max(self.chars() / 2).max(32);
        let more = wanted - (self.gap_end - self.gap_start);
        let (end, tail) = (self.buffer.len(), self.buffer.len() - self.gap_end);
        self.buffer.reserve_exact(more);
        self.buffer.resize(end + more, '\0');
        self.buffer.copy_within(self.gap_end..self.gap_end + tail, self.gap_end + more);
        self.gap_end += more;
    }
}

impl fmt::Display for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.iter().try_for_each(|char| fmt::Write::write_char(f, char))
    }
}

impl fmt::Debug for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Text of {} code points", self.chars())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What `Text` must do, in the plainest way.
    fn apply_naively(model: &str, position: usize, deleted: usize, inserted: &str) -> String {
        let before = model.chars().take(position);
        let after = model.chars().skip(position + deleted);
        before.chain(inserted.chars()).chain(after).collect()
    }

    /// Combining marks, astral characters and joiners among plain ones.
    fn piece() -> impl Strategy<Value = String> {
        let char = prop_oneof![
            Just('a'),
            Just('\u{301}'),
            Just('😀'),
            Just('\u{200d}'),
            Just('\0'),
            any::<char>()
        ];
        proptest::collection::vec(char, 0..24).prop_map(|chars| chars.into_iter().collect())
    }

    proptest! {
        #[test]
        fn agrees_with_a_string_that_is_rebuilt_at_every_edit(
            start in piece(),
            edits in proptest::collection::vec((any::<u32>(), any::<u32>(), piece()), 0..24),
        ) {
            let mut text = Text::new(&start);
            let mut model = start;
            for (position, deleted, inserted) in edits {
                let chars = model.chars().count();
                prop_assert_eq!(text.chars(), chars);
                let position = position % (chars as u32 + 1);
                let deleted = (deleted % 7).min(chars as u32 - position);
                text.apply(position, deleted, &inserted).expect("within the text");
                model = apply_naively(&model, position as usize, deleted as usize, &inserted);
                prop_assert_eq!(text.first_difference(&model), None);
            }
            prop_assert_eq!(text.to_string(), model);
        }

        #[test]
        fn an_edit_that_does_not_fit_changes_nothing(
            start in piece(), position in any::<u32>(), deleted in any::<u32>(),
        ) {
            let mut text = Text::new(&start);
            let chars = start.chars().count() as u64;
            let fits = u64::from(position) + u64::from(deleted) <= chars;
            prop_assert_eq!(text.apply(position, deleted, "").is_ok(), fits);
            if !fits {
                prop_assert_eq!(text.to_string(), start);
            }
        }
    }

    #[test]
    fn a_text_beyond_the_bound_is_refused() {
        let mut text = Text::with_limit("", 100);
        let piece = "\u{1f600}".repeat(50);
        assert_eq!(text.apply(0, 0, &piece), Ok(()));
        assert_eq!(text.apply(5, 0, &piece), Ok(()));
        assert_eq!(text.apply(5, 0, "y"), Err(PatchFault::TooLong(100)));
        assert_eq!(text.apply(5, 1, "y"), Ok(()));
        assert_eq!(text.chars(), 100);
    }

    #[test]
    fn the_first_difference_is_counted_in_code_points() {
        let mut text = Text::new("😀b");
        text.apply(1, 0, "e\u{301}").expect("within the text");
        assert_eq!(text.first_difference("😀e\u{301}b"), None);
        assert_eq!(text.first_difference("😀e\u{301}c"), Some(3));
        assert_eq!(text.first_difference("😀e\u{301}"), Some(3));
        assert_eq!(text.first_difference("😀e\u{301}bb"), Some(4));
    }
}
