//! An opened document: what is published into it, and what is read from it.
//!
//! [`Document::split`] gives the two halves to different tasks. When both are dropped, the document is
//! closed behind the last answer, as long as its client lives; [`Publisher::close`] waits for that.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use deltaworks_image::BatchBuilder;
use deltaworks_protocol::client::{DocumentKey, Fault, OpenedDocument, Outcome, PublishError};
use deltaworks_protocol::message::Policy;
use tokio::sync::oneshot;

use crate::batch::{Batch, Info};
use crate::client::{Guard, OpenError};
use crate::state::{Signals, UNANSWERED};

/// What a subscriber is told, in stream order.
#[derive(Clone, Debug)]
pub enum Event {
    /// Deltas.
    Batch(Batch),
    /// The document has a new info.
    Info(Info),
    /// Sequences that will not come: the subscription was too slow for its policy.
    Gap {
        /// The first missing sequence.
        from: u64,
        /// The first that follows.
        to: u64,
        /// The policy that left them out.
        policy: Policy,
        /// How far behind the subscription was, in bytes; 0 if the server did not tell.
        behind_bytes: u64,
    },
    /// The document's history was lost; the stream begins anew.
    EpochChanged {
        /// The new epoch.
        epoch: u64,
        /// The sequence that the stream goes on with.
        sequence: u64,
    },
    /// The document has ended: asked for, or what the number of the registry tells.
    Closed {
        /// Why.
        code: u16,
    },
    /// The client has failed for good.
    Failed(Fault),
}

/// One document of a client.
#[derive(Debug)]
pub struct Document {
    publisher: Publisher,
    subscription: Subscription,
}

/// The half that publishes; clones publish under the same producer, in the order of their calls.
#[derive(Clone, Debug)]
pub struct Publisher {
    held: Arc<Held>,
}

/// The half that reads.
#[derive(Debug)]
pub struct Subscription {
    held: Arc<Held>,
}

#[derive(Debug)]
struct Held {
    guard: Arc<Guard>,
    key: DocumentKey,
    signals: Arc<Signals>,
}

impl Drop for Held {
    fn drop(&mut self) {
        self.guard.shared.forget(self.key);
    }
}

impl Document {
    pub(crate) fn new(guard: Arc<Guard>, key: DocumentKey, signals: Arc<Signals>) -> Document {
        let held = Arc::new(Held { guard, key, signals });
        Document {
            publisher: Publisher { held: Arc::clone(&held) },
            subscription: Subscription { held },
        }
    }

    /// The two halves, for two tasks.
    pub fn split(self) -> (Publisher, Subscription) {
        (self.publisher, self.subscription)
    }

    /// As [`Publisher::publish`].
    ///
    /// # Errors
    /// As there.
    pub async fn publish(&self, deltas: &[&[u8]]) -> Result<PublishTicket, PublishError> {
        self.publisher.publish(deltas).await
    }

    /// As [`Publisher::publish_batch`].
    ///
    /// # Errors
    /// As there.
    pub async fn publish_batch(
        &self,
        batch: &mut BatchBuilder,
    ) -> Result<PublishTicket, PublishError> {
        self.publisher.publish_batch(batch).await
    }

    /// As [`Subscription::next`].
    pub async fn next(&mut self) -> Option<Event> {
        self.subscription.next().await
    }

    /// What the server told when it opened the document last.
    pub fn opened(&self) -> OpenedDocument {
        self.publisher.opened()
    }

    /// The half that publishes.
    pub fn publisher(&self) -> &Publisher {
        &self.publisher
    }

    /// As [`Publisher::close`].
    pub async fn close(self) -> Option<u16> {
        self.publisher.close().await
    }

    pub(crate) async fn opened_or_refused(&self) -> Result<(), OpenError> {
        let held = &self.publisher.held;
        loop {
            {
                let mut state = held.guard.shared.lock();
                let failure = state.session.failure().cloned();
                let Some(slot) = state.slot(held.key) else { unreachable!("held documents stay") };
                if let Some(refusal) = slot.refused.take() {
                    return Err(OpenError::Refused(refusal));
                }
                if slot.opened.is_some() {
                    return Ok(());
                }
                if let Some(fault) = failure {
                    return Err(OpenError::Failed(fault));
                }
            }
            held.signals.event.notified().await;
        }
    }
}

impl Publisher {
    /// An empty batch within the server's limits, for [`publish_batch`](Self::publish_batch).
    pub fn batch(&self) -> BatchBuilder {
        BatchBuilder::new(self.held.guard.shared.lock().session.limits())
    }

    /// Publishes deltas as one batch. Waits while the backlog is full; the ticket tells the outcome.
    ///
    /// # Errors
    /// Why it cannot be published.
    pub async fn publish(&self, deltas: &[&[u8]]) -> Result<PublishTicket, PublishError> {
        let mut batch = self.batch();
        for delta in deltas {
            batch.append(delta).map_err(PublishError::Build)?;
        }
        self.publish_batch(&mut batch).await
    }

    /// Publishes a batch, which is empty and can be filled again afterwards. Waits while the
    /// backlog is full; the ticket tells the outcome. Cancelled while it waits, it has done nothing.
    ///
    /// # Errors
    /// Why it cannot be published; the batch then keeps its deltas.
    pub async fn publish_batch(
        &self,
        batch: &mut BatchBuilder,
    ) -> Result<PublishTicket, PublishError> {
        loop {
            let answer = self.held.signals.answer.notified();
            tokio::pin!(answer);
            answer.as_mut().enable();
            match self.try_publish(batch) {
                Err(PublishError::Backlog) => answer.await,
                result => return result,
            }
        }
    }

