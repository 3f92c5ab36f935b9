//! Keys: a fixed set of texts, found by one hash and one comparison.

/// A set of texts that are numbered in the order in which they were given.
#[derive(Debug)]
pub(crate) struct Keys {
    names: Vec<Box<str>>,
    prints: Vec<Print>,
    /// Power of two, at least twice the names: number + 1, or 0 for an empty place.
    table: Box<[u16]>,
}

impl Keys {
    /// At most `u16::MAX - 1` different names.
    pub(crate) fn new(names: Vec<Box<str>>) -> Self {
        let mut table = vec![0; (names.len() * 2).next_power_of_two().max(2)].into_boxed_slice();
        for (number, name) in names.iter().enumerate() {
            let mut place = Print::of(name.as_bytes()).hash() & (table.len() - 1);
            while table[place] != 0 {
                place = (place + 1) & (table.len() - 1);
            }
            table[place] = number as u16 + 1;
        }
        let prints = names.iter().map(|name| Print::of(name.as_bytes())).collect();
        Self { names, prints, table }
    }

    pub(crate) fn len(&self) -> usize {
        self.names.len()
    }

    pub(crate) fn name(&self, number: usize) -> &str {
        &self.names[number]
    }

    /// The number of a text. Compares with as many names as stand in a row of the table; how many
    /// that are is the schema's doing, not the input's.
    #[inline]
    pub(crate) fn find(&self, text: &[u8]) -> Option<usize> {
        let print = Print::of(text);
        let mut place = print.hash() & (self.table.len() - 1);
        loop {
            let number = usize::from(self.table[place]).checked_sub(1)?;
            if self.prints[number] == print
                && (text.len() <= EXACT_BYTES_MAX || self.names[number].as_bytes() == text)
            {
                return Some(number);
            }
            place = (place + 1) & (self.table.len() - 1);
        }
    }
}

/// Up to this length two texts with the same print are the same: it holds all of their bytes.
const EXACT_BYTES_MAX: usize = 16;

/// A text's length and its first and last eight bytes, which overlap in shorter ones.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Print {
    length: usize,
    first: u64,
    last: u64,
}

impl Print {
    #[inline]
    fn of(text: &[u8]) -> Self {
        let length = text.len();
        let (first, last) = match (text.first_chunk(), text.last_chunk()) {
            (Some(&first), Some(&last)) => (u64::from_le_bytes(first), u64::from_le_bytes(last)),
            _ => match (text.first_chunk(), text.last_chunk()) {
                (Some(&first), Some(&last)) => {
                    (u64::from(u32::from_le_bytes(first)), u64::from(u32::from_le_bytes(last)))
                }
                _ => match text {
                    [] => (0, 0),
                    [first, .., last] => {
                        (u64::from(*first) | u64::from(text[length / 2]) << 8, u64::from(*last))
                    }
                    [only] => (u64::from(*only), 0),
                },
            },
        };
        Self { length, first, last }
    }

    #[inline]
    fn hash(self) -> usize {
        let mixed = (self.first ^ self.last.rotate_left(29) ^ (self.length as u64) << 57)
            .wrapping_mul(0x9e37_79b9_7f4a_7c15);
        (mixed >> 40) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::Keys;

    #[test]
    fn every_name_is_found_and_nothing_else() {
        let names: Vec<Box<str>> = (0..256)
            .map(|number| format!("a long name, {number:03}, and its end").into())
            .collect();
        let keys = Keys::new(names.clone());
        for (number, name) in names.iter().enumerate() {
            assert_eq!(keys.find(name.as_bytes()), Some(number));
            assert_eq!(keys.find(&name.as_bytes()[1..]), None);
        }
        // Every length whose print is made another way, and texts that differ in one byte only.
        let names: Vec<Box<str>> = (1..=40)
            .map(|length| "abcdefghijklmnopqrstuvwxyzabcdefghijklmn"[..length].into())
            .collect();
        let keys = Keys::new(names.clone());
        for (number, name) in names.iter().enumerate() {
            assert_eq!(keys.find(name.as_bytes()), Some(number));
            for place in 0..name.len() {
                let mut other = name.as_bytes().to_vec();
                other[place] = b'!';
                assert_eq!(keys.find(&other), None, "{place} of {name}");
            }
        }
        assert_eq!(Keys::new(Vec::new()).find(b""), None);
        assert_eq!(Keys::new(vec!["".into()]).find(b""), Some(0));
    }
}
