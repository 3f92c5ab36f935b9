//! The faults that the stress tests must find, each in a copy of the sources: see `stress-mutants`.
//!
//! A missing fence or a weakened ordering is the models' to find (`loom-tests`): this machine may
//! never show it. Here stand faults of logic, which threads meet soon; and the one fence that models
//! cannot see, because the kernel makes it.

use deltaworks_mutants::mutant::Mutant;

/// A fault, and the test that must find it.
#[derive(Debug, Clone, Copy)]
pub struct Row {
    /// Where the test stands.
    pub tests: Tests,
    /// The test's path, module included.
    pub test: &'static str,
    /// The fault.
    pub mutant: Mutant,
}

/// The tests of one program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tests {
    /// This crate's.
    Stress,
    /// The server's own.
    Server,
}

const RING: &str = "ring::every_value_arrives_once_in_order_and_whole";
const DOORBELL: &str = "doorbell::a_sleeper_gets_everything_from_all_who_ring";
const MEETING: &str = "doorbell::who_rings_and_who_falls_asleep_do_not_miss_each_other";
const COUNTERS: &str = "counters::a_word_is_never_torn_and_never_goes_back";
const PENDING: &str = "pending::no_document_of_many_is_left_behind";
const STREAM: &str = "stream::agents_of_all_speeds_see_every_image_that_the_window_holds";
const STAGES: &str = "stages::whole_stages_keep_order_bytes_and_memory_and_end_in_order";
const WAKING: &str = "stages::waking::who_only_reads_is_woken_for_each_document_that_grew";
const SETTINGS: &str = "settings::stress::every_reader_sees_whole_settings_and_the_last";
const DESK: &str = "desk::stress::every_question_is_answered_once_and_in_order";

/// All of them, in the order of the tests.
pub const ROWS: &[Row] = &[
    of(
        RING,
        Mutant {
            fault: "a run loses its first value",
            file: "runtime/src/ring.rs",
            text: "chunk.into_iter().for_each(take);",
            replacement: "chunk.into_iter().skip(1).for_each(take);",
        },
    ),
    of(
        RING,
        Mutant {
            fault: "a run that is cut takes one value too many",
            file: "runtime/src/ring.rs",
            text: "chunk.map_or(0, |chunk| chunk.fill_from_iter(values))",
            replacement: "chunk.map_or(0, |chunk| {\n let count = chunk.fill_from_iter(&mut *values);\n values.next();\n count\n })",
        },
    ),
    of(
        DOORBELL,
        Mutant {
            fault: "the sleeper does not look before it sleeps",
            file: "runtime/src/doorbell.rs",
            text: "        if look() || !is_fenced {",
            replacement: "        let _ = look;\n        if !is_fenced {",
        },
    ),
    of(
        DOORBELL,
        Mutant {
            fault: "a wake before the sleep is forgotten",
            file: "runtime/src/parking.rs",
            text: "        if !*stored {",
            replacement: "        *stored = false;\n        {",
        },
    ),
    of(
        MEETING,
        Mutant {
            fault: "the kernel is not asked to fence for who rings",
            file: "runtime/src/fences.rs",
            text: "How::ByKernel => platform::barrier_everywhere(),",
            replacement: "How::ByKernel => true,",
        },
    ),
    of(
        MEETING,
        Mutant {
            fault: "who rings fences no more, and the kernel does not either",
            file: "runtime/src/fences.rs",
            text: "        // The fence pairs with that of `seldom`.\n        fence(Ordering::SeqCst);\n",
            replacement: "",
        },
    ),
    of(
        COUNTERS,
        Mutant {
            fault: "a word is published by halves",
            file: "runtime/src/counters.rs",
            text: "word.store(copy[index], Ordering::Relaxed);",
            replacement: "word.store(copy[index] >> 32 << 32, Ordering::Relaxed);",
        },
    ),
    of(
        PENDING,
        Mutant {
            fault: "only the first documents keep an agent awake",
            file: "pipeline/src/pending.rs",
            text: "self.summary.iter().all(",
            replacement: "self.summary.iter().take(1).all(",
        },
    ),
    of(
        PENDING,
        Mutant {
            fault: "marks that come while they are taken are lost",
            file: "pipeline/src/pending.rs",
            text: "let mut bits = self.words[word].swap(0, Ordering::AcqRel);",
            replacement: "let mut bits = self.words[word].load(Ordering::Acquire);\n for _ in 0..100 { core::hint::spin_loop(); }\n self.words[word].store(0, Ordering::Release);",
        },
    ),
    of(
        STREAM,
        Mutant {
            fault: "a tail is published before its node is written",
            file: "pipeline/src/document.rs",
            text: "self.tail.store(nodes | if",
            replacement: "self.tail.store((nodes + u64::from(!ended)) | if",
        },
    ),
    of(
        STREAM,
        Mutant {
            fault: "a chain that comes back is cut off behind its first block",
            file: "pipeline/src/stream.rs",
            text: "            block.next.store(self.free, Ordering::Relaxed);",
            replacement: "            block.next.store(NO_BLOCK, Ordering::Relaxed);",
        },
    ),
    of(
        STREAM,
        Mutant {
            fault: "a cursor that is moved stands one node short",
            file: "pipeline/src/stream.rs",
            text: "            let step = node - place.node;",
            replacement: "            let node = node - 1;\n            let step = node - place.node;",
        },
    ),
    of(
        STAGES,
        Mutant {
            fault: "an agent answers without moving its cursors",
            file: "pipeline/src/propagation/retiring.rs",
            text: "                    self.clear_of_window(next, port);",
            replacement: "                    let _ = &port;",
        },
    ),
    of(
        WAKING,
        Mutant {
            fault: "nobody is woken for a document that grew",
            file: "pipeline/src/mailbox.rs",
            text: "    pub fn nudge(&mut self) {\n        if let Way::Ring(outbox) = &mut self.way {\n            outbox.unrung = true;",
            replacement: "    pub fn nudge(&mut self) {\n        if let Way::Ring(outbox) = &mut self.way {\n            outbox.unrung |= false;",
        },
    ),
    of(
        STAGES,
        Mutant {
            fault: "a half-sent image is not copied out of its chunk",
            file: "pipeline/src/propagation/retiring.rs",
            text: "                self.copy_half(SessionId(session));",
            replacement: "",
        },
    ),
    of_server(
        SETTINGS,
        Mutant {
            fault: "the version rises, and the settings stay",
            file: "runtime/src/versioned.rs",
            text: "        *self.value.lock().unwrap_or_else(PoisonError::into_inner) = value;\n",
            replacement: "",
        },
    ),
    of_server(
        DESK,
        Mutant {
            fault: "one question less waits than there are",
            file: "runtime/src/letterbox.rs",
            text: "        self.waiting.store(letters.len(), Ordering::Relaxed);\n        letter",
            replacement: "        self.waiting.store(letters.len().saturating_sub(1), Ordering::Relaxed);\n        letter",
        },
    ),
];

const fn of(test: &'static str, mutant: Mutant) -> Row {
    Row { tests: Tests::Stress, test, mutant }
}

const fn of_server(test: &'static str, mutant: Mutant) -> Row {
    Row { tests: Tests::Server, test, mutant }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    #[test]
    fn every_row_matches_once() {
        let top = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        for Row { mutant, .. } in ROWS {
            let whole = std::fs::read_to_string(top.join(mutant.file)).expect("a source");
            mutant.apply(&whole).expect("once");
        }
    }
}
