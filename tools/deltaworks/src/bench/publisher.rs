//! One publisher: its batches when they are due, in turn into each document, and every answer awaited.

use std::sync::Arc;
use std::time::{Duration, Instant};

use deltaworks_client::{Outcome, PublishTicket, Publisher};
use tokio::sync::{Semaphore, mpsc, watch};

use super::delta::Stamp;
use super::histograms::Histograms;
use super::pacer::Pace;
use super::tally::{Count, Tally};

/// A batch that is sent later than this after it was due is counted as late.
pub const LATE: Duration = Duration::from_millis(1);
/// Answers of one document that are awaited at most; the client's backlog is the lower bound.
const ANSWERS_MAX: usize = 4_096;

/// What the publishers share.
#[derive(Debug)]
pub struct Work {
    /// When batches are due.
    pub pace: Pace,
    /// When the first one is.
    pub start: Instant,
    /// Until then nothing is measured.
    pub warm_up_ns: u64,
    /// Bytes of a delta.
    pub delta_bytes: usize,
    /// Counters.
    pub tally: Tally,
    /// Deltas accepted in each document.
    pub accepted: Vec<Count>,
    /// How late batches were sent.
    pub lateness: Histograms,
    /// How long answers took since their batch was due.
    pub answers: Histograms,
    /// How long deltas took to each subscriber since their batch was due.
    pub deliveries: Histograms,
}

impl Work {
    /// Nanoseconds since the start.
    pub fn now_ns(&self) -> u64 {
        self.start.elapsed().as_nanos() as u64
    }
}

/// A batch on its way.
#[derive(Debug)]
struct Sent {
    due_ns: u64,
    deltas: u64,
    ticket: PublishTicket,
}

/// Sends batches as they become due until all are sent, or the end comes; then awaits their answers.
///
/// # Errors
/// What the client says, or the first answer that is none.
pub async fn publish(
    work: Arc<Work>,
    publisher: usize,
    documents: Vec<Publisher>,
    permits: Arc<Semaphore>,
    mut is_over: watch::Receiver<bool>,
) -> Result<(), String> {
    let mut answering = tokio::task::JoinSet::new();
    let mut sent = Vec::new();
    for document in 0..documents.len() {
        let (sender, receiver) = mpsc::channel(ANSWERS_MAX);
        sent.push(sender);
        answering.spawn(answer(Arc::clone(&work), publisher, document, receiver));
    }
    let mut bytes = vec![0; work.delta_bytes];
    let mut indices = vec![0; documents.len()];
    let mut batch = documents.first().map(Publisher::batch).ok_or("no document")?;
    for turn in 0.. {
        let Some(number) = work.pace.batch(publisher, turn) else { break };
        let due_ns = work.pace.due_ns(number);
        tokio::select! {
            biased;
            permit = permits.acquire() => permit.map_err(|_| "no pacer")?.forget(),
            _ = is_over.wait_for(|over| *over) => break,
        }
        let document = turn as usize % documents.len();
        for _ in 0..work.pace.batch_deltas {
            let stamp = Stamp { due_ns, publisher: publisher as u32, index: indices[document] };
            stamp.write(&mut bytes);
            batch.append(&bytes).map_err(|error| error.to_string())?;
            indices[document] += 1;
        }
        let late_ns = work.now_ns().saturating_sub(due_ns);
        if late_ns > LATE.as_nanos() as u64 {
            work.tally.late_batches.add(1);
        }
        if due_ns >= work.warm_up_ns {
            work.lateness.of(publisher).saturating_record(late_ns);
        }
        // Waits while the backlog is full; the next batches become due meanwhile, and count from then.
        let ticket = tokio::select! {
            biased;
            ticket = documents[document].publish_batch(&mut batch) => {
                ticket.map_err(|error| error.to_string())?
            }
            _ = is_over.wait_for(|over| *over) => break,
        };
        let deltas = work.pace.batch_deltas as u64;
        work.tally.sent.add(deltas);
        // The other end goes only with a fault, which is told below.
        if sent[document].send(Sent { due_ns, deltas, ticket }).await.is_err() {
            break;
        }
    }
    drop(sent);
    while let Some(answered) = answering.join_next().await {
        answered.map_err(|error| error.to_string())??;
    }
    Ok(())
}

/// Awaits the answers of one document, which come in the order of its batches.
async fn answer(
    work: Arc<Work>,
    publisher: usize,
    document: usize,
    mut sent: mpsc::Receiver<Sent>,
) -> Result<(), String> {
    while let Some(Sent { due_ns, deltas, ticket }) = sent.recv().await {
        let outcome = ticket.await;
        let now_ns = work.now_ns();
        let tally = &work.tally;
        match outcome {
            Outcome::Accepted { .. } | Outcome::Duplicate { .. } => {
                tally.accepted.add(deltas);
                work.accepted[document].add(deltas);
                tally.last_ns.raise(now_ns);
                if due_ns >= work.warm_up_ns {
                    tally.accepted_measured.add(deltas);
                    work.answers.of(publisher).saturating_record(now_ns.saturating_sub(due_ns));
                }
            }
            Outcome::Refused(refusal) => {
                tally.refused.add(deltas);
                return Err(format!("document {document}: a batch was refused: {refusal}"));
            }
            Outcome::Unknown(_) | Outcome::NotSent => {
                tally.unknown.add(deltas);
                return Err(format!("document {document}: a batch was not answered"));
            }
        }
    }
    Ok(())
}
