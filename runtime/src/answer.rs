//! An answer that cores give in slices to a thread that waits for it without being stopped.
//!
//! Each core that was asked holds a [`Teller`] and pushes slices into the answer, which is a future
//! of the asking thread: ready when the last teller is gone. Who asks for how much is bounded by the
//! mailboxes and by the slices; an answer that nobody waits for any more is told to nobody.

use crate::sync::{Arc, Mutex, MutexGuard};
use std::future::Future;
use std::pin::Pin;
use std::sync::PoisonError;
use std::task::{Context, Poll, Waker};

#[derive(Debug)]
struct State<T> {
    slices: Vec<Vec<T>>,
    tellers: usize,
    is_wanted: bool,
    waker: Option<Waker>,
}

type Shared<T> = Arc<Mutex<State<T>>>;

fn lock<T>(shared: &Shared<T>) -> MutexGuard<'_, State<T>> {
    // Held for a push or a look only. Whoever panicked with it changed nothing by halves.
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What is told, as it comes together.
#[derive(Debug)]
pub struct Answer<T> {
    shared: Shared<T>,
}

/// One core's side of an answer.
#[derive(Debug)]
pub struct Teller<T> {
    shared: Shared<T>,
}

/// An answer, ready until somebody is to tell something.
impl<T> Default for Answer<T> {
    fn default() -> Self {
        let state = State { slices: Vec::new(), tellers: 0, is_wanted: true, waker: None };
        Self { shared: Arc::new(Mutex::new(state)) }
    }
}

impl<T> Answer<T> {
    /// One more that the answer waits for.
    pub fn teller(&self) -> Teller<T> {
        lock(&self.shared).tellers += 1;
        Teller { shared: Arc::clone(&self.shared) }
    }
}

impl<T> Future for Answer<T> {
    type Output = Vec<T>;
    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Vec<T>> {
        let mut state = lock(&self.shared);
        if state.tellers > 0 {
            state.waker = Some(context.waker().clone());
            return Poll::Pending;
        }
        let slices = std::mem::take(&mut state.slices);
        drop(state);
        Poll::Ready(slices.into_iter().flatten().collect())
    }
}

impl<T> Drop for Answer<T> {
    fn drop(&mut self) {
        lock(&self.shared).is_wanted = false;
    }
}

impl<T> Teller<T> {
    /// Tells a slice; whether more is wanted.
    pub fn tell(&self, slice: Vec<T>) -> bool {
        let mut state = lock(&self.shared);
        if state.is_wanted && !slice.is_empty() {
            state.slices.push(slice);
        }
        state.is_wanted
    }
}

impl<T> Drop for Teller<T> {
    fn drop(&mut self) {
        let mut state = lock(&self.shared);
        state.tellers -= 1;
        let waker = if state.tellers == 0 { state.waker.take() } else { None };
        drop(state);
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use futures_lite::future::{block_on, poll_once};

    #[test]
    fn an_answer_is_ready_when_the_last_teller_is_gone() {
        let mut answer = Answer::default();
        let (one, other) = (answer.teller(), answer.teller());
        assert!(one.tell(vec![1, 2]));
        drop(one);
        assert_eq!(block_on(poll_once(&mut answer)), None, "another is to tell");
        let telling = std::thread::spawn(move || other.tell(vec![3]));
        assert_eq!(block_on(answer), [1, 2, 3]);
        assert!(telling.join().expect("it told"));
    }

    #[test]
    fn who_asks_no_more_is_told_no_more() {
        let answer = Answer::default();
        let teller = answer.teller();
        drop(answer);
        assert!(!teller.tell(vec![0]));
        assert!(lock(&teller.shared).slices.is_empty());
    }
}
