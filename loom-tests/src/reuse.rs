//! A story of reuse: a document is dropped, and its slot is another's while an `open` is on its way.
//!
//! | writer and owner (one core) | reader (another core) |
//! |---|---|
//! | drops the document: its name is free, its stream ends `(1)` | asks for the name |
//! | marks and rings who reads it | if it met the old document: gets byte 1, the end, closes `(2)` |
//! | frees the slot behind the last handle `(3)`, under a new generation `(4)` | |
//! | opens the name again: a clean entry `(5)`, perhaps in the same slot | |
//! | writes byte 9 into it | if it met the new document: gets byte 9 |
//!
//! Slot and generation name a document; nobody may see one's bytes under the other's name.
//!
//! The story has a bound, since the stages of both cores sleep: see "What is explored" in the README.

use crate::table::{Model, Mutant};

const REGISTRY: &str = "pipeline/src/registry.rs";
const ANSWERS: &str = "pipeline/src/validation/answers.rs";
const HANDLES: &str = "pipeline/src/reception/handles.rs";

/// The models of this file.
pub const MODELS: &[Model] = &[Model {
    name: "reuse::models::an_open_meets_the_dropped_document_or_the_next",
    mutants: &[
        Mutant {
            fault: "(1) a dropped document keeps its name",
            file: REGISTRY,
            text: "            self.directory.remove(&cold.name);\n        }\n        let mut evicted",
            replacement: "        }\n        let mut evicted",
        },
        Mutant {
            fault: "(1) its stream does not end",
            file: ANSWERS,
            text: "let has_ended = document.flags & DROPPED != 0;",
            replacement: "let has_ended = false;",
        },
        Mutant {
            fault: "(2) the end of a stream closes no handle",
            file: HANDLES,
            text: "self.close_handle(session, handle, reason, around);",
            replacement: "let _ = reason;",
        },
        Mutant {
            fault: "(3) the slot is free before its readers have closed",
            file: REGISTRY,
            text: "self.documents[index].flags & (DROPPED | LEAVING) != DROPPED || cold.handles != 0",
            replacement: "self.documents[index].flags & (DROPPED | LEAVING) != DROPPED",
        },
        Mutant {
            fault: "(4) the next document has the same generation",
            file: REGISTRY,
            text: "document.generation.wrapping_add(1)",
            replacement: "document.generation.wrapping_add(0)",
        },
        Mutant {
            fault: "(5) the next document begins with the old one's tail",
            file: REGISTRY,
            text: "self.shared.get(slot).reset();",
            replacement: "",
        },
    ],
}];

#[cfg(all(loom, test))]
mod models {
    use crate::cores::{ALL, Core, Event, SESSIONS, Sizes, cores, settle};
    use crate::explore::{few_preemptions, spawn};
    use deltaworks_pipeline::message::{CloseReason, From, Policy, SessionId};
    use deltaworks_pipeline::port::ControlAction;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};

    const OLD: u8 = 1;
    const NEW: u8 = 9;

    fn opened(core: &Core, session: SessionId) -> Option<(u32, (u32, u32))> {
        core.client.of(session).rev().find_map(|event| match event {
            Event::Opened { handle, document, .. } => Some((handle, document)),
            _ => None,
        })
    }

    #[test]
    fn an_open_meets_the_dropped_document_or_the_next() {
        let met = Arc::new([AtomicBool::new(false), AtomicBool::new(false)]);
        let reused = Arc::new(AtomicBool::new(false));
        let (all_met, was_reused) = (met.clone(), reused.clone());
        few_preemptions(2, move || story(&all_met, &was_reused));
        assert!(met.iter().all(|met| met.load(Ordering::Relaxed)), "an open met either document");
        assert!(reused.load(Ordering::Relaxed), "and that one in the slot of the first");
    }

    /// `met`: the `open` has met the old document, the new one. `reused`: that had the old one's
    /// slot.
    fn story(met: &Arc<[AtomicBool; 2]>, reused: &Arc<AtomicBool>) {
        let sizes = Sizes { documents: 2, ..Sizes::default() };
        let mut all = cores(&[ALL, SESSIONS], &sizes);
        let writing = all[0].connect();
        all[0].open_to_write(writing);
        settle(&mut all);
        assert!(all[0].publish_byte(writing, 0, 1, OLD));
        settle(&mut all);
        let reading = all[1].connect();
        let [mut writer, mut reader]: [Core; 2] = all.try_into().ok().unwrap();
        let (_, old) = opened(&writer, writing).unwrap();

        let end = writer.end();
        let (met, reused) = (met.clone(), reused.clone());
        let readers = spawn(move || {
            reader.open_to_read(reading, From::Start, Policy::Gap);
            reader.run_until(|core| {
                core.client.is_closed(reading, CloseReason::Dropped)
                    || core.client.of(reading).any(|event| event == Event::Image(1, NEW))
            });
            end.tell();

            let (_, found) = opened(&reader, reading).unwrap();
            let is_new = found != old;
            met[usize::from(is_new)].store(true, Ordering::Relaxed);
            reused.fetch_or(is_new && found.0 == old.0, Ordering::Relaxed);
            let byte = reader.client.of(reading).find_map(|event| match event {
                Event::Image(1, byte) => Some(byte),
                _ => None,
            });
            assert_eq!(byte, Some(if is_new { NEW } else { OLD }));
            assert_eq!(reader.client.is_closed(reading, CloseReason::Dropped), !is_new);
        });
        writer.turn();
        writer.act(writing, ControlAction::Drop { handle: 0 });
        writer.run_until(|core| core.client.is_closed(writing, CloseReason::Dropped));
        writer.open_to_write(writing);
        writer.run_until(|core| opened(core, writing).is_some_and(|(handle, _)| handle != 0));
        let (handle, _) = opened(&writer, writing).unwrap();
        assert!(writer.publish_byte(writing, handle, 1, NEW));
        writer.run();
        readers.join().unwrap();
    }
}
