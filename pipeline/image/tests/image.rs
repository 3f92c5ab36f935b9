//! Images as a whole: what a writer builds, reception accepts, an owner stamps and a reader sees;
//! and every planted fault is told.

use deltaworks_image::builder::{info, set_handle, set_producer_sequence, write_batch};
use deltaworks_image::crc::crc32c;
use deltaworks_image::header::{COUNT, PAYLOAD_CRC};
use deltaworks_image::view::ALIKE_MAX;
use deltaworks_image::{
    BatchBuilder, BuildError, DocumentId, HEADER_BYTES, Image, ImageError, InRun, Inbound, Kind,
    Limits, Stamp, Walked, check_info, check_prelude, check_run, stamp,
};
use proptest::prelude::*;

const LIMITS: Limits = Limits::DEFAULT;

/// The first batch of a run, alone.
fn check_usual(bytes: &[u8], limits: &Limits) -> Option<(u32, Inbound)> {
    let (mut run, mut heard) = ([InRun::default()], None);
    let walked = check_run(bytes, 40, limits, &mut run, |handle| {
        assert_eq!(heard.replace(handle), None, "it was to stop");
    });
    let [InRun { offset, bytes: length, handle, count }] = run;
    if walked.images == 0 {
        assert_eq!((walked, heard), (Walked::default(), None));
        return None;
    }
    assert_eq!((offset, heard), (40, Some(handle)));
    assert_eq!(walked, Walked { images: 1, bytes: length, deltas: count });
    // The number stays where it is.
    let producer_sequence = Image::parse(&bytes[..length as usize]).unwrap().producer_sequence();
    Some((length, Inbound { handle, producer_sequence, count }))
}

/// What the check says that tells faults; the one without words must say the same, whatever follows.
fn check_batch(image: &[u8], limits: &Limits) -> Result<Inbound, ImageError> {
    let told = deltaworks_image::check_batch(image, limits);
    let of_first = |bytes: &[u8]| check_usual(bytes, limits).map(|(_, inbound)| inbound);
    match (&told, check_usual(image, limits)) {
        (Ok(inbound), usual) => assert_eq!(usual, Some((image.len() as u32, *inbound))),
        // It knows the image's end, and looks at nothing behind.
        (Err(_), Some((length, inbound))) => {
            assert!((length as usize) < image.len());
            let first = &image[..length as usize];
            assert_eq!(deltaworks_image::check_batch(first, limits), Ok(inbound));
        }
        (Err(_), None) => {}
    }
    assert_eq!(of_first(&[image, &[0xff; 64]].concat()), of_first(image));
    told
}

fn batch(deltas: &[&[u8]]) -> Vec<u8> {
    let mut builder = BatchBuilder::new(LIMITS);
    for delta in deltas {
        builder.append(delta).unwrap();
    }
    builder.finish(7, 42).unwrap()
}

#[test]
fn a_run_is_taken_up_to_the_first_message_that_is_no_batch() {
    let images: Vec<Vec<u8>> =
        (1..40_usize).map(|bytes| batch(&vec![&[7; 300][..bytes * 7]; 1 + bytes % 3])).collect();
    let all = images.concat();
    let mut spoilt = all.clone();
    let at = images[..20].iter().map(Vec::len).sum::<usize>() + HEADER_BYTES + 3;
    spoilt[at] ^= 1;
    for (bytes, right) in [(&all[..], 39), (&all[..all.len() - 1], 38), (&spoilt, 20)] {
        for most in [1, 2, 19, 50] {
            let mut run = vec![InRun::default(); most];
            let walked = check_run(bytes, 8, &LIMITS, &mut run, |handle| assert_eq!(handle, 7));
            assert_eq!(walked.images, right.min(most));
            let (mut end, mut deltas) = (8, 0);
            for (found, image) in run.iter().zip(&images).take(walked.images) {
                let count = Image::parse(image).unwrap().count();
                let bytes = image.len() as u32;
                assert_eq!(*found, InRun { offset: end, bytes, handle: 7, count });
                (end, deltas) = (end + bytes, deltas + count);
            }
            assert_eq!((walked.bytes, walked.deltas), (end - 8, deltas));
        }
    }
}

