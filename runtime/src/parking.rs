//! How a plain thread sleeps until another one wakes it.
//!
//! A parker keeps one token: waking stores it, parking takes it, and a token stored before the
//! parking counts. Cores that wait for sockets sleep in their executor instead. The lock inside
//! is touched only by a thread that goes to sleep and by the one that wakes it. Holds one token
//! at most: more wakes merge.

use crate::doorbell::Wake;
use crate::sync::{Arc, Condvar, Mutex};
use std::sync::PoisonError;
use std::time::Duration;

#[derive(Debug, Default)]
struct Token {
    stored: Mutex<bool>,
    changed: Condvar,
}

/// A parker and what wakes it. Allocates once.
pub fn parker() -> (Parker, Unparker) {
    let token = Arc::new(Token { stored: Mutex::new(false), changed: Condvar::new() });
    (Parker { token: token.clone() }, Unparker { token })
}

/// The side that sleeps.
#[derive(Debug)]
pub struct Parker {
    token: Arc<Token>,
}

impl Parker {
    /// Returns as soon as there is a token, and takes it. Sleeps in the kernel until then.
    pub fn park(&mut self) {
        let mut stored = self.token.stored.lock().unwrap_or_else(PoisonError::into_inner);
        while !*stored {
            stored = self.token.changed.wait(stored).unwrap_or_else(PoisonError::into_inner);
        }
        *stored = false;
    }

    /// Returns as soon as there is a token, which it takes, or after about `at_most`.
    pub fn park_timeout(&mut self, at_most: Duration) {
        let mut stored = self.token.stored.lock().unwrap_or_else(PoisonError::into_inner);
        if !*stored {
            let waited = self.token.changed.wait_timeout(stored, at_most);
            stored = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        *stored = false;
    }
}

/// The side that wakes; cheap to clone, on any thread.
#[derive(Debug, Clone)]
pub struct Unparker {
    token: Arc<Token>,
}

impl Wake for Unparker {
    fn wake(&self) {
        *self.token.stored.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.token.changed.notify_one();
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use std::time::Instant;

    #[test]
    fn a_token_stored_before_parking_counts_once() {
        let (mut parker, unparker) = parker();
        unparker.wake();
        unparker.wake();
        parker.park();
        let start = Instant::now();
        parker.park_timeout(Duration::from_millis(20));
        assert!(start.elapsed() >= Duration::from_millis(15), "the second token was merged");
    }

    #[test]
    fn a_parked_thread_is_woken() {
        let (mut parker, unparker) = parker();
        let sleeper = std::thread::spawn(move || parker.park());
        unparker.wake();
        sleeper.join().unwrap();
    }
}
