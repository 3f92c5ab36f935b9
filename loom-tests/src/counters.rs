//! Stories of counters: what people are shown is of one moment, however the writer hurries.
//!
//! "Never torn" promises this: each word is one value that was written, never a mix of two; the
//! words of one set (a core's figures, a histogram with its sum and maximum) are all of one
//! publication; whoever asks again gets no older one. Between two sets nothing is promised.
//!
//! ```text
//! writer          1 fence        2 fill copy 1   3 version = 1 │ 1 fence  2 fill copy 0  3 version = 2
//! reader            a version = 0 ········ b read copy 0 ····················│ c fence  d version = 0?
//! ```
//!
//! The reader is in danger if its b overlaps the second 2: the copy that it reads is filled again.
//! It is saved by 1 and c: having read one new word, it finds a new version at d. Without the second
//! copy each publication would be such a danger, and a writer that the system has stopped in the
//! middle of its step 2 would keep every reader waiting.

use crate::table::{Model, Mutant};

const COUNTERS: &str = "runtime/src/counters.rs";

/// The models of this file.
pub const MODELS: &[Model] = &[
    Model {
        name: "counters::models::a_snapshot_is_of_one_publication",
        mutants: &[
            Mutant {
                fault: "1: no fence before a copy is filled",
                file: COUNTERS,
                text: "        fence(Ordering::Release);\n",
                replacement: "",
            },
            Mutant {
                fault: "2: the copy is filled to which readers are sent",
                file: COUNTERS,
                text: "in self.shared.copy(self.version).iter().enumerate() {",
                replacement: "in self.shared.copy(self.version - 1).iter().enumerate() {",
            },
            Mutant {
                fault: "3: readers are sent to a copy that they may not see filled",
                file: COUNTERS,
                text: "self.shared.version.store(self.version, Ordering::Release);",
                replacement: "self.shared.version.store(self.version, Ordering::Relaxed);",
            },
            Mutant {
                fault: "a: a reader does not wait until the copy is filled",
                file: COUNTERS,
                text: "self.shared.version.load(Ordering::Acquire)",
                replacement: "self.shared.version.load(Ordering::Relaxed)",
            },
            Mutant {
                fault: "c: no fence behind a copy that was read",
                file: COUNTERS,
                text: "            fence(Ordering::Acquire);\n",
                replacement: "",
            },
            Mutant {
                fault: "d: a reader does not look whether it was overtaken",
                file: COUNTERS,
                text: "if self.shared.version.load(Ordering::Relaxed) == version {",
                replacement: "if true {",
            },
        ],
    },
    Model {
        name: "counters::models::what_moves_between_two_counts_is_in_one_of_them",
        mutants: &[Mutant {
            fault: "one count is changed behind the other",
            file: "runtime/src/count_pair.rs",
            text: "        self.0.fetch_add(both as u64, Ordering::Relaxed);",
            replacement: "        self.0.fetch_add(i64::from(first) as u64, Ordering::Relaxed);\n        self.0.fetch_add((both - i64::from(first)) as u64, Ordering::Relaxed);",
        }],
    },
];

#[cfg(all(loom, test))]
mod models {
    use crate::explore::every_order;
    use deltaworks_runtime::count_pair::CountPair;
    use deltaworks_runtime::counters::counters;
    use deltaworks_runtime::sync::{Arc, thread};

    #[test]
    fn a_snapshot_is_of_one_publication() {
        every_order(|| {
            let (mut writer, reader) = counters::<2>();
            let writing = thread::spawn(move || {
                for value in 1..=2 {
                    writer.set(0, value);
                    writer.set(1, value);
                    writer.publish();
                }
            });
            let [first, second] = [reader.snapshot(), reader.snapshot()];
            assert_eq!(first[0], first[1], "torn");
            assert_eq!(second[0], second[1], "torn");
            assert!(first[0] <= second[0], "an older one");
            writing.join().unwrap();
            assert_eq!(reader.snapshot(), [2, 2]);
        });
    }

    /// A connection that is owed its last words is cut. Whoever counts both sees it, before and
    /// afterwards.
    #[test]
    fn what_moves_between_two_counts_is_in_one_of_them() {
        every_order(|| {
            let pair = Arc::new(CountPair::default());
            pair.add(1, 0);
            let moving = thread::spawn({
                let pair = pair.clone();
                move || pair.add(-1, 1)
            });
            let (owing, cut) = pair.get();
            assert_eq!(owing + cut, 1);
            moving.join().unwrap();
            assert_eq!(pair.get(), (0, 1));
        });
    }
}
