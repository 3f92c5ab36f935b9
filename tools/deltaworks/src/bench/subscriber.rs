//! One subscriber's reading of one document: every sequence in order, every delta whole, and how late.
//!
//! ```text
//! sequence, delta ──▶ the next sequence? ──▶ its bytes as written? ──▶ the writer's next? ──▶ latency
//! ```
//!
//! It takes nothing on trust that the client has checked already. The client heals nothing: a lost
//! connection is a fault. A gap that the daemon tells is counted, and the load is not verified.

use std::fmt;
use std::sync::Arc;

use deltaworks_client::{Event, Subscription};
use tokio::sync::watch;

use super::delta::Stamp;
use super::publisher::Work;

/// Events taken at once at most.
const EVENTS_MAX: usize = 256;

/// What contradicts what was read before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
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
    /// The delta of this sequence is not as it was written.
    Changed(u64),
    /// A writer's deltas are not in its order, or there is no such writer.
    Order {
        /// The sequence.
        sequence: u64,
        /// Who wrote it.
        publisher: u32,
        /// Its delta that should have come.
        expected: u64,
        /// The one that came.
        came: u64,
    },
    /// The document has another number of deltas than were accepted.
    Count {
        /// Accepted.
        accepted: u64,
        /// Came, or were told as gaps.
        came: u64,
    },
    /// The stream ended before all was read.
    Ended(String),
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fault::Missing { expected, came } => {
                write!(f, "missing or swapped: sequence {expected} expected, {came} came")
            }
            Fault::Doubled { expected, came } => {
                write!(f, "doubled: sequence {expected} expected, {came} came")
            }
            Fault::Changed(sequence) => write!(f, "sequence {sequence} is not as it was written"),
            Fault::Order { sequence, publisher, expected, came } => write!(
                f,
                "sequence {sequence}: delta {expected} of publisher {publisher} expected, \
                 {came} came"
            ),
            Fault::Count { accepted, came } => {
                write!(f, "{accepted} deltas were accepted, {came} came")
            }
            Fault::Ended(why) => f.write_str(why),
        }
    }
}

/// A document as one subscriber has read it so far.
#[derive(Debug)]
pub struct Reader {
    next_sequence: u64,
    /// The next delta of each publisher; unknown behind a gap, until it comes.
    next_index: Vec<Option<u64>>,
}

impl Reader {
    /// A reader of a document that is empty yet.
    pub fn new(publishers: usize) -> Reader {
        Reader { next_sequence: 1, next_index: vec![Some(0); publishers] }
    }

    /// Deltas that came, or were told as gaps.
    pub fn deltas(&self) -> u64 {
        self.next_sequence - 1
    }

    /// Takes one delta, and returns when its batch was due.
    ///
    /// # Errors
    /// What contradicts what was read before.
    pub fn take(&mut self, sequence: u64, delta: &[u8]) -> Result<u64, Fault> {
        let expected = self.next_sequence;
        if sequence > expected {
            return Err(Fault::Missing { expected, came: sequence });
        }
        if sequence < expected {
            return Err(Fault::Doubled { expected, came: sequence });
        }
        let stamp = Stamp::read(delta).ok_or(Fault::Changed(sequence))?;
        let Stamp { publisher, index: came, due_ns } = stamp;
        let next = self.next_index.get_mut(publisher as usize);
        let next = next.ok_or(Fault::Order { sequence, publisher, expected: 0, came })?;
        match *next {
            Some(expected) if expected != came => {
                return Err(Fault::Order { sequence, publisher, expected, came });
            }
            _ => *next = Some(came + 1),
        }
        self.next_sequence += 1;
        Ok(due_ns)
    }

    /// Takes a gap; returns how many deltas it is.
    ///
    /// # Errors
    /// `Missing` or `Doubled` if it does not begin where the stream stands.
    pub fn skip(&mut self, from: u64, to: u64) -> Result<u64, Fault> {
        let expected = self.next_sequence;
        if from > expected {
            return Err(Fault::Missing { expected, came: from });
        }
        if from < expected || to < from {
            return Err(Fault::Doubled { expected, came: from });
        }
        self.next_sequence = to;
        self.next_index.fill(None);
        Ok(to - from)
    }

    /// Whether as many deltas came as were accepted.
    ///
    /// # Errors
    /// `Count` if not.
    pub fn verify(&self, accepted: u64) -> Result<(), Fault> {
        match self.deltas() {
            came if came == accepted => Ok(()),
            came => Err(Fault::Count { accepted, came }),
        }
    }
}

