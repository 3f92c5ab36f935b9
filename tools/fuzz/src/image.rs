//! Images: what reception accepts is what a builder writes, and every later reader sees the same.
//!
//! Input: a byte that says how to read the rest, then bytes. They are judged as they are, or after
//! length, owner's fields and CRC were put right, so that what lies behind those is reached, or taken
//! as the deltas of a batch to build. An accepted image is built anew from its deltas, to the byte;
//! stamped, it verifies; with a bit flipped it does not.

use deltaworks_image::builder::{info, write_batch};
use deltaworks_image::crc::crc32c;
use deltaworks_image::header::{COUNT, PAYLOAD_CRC};
use deltaworks_image::{
    BatchBuilder, DELTA_BYTES_MAX, DocumentId, HEADER_BYTES, Image, ImageError, Inbound, Kind,
    Limits, Stamp, check_batch, check_behind, check_info, check_prelude, stamp,
};

/// The project's check of a batch or an info, whichever the kind says.
///
/// # Errors
/// What the check tells.
pub fn check(image: &[u8], limits: &Limits) -> Result<Inbound, ImageError> {
    match image.get(4) {
        Some(2) => check_info(image, limits),
        _ => check_batch(image, limits),
    }
}

/// Judges with the project's check.
pub fn run(data: &[u8]) {
    body(check, data);
}

/// Judges with `check`.
///
/// # Panics
/// If what `check` accepts is not what a builder writes, or what a builder wrote is refused.
pub fn body(check: impl Fn(&[u8], &Limits) -> Result<Inbound, ImageError>, data: &[u8]) {
    let Some((&how, bytes)) = data.split_first() else { return };
    let limits = Limits::DEFAULT;
    match how % 4 {
        0 => judge(&check, bytes, &limits, how),
        1 => judge(&check, &mended(bytes, 1), &limits, how),
        2 => judge(&check, &mended(bytes, 2), &limits, how),
        _ => build(&check, bytes, &limits, how),
    }
}

/// The bytes with length, kind, version, owner's fields and CRC as they should be.
fn mended(bytes: &[u8], kind: u8) -> Vec<u8> {
    let mut image = bytes.to_vec();
    image.resize(image.len().next_multiple_of(8).max(HEADER_BYTES), 0);
    let len = image.len() as u32;
    image[..4].copy_from_slice(&len.to_le_bytes());
    (image[4], image[5]) = (kind, image[5] & 7);
    image[6..8].copy_from_slice(&[1, 0]);
    image[12..40].fill(0);
    let crc = crc32c(&image[COUNT..]);
    image[PAYLOAD_CRC..COUNT].copy_from_slice(&crc.to_le_bytes());
    image
}

fn judge(
    check: &impl Fn(&[u8], &Limits) -> Result<Inbound, ImageError>,
    image: &[u8],
    limits: &Limits,
    how: u8,
) {
    // Whoever looks at foreign bytes may refuse them, and must not panic.
    if let Ok(view) = Image::parse(image) {
        assert!(view.deltas().map(<[u8]>::len).sum::<usize>() < image.len());
    }
    if let Some(view) = Image::checked_before(image) {
        assert!(view.deltas().count() <= image.len() / 2);
        assert!(view.info_map().len() <= image.len());
    }
    let told = check(image, limits);
    let in_two = image.first_chunk().map(|prelude| {
        check_prelude(prelude, limits).and_then(|prelude| check_behind(prelude, image, limits))
    });
    if let Some(in_two) = in_two {
        assert_eq!(told.is_ok(), in_two.is_ok(), "{told:?} {in_two:?}");
    }
    if let Ok(inbound) = told {
        accepted(image, inbound, limits, how);
    }
}

/// Holds an accepted image against the builder and against its readers.
fn accepted(image: &[u8], inbound: Inbound, limits: &Limits, how: u8) {
    let view = Image::checked_before(image).expect("it was checked");
    let deltas: Vec<&[u8]> = view.deltas().collect();
    let again = if view.kind() == Kind::Batch {
        assert_eq!(deltas.len(), inbound.count as usize);
        let mut builder = BatchBuilder::new(*limits);
        for delta in &deltas {
            builder.append(delta).expect("a delta that was accepted");
        }
        builder.finish(inbound.handle, inbound.producer_sequence)
    } else {
        assert_eq!((deltas.len(), inbound.count), (0, 0));
        info(limits, inbound.handle, inbound.producer_sequence, view.info_map())
    };
    assert_eq!(again.as_deref(), Ok(image), "one batch has one image");
    assert_eq!((view.handle(), view.count()), (inbound.handle, inbound.count));

    let mut stamped = image.to_vec();
    let document = DocumentId { slot: inbound.handle, generation: !inbound.handle };
    let sequence = inbound.producer_sequence;
    let told = Stamp { document, first_sequence: sequence, time_us: !sequence, origin: 7 };
    stamp(&mut stamped, told);
    let view = Image::parse(&stamped).expect("a stamped image");
    assert_eq!(view.verify(), Ok(()));
    assert_eq!((view.document(), view.first_sequence()), (document, sequence));
    assert_eq!((view.time_us(), view.origin()), (!sequence, 7));
    assert!(view.deltas().eq(deltas.iter().copied()), "stamping leaves the deltas alone");
    let behind = view.deltas().skip_to(1, deltas.first().map_or(0, |delta| delta.len()) as u32);
    assert!(behind.eq(deltas.iter().skip(1).copied()));

    let bit = usize::from(how) * 31 % (stamped.len() * 8);
    stamped[bit / 8] ^= 1 << (bit % 8);
    let told = Image::parse(&stamped).and_then(|view| view.verify());
    assert!(told.is_err(), "bit {bit} was flipped");
}

/// Cuts the bytes into deltas, each behind two bytes that say how long it is, and builds.
fn build(
    check: &impl Fn(&[u8], &Limits) -> Result<Inbound, ImageError>,
    mut bytes: &[u8],
    limits: &Limits,
    how: u8,
) {
    let mut deltas = Vec::new();
    while let Some((length, rest)) = bytes.split_first_chunk::<2>() {
        let length = usize::from(u16::from_le_bytes(*length)).min(rest.len());
        let (delta, behind) = rest.split_at(length);
        deltas.push(delta);
        bytes = behind;
    }
    let (handle, number) = (u32::from(how), u64::from(how) + 1);
    let mut builder = BatchBuilder::new(*limits);
    let appended = deltas.iter().try_for_each(|delta| builder.append(delta));
    let mut buffer = vec![0xee; limits.image_bytes_max as usize];
    let written = write_batch(&mut buffer, limits, handle, number, &deltas);
    match appended.and_then(|()| builder.finish(handle, number)) {
        Ok(image) => {
            assert!(deltas.iter().all(|delta| (1..=DELTA_BYTES_MAX).contains(&delta.len())));
            assert_eq!(written, Ok(image.len()));
            assert_eq!(buffer[..image.len()], image[..]);
            let told = check(&image, limits);
            let count = deltas.len() as u32;
            assert_eq!(told, Ok(Inbound { handle, producer_sequence: number, count }));
            judge(check, &image, limits, how);
        }
        Err(_) => assert!(written.is_err()),
    }
}
