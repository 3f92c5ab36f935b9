//! Stories of marks: a document that grew is found, whatever the owner does while the agent looks.
//!
//! ```text
//! owner     1 tail = n, Release │ 2 fence │ 3 bit set already? else set it, and its summary bit │ ring
//! agent     a take summary │ b take word │ c fence │ d read tails │ … │ sleeping = 1 │ fence │ all clear?
//! ```
//!
//! Either the owner's 3 comes after the agent's b and sets the bit again, or the agent's d comes
//! after the owner's 1 and sees its tail: 2 and c see to that. What lies between a and b, and
//! between the two halves of 3, is a bit in one level only: then the agent finds a word empty, or the
//! owner finds the summary bit still set, and both must be harmless.
//!
//! A document that moves is marked by its new owner from then on, in the bitmap of its home; other
//! documents of the same word by theirs. So several owners set bits of one word at once, and one
//! document's bit is set by one owner behind another, which the ring between them orders.
//!
//! A document that is left behind has an agent that sleeps for ever, which the explorer tells. What
//! it cannot tell: it performs exchanges of one word in the order in which it runs them, so that
//! the Release of the summary bit is not put to the test here; Acquire of the word's is.

use crate::table::{Model, Mutant};

const PENDING: &str = "pipeline/src/pending.rs";
const HERE: &str = "loom-tests/src/pending.rs";

/// The models of this file.
pub const MODELS: &[Model] = &[
    Model {
        name: "pending::models::a_document_that_grows_while_marks_are_taken_is_not_left_behind",
        mutants: &[
            Mutant {
                fault: "2: no fence between tails and bits",
                file: HERE,
                text: concat!("fence(Ordering::SeqCst);\n", "            if self.marks.set("),
                replacement: "if self.marks.set(",
            },
            Mutant {
                fault: "c: no fence between bits and tails",
                file: PENDING,
                text: "            // Pairs with the owner's fence in `mark_elsewhere`, between its tails and its tests.\n            fence(Ordering::SeqCst);",
                replacement: "",
            },
            Mutant {
                fault: "d: tails are read before bits are taken",
                file: HERE,
                text: "let took = self.take(at_most);\n            let tails = self.tails();",
                replacement: "let tails = self.tails();\n            let took = self.take(at_most);",
            },
            Mutant {
                fault: "the last look before sleeping sees no marks",
                file: HERE,
                text: concat!("may_sleep(|| ", "!marks.is_clear())"),
                replacement: "may_sleep(|| false && !marks.is_clear())",
            },
        ],
    },
    Model {
        name: "pending::models::a_document_beside_one_that_is_taken_is_not_left_behind",
        mutants: &[
            Mutant {
                fault: "3: who sets a bit does not see that its summary bit was taken",
                file: PENDING,
                text: "self.words[word].fetch_or(bit, Ordering::AcqRel);",
                replacement: "self.words[word].fetch_or(bit, Ordering::Relaxed);",
            },
            Mutant {
                fault: "a, b: the summary bit is cleared behind its word",
                file: PENDING,
                text: "let mut bits = self.words[word].swap(0, Ordering::AcqRel);",
                replacement: "let mut bits = self.words[word].swap(0, Ordering::AcqRel);\n                self.summary[place].fetch_and(!(1 << (word % BITS)), Ordering::AcqRel);",
            },
        ],
    },
    Model {
        name: "pending::models::what_is_put_back_is_not_left_behind",
        mutants: &[
            Mutant {
                fault: "what was not visited is not put back",
                file: PENDING,
                text: "                    self.summary[place].fetch_or(summary, Ordering::AcqRel);\n",
                replacement: "",
            },
            Mutant {
                fault: "what was not visited is put back by a store",
                file: PENDING,
                text: "self.summary[place].fetch_or(summary, Ordering::AcqRel);\n                    *position = place;",
                replacement: "self.summary[place].store(summary, Ordering::Release);\n                    *position = place;",
            },
        ],
    },
    Model {
        name: "pending::models::two_owners_mark_documents_of_one_word",
        mutants: &[
            Mutant {
                fault: "3: who sets a bit does not see that its summary bit was taken",
                file: PENDING,
                text: "self.words[word].fetch_or(bit, Ordering::AcqRel);",
                replacement: "self.words[word].fetch_or(bit, Ordering::Relaxed);",
            },
            Mutant {
                fault: "3: a bit is set by a load and a store, as if only one owner did",
                file: PENDING,
                text: "self.words[word].fetch_or(bit, Ordering::AcqRel);",
                replacement: "let known = self.words[word].load(Ordering::Acquire);\n        self.words[word].store(known | bit, Ordering::Release);",
            },
        ],
    },
    Model {
        name: "pending::models::a_document_that_grows_at_two_owners_is_not_left_behind",
        mutants: &[Mutant {
            fault: "c: no fence between bits and tails",
            file: PENDING,
            text: "            // Pairs with the owner's fence in `mark_elsewhere`, between its tails and its tests.\n            fence(Ordering::SeqCst);",
            replacement: "",
        }],
    },
];

#[cfg(all(loom, test))]
mod models {
    use crate::explore::{every_order, few_preemptions};
    use deltaworks_pipeline::document::SharedDocuments;
    use deltaworks_pipeline::pending::Pending;
    use deltaworks_pipeline::stream::Position;
    use deltaworks_runtime::doorbell::{Doorbell, doorbell};
    use deltaworks_runtime::parking::parker;
    use deltaworks_runtime::ring::ring;
    use deltaworks_runtime::sync::atomic::{Ordering, fence};
    use deltaworks_runtime::sync::{Arc, thread};

