//! Stories of control among data: what a session sends and what it is told keeps its order.
//!
//! | session's core | owner's core |
//! |---|---|
//! | batch 1, `open` of a second reader, batch 2, `drop`: all into one ring `(1)` | takes them in order, batches before control behind them `(2)` |
//! | | answers: `opened`, acks, `end`, and the stream's tail and end `(3)` |
//! | sends images, then tells that the stream has ended | |
//!
//! The first reader gets images 1 and 2 and then the end. The second began between the batches: it
//! gets image 2 alone and then the end. In the second story the rings hold one message, so that the
//! others wait with their senders.
//!
//! Both have a bound, since the stages of both cores sleep: see "What is explored" in the README.

use crate::table::{Model, Mutant};

const MAILBOX: &str = "pipeline/src/mailbox.rs";
const QUEUE: &str = "pipeline/src/mailbox/queue.rs";
const HANDLES: &str = "pipeline/src/reception/handles.rs";

/// The models of this file.
pub const MODELS: &[Model] = &[
    Model {
        name: "order::models::open_and_drop_keep_their_place_among_batches",
        mutants: &[
            Mutant {
                fault: "(2) control overtakes the batches that came with it",
                file: QUEUE,
                text: "        self.note();\n        self.parts.push_back(Part::Message(message));",
                replacement: "        self.parts.push_back(Part::Message(message));",
            },
            Mutant {
                fault: "(3) a reader is told to close before its stream has ended",
                file: HANDLES,
                text: "let learns_later = reason == CloseReason::Dropped && handle.subscription != NO_SUBSCRIPTION;",
                replacement: "let learns_later = false;",
            },
        ],
    },
    Model {
        name: "order::models::what_waits_for_a_full_ring_keeps_its_place",
        mutants: &[Mutant {
            fault: "(1) what waits is overtaken",
            file: MAILBOX,
            text: "        self.gathered.push_back(parcel);\n",
            replacement: "        match self.ring.push(parcel) {\n            Err(parcel) => self.gathered.push_back(parcel),\n            Ok(()) => {\n                self.unrung = true;\n                return;\n            }\n        }\n",
        }],
    },
];

#[cfg(all(loom, test))]
mod models {
    use crate::cores::{Core, DOCUMENTS, Event, SESSIONS, Sizes, cores, settle};
    use crate::explore::{few_preemptions, spawn};
    use deltaworks_pipeline::message::{Access, CloseReason, From, Policy};
    use deltaworks_pipeline::port::ControlAction;
    use deltaworks_runtime::sync::thread::yield_now;

    #[test]
    fn open_and_drop_keep_their_place_among_batches() {
        few_preemptions(2, || story(4, 2));
    }

    #[test]
    fn what_waits_for_a_full_ring_keeps_its_place() {
        few_preemptions(2, || story(1, 1));
    }

    /// `batches` batches around the second reader's `open`, and the drop.
    fn story(ring_capacity: usize, batches: u64) {
        let sizes = Sizes { ring_capacity, ..Sizes::default() };
        let mut all = cores(&[SESSIONS, DOCUMENTS], &sizes);
        let first = all[0].connect();
        all[0].open(first, Access { read: true, write: true }, From::Live, Policy::Gap);
        settle(&mut all);
        let second = all[0].connect();
        let [mut core, mut owner]: [Core; 2] = all.try_into().ok().unwrap();

        let end = owner.end();
        let sessions = spawn(move || {
            assert!(core.publish(first, 0, 1));
            core.open_to_read(second, From::Live, Policy::Gap);
            for number in 2..=batches {
                assert!(core.publish(first, 0, number));
            }
            core.act(first, ControlAction::Drop { handle: 0 });
            core.turn();
            yield_now();
            core.turn();
            end.tell();
            core
        });
        owner.run();
        // What is left by now can come in one order only.
        let mut all = [sessions.join().unwrap(), owner];
        settle(&mut all);
        let got = |session| -> Vec<Event> {
            let is_no_ack = |event: &Event| !matches!(event, Event::Ack(_));
            all[0].client.of(session).skip(1).filter(is_no_ack).collect()
        };
        let images = |from| (from..=batches).map(|number| Event::Image(number, number as u8));
        let end = Event::Closed(0, CloseReason::Dropped);
        assert_eq!(got(first), images(1).chain([end]).collect::<Vec<_>>());
        assert_eq!(got(second), images(2).chain([end]).collect::<Vec<_>>());
    }
}