    /// Publishes a batch without waiting.
    ///
    /// # Errors
    /// `Backlog` when as much waits as may wait, or why it cannot be published; the batch then keeps
    /// its deltas.
    pub fn try_publish(&self, batch: &mut BatchBuilder) -> Result<PublishTicket, PublishError> {
        let shared = &self.held.guard.shared;
        let mut state = shared.lock();
        state.session.publish(self.held.key, batch)?;
        let ticket = self.ticket(&mut state);
        let has_transmit = state.session.has_transmit();
        drop(state);
        if has_transmit {
            shared.work.notify_one();
        }
        Ok(ticket)
    }

    /// Publishes an info map (CBOR); the ticket tells the outcome.
    ///
    /// # Errors
    /// Why it cannot be published.
    pub async fn publish_info(&self, map: &[u8]) -> Result<PublishTicket, PublishError> {
        let shared = &self.held.guard.shared;
        loop {
            let answer = self.held.signals.answer.notified();
            tokio::pin!(answer);
            answer.as_mut().enable();
            {
                let mut state = shared.lock();
                match state.session.publish_info(self.held.key, map) {
                    Ok(_) => {
                        shared.work.notify_one();
                        return Ok(self.ticket(&mut state));
                    }
                    Err(PublishError::Backlog) => {}
                    Err(error) => return Err(error),
                }
            }
            answer.await;
        }
    }

    /// Asks the server to drop the document for everybody, after what was published.
    ///
    /// # Errors
    /// `NotAWriter` or `Ended`.
    pub fn drop_document(&self) -> Result<(), PublishError> {
        let shared = &self.held.guard.shared;
        shared.lock().session.drop_document(self.held.key)?;
        shared.work.notify_one();
        Ok(())
    }

    /// What the server told when it opened the document last.
    pub fn opened(&self) -> OpenedDocument {
        let mut state = self.held.guard.shared.lock();
        let opened = state.slot(self.held.key).and_then(|slot| slot.opened.clone());
        match opened {
            Some(opened) => opened,
            None => unreachable!("handles are given out for opened documents"),
        }
    }

    /// Closes the document once all that was published is answered; returns why it ended.
    pub async fn close(self) -> Option<u16> {
        let shared = &self.held.guard.shared;
        {
            let mut state = shared.lock();
            state.session.close(self.held.key, true);
            shared.deliver(&mut state);
        }
        shared.work.notify_one();
        loop {
            let answer = self.held.signals.answer.notified();
            tokio::pin!(answer);
            answer.as_mut().enable();
            {
                let mut state = shared.lock();
                if let Some(code) = state.slot(self.held.key)?.ended {
                    return Some(code);
                }
            }
            answer.await;
        }
    }

    fn ticket(&self, state: &mut crate::state::State) -> PublishTicket {
        let (sender, receiver) = oneshot::channel();
        if let Some(slot) = state.slot(self.held.key) {
            slot.tickets.push_back(sender);
        }
        PublishTicket { receiver }
    }
}

impl Subscription {
    /// The next event in stream order; `None` after `Closed` or `Failed`. Cancelled while it waits,
    /// it has taken nothing. A document opened for writing only has no batches.
    pub async fn next(&mut self) -> Option<Event> {
        loop {
            if let Some(event) = self.try_next() {
                return Some(event);
            }
            if self.has_ended() {
                return None;
            }
            self.held.signals.event.notified().await;
        }
    }

    /// The next event if there is one already.
    pub fn try_next(&mut self) -> Option<Event> {
        let shared = &self.held.guard.shared;
        shared.take(&mut shared.lock(), self.held.key)
    }

    /// Appends the events that are there to `events`, at most `max`; returns how many.
    ///
    /// One lock for all of them: this is how to read fast.
    pub fn take_events(&mut self, events: &mut Vec<Event>, max: usize) -> usize {
        let shared = &self.held.guard.shared;
        let mut state = shared.lock();
        let taken = std::iter::from_fn(|| shared.take(&mut state, self.held.key)).take(max);
        let before = events.len();
        events.extend(taken);
        events.len() - before
    }

    /// Waits for an event, then does as [`take_events`](Self::take_events); 0 after the end.
    pub async fn next_events(&mut self, events: &mut Vec<Event>, max: usize) -> usize {
        loop {
            match self.take_events(events, max) {
                0 if self.has_ended() => return 0,
                0 => self.held.signals.event.notified().await,
                taken => return taken,
            }
        }
    }

    /// What the server told when it opened the document last.
    pub fn opened(&self) -> OpenedDocument {
        Publisher { held: Arc::clone(&self.held) }.opened()
    }

    fn has_ended(&self) -> bool {
        let mut state = self.held.guard.shared.lock();
        state.slot(self.held.key).is_none_or(|slot| slot.ended.is_some() && slot.events.is_empty())
    }
}

/// What will become of a published batch. May be dropped; the batch goes its way all the same.
#[derive(Debug)]
pub struct PublishTicket {
    receiver: oneshot::Receiver<Outcome>,
}

impl Future for PublishTicket {
    type Output = Outcome;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Outcome> {
        Pin::new(&mut self.receiver).poll(context).map(|answer| answer.unwrap_or(UNANSWERED))
    }
}
