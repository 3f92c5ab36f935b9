//! One subscriber's task in one document: events in stream order into a [`Reader`], until all is read.
//!
//! It goes on listening until everybody has finished, so that what comes too much is seen, too. The
//! client's healing is off: the first fault of the connection arrives here as an event.

use deltaworks_client::{Event, Subscription};
use tokio::sync::watch;

use super::fault::What;
use super::reader::Reader;

/// Events taken at once at most.
const EVENTS_MAX: usize = 256;

/// Reads until the reader has `deltas` deltas and `is_over` is true; `told` gets how many there are.
///
/// # Errors
/// What the reader or the client says; the reader is lost then.
pub async fn read(
    subscription: &mut Subscription,
    mut reader: Reader,
    deltas: u64,
    mut is_over: watch::Receiver<bool>,
    told: impl Fn(u64),
) -> Result<Reader, What> {
    let mut events = Vec::new();
    loop {
        let taken = if reader.deltas() < deltas {
            subscription.next_events(&mut events, EVENTS_MAX).await
        } else {
            tokio::select! {
                biased;
                taken = subscription.next_events(&mut events, EVENTS_MAX) => taken,
                over = is_over.wait_for(|over| *over) => {
                    // A sender that is gone means that the replay was given up.
                    return over.map(|_| reader).map_err(|_| What::Session("given up".to_owned()));
                }
            }
        };
        if taken == 0 {
            return Err(What::Session("the subscription ended".to_owned()));
        }
        for event in events.drain(..) {
            handle(&mut reader, event)?;
        }
        told(reader.deltas());
        // Reading never waits while there is something, and others want the thread, too.
        tokio::task::yield_now().await;
    }
}

fn handle(reader: &mut Reader, event: Event) -> Result<(), What> {
    match event {
        Event::Batch(batch) => {
            let first = batch.first_sequence();
            batch
                .deltas()
                .enumerate()
                .try_for_each(|(place, delta)| reader.take(first + place as u64, delta))
        }
        Event::Info(_) => Ok(()),
        Event::Gap { from, to, .. } => Err(What::Gap { from, to }),
        Event::EpochChanged { .. } => Err(What::EpochChanged),
        Event::Closed { code } => Err(What::Closed(code)),
        Event::Failed(fault) => Err(What::Session(fault.to_string())),
    }
}
