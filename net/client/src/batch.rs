//! What a subscriber reads: batches and infos, as slices of what came off the socket.
//!
//! Cloning one counts a reference and copies nothing. A kept batch keeps its read buffer (64 KiB or
//! one image) alive, so copy the deltas of what you keep for long.

use bytes::Bytes;
use deltaworks_image::{DocumentId, Image};

/// A batch of a document's stream, its CRCs compared.
#[derive(Clone, Debug)]
pub struct Batch {
    bytes: Bytes,
    skip: u32,
}

/// A document's new info.
#[derive(Clone, Debug)]
pub struct Info {
    bytes: Bytes,
}

impl Batch {
    pub(crate) fn new(bytes: Bytes, skip: u32) -> Batch {
        Batch { bytes, skip }
    }

    /// The image, whole: fields, and all deltas.
    pub fn image(&self) -> Image<'_> {
        view(&self.bytes)
    }

    /// The image's bytes, shared.
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// The sequence of the first delta that [`deltas`](Self::deltas) gives.
    pub fn first_sequence(&self) -> u64 {
        self.image().first_sequence() + u64::from(self.skip)
    }

    /// Deltas that [`deltas`](Self::deltas) gives.
    pub fn count(&self) -> u32 {
        self.image().count() - self.skip
    }

    /// The deltas in order, from the subscription's start on; allocates nothing.
    pub fn deltas(&self) -> impl Iterator<Item = &[u8]> {
        self.image().deltas().skip(self.skip as usize)
    }

    /// The document.
    pub fn document(&self) -> DocumentId {
        self.image().document()
    }
}

impl Info {
    pub(crate) fn new(bytes: Bytes) -> Info {
        Info { bytes }
    }

    /// The image, whole.
    pub fn image(&self) -> Image<'_> {
        view(&self.bytes)
    }

    /// The CBOR map.
    pub fn map(&self) -> &[u8] {
        self.image().info_map()
    }
}

fn view(bytes: &Bytes) -> Image<'_> {
    match Image::checked_before(bytes) {
        Some(image) => image,
        None => unreachable!("only verified images are kept"),
    }
}
