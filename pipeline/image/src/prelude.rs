//! The eight bytes that begin every message: its length, kind, padding and version.
//!
//! ```text
//! | bytes u32 | kind u8 | flags u8 | version u16 |     flags: 0 0 0 0 0 p p p
//! ```
//!
//! A prelude is checked before a byte of its message is kept, so that a length that lies reserves
//! nothing. A message above its limit is refused here; nothing in this file allocates.

use core::fmt;

/// Bytes of a prelude.
pub const PRELUDE_BYTES: usize = 8;

/// The version of the message format, which every prelude carries.
pub const VERSION: u16 = 1;

/// The bits of `flags` that count zero padding bytes; the others must be 0.
pub const PADDING_MASK: u8 = 0b0000_0111;

/// The most bytes that any image may have, whatever the configured limit: 512 KiB.
pub const IMAGE_BYTES_HARD_MAX: u32 = 1 << 19;

/// The most deltas that any batch may have, whatever the configured limit.
pub const DELTAS_HARD_MAX: u32 = 1 << 16;

/// What a message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Kind {
    /// Deltas for one document; image-shaped.
    Batch = 1,
    /// A document's info map; image-shaped.
    Info = 2,
    /// The first message of each side: versions and limits.
    Hello = 16,
    /// A client asks for a document.
    Open = 17,
    /// The answer to an `open`.
    Opened = 18,
    /// A cumulative answer to a writer's batches.
    Ack = 19,
    /// A numbered error.
    Error = 20,
    /// A subscription lost a range of sequences.
    Gap = 21,
    /// Bytes granted to a writer.
    Credit = 22,
    /// Asks for a `pong`.
    Ping = 23,
    /// Answers a `ping`.
    Pong = 24,
    /// Ends a handle or the session.
    Close = 25,
    /// Tells that a handle or the session has ended.
    Closed = 26,
    /// A client asks that a document be dropped.
    Drop = 27,
}

impl Kind {
    /// Every kind, in the order of their numbers.
    pub const ALL: [Kind; 14] = [
        Kind::Batch,
        Kind::Info,
        Kind::Hello,
        Kind::Open,
        Kind::Opened,
        Kind::Ack,
        Kind::Error,
        Kind::Gap,
        Kind::Credit,
        Kind::Ping,
        Kind::Pong,
        Kind::Close,
        Kind::Closed,
        Kind::Drop,
    ];

    /// The kind with this number, if there is one.
    #[inline]
    pub const fn from_number(number: u8) -> Option<Kind> {
        Some(match number {
            1 => Kind::Batch,
            2 => Kind::Info,
            16 => Kind::Hello,
            17 => Kind::Open,
            18 => Kind::Opened,
            19 => Kind::Ack,
            20 => Kind::Error,
            21 => Kind::Gap,
            22 => Kind::Credit,
            23 => Kind::Ping,
            24 => Kind::Pong,
            25 => Kind::Close,
            26 => Kind::Closed,
            27 => Kind::Drop,
            _ => return None,
        })
    }

    /// The number on the wire.
    #[inline]
    pub const fn number(self) -> u8 {
        self as u8
    }

    /// Whether the message has the image's header of 56 bytes.
    #[inline]
    pub const fn is_image(self) -> bool {
        matches!(self, Kind::Batch | Kind::Info)
    }
}

/// What a receiver accepts. Each limit is a count or a number of bytes, prelude included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The longest batch image, in bytes; at most [`IMAGE_BYTES_HARD_MAX`] counts.
    pub image_bytes_max: u32,
    /// The most deltas in a batch; at most [`DELTAS_HARD_MAX`] counts.
    pub deltas_per_batch_max: u32,
    /// The longest info map, in bytes, without header and padding.
    pub info_bytes_max: u32,
    /// The longest control message, in bytes.
    pub control_bytes_max: u32,
}

impl Limits {
    /// What a server accepts when nothing else is configured.
    pub const DEFAULT: Limits = Limits {
        image_bytes_max: 262_144,
        deltas_per_batch_max: 4_096,
        info_bytes_max: 1_024,
        control_bytes_max: 4_096,
    };

    /// What no receiver exceeds. Clients read with these, because their server sets the real ones.
    pub const HARD: Limits = Limits {
        image_bytes_max: IMAGE_BYTES_HARD_MAX,
        deltas_per_batch_max: DELTAS_HARD_MAX,
        info_bytes_max: 65_536,
        control_bytes_max: 131_072,
    };
}

impl Default for Limits {
    fn default() -> Self {
        Limits::DEFAULT
    }
}

/// A checked prelude.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Prelude {
    /// Bytes of the whole message, prelude and padding included; a multiple of 8.
    pub bytes: u32,
    /// What the message is.
    pub kind: Kind,
    /// Zero bytes at the message's end, 0..=7.
    pub padding: u8,
}

