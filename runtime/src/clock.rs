//! Time, read once per turn and handed down as a value.
//!
//! A core's loop asks its clock, everything below gets [`Now`]; so a test or a simulator says
//! what time it is. Each core has a clock of its own. Unix time here never goes back: where the
//! system's does, it stands still until the other has caught up.

/// The time of a turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Now {
    /// Nanoseconds since some moment of this machine's; for deadlines and durations.
    pub monotonic_ns: u64,
    /// Microseconds since the Unix epoch; for people and for stamps.
    pub unix_us: u64,
}

impl Now {
    /// Nanoseconds from `earlier` to now, or zero if that is later.
    #[inline]
    pub const fn since_ns(self, earlier: Now) -> u64 {
        self.monotonic_ns.saturating_sub(earlier.monotonic_ns)
    }
}

/// Something that says what time it is.
pub trait Clock {
    /// The time. Neither part is ever less than at the call before.
    fn now(&mut self) -> Now;
}

/// A clock that stands until it is moved.
#[derive(Debug, Clone, Copy, Default)]
pub struct ManualClock {
    now: Now,
}

impl ManualClock {
    /// A clock that stands at `now`.
    pub const fn at(now: Now) -> Self {
        Self { now }
    }

    /// Moves both times by `ns` nanoseconds. Unix time moves by whole microseconds and loses no
    /// part of one if `ns` is a multiple of 1,000.
    pub fn advance_ns(&mut self, ns: u64) {
        self.now.monotonic_ns += ns;
        self.now.unix_us += ns / 1_000;
    }
}

impl Clock for ManualClock {
    fn now(&mut self) -> Now {
        self.now
    }
}

#[cfg(all(not(target_arch = "wasm32"), not(loom)))]
pub use system::SystemClock;

#[cfg(all(not(target_arch = "wasm32"), not(loom)))]
mod system {
    use super::{Clock, Now};
    use std::sync::OnceLock;
    use std::time::{Instant, SystemTime, UNIX_EPOCH};

    /// How long Unix time is carried on by the monotonic clock before the system is asked again.
    const ANCHOR_NS_MAX: u64 = 100_000_000;

    /// The machine's clocks. Monotonic time counts from the first clock made in this process, the
    /// same for all of them.
    #[derive(Debug, Clone)]
    pub struct SystemClock {
        origin: Instant,
        anchor: Now,
        latest_unix_us: u64,
    }

    impl SystemClock {
        /// A clock that shows the system's time.
        pub fn new() -> Self {
            static ORIGIN: OnceLock<Instant> = OnceLock::new();
            let origin = *ORIGIN.get_or_init(Instant::now);
            let mut clock = Self { origin, anchor: Now::default(), latest_unix_us: 0 };
            clock.anchor = clock.ask_system();
            clock.latest_unix_us = clock.anchor.unix_us;
            clock
        }

        fn monotonic_ns(&self) -> u64 {
            self.origin.elapsed().as_nanos() as u64
        }

        fn ask_system(&self) -> Now {
            let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            Now { monotonic_ns: self.monotonic_ns(), unix_us: since_epoch.as_micros() as u64 }
        }
    }

    impl Default for SystemClock {
        fn default() -> Self {
            Self::new()
        }
    }

    impl Clock for SystemClock {
        /// One clock read without a system call; two every tenth of a second.
        fn now(&mut self) -> Now {
            let monotonic_ns = self.monotonic_ns();
            if monotonic_ns - self.anchor.monotonic_ns > ANCHOR_NS_MAX {
                self.anchor = self.ask_system();
            }
            let carried_us = monotonic_ns.saturating_sub(self.anchor.monotonic_ns) / 1_000;
            let unix_us = self.anchor.unix_us + carried_us;
            self.latest_unix_us = self.latest_unix_us.max(unix_us);
            Now { monotonic_ns, unix_us: self.latest_unix_us }
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use std::time::{Duration, SystemTime, UNIX_EPOCH};

    #[test]
    fn the_system_clock_shows_the_systems_time_and_never_goes_back() {
        let mut clock = SystemClock::new();
        let mut before = clock.now();
        for _ in 0..30 {
            std::thread::sleep(Duration::from_millis(5));
            let now = clock.now();
            assert!(now.monotonic_ns >= before.monotonic_ns + 5_000_000);
            assert!(now.unix_us > before.unix_us);
            before = now;
        }
        let system_us = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_micros() as u64;
        assert!(system_us.abs_diff(before.unix_us) < 5_000_000);
    }

    #[test]
    fn clocks_of_one_process_agree_on_monotonic_time() {
        let (mut one, mut other) = (SystemClock::new(), SystemClock::new());
        let first = one.now();
        let second = other.now();
        assert!(second.monotonic_ns >= first.monotonic_ns);
        assert!(second.since_ns(first) < 10_000_000_000);
        assert_eq!(first.since_ns(Now { monotonic_ns: u64::MAX, unix_us: 0 }), 0);
    }

    #[test]
    fn a_manual_clock_moves_when_told() {
        let mut clock = ManualClock::at(Now { monotonic_ns: 5, unix_us: 7 });
        clock.advance_ns(2_000);
        assert_eq!(clock.now(), Now { monotonic_ns: 2_005, unix_us: 9 });
    }
}