    struct Owner<const N: usize> {
        places: [u32; N],
        shared: Arc<SharedDocuments>,
        marks: Arc<Pending>,
        bell: Doorbell,
    }

    impl<const N: usize> Owner<N> {
        /// What an owner does at the end of a turn in which one document grew.
        fn grow(&self, document: usize, nodes: u64) {
            self.shared.get(self.places[document]).publish(nodes, Position::default(), false);
            fence(Ordering::SeqCst);
            if self.marks.set(self.places[document] as usize) {
                self.bell.ring();
            }
        }
    }

    struct Agent<const N: usize> {
        places: [u32; N],
        shared: Arc<SharedDocuments>,
        marks: Arc<Pending>,
        position: usize,
        seen: [u64; N],
    }

    impl<const N: usize> Agent<N> {
        fn take(&mut self, at_most: usize) -> Vec<u32> {
            let mut took = Vec::new();
            self.marks.take(&mut self.position, at_most, &mut took);
            took
        }

        fn tails(&self) -> [u64; N] {
            self.places.map(|place| self.shared.get(place).tail().0)
        }

        /// A turn: only documents that are marked are looked at.
        fn turn(&mut self, at_most: usize) -> usize {
            let took = self.take(at_most);
            let tails = self.tails();
            for (document, seen) in self.seen.iter_mut().enumerate() {
                if took.contains(&self.places[document]) {
                    assert!(tails[document] >= *seen);
                    *seen = tails[document];
                }
            }
            took.len()
        }
    }

    /// The first documents have grown before, the owner lets some grow, and the agent looks at what
    /// is marked until it has seen all of that.
    fn story<const N: usize>(
        places: [u32; N],
        before: usize,
        grows: &'static [(usize, u64)],
        at_most: usize,
    ) {
        let mut until = [0; N];
        until[..before].fill(1);
        grows.iter().for_each(|(document, nodes)| until[*document] = *nodes);
        every_order(move || {
            let documents = places[N - 1] as usize + 1;
            let shared = SharedDocuments::new(1, documents);
            let marks = Arc::new(Pending::new(documents));
            let (mut parker, unparker) = parker();
            let (bell, mut sleeper) = doorbell(unparker);
            let owner = Owner { places, shared: shared.clone(), marks: marks.clone(), bell };
            (0..before).for_each(|document| owner.grow(document, 1));
            let marked = marks.clone();
            let mut agent = Agent { places, shared, marks: marked, position: 0, seen: [0; N] };
            let agent = thread::spawn(move || {
                while agent.seen != until {
                    if agent.turn(at_most) == 0 && sleeper.may_sleep(|| !marks.is_clear()) {
                        parker.park();
                        sleeper.woke();
                    }
                }
            });
            grows.iter().for_each(|(document, nodes)| owner.grow(*document, *nodes));
            agent.join().unwrap();
        });
    }

    #[test]
    fn a_document_that_grows_while_marks_are_taken_is_not_left_behind() {
        story([0], 1, &[(0, 2)], usize::MAX);
    }

    /// Both documents are bits of one word.
    #[test]
    fn a_document_beside_one_that_is_taken_is_not_left_behind() {
        story([0, 1], 1, &[(1, 1)], usize::MAX);
    }

    /// Each document is a bit of a word of its own, and of one summary.
    #[test]
    fn what_is_put_back_is_not_left_behind() {
        story([0, 64, 128], 2, &[(2, 1)], 1);
    }

    /// Two owners mark documents of one word while a third is taken out of it.
    #[test]
    fn two_owners_mark_documents_of_one_word() {
        few_preemptions(3, || {
            let marks = Arc::new(Pending::new(3));
            assert!(marks.set(0));
            let owners = [1, 2].map(|document| {
                let marks = marks.clone();
                thread::spawn(move || marks.set(document))
            });
            let (mut position, mut found) = (0, Vec::new());
            marks.take(&mut position, usize::MAX, &mut found);
            owners.into_iter().for_each(|owner| assert!(owner.join().unwrap()));
            marks.take(&mut position, usize::MAX, &mut found);
            found.sort_unstable();
            assert_eq!(found, [0, 1, 2], "each once");
        });
    }

    /// A document grows at one owner, moves, and grows at the next, while its agent looks.
    #[test]
    fn a_document_that_grows_at_two_owners_is_not_left_behind() {
        every_order(|| {
            let shared = SharedDocuments::new(1, 1);
            let marks = Arc::new(Pending::new(1));
            let (mut hands_over, mut takes_over) = ring(1);
            let owner = || {
                let (_, unparker) = parker();
                let (bell, _) = doorbell(unparker);
                Owner { places: [0], shared: shared.clone(), marks: marks.clone(), bell }
            };
            let (old, new) = (owner(), owner());
            let old = thread::spawn(move || {
                old.grow(0, 1);
                hands_over.push(()).unwrap();
            });
            let mut agent = Agent { places: [0], shared, marks, position: 0, seen: [0] };
            let agent = thread::spawn(move || {
                agent.turn(usize::MAX);
                agent
            });
            while takes_over.pop().is_none() {
                thread::yield_now();
            }
            new.grow(0, 2);
            old.join().unwrap();
            let mut agent = agent.join().unwrap();
            agent.turn(usize::MAX);
            assert_eq!(agent.seen, [2]);
        });
    }
}
