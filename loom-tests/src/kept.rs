//! A quiet document's image moves to another chunk while a reader of it is at work.
//!
//! Shared: the word of a node that says where its image lies, which the owner stores again when it has
//! copied the image out of a chunk that is retired; agents load it before, meanwhile and behind. And the
//! bytes: the old ones are written over when every agent has answered, the copy is as good from the
//! moment at which an agent can see where it lies.
//!
//! Stories turn the shipping stages of two cores, and have a bound like those of `retirement`.

use crate::table::{Model, Mutant};

const KEPT: &str = "pipeline/src/kept.rs";
const RETIREMENT: &str = "pipeline/src/retirement.rs";
const RETIRING: &str = "pipeline/src/propagation/retiring.rs";
const STREAM: &str = "pipeline/src/stream.rs";

/// The models of this file.
pub const MODELS: &[Model] = &[
    Model {
        name: "kept::models::an_image_is_read_where_it_was_or_where_it_went",
        mutants: &[
            Mutant {
                fault: "a node is pointed to bytes that are not published",
                file: STREAM,
                text: "word.store(range.to_word(), Ordering::Release);",
                replacement: "word.store(range.to_word(), Ordering::Relaxed);",
            },
            Mutant {
                fault: "an agent does not acquire the bytes of a copy",
                file: STREAM,
                text: "words[0].load(Ordering::Acquire)",
                replacement: "words[0].load(Ordering::Relaxed)",
            },
            Mutant {
                fault: "a node is pointed to a copy before that is made",
                file: KEPT,
                text: "        self.pool.tail()[..image.len()].copy_from_slice(image);\n",
                replacement: "",
            },
            Mutant {
                fault: "a node stays where its image was",
                file: RETIREMENT,
                text: "        registry.blocks.point(at.block, at.index, copy);\n",
                replacement: "",
            },
            Mutant {
                fault: "agents are not asked, because nothing leaves the window",
                file: RETIREMENT,
                text: "job.agents |= document.readers;",
                replacement: "",
            },
        ],
    },
    Model {
        name: "kept::models::what_is_half_sent_of_an_image_that_moves_is_copied",
        mutants: &[Mutant {
            fault: "what is half sent is copied only if it leaves the window",
            file: RETIRING,
            text: "(range.chunk() == chunk || node < self.shared.get(slot).window_start())",
            replacement: "node < self.shared.get(slot).window_start()",
        }],
    },
];

#[cfg(all(loom, test))]
mod models {
    use crate::cores::{ALL, Core, IMAGE_BYTES, SESSIONS, Sizes, cores, settle};
    use crate::explore::{few_preemptions, spawn};
    use deltaworks_pipeline::message::{From, Policy, SessionId};

    /// Handles of the document that is quiet, and of the one that fills chunks.
    const QUIET: u32 = 0;
    const BUSY: u32 = 1;

    /// A writer's core, and a reader's core whose socket has taken `room_bytes` of the quiet document's
    /// newest image, which is its number `newest`; their sessions. What comes next fills the last chunk.
    fn quiet_image(newest: u64, room_bytes: usize) -> (Core, SessionId, Core, SessionId) {
        let sizes = Sizes { documents: 2, node_blocks: 12, kept_chunks: 3, ..Sizes::default() };
        let mut all = cores(&[ALL, SESSIONS], &sizes);
        let writing = all[0].connect();
        all[0].open_to_write(writing);
        all[0].open_another_to_write(writing);
        let reading = all[1].connect();
        all[1].open_to_read(reading, From::Live, Policy::Gap);
        settle(&mut all);
        for number in 1..=newest {
            if number == newest {
                all[1].client.room_bytes = room_bytes;
            }
            // One of each to a chunk: when the next is begun the chunk goes, and the quiet one's is its newest.
            for handle in [BUSY, QUIET] {
                assert!(all[0].publish(writing, handle, number));
                settle(&mut all);
            }
        }
        let [writer, reader]: [Core; 2] = all.try_into().ok().unwrap();
        (writer, writing, reader, reading)
    }

    /// The busy document has the memory turned over while the reader takes what it lacks.
    fn turn_over(newest: u64, room_bytes: usize, images: u64) {
        let (mut writer, writing, mut reader, reading) = quiet_image(newest, room_bytes);
        let end = reader.end();
        let reader = spawn(move || {
            reader.turn();
            reader.take_all(reading);
            reader.run();
            assert_eq!(reader.client.next_sequence(reading), newest + 1, "it came whole");
        });
        for image in 1..=images {
            writer.publish_when_read(writing, BUSY, newest + image);
        }
        end.tell();
        reader.join().unwrap();
    }

    #[test]
    fn an_image_is_read_where_it_was_or_where_it_went() {
        few_preemptions(3, || turn_over(1, 0, 3));
    }

    #[test]
    fn what_is_half_sent_of_an_image_that_moves_is_copied() {
        few_preemptions(2, || turn_over(1, IMAGE_BYTES / 2, 3));
    }
}
