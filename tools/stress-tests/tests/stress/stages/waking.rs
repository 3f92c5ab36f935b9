//! Who only reads is woken for what its documents got, and by nothing else.
//!
//! One core owns documents and writes; the other reads, and is told nothing else: no acks, no
//! retirement, nobody who comes or goes. The next batch is written when the last has been read, so
//! a wake that is missing is never made up for by the next.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use deltaworks_image::{BatchBuilder, Limits as ImageLimits};
use deltaworks_pipeline::message::{Access, From, OpenRequest, SessionId};
use deltaworks_pipeline::port::ControlAction;
use deltaworks_pipeline::stages::{CoreRole, CoreStages};
use deltaworks_runtime::clock::{Clock, SystemClock};
use deltaworks_runtime::doorbell::Doorbell;
use deltaworks_stress_tests::rest::{Rest, wait_until};
use deltaworks_stress_tests::{Random, content, rounds};

use super::port::{Port, Speed};
use super::{DOCUMENTS, stages};

const ROLES: [CoreRole; 2] = [
    CoreRole { serves_sessions: true, owns_documents: true, is_elastic: false },
    CoreRole { serves_sessions: true, owns_documents: false, is_elastic: false },
];

/// What the two cores know of each other.
#[derive(Default)]
struct Known {
    is_opened: AtomicBool,
    /// Images that the reader has got.
    read: AtomicU64,
    is_over: AtomicBool,
}

/// One core, with its one session.
struct Side {
    stages: CoreStages,
    port: Port,
    clock: SystemClock,
    session: SessionId,
    known: Arc<Known>,
}

impl Side {
    fn new(number: u64, mut stages: CoreStages, known: Arc<Known>) -> Self {
        let is_writer = number == 0;
        let session = stages.begin_session().expect("the first session");
        let (mut port, mut clock) = (Port::new(number), SystemClock::new());
        port.begin(session, Speed::Fast, is_writer);
        for document in 0..DOCUMENTS {
            let request = OpenRequest {
                request: document,
                name: format!("document-{document}").into(),
                access: Access { read: !is_writer, write: is_writer },
                from: From::Start,
                policy: None,
                producer: u64::from(is_writer),
            };
            stages.act(session, ControlAction::Open(request), &mut port, clock.now());
        }
        Self { stages, port, clock, session, known }
    }

    fn turn(&mut self) -> usize {
        self.stages.turn(&mut self.port, self.clock.now())
    }

    /// Turns until `is_so`, and leaves the CPU to others in between.
    fn turn_until(&mut self, mut is_so: impl FnMut(&mut Self) -> bool) {
        wait_until(|| {
            self.turn();
            is_so(self)
        });
    }

    /// Writes each batch when the one before has been read.
    fn write(mut self, batches: u64, reader: &Doorbell) {
        self.turn_until(|it| it.port.is_opened() && it.known.is_opened.load(Ordering::Acquire));
        let mut random = Random::new(3);
        for written in 1..=batches * u64::from(DOCUMENTS) {
            // Long enough, now and then, for the reader to fall asleep.
            random.pause_one_in(4);
            let mut next = None;
            self.turn_until(|it| {
                next = it.port.next_batch(batches);
                next.is_some()
            });
            let (document, handle, number) = next.expect("waited for");
            let image = self.image(document, handle, number);
            let room = self.stages.read_room(self.session).expect("all before has been read");
            room[..image.len()].copy_from_slice(&image);
            self.stages.received(self.session, image.len(), &mut self.port, self.clock.now());
            self.turn_until(|it| it.known.read.load(Ordering::Acquire) == written);
        }
        self.known.is_over.store(true, Ordering::Release);
        reader.ring();
    }

    /// A batch of one delta: producer, document, number, place, and what follows from these.
    fn image(&mut self, document: u32, handle: u32, number: u64) -> Vec<u8> {
        let mut builder = BatchBuilder::new(ImageLimits::default());
        let words = [0, u64::from(document), number, 0, content(content(number << 16))];
        builder.append(&words.map(u64::to_le_bytes).concat()).expect("within the limits");
        let image = builder.finish(handle, number).expect("within the limits");
        self.port.spend(handle, image.len());
        image
    }

    /// Reads until it is over, and sleeps whenever there is nothing to read. Returns how often it slept.
    fn read(mut self, mut rest: Rest) -> u64 {
        while !self.known.is_over.load(Ordering::Acquire) {
            let work = self.turn();
            self.known.read.store(self.port.images, Ordering::Release);
            if self.port.is_opened() {
                self.known.is_opened.store(true, Ordering::Release);
            }
            if work == 0 {
                rest.unless(|| {
                    let work = self.turn();
                    work > 0
                        || !self.stages.may_park()
                        || self.known.is_over.load(Ordering::Acquire)
                });
            }
        }
        rest.sleeps()
    }
}

#[test]
fn who_only_reads_is_woken_for_each_document_that_grew() {
    let (rests, doorbells): (Vec<_>, Vec<_>) = ROLES.iter().map(|_| Rest::new()).unzip();
    let reader_doorbell = doorbells[1].clone();
    let known = Arc::new(Known::default());
    let sides = stages(&ROLES, 4, doorbells, 5).into_iter().enumerate();
    let mut sides = sides.map(|(number, stages)| Side::new(number as u64, stages, known.clone()));
    let (writer, reader) = (sides.next().expect("two"), sides.next().expect("two"));
    let [_, rest] = <[Rest; 2]>::try_from(rests).unwrap_or_else(|_| unreachable!("two"));
    let reader = std::thread::spawn(move || reader.read(rest));
    let writer = std::thread::spawn(move || writer.write(rounds(100), &reader_doorbell));
    let slept = reader.join().expect("who reads");
    writer.join().expect("who writes");
    // Otherwise nothing was shown.
    assert!(slept > 0, "who reads never slept");
}