/// Behind a right one an image is told right exactly if it is alone, whichever of its bits is another, and
/// also if its checksum was made anew behind that.
#[test]
fn behind_one_alike_every_flipped_bit_is_told_as_alone() {
    for delta_bytes in (1..=12).chain([33, 46, 60, 69, 70, 71, 72, 73, 78, 79, 90]) {
        let image = batch(&[&vec![7; delta_bytes]]);
        for bit in 0..image.len() * 8 {
            let mut bad = image.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            let mut sealed = bad.clone();
            let crc = crc32c(&sealed[COUNT..]);
            sealed[PAYLOAD_CRC..COUNT].copy_from_slice(&crc.to_le_bytes());
            for other in [&bad, &sealed] {
                let right = if check_batch(other, &LIMITS).is_ok() { 4 } else { 2 };
                let all = [&image, &image, other, &image].map(|it| &it[..]).concat();
                let mut run = [InRun::default(); 5];
                let mut heard = Vec::new();
                let walked = check_run(&all, 8, &LIMITS, &mut run, |handle| heard.push(handle));
                assert_eq!(walked.images, right, "{delta_bytes} {bit}");
                assert_eq!(walked.deltas as usize, right, "{delta_bytes} {bit}");
                assert_eq!(walked.bytes as usize, right * image.len());
                for (place, (found, heard)) in run.iter().zip(&heard).enumerate() {
                    let of = Image::parse(&all[place * image.len()..][..image.len()]).unwrap();
                    let (offset, bytes) = (8 + place * image.len(), image.len() as u32);
                    let handle = of.handle();
                    let expected = InRun { offset: offset as u32, bytes, handle, count: 1 };
                    assert_eq!((*found, *heard), (expected, handle), "{delta_bytes} {bit}");
                }
                assert_eq!(heard.len(), right);
            }
        }
    }
}

/// The number 0 is no batch's, wherever it stands.
#[test]
fn behind_one_alike_the_number_zero_is_none() {
    let numbered = |number| {
        let mut builder = BatchBuilder::new(LIMITS);
        builder.append(&[7; 46]).unwrap();
        builder.finish(7, number).unwrap()
    };
    let all = [numbered(1), numbered(0)].concat();
    let mut run = [InRun::default(); 4];
    assert_eq!(check_run(&all, 0, &LIMITS, &mut run, |_| ()).images, 1);
}

fn stamped(deltas: &[&[u8]]) -> Vec<u8> {
    let mut image = batch(deltas);
    let document = DocumentId { slot: 9, generation: 3 };
    stamp(&mut image, Stamp { document, first_sequence: 1_000, time_us: 5, origin: 77 });
    image
}

proptest! {
    #[test]
    fn what_is_built_is_accepted_and_read_back(
        deltas in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..200), 1..60),
        handle: u32, number in 1u64..,
    ) {
        let mut builder = BatchBuilder::new(LIMITS);
        for delta in &deltas {
            builder.append(delta).unwrap();
        }
        let mut image = builder.finish(handle, number).unwrap();
        let slices: Vec<&[u8]> = deltas.iter().map(Vec::as_slice).collect();
        let mut dirty = vec![0xff; image.len() + 8];
        let written = write_batch(&mut dirty, &LIMITS, handle, number, &slices).unwrap();
        prop_assert_eq!(&dirty[..written], &image[..]);

        let inbound = check_batch(&image, &LIMITS).unwrap();
        prop_assert_eq!((inbound.handle, inbound.producer_sequence), (handle, number));
        prop_assert_eq!(inbound.count as usize, deltas.len());

        let document = DocumentId { slot: 1, generation: 2 };
        stamp(&mut image, Stamp { document, first_sequence: 3, time_us: 4, origin: 5 });
        let view = Image::parse(&image).unwrap();
        view.verify().unwrap();
        prop_assert_eq!((view.document(), view.first_sequence()), (document, 3));
        prop_assert_eq!((view.time_us(), view.origin()), (4, 5));
        prop_assert_eq!((view.producer_sequence(), view.kind()), (number, Kind::Batch));
        prop_assert!(view.deltas().eq(slices.iter().copied()));
    }

    #[test]
    fn random_bytes_never_panic(mut bytes in prop::collection::vec(any::<u8>(), 0..400), plausible: bool) {
        if plausible && bytes.len() >= 8 {
            let len = bytes.len() as u32 / 8 * 8;
            bytes.truncate(len as usize);
            bytes[..4].copy_from_slice(&len.to_le_bytes());
            bytes[4] = 1 + bytes[4] % 2;
            bytes[5] &= 7;
            bytes[6..8].copy_from_slice(&[1, 0]);
        }
        prop_assert!(check_batch(&bytes, &LIMITS).is_err());
        prop_assert!(check_info(&bytes, &LIMITS).is_err());
        if let Ok(view) = Image::parse(&bytes) {
            prop_assert!(view.verify().is_err());
        }
        if let Some(view) = Image::checked_before(&bytes) {
            prop_assert!(view.deltas().count() <= bytes.len() / 2);
            view.info_map();
        }
    }
}

