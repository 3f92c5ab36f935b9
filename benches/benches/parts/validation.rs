//! `validation`: what do the two checks of a delta's bytes cost on one core?
//!
//! Nanoseconds per delta of 46 bytes, over 4,096 different ones: `schema` walks the CBOR under a
//! schema of five properties, `image` checks prelude, table and checksum of a batch of one.
//! Not measured: what is around them, and payloads that are not in the second cache.

use std::hint::black_box;

use criterion::Criterion;
use deltaworks_benches::payload::{FAILING_BYTE, PAYLOADS, Payloads, SCHEMA};
use deltaworks_image::{BatchBuilder, Limits, check_batch};
use deltaworks_schema::{Kind, Machine, Progress, Schema};

pub(crate) fn bench(criterion: &mut Criterion) {
    let schema = Schema::compile(Kind::Cbor, SCHEMA).expect("the schema compiles");
    let payloads = Payloads::new(46, 1).expect("a length that can be made");
    let mut machine = Machine::new();
    for first in 0..PAYLOADS {
        let mut steps = 1000;
        let mut payload = payloads.run(first).to_vec();
        assert_eq!(machine.check(&schema, &payload, &mut steps), Progress::Valid);
        payload[45] = FAILING_BYTE;
        assert_eq!(machine.check(&schema, &payload, &mut steps), Progress::Invalid);
        assert_eq!(machine.error(&schema, &payload).instance_path, "/done");
    }
    let mut number = 0;
    let mut next = move || {
        number = (number + 1) % PAYLOADS;
        number
    };
    criterion.bench_function("validation/schema", |bencher| {
        bencher.iter(|| {
            let mut steps = 1000;
            machine.check(&schema, black_box(payloads.run(next())), &mut steps)
        });
    });

    let mut builder = BatchBuilder::new(Limits::default());
    let images: Vec<Vec<u8>> = (0..PAYLOADS)
        .map(|first| {
            builder.append(payloads.run(first)).expect("one delta");
            builder.finish(1, u64::from(first) + 1).expect("one image")
        })
        .collect();
    let limits = Limits::default();
    assert!(images.iter().all(|image| check_batch(image, &limits).is_ok()));
    let mut broken = images[0].clone();
    broken[60] ^= 1;
    assert!(check_batch(&broken, &limits).is_err());
    criterion.bench_function("validation/image", |bencher| {
        bencher.iter(|| check_batch(black_box(&images[next() as usize]), &limits));
    });
}
