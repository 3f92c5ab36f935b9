//! Frames: what the machine remembers of each array, map and tag that it is inside of.

/// Says that an item has no length and ends with a break.
pub(crate) const NO_LENGTH: u32 = u32::MAX;

/// What a frame is of.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Inside {
    /// An array of items under the child form.
    Array,
    /// A tag around one item, which says nothing of the form.
    Tag,
    /// A map under a properties form, a values form, or any.
    Map,
    /// A map that is read for its discriminator's property only, and then once more.
    Search,
    /// A row: operation, record id, map.
    Row,
}

/// One array, map or tag.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Frame {
    pub(crate) inside: Inside,
    /// Other keys have come in ascending byte order so far.
    pub(crate) ascends: bool,
    /// Keys outside of the schema, up to one more than may be unordered.
    pub(crate) others: u16,
    pub(crate) form: u16,
    /// A row's operation.
    pub(crate) operation: u8,
    /// Items (or entries) still to come, or [`NO_LENGTH`].
    pub(crate) remaining: u32,
    /// Items (or entries) begun.
    pub(crate) begun: u32,
    /// Where the first item begins.
    pub(crate) body: u32,
    /// Where the current entry's key begins.
    pub(crate) key: u32,
    /// Where the last key outside of the schema begins.
    pub(crate) last: u32,
    /// Bit k: key k of the schema has come.
    pub(crate) seen: [u64; 4],
}

impl Frame {
    pub(crate) const EMPTY: Self = Self::new(Inside::Tag, 0, 0, 0);

    pub(crate) const fn new(inside: Inside, form: u16, remaining: u32, body: u32) -> Self {
        Self {
            inside,
            ascends: true,
            others: 0,
            form,
            operation: 0,
            remaining,
            begun: 0,
            body,
            key: 0,
            last: 0,
            seen: [0; 4],
        }
    }

    /// Begins one more item.
    #[inline]
    pub(crate) fn begin(&mut self) {
        self.begun += 1;
        if self.remaining != NO_LENGTH {
            self.remaining -= 1;
        }
    }

    /// Goes back to the first item.
    pub(crate) fn rewind(&mut self) {
        if self.remaining != NO_LENGTH {
            self.remaining += self.begun;
        }
        self.begun = 0;
    }
}
