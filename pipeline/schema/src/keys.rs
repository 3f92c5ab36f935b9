//! Keys: a fixed set of texts, found by one hash and one comparison.

/// A set of texts that are numbered in the order in which they were given.
#[derive(Debug)]
pub(crate) struct Keys {
    names: Vec<Box<str>>,
    /// Power of two, at least twice the names: number + 1, or 0 for an empty place.
    table: Box<[u16]>,
}

impl Keys {
    /// At most `u16::MAX - 1` different names.
    pub(crate) fn new(names: Vec<Box<str>>) -> Self {
        let mut table = vec![0; (names.len() * 2).next_power_of_two().max(2)].into_boxed_slice();
        for (number, name) in names.iter().enumerate() {
            let mut place = hash(name.as_bytes()) & (table.len() - 1);
            while table[place] != 0 {
                place = (place + 1) & (table.len() - 1);
            }
            table[place] = number as u16 + 1;
        }
        Self { names, table }
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
        let mut place = hash(text) & (self.table.len() - 1);
        loop {
            let number = usize::from(self.table[place]).checked_sub(1)?;
            if self.names[number].as_bytes() == text {
                return Some(number);
            }
            place = (place + 1) & (self.table.len() - 1);
        }
    }
}

/// Mixes the length, the first and the last eight bytes.
#[inline]
fn hash(text: &[u8]) -> usize {
    let (first, last) = match (text.first_chunk(), text.last_chunk()) {
        (Some(&first), Some(&last)) => (u64::from_le_bytes(first), u64::from_le_bytes(last)),
        _ => (text.iter().fold(0, |sum, &byte| sum << 8 | u64::from(byte)), 0),
    };
    let mixed = (first ^ last.rotate_left(29) ^ (text.len() as u64) << 57)
        .wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (mixed >> 40) as usize
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
        assert_eq!(Keys::new(Vec::new()).find(b""), None);
        assert_eq!(Keys::new(vec!["".into()]).find(b""), Some(0));
    }
}
