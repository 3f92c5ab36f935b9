//! Stories of retirement: a chunk is filled again while somebody could still reach its old bytes.
//!
//! Chunks hold one image, a core has two. Image 1 lies in chunk 0, image 2 in chunk 1, and image 3
//! needs chunk 0 again:
//!
//! | reception and owner (one core) | agent (another core) |
//! |---|---|
//! | no chunk is free: retires chunk 0, once its descriptors are answered `(1)` | |
//! | moves the window's start behind image 1 `(2)` | |
//! | asks the agents that read the document `(3)`, rings `(4)` | serves what its socket takes |
//! | | moves cursors behind the window's start by their policy `(5)` |
//! | | copies an image that its socket has taken half `(6)` |
//! | frees the blocks and the chunk when all have answered `(7)` | answers |
//! | reads image 3 into chunk 0 | goes on from its cursor or its copy |
//!
//! The reader must get each image whole, or be told that it is missing. Each mutant breaks one of
//! the numbers: then loom sees bytes written while they are read, or the reader gets an image that
//! is another's. In the last stories the agent learns of the document, lets go of it, or loses its
//! session while all this goes on.
//!
//! All have a bound, since the stages of both cores sleep: see "What is explored" in the README.

use crate::table::{Model, Mutant};

const CHUNK: &str = "pipeline/src/chunk.rs";
const OPENING: &str = "pipeline/src/registry/opening.rs";
const RETIREMENT: &str = "pipeline/src/retirement.rs";
const PROPAGATION: &str = "pipeline/src/propagation.rs";
const RETIRING: &str = "pipeline/src/propagation/retiring.rs";
const MAILBOX: &str = "pipeline/src/mailbox.rs";

const NOBODY_IS_ASKED: Mutant = Mutant {
    fault: "(3) the owner asks no agent",
    file: RETIREMENT,
    text: "job.agents |= document.readers;",
    replacement: "",
};

/// The models of this file.
pub const MODELS: &[Model] = &[
    Model {
        name: "retirement::models::a_half_sent_image_is_copied_first",
        mutants: &[
            NOBODY_IS_ASKED,
            Mutant {
                fault: "(4) the agent is not rung",
                file: MAILBOX,
                text: "        self.unrung = true;\n        before - self.messages",
                replacement: "        before - self.messages",
            },
            Mutant {
                fault: "(6) what is half sent is not copied",
                file: RETIRING,
                text: "self.copy_half(SessionId(session));",
                replacement: "",
            },
            Mutant {
                fault: "(7) the owner does not wait for answers",
                file: RETIREMENT,
                text: "job.stage = Stage::Answers(job.agents);",
                replacement: "job.stage = Stage::Answers(0);",
            },
        ],
    },
    Model {
        name: "retirement::models::a_cursor_moves_behind_the_window_first",
        mutants: &[
            Mutant {
                fault: "(2) the window's start is not published",
                file: RETIREMENT,
                text: "registry.shared.get(slot).set_window_start(window.node);",
                replacement: "",
            },
            Mutant {
                fault: "(5) cursors stay where they are",
                file: RETIRING,
                text: "self.clear_of_window(next, port);",
                replacement: "",
            },
        ],
    },
    Model {
        name: "retirement::models::what_a_waiting_reader_lacks_is_copied_first",
        mutants: &[Mutant {
            fault: "(5) images of a `wait` subscription are not copied",
            file: RETIRING,
            text: "Policy::Wait => self.copy_aside(place, at, start),",
            replacement: "Policy::Wait => {}",
        }],
    },
    Model {
        name: "retirement::models::an_image_that_is_still_checked_keeps_its_chunk",
        mutants: &[Mutant {
            fault: "(1) a chunk is retired before its descriptors are answered",
            file: CHUNK,
            text: "chunk.sent == chunk.answered && chunk.reservations == 0",
            replacement: "chunk.reservations == 0",
        }],
    },
    Model {
        name: "retirement::models::an_open_on_its_way_is_answered_before_or_after",
        mutants: &[
            Mutant {
                fault: "(3) a new reader is not counted",
                file: OPENING,
                text: "document.readers |= 1 << core;",
                replacement: "",
            },
            Mutant {
                fault: "a cursor is handed out that stands before the window",
                file: RETIREMENT,
                text: "document.window_start = window.node;",
                replacement: "",
            },
        ],
    },
    Model {
        name: "retirement::models::a_reader_that_closes_copies_what_is_half_sent",
        mutants: &[Mutant {
            fault: "a closed subscription leaves its half-sent image in the chunk",
            file: PROPAGATION,
            text: "self.copy_half(session);",
            replacement: "",
        }],
    },
    Model {
        name: "retirement::models::an_agent_whose_session_ends_still_answers",
        mutants: &[Mutant {
            fault: "an agent without sessions does not answer",
            file: RETIRING,
            text: "boxes.to(self.worker_cores[worker as usize]).send(Message::Released { chunk });",
            replacement: "if self.outlets.iter().any(|outlet| outlet.is_open) {\n            boxes.to(self.worker_cores[worker as usize]).send(Message::Released { chunk });\n        }",
        }],
    },
];

