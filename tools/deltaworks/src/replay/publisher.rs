//! One publisher's work on one document: the whole trace into its own lane, every answer awaited.
//!
//! All of the trace is there from the start, so batches are full; how many are on their way is the
//! client's backlog and credit to say, and at most 256. It never waits by a clock.

use std::collections::VecDeque;

use deltaworks_client::{
    BatchBuilder, BuildError, Outcome, PublishError, PublishTicket, Publisher,
};

use super::fault::What;
use crate::editing::{Trace, encode_delta};

/// Batches that wait for their answer at most.
const TICKETS_MAX: usize = 256;

/// Where one publisher writes, and how.
#[derive(Clone, Copy, Debug)]
pub struct Lane {
    /// The lane's number: the publisher's.
    pub lane: u32,
    /// Deltas in a batch at most.
    pub batch_deltas: usize,
}

/// A batch on its way.
#[derive(Debug)]
struct Sent {
    index: u32,
    deltas: u64,
    bytes: u64,
    ticket: PublishTicket,
}

/// Writes the trace; `acknowledged` is told deltas and bytes of each acknowledged batch.
///
/// # Errors
/// What the client says, or the first answer that is no acknowledgement.
pub async fn publish(
    trace: &Trace,
    publisher: &Publisher,
    lane: Lane,
    acknowledged: impl Fn(u64, u64),
) -> Result<(), What> {
    let mut batch = publisher.batch();
    let mut on_their_way: VecDeque<Sent> = VecDeque::new();
    let mut delta = Vec::new();
    let mut bytes = 0;
    for (index, patches) in trace.transactions.iter().enumerate() {
        let index = index as u32;
        delta.clear();
        encode_delta(lane.lane, index, patches, &mut delta).map_err(session)?;
        let is_full = batch.count() >= lane.batch_deltas || !append(&mut batch, &delta)?;
        if is_full {
            on_their_way.push_back(send(publisher, &mut batch, index, bytes).await?);
            bytes = 0;
            if !append(&mut batch, &delta)? {
                return Err(What::Session("a delta has no room in an empty batch".to_owned()));
            }
        }
        bytes += delta.len() as u64;
        if on_their_way.len() >= TICKETS_MAX
            && let Some(sent) = on_their_way.pop_front()
        {
            answer(sent, &acknowledged).await?;
        }
    }
    if !batch.is_empty() {
        let end = trace.transactions.len() as u32;
        on_their_way.push_back(send(publisher, &mut batch, end, bytes).await?);
    }
    for sent in on_their_way {
        answer(sent, &acknowledged).await?;
    }
    Ok(())
}

/// Whether the batch had room for the delta.
fn append(batch: &mut BatchBuilder, delta: &[u8]) -> Result<bool, What> {
    match batch.append(delta) {
        Ok(()) => Ok(true),
        Err(BuildError::TooLong(_) | BuildError::TooManyDeltas(_)) => Ok(false),
        Err(error) => Err(session(error)),
    }
}

/// Sends the batch, whose transactions end before `end`.
async fn send(
    publisher: &Publisher,
    batch: &mut BatchBuilder,
    end: u32,
    bytes: u64,
) -> Result<Sent, What> {
    let deltas = batch.count();
    let ticket =
        publisher.publish_batch(batch).await.map_err(|error: PublishError| session(error))?;
    Ok(Sent { index: end - deltas as u32, deltas: deltas as u64, bytes, ticket })
}

async fn answer(sent: Sent, acknowledged: &impl Fn(u64, u64)) -> Result<(), What> {
    let index = sent.index;
    let told = |outcome: String| Err(What::Answer { index, outcome });
    match sent.ticket.await {
        Outcome::Accepted { .. } | Outcome::Duplicate { .. } => {
            acknowledged(sent.deltas, sent.bytes);
            Ok(())
        }
        Outcome::Refused(refusal) => told(format!("refused: {refusal}")),
        Outcome::Unknown(reason) => told(format!("unknown whether applied: {reason:?}")),
        Outcome::NotSent => told("not sent".to_owned()),
    }
}

fn session(error: impl std::fmt::Display) -> What {
    What::Session(error.to_string())
}