/// Reads until as many deltas came as `totals` tells for the document once it is known.
///
/// # Errors
/// The first fault.
pub async fn read(
    work: Arc<Work>,
    (task, document): (usize, usize),
    mut subscription: Subscription,
    publishers: usize,
    mut totals: watch::Receiver<Option<Vec<u64>>>,
) -> Result<(), Fault> {
    let mut reader = Reader::new(publishers);
    let mut events = Vec::new();
    let mut accepted = None;
    while accepted.is_none_or(|accepted| reader.deltas() < accepted) {
        let taken = tokio::select! {
            biased;
            taken = subscription.next_events(&mut events, EVENTS_MAX) => taken,
            told = totals.wait_for(Option::is_some), if accepted.is_none() => {
                match told {
                    Ok(totals) => accepted = totals.as_ref().map(|totals| totals[document]),
                    Err(_) => return Err(Fault::Ended("given up".to_owned())),
                }
                continue;
            }
        };
        if taken == 0 {
            return Err(Fault::Ended("the subscription ended".to_owned()));
        }
        take(&work, task, &mut reader, &mut events)?;
        // Reading never waits while there is something, and others want the thread, too.
        tokio::task::yield_now().await;
    }
    // What came too much is there already, or comes in the same read as the last.
    while subscription.take_events(&mut events, EVENTS_MAX) > 0 {
        take(&work, task, &mut reader, &mut events)?;
    }
    reader.verify(accepted.unwrap_or_default())
}

fn take(
    work: &Work,
    task: usize,
    reader: &mut Reader,
    events: &mut Vec<Event>,
) -> Result<(), Fault> {
    let now_ns = work.now_ns();
    let tally = &work.tally;
    tally.last_ns.raise(now_ns);
    let mut latencies = work.deliveries.of(task);
    for event in events.drain(..) {
        match event {
            Event::Batch(batch) => {
                let first = batch.first_sequence();
                for (place, delta) in batch.deltas().enumerate() {
                    let due_ns = reader.take(first + place as u64, delta)?;
                    tally.read.add(1);
                    if due_ns >= work.warm_up_ns {
                        tally.read_measured.add(1);
                        latencies.saturating_record(now_ns.saturating_sub(due_ns));
                    }
                }
            }
            Event::Info(_) => {}
            Event::Gap { from, to, .. } => {
                tally.missed.add(reader.skip(from, to)?);
                tally.gaps.add(1);
            }
            Event::EpochChanged { .. } => {
                return Err(Fault::Ended("the document's history was lost".to_owned()));
            }
            Event::Closed { code } => {
                return Err(Fault::Ended(format!("the document ended with {code}")));
            }
            Event::Failed(fault) => return Err(Fault::Ended(fault.to_string())),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sequences with their deltas.
    type Stream = Vec<(u64, Vec<u8>)>;

    /// A document that two publishers wrote, in turn.
    fn document() -> Stream {
        (0..40)
            .map(|place: u64| {
                let stamp =
                    Stamp { due_ns: place, publisher: (place % 2) as u32, index: place / 2 };
                let mut bytes = vec![0; 32];
                stamp.write(&mut bytes);
                (place + 1, bytes)
            })
            .collect()
    }

    fn read(deltas: &[(u64, Vec<u8>)]) -> Result<(), Fault> {
        let mut reader = Reader::new(2);
        for (sequence, delta) in deltas {
            reader.take(*sequence, delta)?;
        }
        reader.verify(40)
    }

    #[test]
    fn each_planted_fault_is_named() {
        assert_eq!(read(&document()), Ok(()));
        let planted = |plant: &dyn Fn(&mut Stream)| {
            let mut deltas = document();
            plant(&mut deltas);
            read(&deltas).expect_err("a planted fault")
        };
        let missing = planted(&|deltas| drop(deltas.remove(10)));
        assert_eq!(missing, Fault::Missing { expected: 11, came: 12 });
        let doubled = planted(&|deltas| deltas.insert(10, deltas[9].clone()));
        assert_eq!(doubled, Fault::Doubled { expected: 11, came: 10 });
        let swapped = planted(&|deltas| deltas.swap(10, 11));
        assert_eq!(swapped, Fault::Missing { expected: 11, came: 12 });
        let changed = planted(&|deltas| deltas[10].1[30] ^= 1);
        assert_eq!(changed, Fault::Changed(11));
        let cut = planted(&|deltas| deltas.truncate(39));
        assert_eq!(cut, Fault::Count { accepted: 40, came: 39 });
        // Deltas that changed places while the sequences stayed.
        let exchanged = planted(&|deltas| {
            let (first, second) = (deltas[10].1.clone(), deltas[12].1.clone());
            (deltas[10].1, deltas[12].1) = (second, first);
        });
        let expected = Fault::Order { sequence: 11, publisher: 0, expected: 5, came: 6 };
        assert_eq!(exchanged, expected);
        let stranger = planted(&|deltas| {
            Stamp { due_ns: 0, publisher: 2, index: 0 }.write(&mut deltas[10].1);
        });
        assert!(matches!(stranger, Fault::Order { sequence: 11, publisher: 2, .. }));
    }

    #[test]
    fn a_gap_is_counted_and_the_stream_goes_on_behind_it() {
        let deltas = document();
        let mut reader = Reader::new(2);
        reader.take(1, &deltas[0].1).expect("the first");
        assert_eq!(reader.skip(3, 5), Err(Fault::Missing { expected: 2, came: 3 }));
        assert_eq!(reader.skip(1, 5), Err(Fault::Doubled { expected: 2, came: 1 }));
        assert_eq!(reader.skip(2, 11), Ok(9));
        for (sequence, delta) in &deltas[10..] {
            reader.take(*sequence, delta).expect("behind the gap");
        }
        assert_eq!(reader.verify(40), Ok(()));
    }
}