impl Prelude {
    /// The prelude of a message that has `unpadded_bytes` before its padding.
    #[inline]
    pub const fn for_unpadded(kind: Kind, unpadded_bytes: u32) -> Prelude {
        let bytes = unpadded_bytes.next_multiple_of(8);
        Prelude { bytes, kind, padding: (bytes - unpadded_bytes) as u8 }
    }

    /// The bytes on the wire.
    #[inline]
    pub const fn to_bytes(self) -> [u8; PRELUDE_BYTES] {
        let word = self.bytes as u64
            | (self.kind.number() as u64) << 32
            | (self.padding as u64) << 40
            | (VERSION as u64) << 48;
        word.to_le_bytes()
    }

    /// Bytes of the message without its padding.
    #[inline]
    pub const fn unpadded_bytes(self) -> u32 {
        self.bytes - self.padding as u32
    }
}

/// Why bytes are not a message that this receiver accepts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ImageError {
    /// The prelude's version is not [`VERSION`].
    Version(u16),
    /// No kind has this number.
    Kind(u8),
    /// A message of another kind was expected here.
    WrongKind(Kind),
    /// A bit of `flags` that must be 0 is set.
    Flags(u8),
    /// The length is not a multiple of 8, or too short for its kind.
    Length(u32),
    /// The message is longer than `max` bytes.
    TooLong {
        /// What the prelude announced.
        bytes: u32,
        /// What the receiver accepts.
        max: u32,
    },
    /// The slice and the prelude's length differ.
    Truncated {
        /// Bytes that the prelude announced.
        announced: u32,
        /// Bytes that are there.
        there: usize,
    },
    /// A batch without deltas, or an info with some.
    Count(u32),
    /// More deltas than `max`.
    TooManyDeltas {
        /// What the header announced.
        count: u32,
        /// What the receiver accepts.
        max: u32,
    },
    /// The table of lengths does not add up to the body.
    Table,
    /// A padding byte is not zero.
    Padding,
    /// A field that the owner writes is not zero on the way in.
    OwnerField,
    /// The producer sequence is 0; it starts at 1.
    ProducerSequence,
    /// The info map is empty or longer than `max` bytes.
    InfoLength {
        /// Bytes of the map.
        bytes: u32,
        /// What the receiver accepts.
        max: u32,
    },
    /// The payload CRC does not fit the bytes.
    PayloadCrc,
    /// The header CRC does not fit the bytes.
    HeaderCrc,
}

impl fmt::Display for ImageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            ImageError::Version(version) => write!(f, "version {version} instead of {VERSION}"),
            ImageError::Kind(kind) => write!(f, "unknown kind {kind}"),
            ImageError::WrongKind(kind) => write!(f, "kind {kind:?} is out of place"),
            ImageError::Flags(flags) => write!(f, "reserved flags are set ({flags:#010b})"),
            ImageError::Length(bytes) => write!(f, "impossible length of {bytes} bytes"),
            ImageError::TooLong { bytes, max } => write!(f, "{bytes} bytes, the limit is {max}"),
            ImageError::Truncated { announced, there } => {
                write!(f, "{announced} bytes announced, {there} there")
            }
            ImageError::Count(count) => write!(f, "impossible count of {count} deltas"),
            ImageError::TooManyDeltas { count, max } => {
                write!(f, "{count} deltas, the limit is {max}")
            }
            ImageError::Table => f.write_str("the lengths do not add up to the body"),
            ImageError::Padding => f.write_str("a padding byte is not zero"),
            ImageError::OwnerField => f.write_str("a field of the owner is not zero"),
            ImageError::ProducerSequence => f.write_str("the producer sequence is 0"),
            ImageError::InfoLength { bytes, max } => {
                write!(f, "an info map of {bytes} bytes, the limit is {max}")
            }
            ImageError::PayloadCrc => f.write_str("the payload CRC does not fit"),
            ImageError::HeaderCrc => f.write_str("the header CRC does not fit"),
        }
    }
}

impl core::error::Error for ImageError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_kinds_are_one_to_one() {
        let known: Vec<u8> =
            (0..=255).filter(|&number| Kind::from_number(number).is_some()).collect();
        let listed: Vec<u8> = Kind::ALL.iter().map(|kind| kind.number()).collect();
        assert_eq!(known, listed);
        assert!(known.iter().all(|&n| Kind::from_number(n).unwrap().number() == n));
    }

    #[test]
    fn padding_completes_a_multiple_of_eight() {
        for unpadded in 8..64 {
            let prelude = Prelude::for_unpadded(Kind::Ping, unpadded);
            assert_eq!(prelude.bytes % 8, 0);
            assert!(prelude.padding < 8);
            assert_eq!(prelude.unpadded_bytes(), unpadded);
        }
    }
}
