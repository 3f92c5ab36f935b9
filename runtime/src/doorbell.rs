//! The doorbell of a core: rung by who left work for it, heard only when it sleeps.
//!
//! ```text
//!  sleeper: sleeping = 1 │ fence │ look at all work once more │ none: sleep until woken
//!  ringer:  publish work │ fence │ sleeping = 1?  take it to 0 and wake
//! ```
//!
//! One of the two fences comes first: either the sleeper's last look sees the work, or the ringer
//! sees `sleeping`. Every core that parks has one; ringing an awake core costs a load, and a fence
//! where the kernel does not fence for it (`fences`). It never carries data and cannot fill: many rings of one sleep make one wake.
//!
//! | `sleeping` | means | may change it |
//! |---|---|---|
//! | 0 | awake, or a wake is under way | the sleeper, to 1, before its last look |
//! | 1 | asleep or about to be | a ringer, to 0, who then wakes; the sleeper, to 0, once awake |

use crate::fences::Fences;
use crate::padded::Padded;
use crate::sync::Arc;
use crate::sync::atomic::{AtomicU32, Ordering, fence};
use core::fmt;

const AWAKE: u32 = 0;
const SLEEPING: u32 = 1;

/// How one particular sleeper is woken. A wake that comes before the sleep must not be lost.
pub trait Wake: Send + Sync {
    /// Ends the sleeper's present sleep, or its next one. Never waits.
    fn wake(&self);
}

struct Shared {
    sleeping: Padded<AtomicU32>,
    wake: Box<dyn Wake>,
}

/// Both sides of a new doorbell whose sleeper is woken by `wake`, and sleeps so seldom that it fences
/// for its ringers where the kernel can. Allocates twice; a system call.
pub fn doorbell(wake: impl Wake + 'static) -> (Doorbell, Sleeper) {
    doorbell_with(Fences::lopsided(), wake)
}

/// The same with these `fences`.
pub fn doorbell_with(fences: Fences, wake: impl Wake + 'static) -> (Doorbell, Sleeper) {
    let sleeping = Padded(AtomicU32::new(AWAKE));
    let shared = Arc::new(Shared { sleeping, wake: Box::new(wake) });
    (Doorbell { shared: shared.clone(), fences }, Sleeper { shared, fences })
}

/// The ringers' side; cheap to clone, on any thread.
#[derive(Clone)]
pub struct Doorbell {
    shared: Arc<Shared>,
    fences: Fences,
}

impl Doorbell {
    /// Wakes the sleeper if it sleeps. Everything published before is seen by it, either in its
    /// last look or after the wake. A load, and a fence unless the kernel fences; a system call only for a
    /// sleeper.
    #[inline]
    pub fn ring(&self) {
        // Meets the fence in `Sleeper::may_sleep`; see the drawing above.
        self.fences.often();
        self.ring_after_fence();
    }

    /// The same after a `fence(SeqCst)` of the caller's that came after what it published: one
    /// fence serves many doorbells.
    #[inline]
    pub fn ring_after_fence(&self) {
        // Relaxed: the fences order it.
        if self.shared.sleeping.load(Ordering::Relaxed) == SLEEPING {
            self.wake_once();
        }
    }

    #[cold]
    fn wake_once(&self) {
        // Release: pairs with the Acquire in `woke`, so that the sleeper's next 1 comes after
        // this 0 for everybody. Relaxed on failure: another ringer wakes, or nobody sleeps.
        let word = &self.shared.sleeping;
        if word.compare_exchange(SLEEPING, AWAKE, Ordering::Release, Ordering::Relaxed).is_ok() {
            self.shared.wake.wake();
        }
    }
}

/// Rings all of `doorbells`, with one fence for all of them.
#[inline]
pub fn ring_all<'a>(doorbells: impl IntoIterator<Item = &'a Doorbell>) {
    // The fence pairs with that of `Fences::seldom` in `Sleeper::may_sleep`.
    fence(Ordering::SeqCst);
    for doorbell in doorbells {
        doorbell.ring_after_fence();
    }
}

/// The side of the one that sleeps.
pub struct Sleeper {
    shared: Arc<Shared>,
    fences: Fences,
}

