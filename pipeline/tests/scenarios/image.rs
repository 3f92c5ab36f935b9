//! The image on this target: CRC, little-endian fields and lengths are those of every other.

use deltaworks_image::{BatchBuilder, DocumentId, Image, Limits, Stamp, check_batch, stamp};

pub(crate) fn a_batch_has_the_same_bytes_at_the_writer_and_the_reader() {
    let deltas: [&[u8]; 3] = [b"a", b"some more bytes", &[0xff; 300]];
    let limits = Limits::default();
    let mut builder = BatchBuilder::new(limits);
    for delta in deltas {
        builder.append(delta).expect("within the limits");
    }
    let mut bytes = builder.finish(7, 1).expect("a batch with deltas");
    let inbound = check_batch(&bytes, &limits).expect("what the builder wrote is accepted");
    assert_eq!((inbound.handle, inbound.producer_sequence, inbound.count), (7, 1, 3));

    let document = DocumentId { slot: 3, generation: 9 };
    stamp(&mut bytes, Stamp { document, first_sequence: 41, time_us: 1_000_000, origin: 2 });
    let image = Image::parse(&bytes).expect("a stamped image");
    image.verify().expect("both CRCs agree");
    assert!(image.deltas().eq(deltas), "the deltas are the writer's");

    bytes[100] ^= 1;
    let broken = Image::parse(&bytes).expect("the header and the table are still whole");
    assert!(broken.verify().is_err(), "a flipped bit in a payload is seen");
}
