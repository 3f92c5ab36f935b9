//! What went wrong in a replay, and with whom: the first fault ends it and is told by name.

use std::fmt;

use crate::editing::{DeltaError, PatchFault};

/// One that takes part in a replay, counted from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Party {
    /// A publisher.
    Publisher(usize),
    /// A subscriber.
    Subscriber(usize),
}

impl fmt::Display for Party {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Party::Publisher(index) => write!(f, "publisher {index}"),
            Party::Subscriber(index) => write!(f, "subscriber {index}"),
        }
    }
}

/// Why a replay is not verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Who met it.
    pub party: Party,
    /// In which document, counted from 0, if it was in one.
    pub document: Option<usize>,
    /// What it is.
    pub what: What,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.party)?;
        if let Some(document) = self.document {
            write!(f, ", document {document}")?;
        }
        write!(f, ": {}", self.what)
    }
}

impl std::error::Error for Fault {}

/// What a party met.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    /// No connection could be made, or a document was not opened.
    NotStarted(String),
    /// The client's session failed; its words name the fault.
    Session(String),
    /// The document was not empty when the subscription began: its first sequence would be this.
    NotFresh(u64),
    /// A sequence is missing, or batches were swapped.
    Missing {
        /// The sequence that should have come.
        expected: u64,
        /// The one that came.
        came: u64,
    },
    /// A sequence came again.
    Doubled {
        /// The sequence that should have come.
        expected: u64,
        /// The one that came.
        came: u64,
    },
    /// The server told that sequences will not come.
    Gap {
        /// The first missing sequence.
        from: u64,
        /// The first that follows.
        to: u64,
    },
    /// The document ended before all was read, with this number.
    Closed(u16),
    /// The document has a new epoch: its history was lost.
    EpochChanged,
    /// A delta that is no transaction.
    Delta {
        /// Its sequence.
        sequence: u64,
        /// Why.
        error: DeltaError,
    },
    /// A transaction of a lane that does not exist.
    Lane {
        /// Its sequence.
        sequence: u64,
        /// The lane.
        lane: u32,
    },
    /// A lane's transaction out of order.
    Index {
        /// Its sequence.
        sequence: u64,
        /// The lane.
        lane: u32,
        /// The transaction that should have come.
        expected: u32,
        /// The one that came.
        came: u32,
    },
    /// A patch that does not fit its lane's text.
    Patch {
        /// The sequence of its delta.
        sequence: u64,
        /// The lane.
        lane: u32,
        /// Why.
        fault: PatchFault,
    },
    /// A lane's text is not the trace's end.
    Text {
        /// The lane.
        lane: u32,
        /// Code points that agree.
        position: usize,
    },
    /// The hash over sequences and bytes is not the first subscriber's.
    Hash {
        /// This subscriber's.
        own: u64,
        /// The first subscriber's.
        first: u64,
    },
    /// A batch was refused, or nobody knows what became of it.
    Answer {
        /// The index of the batch's first transaction.
        index: u32,
        /// What came instead of an acknowledgement.
        outcome: String,
    },
    /// Nothing moved for this many seconds; this sequence was waited for.
    Stalled {
        /// Seconds without progress.
        seconds: u64,
        /// What did not come: a sequence for a subscriber, a transaction's acknowledgement for a publisher.
        waiting_for: u64,
    },
}

impl fmt::Display for What {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            What::NotStarted(why) => write!(f, "not started: {why}"),
            What::Session(why) => f.write_str(why),
            What::NotFresh(next) => write!(f, "the document is not fresh, it stands at {next}"),
            What::Missing { expected, came } => {
                write!(f, "missing or swapped: sequence {expected} expected, {came} came")
            }
            What::Doubled { expected, came } => {
                write!(f, "doubled: sequence {expected} expected, {came} came")
            }
            What::Gap { from, to } => write!(f, "gap: sequences {from}..{to} will not come"),
            What::Closed(code) => write!(f, "the document ended with {code}"),
            What::EpochChanged => f.write_str("the document's history was lost"),
            What::Delta { sequence, error } => {
                write!(f, "sequence {sequence} is no transaction: {error}")
            }
            What::Lane { sequence, lane } => {
                write!(f, "sequence {sequence} names lane {lane}, which nobody writes")
            }
            What::Index { sequence, lane, expected, came } => write!(
                f,
                "sequence {sequence}: transaction {expected} of lane {lane} expected, {came} came"
            ),
            What::Patch { sequence, lane, fault } => {
                write!(f, "sequence {sequence}, lane {lane}: a patch does not fit: {fault}")
            }
            What::Text { lane, position } => write!(
                f,
                "the text of lane {lane} differs from the trace's end at code point {position}"
            ),
            What::Hash { own, first } => {
                write!(f, "the hash {own:016x} differs from the first subscriber's {first:016x}")
            }
            What::Answer { index, outcome } => {
                write!(f, "the batch of transaction {index} was not acknowledged: {outcome}")
            }
            What::Stalled { seconds, waiting_for } => {
                write!(f, "missing: nothing came for {seconds} s while waiting for {waiting_for}")
            }
        }
    }
}