#[test]
fn deltas_of_one_length_are_told_together_in_order_and_none_twice() {
    let bytes: Vec<u8> = (0..=255).collect();
    // Rows of many lengths, beside each other and across the most that are told at once.
    let mut seed = 1_u32;
    for _ in 0..200 {
        let mut deltas: Vec<&[u8]> = vec![];
        while deltas.len() < 60 {
            seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let (count, length) = ((seed >> 8) % 40, 1 + (seed >> 16) as usize % 4);
            deltas.extend((0..count as usize).map(|number| &bytes[number..number + length]));
        }
        let image = batch(&deltas);
        let image = Image::parse(&image).unwrap();
        assert_eq!(image.only_delta(), None);
        let (mut left, mut told) = (image.deltas(), 0);
        while let Some(alike) = left.alike() {
            let count = alike.count as usize;
            let row = &deltas[told..told + count];
            assert!((1..=ALIKE_MAX).contains(&count));
            assert!(row.iter().all(|delta| delta.len() == alike.delta_bytes));
            assert_eq!(alike.bytes, row.concat());
            let next = deltas.get(told + count);
            let is_longest = next.is_none_or(|next| next.len() != alike.delta_bytes);
            assert!(is_longest || count == ALIKE_MAX);
            told += count;
            left = left.skip_to(alike.count, alike.bytes.len() as u32);
        }
        assert_eq!(told, deltas.len());
    }
    for length in [1, 8, 255] {
        let image = batch(&[&bytes[..length]]);
        assert_eq!(Image::parse(&image).unwrap().only_delta(), Some(&bytes[..length]));
    }
}

#[test]
fn a_table_that_lies_tells_of_no_delta_behind_the_bytes() {
    let mut image = batch(&[b"four"]);
    // Its only delta has 4 bytes, and none with the padding has more than 8.
    image[HEADER_BYTES] = 200;
    let image = Image::checked_before(&image).unwrap();
    assert_eq!(
        (image.only_delta(), image.deltas().alike(), image.deltas().next()),
        (None, None, None)
    );
}

#[test]
fn every_flipped_bit_is_told_on_the_way_in() {
    let image = batch(&[b"abc", b"d", b"efgh"]);
    for bit in 0..image.len() * 8 {
        let mut bad = image.clone();
        bad[bit / 8] ^= 1 << (bit % 8);
        let verdict = check_batch(&bad, &LIMITS);
        if (8..12).contains(&(bit / 8)) {
            // The handle is an index that the session checks; no CRC covers it.
            assert_ne!(verdict.unwrap().handle, 7, "bit {bit}");
        } else {
            assert!(verdict.is_err(), "bit {bit}");
        }
    }
}

#[test]
fn every_flipped_bit_is_told_on_the_way_out() {
    let image = stamped(&[b"abc", b"d", b"efgh"]);
    for bit in 0..image.len() * 8 {
        let mut bad = image.clone();
        bad[bit / 8] ^= 1 << (bit % 8);
        assert!(Image::parse(&bad).and_then(|view| view.verify()).is_err(), "bit {bit}");
    }
}

#[test]
fn every_cut_is_told() {
    let image = batch(&[b"abc", b"d"]);
    for len in 0..image.len() {
        let told = check_batch(&image[..len], &LIMITS);
        assert!(matches!(told, Err(ImageError::Truncated { .. })), "{len}: {told:?}");
    }
    let mut long = image.clone();
    long.extend_from_slice(&[0; 8]);
    assert!(matches!(check_batch(&long, &LIMITS), Err(ImageError::Truncated { .. })));
}

#[test]
fn the_prelude_is_judged_alone() {
    let word = |bytes: u32, kind: u8, flags: u8, version: u16| -> [u8; 8] {
        let mut prelude = [0; 8];
        prelude[..4].copy_from_slice(&bytes.to_le_bytes());
        (prelude[4], prelude[5]) = (kind, flags);
        prelude[6..].copy_from_slice(&version.to_le_bytes());
        prelude
    };
    let judge = |bytes, kind, flags, version| {
        check_prelude(&word(bytes, kind, flags, version), &LIMITS).map(|prelude| prelude.padding)
    };
    assert_eq!(judge(64, 1, 3, 1), Ok(3));
    assert_eq!(judge(8, 25, 0, 1), Ok(0));
    assert_eq!(judge(64, 1, 0, 2), Err(ImageError::Version(2)));
    assert_eq!(judge(64, 3, 0, 1), Err(ImageError::Kind(3)));
    assert_eq!(judge(64, 1, 8, 1), Err(ImageError::Flags(8)));
    assert_eq!(judge(63, 1, 0, 1), Err(ImageError::Length(63)));
    assert_eq!(judge(48, 1, 0, 1), Err(ImageError::Length(48)));
    assert_eq!(judge(56, 1, 1, 1), Err(ImageError::Length(56)));
    assert_eq!(judge(0, 25, 0, 1), Err(ImageError::Length(0)));
    assert_eq!(judge(8, 25, 1, 1), Err(ImageError::Length(8)));
    let too_long = |bytes, max| Err(ImageError::TooLong { bytes, max });
    assert_eq!(judge(262_152, 1, 0, 1), too_long(262_152, 262_144));
    assert_eq!(judge(u32::MAX, 1, 0, 1), too_long(u32::MAX, 262_144));
    assert_eq!(judge(4_104, 17, 0, 1), too_long(4_104, 4_096));
    assert_eq!(judge(1_088, 2, 0, 1), too_long(1_088, 1_080));
}