impl Sleeper {
    /// Whether to sleep now: `look` must go through all work once more and say whether there was
    /// any. After true, sleep until woken, whatever the reason, and then call [`Sleeper::woke`].
    /// After false there is work, or the kernel could not fence this time, so that a ringer may have
    /// missed the sleeper: go on as after a wake, and no call is due. A system call where the kernel
    /// fences.
    pub fn may_sleep(&mut self, look: impl FnOnce() -> bool) -> bool {
        // Relaxed: the fences order it.
        self.shared.sleeping.store(SLEEPING, Ordering::Relaxed);
        // Meets the fence in `ring` or `ring_all`; see the drawing above.
        let is_fenced = self.fences.seldom();
        if look() || !is_fenced {
            self.woke();
            return false;
        }
        true
    }

    /// Says that this side is awake, whoever woke it.
    pub fn woke(&mut self) {
        // Acquire: pairs with the Release in `wake_once`. A swap, so that it reads the latest.
        self.shared.sleeping.swap(AWAKE, Ordering::Acquire);
    }

    /// A doorbell of this sleeper.
    pub fn doorbell(&self) -> Doorbell {
        Doorbell { shared: self.shared.clone(), fences: self.fences }
    }
}

impl fmt::Debug for Doorbell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Doorbell")
    }
}

impl fmt::Debug for Sleeper {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sleeper")
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::parking::parker;
    use crate::ring::ring;
    use std::sync::atomic::AtomicUsize;

    struct Count(Arc<AtomicUsize>);

    impl Wake for Count {
        fn wake(&self) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn one_sleep_is_woken_once_however_often_it_is_rung() {
        let wakes = Arc::new(AtomicUsize::new(0));
        let (bell, mut sleeper) = doorbell(Count(wakes.clone()));
        bell.ring();
        assert_eq!(wakes.load(Ordering::Relaxed), 0, "nobody sleeps");
        assert!(sleeper.may_sleep(|| false));
        bell.ring();
        ring_all([&bell, &sleeper.doorbell()]);
        assert_eq!(wakes.load(Ordering::Relaxed), 1);
        sleeper.woke();
        assert!(sleeper.may_sleep(|| false));
        bell.ring();
        assert_eq!(wakes.load(Ordering::Relaxed), 2);
        sleeper.woke();
        assert!(!sleeper.may_sleep(|| true), "the last look saw work");
        bell.ring();
        assert_eq!(wakes.load(Ordering::Relaxed), 2);
    }

    #[test]
    fn who_could_not_be_fenced_for_does_not_sleep() {
        let wakes = Arc::new(AtomicUsize::new(0));
        let (bell, mut sleeper) = doorbell_with(Fences::REFUSED, Count(wakes.clone()));
        let mut looks = 0;
        for _ in 0..2 {
            assert!(!sleeper.may_sleep(|| {
                looks += 1;
                false
            }));
            bell.ring();
        }
        assert_eq!((looks, wakes.load(Ordering::Relaxed)), (2, 0), "awake for who rings");
    }

    #[test]
    fn a_consumer_that_sleeps_after_every_value_gets_all_of_them() {
        sleeps_after_every_value(Fences::lopsided());
        sleeps_after_every_value(Fences::EVEN);
    }

    fn sleeps_after_every_value(fences: Fences) {
        const VALUES: u32 = 10_000;
        let (mut producer, mut consumer) = ring(2);
        let (mut parker, unparker) = parker();
        let (bell, mut sleeper) = doorbell_with(fences, unparker);
        let taker = std::thread::spawn(move || {
            let mut next = 0;
            while next < VALUES {
                let before = next;
                consumer.drain(1, |value| {
                    assert_eq!(value, next);
                    next += 1;
                });
                if next == before && sleeper.may_sleep(|| !consumer.is_empty()) {
                    parker.park();
                    sleeper.woke();
                }
            }
        });
        for value in 0..VALUES {
            while producer.push(value).is_err() {
                std::thread::yield_now();
            }
            bell.ring();
        }
        taker.join().unwrap();
    }
}
