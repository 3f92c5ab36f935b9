//! Stories of a chunk: bytes that change hands by messages, and a chunk that is used again.

use crate::table::{Model, Mutant};

const TWIN: &str = "runtime/src/ring/twin.rs";
const HERE: &str = "loom-tests/src/chunk.rs";

/// The models of this file.
pub const MODELS: &[Model] = &[
    Model {
        name: "chunk::models::bytes_go_from_reception_to_owner_to_agent",
        mutants: &[
            Mutant {
                fault: "the ring does not publish the bytes",
                file: TWIN,
                text: "self.ring.tail.store(tail, Ordering::Release)",
                replacement: "self.ring.tail.store(tail, Ordering::Relaxed)",
            },
            Mutant {
                fault: "the owner passes the bytes on before it stamps them",
                file: HERE,
                text: "stamp(&memory, range);\n                    send(&mut to_agent, range);",
                replacement: "send(&mut to_agent, range);\n                    stamp(&memory, range);",
            },
            Mutant {
                fault: "reception fills the bytes after it passed them on",
                file: HERE,
                text: "fill(&memory, range, 1);\n            send(&mut to_owner, range);",
                replacement: "send(&mut to_owner, range);\n            fill(&memory, range, 1);",
            },
        ],
    },
    Model {
        name: "chunk::models::a_chunk_is_used_again_after_all_have_answered",
        mutants: &[
            Mutant {
                fault: "the agent answers before it has read",
                file: HERE,
                text: "check(&memory, range, 1);\n                    send(&mut to_owner, Message::Answer);",
                replacement: "send(&mut to_owner, Message::Answer);\n                    check(&memory, range, 1);",
            },
            Mutant {
                fault: "the owner answers for the agent",
                file: HERE,
                text: concat!("assert_eq!(receive(&mut from_agent), ", "Message::Answer);"),
                replacement: "let _ = &mut from_agent;",
            },
            Mutant {
                fault: "reception does not wait for answers",
                file: HERE,
                text: concat!("assert_eq!(receive(&mut from_owner), ", "Message::Answer);"),
                replacement: "let _ = &mut from_owner;",
            },
            Mutant {
                fault: "an answer does not carry what happened before it",
                file: TWIN,
                text: "self.ring.tail.load(Ordering::Acquire)",
                replacement: "self.ring.tail.load(Ordering::Relaxed)",
            },
        ],
    },
];

#[cfg(all(loom, test))]
mod models {
    #![expect(unsafe_code, reason = "the contract of chunk memory is what is modelled")]

    use crate::explore::few_preemptions;
    use deltaworks_runtime::chunk_memory::{ByteRange, ChunkMemory, RegionSpec};
    use deltaworks_runtime::chunk_memory::{CHUNK_BYTES_MIN, ChunkId};
    use deltaworks_runtime::doorbell::{Doorbell, Sleeper, doorbell};
    use deltaworks_runtime::parking::{Parker, parker};
    use deltaworks_runtime::ring::{Consumer, Producer, ring};
    use deltaworks_runtime::sync::{Arc, thread};

    const IMAGE_BYTES: u32 = CHUNK_BYTES_MIN as u32;
    const STAMP_BYTES: u32 = 8;

    fn memory() -> (Arc<ChunkMemory>, ByteRange) {
        let region = RegionSpec { chunks: 1, numa_node: None };
        let (memory, _) = ChunkMemory::new(&[region], CHUNK_BYTES_MIN).unwrap();
        (Arc::new(memory), ByteRange::new(ChunkId(0), 0, IMAGE_BYTES))
    }

    /// The giving end of a way: a ring, and the doorbell of who sleeps at its other end.
    struct To<T>(Producer<T>, Doorbell);

    /// The taking end of a way.
    struct From<T>(Consumer<T>, Sleeper, Parker);

    fn way<T>(capacity: usize) -> (To<T>, From<T>) {
        let (producer, consumer) = ring(capacity);
        let (parker, unparker) = parker();
        let (bell, sleeper) = doorbell(unparker);
        (To(producer, bell), From(consumer, sleeper, parker))
    }