#[test]
fn limits_are_edges_for_builder_and_check_alike() {
    let limits = Limits { deltas_per_batch_max: 3, image_bytes_max: 80, ..LIMITS };
    let mut builder = BatchBuilder::new(limits);
    assert_eq!(builder.finish(1, 1), Err(BuildError::Empty));
    assert_eq!(builder.append(b""), Err(BuildError::Empty));
    assert_eq!(builder.append(&[0; 65_537]), Err(BuildError::DeltaTooLong(65_537)));
    assert_eq!(builder.append(&[1; 23]), Err(BuildError::TooLong(80)));
    builder.append(&[1; 22]).unwrap();
    assert_eq!(builder.append(b"x"), Err(BuildError::TooLong(80)));
    let full = builder.finish(1, 1).unwrap();
    assert_eq!(full.len(), 80);
    check_batch(&full, &limits).unwrap();
    for _ in 0..3 {
        builder.append(b"x").unwrap();
    }
    assert_eq!(builder.append(b"x"), Err(BuildError::TooManyDeltas(3)));
    assert_eq!(builder.count(), 3);
    let four = batch(&[b"a", b"b", b"c", b"d"]);
    let told = check_batch(&four, &limits);
    assert_eq!(told, Err(ImageError::TooManyDeltas { count: 4, max: 3 }));
    let longest = batch(&[&[5; 65_536]]);
    assert_eq!(check_batch(&longest, &LIMITS).unwrap().count, 1);
    let mut short = [0; 64];
    let told = write_batch(&mut short, &LIMITS, 1, 1, &[&[0; 30]]);
    assert_eq!(told, Err(BuildError::BufferTooShort(88)));
}

#[test]
fn owners_fields_and_number_zero_are_refused_on_the_way_in() {
    for offset in 12..40 {
        let mut image = batch(&[b"abc"]);
        image[offset] = 1;
        assert_eq!(check_batch(&image, &LIMITS), Err(ImageError::OwnerField), "{offset}");
    }
    let mut builder = BatchBuilder::new(LIMITS);
    builder.append(b"x").unwrap();
    let image = builder.finish(1, 0).unwrap();
    assert_eq!(check_batch(&image, &LIMITS), Err(ImageError::ProducerSequence));
}

#[test]
fn another_handle_needs_no_new_crc() {
    let mut image = batch(&[b"abc"]);
    set_handle(&mut image, 1_234);
    assert_eq!(check_batch(&image, &LIMITS).unwrap().handle, 1_234);
}

#[test]
fn another_number_makes_the_image_that_the_builder_would_have_made() {
    let mut builder = BatchBuilder::new(LIMITS);
    builder.append(b"abc").unwrap();
    let mut image = builder.finish(7, 1).unwrap();
    set_producer_sequence(&mut image, 42);
    assert_eq!(image, batch(&[b"abc"]));
}

#[test]
fn an_info_carries_its_map() {
    for len in [1, 7, 8, 9, 1_023, 1_024] {
        let map = vec![0xa0; len];
        let mut image = info(&LIMITS, 3, 9, &map).unwrap();
        let inbound = check_info(&image, &LIMITS).unwrap();
        assert_eq!((inbound.handle, inbound.producer_sequence, inbound.count), (3, 9, 0));
        assert_eq!(check_batch(&image, &LIMITS), Err(ImageError::WrongKind(Kind::Info)));
        let document = DocumentId { slot: 1, generation: 0 };
        stamp(&mut image, Stamp { document, first_sequence: 1, time_us: 1, origin: 1 });
        let view = Image::parse(&image).unwrap();
        view.verify().unwrap();
        assert_eq!(view.info_map(), &map[..]);
        assert_eq!(view.deltas().count(), 0);
    }
    assert_eq!(info(&LIMITS, 1, 1, &[]), Err(BuildError::Empty));
    assert_eq!(info(&LIMITS, 1, 1, &[0; 1_025]), Err(BuildError::TooLong(1_024)));
    assert_eq!(batch(&[b"abc"]).len(), (HEADER_BYTES + 2 + 3).next_multiple_of(8));
}
