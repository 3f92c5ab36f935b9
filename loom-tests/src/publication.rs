//! A story of publication: one image from a writer's core over its owner to a reader's core.
//!
//! | writer's core | owner's core | reader's core |
//! |---|---|---|
//! | reads bytes into its chunk | | |
//! | pushes the descriptor `(1)`, rings | takes it `(2)`, checks, stamps in place | |
//! | | writes the node, publishes the tail `(3)` | |
//! | | fences, sets the mark, rings `(4)` | takes the mark, acquires the tail `(5)` |
//! | | | reads node, bytes and stamp, sends them |
//!
//! `(1)`–`(2)` make the bytes the owner's, `(3)`–`(5)` make bytes and stamp the reader's. Each
//! mutant breaks one of the numbers; loom sees bytes that two cores touch with nothing between
//! them, or the reader finds an image that is not whole, or sleeps for ever.

use crate::table::{Model, Mutant};

const TWIN: &str = "runtime/src/ring/twin.rs";
const DOCUMENT: &str = "pipeline/src/document.rs";
const ANSWERS: &str = "pipeline/src/validation/answers.rs";

/// The models of this file.
pub const MODELS: &[Model] = &[Model {
    name: "publication::models::an_image_is_whole_and_stamped_on_the_readers_core",
    mutants: &[
        Mutant {
            fault: "(1) the ring does not publish the bytes",
            file: TWIN,
            text: "self.ring.tail.store(tail, Ordering::Release)",
            replacement: "self.ring.tail.store(tail, Ordering::Relaxed)",
        },
        Mutant {
            fault: "(2) the owner does not acquire the bytes",
            file: TWIN,
            text: "self.ring.tail.load(Ordering::Acquire)",
            replacement: "self.ring.tail.load(Ordering::Relaxed)",
        },
        Mutant {
            fault: "(3) the tail does not publish the stamp",
            file: DOCUMENT,
            text: "self.tail.store(nodes | if ended { ENDED } else { 0 }, Ordering::Release);",
            replacement: "self.tail.store(nodes | if ended { ENDED } else { 0 }, Ordering::Relaxed);",
        },
        Mutant {
            fault: "(3) the tail is published one node too far",
            file: ANSWERS,
            text: "shared.publish(document.nodes, ",
            replacement: "shared.publish(document.nodes + 1, ",
        },
        Mutant {
            fault: "(4) no fence between the tails and the tests of the marks",
            file: ANSWERS,
            text: "// Between the tails and the tests of the bits; pairs with the fence in `Pending::take`.\n        fence(Ordering::SeqCst);",
            replacement: "",
        },
        Mutant {
            fault: "(4) the reader is marked, but not rung",
            file: ANSWERS,
            text: "woken |= 1 << core;",
            replacement: "woken |= 0 << core;",
        },
        Mutant {
            fault: "(5) the reader does not acquire the tail",
            file: DOCUMENT,
            text: "self.tail.load(Ordering::Acquire)",
            replacement: "self.tail.load(Ordering::Relaxed)",
        },
    ],
}];

#[cfg(all(loom, test))]
mod models {
    use crate::cores::{Core, DOCUMENTS, SESSIONS, Sizes, cores, settle};
    use crate::explore::{few_preemptions, spawn};
    use deltaworks_pipeline::message::{From, Policy};

    #[test]
    fn an_image_is_whole_and_stamped_on_the_readers_core() {
        few_preemptions(2, || {
            let mut all = cores(&[SESSIONS, SESSIONS, DOCUMENTS], &Sizes::default());
            let writing = all[0].connect();
            all[0].open_to_write(writing);
            let reading = all[1].connect();
            all[1].open_to_read(reading, From::Live, Policy::Gap);
            settle(&mut all);
            let [mut writer, mut reader, owner]: [Core; 3] = all.try_into().ok().unwrap();

            let end = owner.end();
            let owner = owner.spawn();
            let reader = spawn(move || {
                reader.run_until(|core| core.client.next_sequence(reading) == 3);
            });
            for number in [1, 2] {
                assert!(writer.publish(writing, 0, number));
                writer.turn();
            }

            reader.join().unwrap();
            end.tell();
            owner.join().unwrap();
        });
    }
}