    fn send<T: core::fmt::Debug>(To(ring, bell): &mut To<T>, message: T) {
        ring.push(message).expect("the stories have room for each message");
        bell.ring();
    }

    fn receive<T>(From(ring, sleeper, parker): &mut From<T>) -> T {
        loop {
            if let Some(message) = ring.pop() {
                return message;
            }
            if sleeper.may_sleep(|| !ring.is_empty()) {
                parker.park();
                sleeper.woke();
            }
        }
    }

    fn fill(memory: &ChunkMemory, range: ByteRange, value: u8) {
        // SAFETY: the contract under test; a model finds whoever breaks it.
        unsafe { memory.slice_mut(range) }.fill(value);
    }

    fn stamp(memory: &ChunkMemory, range: ByteRange) {
        let header = ByteRange { bytes: STAMP_BYTES, ..range };
        // SAFETY: as above.
        unsafe { memory.slice_mut(header) }.fill(7);
    }

    fn check(memory: &ChunkMemory, range: ByteRange, value: u8) {
        // SAFETY: as above.
        let bytes = unsafe { memory.slice(range) };
        let (header, body) = bytes.split_at(STAMP_BYTES as usize);
        assert!(header.iter().all(|byte| *byte == 7), "stamped");
        assert!(body.iter().all(|byte| *byte == value), "whole");
    }

    #[test]
    fn bytes_go_from_reception_to_owner_to_agent() {
        few_preemptions(2, || {
            let (memory, range) = memory();
            let (mut to_owner, mut from_reception) = way(1);
            let (mut to_agent, mut from_owner) = way(1);
            let owner = thread::spawn({
                let memory = memory.clone();
                move || {
                    let range = receive(&mut from_reception);
                    stamp(&memory, range);
                    send(&mut to_agent, range);
                }
            });
            let agent = thread::spawn({
                let memory = memory.clone();
                move || {
                    let range = receive(&mut from_owner);
                    check(&memory, range, 1);
                }
            });
            fill(&memory, range, 1);
            send(&mut to_owner, range);
            owner.join().unwrap();
            agent.join().unwrap();
        });
    }

    #[derive(Debug, PartialEq)]
    enum Message {
        Image(ByteRange),
        Retire,
        Answer,
    }

    #[test]
    fn a_chunk_is_used_again_after_all_have_answered() {
        few_preemptions(2, || {
            let (memory, range) = memory();
            let (mut reception_to_owner, mut from_reception) = way(2);
            let (mut owner_to_agent, mut owner_messages) = way(2);
            let (mut to_owner, mut from_agent) = way(1);
            let (mut to_reception, mut from_owner) = way(1);
            let owner = thread::spawn({
                let memory = memory.clone();
                move || {
                    let Message::Image(range) = receive(&mut from_reception) else { panic!() };
                    stamp(&memory, range);
                    send(&mut owner_to_agent, Message::Image(range));
                    assert_eq!(receive(&mut from_reception), Message::Retire);
                    send(&mut owner_to_agent, Message::Retire);
                    assert_eq!(receive(&mut from_agent), Message::Answer);
                    send(&mut to_reception, Message::Answer);
                }
            });
            let agent = thread::spawn({
                let memory = memory.clone();
                move || {
                    let Message::Image(range) = receive(&mut owner_messages) else { panic!() };
                    assert_eq!(receive(&mut owner_messages), Message::Retire);
                    check(&memory, range, 1);
                    send(&mut to_owner, Message::Answer);
                }
            });
            fill(&memory, range, 1);
            send(&mut reception_to_owner, Message::Image(range));
            send(&mut reception_to_owner, Message::Retire);
            assert_eq!(receive(&mut from_owner), Message::Answer);
            fill(&memory, range, 2);
            owner.join().unwrap();
            agent.join().unwrap();
        });
    }
}