#[cfg(all(loom, test))]
mod models {
    use crate::cores::{ALL, Core, DOCUMENTS, Event, IMAGE_BYTES, SESSIONS, Sizes, cores, settle};
    use crate::explore::{few_preemptions, spawn};
    use deltaworks_pipeline::message::{CloseReason, From, Policy, SessionId};
    use deltaworks_pipeline::port::ControlAction;
    use deltaworks_runtime::sync::thread::yield_now;

    fn sizes() -> Sizes {
        Sizes { images_per_chunk: 1, ..Sizes::default() }
    }

    /// A writer's core that has filled both of its chunks, and a reader's core whose socket has
    /// taken `room_bytes` of image 1; their sessions.
    fn full_chunks(policy: Policy, room_bytes: usize) -> (Core, SessionId, Core, SessionId) {
        let mut all = cores(&[ALL, SESSIONS], &sizes());
        let writing = all[0].connect();
        all[0].open_to_write(writing);
        let reading = all[1].connect();
        all[1].open_to_read(reading, From::Live, policy);
        settle(&mut all);
        all[1].client.room_bytes = room_bytes;
        assert!(all[0].publish(writing, 0, 1));
        settle(&mut all);
        assert!(all[0].publish(writing, 0, 2));
        let [writer, reader]: [Core; 2] = all.try_into().ok().unwrap();
        (writer, writing, reader, reading)
    }

    /// The reader's socket takes everything at some time; then it must get all of it.
    fn slow_reader(policy: Policy, room_bytes: usize) {
        let (mut writer, writing, mut reader, reading) = full_chunks(policy, room_bytes);
        let reader = spawn(move || {
            reader.turn();
            reader.take_all(reading);
            reader.run_until(|core| core.client.next_sequence(reading) == 4);
        });
        writer.publish_when_read(writing, 0, 3);
        reader.join().unwrap();
    }

    #[test]
    fn a_half_sent_image_is_copied_first() {
        few_preemptions(3, || slow_reader(Policy::Gap, IMAGE_BYTES / 2));
    }

    #[test]
    fn a_cursor_moves_behind_the_window_first() {
        few_preemptions(3, || slow_reader(Policy::Gap, 0));
    }

    #[test]
    fn what_a_waiting_reader_lacks_is_copied_first() {
        few_preemptions(2, || slow_reader(Policy::Wait, 0));
    }

    #[test]
    fn an_image_that_is_still_checked_keeps_its_chunk() {
        few_preemptions(2, || {
            let sizes = Sizes { is_slow: true, ..sizes() };
            let mut all = cores(&[SESSIONS, DOCUMENTS], &sizes);
            let writing = all[0].connect();
            all[0].open_to_write(writing);
            settle(&mut all);
            assert!(all[0].publish(writing, 0, 1));
            all[0].turn();
            assert!(all[0].publish(writing, 0, 2));
            let [mut writer, mut owner]: [Core; 2] = all.try_into().ok().unwrap();

            let end = owner.end();
            let writer = spawn(move || {
                writer.turn();
                yield_now();
                writer.turn();
                // Only if a chunk is free already: nobody waits for one.
                writer.publish(writing, 0, 3);
                end.tell();
                writer
            });
            owner.run();
            let mut all = [writer.join().unwrap(), owner];
            settle(&mut all);
            assert!(all[0].client.of(writing).any(|event| event == Event::Ack(2)));
        });
    }

    #[test]
    fn an_open_on_its_way_is_answered_before_or_after() {
        few_preemptions(2, || {
            let mut all = cores(&[ALL, SESSIONS], &sizes());
            let writing = all[0].connect();
            all[0].open_to_write(writing);
            let reading = all[1].connect();
            settle(&mut all);
            for number in [1, 2] {
                assert!(all[0].publish(writing, 0, number));
            }
            let [mut writer, mut reader]: [Core; 2] = all.try_into().ok().unwrap();

            let end = writer.end();
            let reader = spawn(move || {
                reader.open_to_read(reading, From::Start, Policy::Gap);
                reader.run_until(|core| core.client.next_sequence(reading) == 4);
                end.tell();
            });
            writer.publish_when_read(writing, 0, 3);
            writer.run();
            reader.join().unwrap();
        });
    }

    #[test]
    fn a_reader_that_closes_copies_what_is_half_sent() {
        few_preemptions(2, || {
            let (mut writer, writing, mut reader, reading) =
                full_chunks(Policy::Gap, IMAGE_BYTES / 2);
            let end = writer.end();
            let reader = spawn(move || {
                reader.act(reading, ControlAction::Close { handle: 0 });
                reader.turn();
                reader.take_all(reading);
                reader.run_until(|core| core.client.is_closed(reading, CloseReason::Asked));
                assert_eq!(reader.client.next_sequence(reading), 2, "the image came whole");
                end.tell();
            });
            writer.publish_when_read(writing, 0, 3);
            writer.run();
            reader.join().unwrap();
        });
    }

    #[test]
    fn an_agent_whose_session_ends_still_answers() {
        few_preemptions(2, || {
            let (mut writer, writing, mut reader, reading) =
                full_chunks(Policy::Gap, IMAGE_BYTES / 2);
            let end = reader.end();
            let reader = spawn(move || {
                reader.turn();
                reader.end_session(reading);
                assert_eq!(reader.client.next_sequence(reading), 2, "the image came whole");
                reader.run();
            });
            writer.publish_when_read(writing, 0, 3);
            end.tell();
            reader.join().unwrap();
        });
    }
}
