//! Faults planted in a running server, for tests of what contains them and of what watches it.
//!
//! Belongs to one core each, whose loop asks before every turn. It never lies: what it does is
//! said on standard error first. Compiled only with `planted_faults`; in a release these are
//! empty functions. Holds what was planted at the start, nothing grows.

#[cfg(feature = "planted_faults")]
mod armed {
    use std::fmt;
    use std::str::FromStr;
    use std::thread;
    use std::time::Duration;

    use deltaworks_pipeline::planted::PlantedPanic;
    use deltaworks_pipeline::stages::CoreStages;
    use deltaworks_runtime::clock::Now;

    /// Between two looks of a wedged core at whether its time is over.
    const WEDGE_STEP: Duration = Duration::from_millis(10);

    #[derive(Clone, Debug)]
    enum Fault {
        /// The core's thread is held while all others go on.
        Wedge { core: usize, after_ns: u64, for_ns: Option<u64> },
        /// A panic in the core's turn, outside of any batch and any session.
        PanicAgent { core: usize, after_ns: u64 },
        /// A panic in the stages of every core.
        Stages(PlantedPanic),
    }

    /// What to plant, as text: faults with commas between them.
    ///
    /// | fault | what it does |
    /// |---|---|
    /// | `wedge:CORE:AFTER_SECONDS[:FOR_SECONDS]` | holds the core's thread, for good or for so long |
    /// | `panic_agent:CORE:AFTER_SECONDS` | panics in the core's turn |
    /// | `panic_validation:DOCUMENT[:always]` | panics in the check of a batch, once or every time |
    /// | `panic_append:DOCUMENT[:always]` | panics in the middle of appending a batch |
    /// | `panic_session:BYTES` | panics in a session's input, once a core has received so many |
    /// | `panic_session:DOCUMENT[:always]` | panics in a session's input when it opens the document |
    #[derive(Clone, Debug, Default)]
    pub struct Plants(Vec<Fault>);

    /// A text that names no fault.
    #[derive(Debug)]
    pub struct UnknownPlant(String);

    impl fmt::Display for UnknownPlant {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            write!(f, "{:?} is no fault that can be planted", self.0)
        }
    }

    impl std::error::Error for UnknownPlant {}

    impl FromStr for Plants {
        type Err = UnknownPlant;

        fn from_str(text: &str) -> Result<Self, UnknownPlant> {
            let faults = text.split(',').filter(|fault| !fault.is_empty());
            let faults = faults.map(|fault| parse(fault).ok_or(UnknownPlant(fault.to_owned())));
            faults.collect::<Result<_, _>>().map(Self)
        }
    }

    fn parse(text: &str) -> Option<Fault> {
        let (kind, rest) = text.split_once(':')?;
        match kind {
            "wedge" => {
                let mut parts = rest.split(':');
                let core = parts.next()?.parse().ok()?;
                let after_ns = nanoseconds(parts.next()?)?;
                let for_ns = match parts.next() {
                    Some(seconds) => Some(nanoseconds(seconds)?),
                    None => None,
                };
                parts.next().is_none().then_some(Fault::Wedge { core, after_ns, for_ns })
            }
            "panic_agent" => {
                let (core, after) = rest.split_once(':')?;
                let (core, after_ns) = (core.parse().ok()?, nanoseconds(after)?);
                Some(Fault::PanicAgent { core, after_ns })
            }
            _ => {
                let (document, is_repeated) = match rest.strip_suffix(":always") {
                    Some(document) => (document.to_owned(), true),
                    None => (rest.to_owned(), false),
                };
                if document.is_empty() {
                    return None;
                }
                Some(Fault::Stages(match (kind, rest.parse()) {
                    ("panic_validation", _) => PlantedPanic::Check { document, is_repeated },
                    ("panic_append", _) => PlantedPanic::Append { document, is_repeated },
                    ("panic_session", Ok(after_bytes)) => PlantedPanic::Received { after_bytes },
                    ("panic_session", Err(_)) => PlantedPanic::Opening { document, is_repeated },
                    _ => return None,
                }))
            }
        }
    }

    fn nanoseconds(seconds: &str) -> Option<u64> {
        let seconds: f64 = seconds.parse().ok()?;
        (0.0..1e9).contains(&seconds).then_some((seconds * 1e9) as u64)
    }

    impl Plants {
        /// Plants in one core's stages what belongs there; the rest is for its loop.
        pub(crate) fn into_core(self, core: usize, stages: &mut CoreStages) -> CorePlants {
            let mut timed = Vec::new();
            for fault in self.0 {
                match fault {
                    Fault::Stages(panic) => stages.plant(panic),
                    Fault::Wedge { core: of, .. } | Fault::PanicAgent { core: of, .. } => {
                        if of == core {
                            timed.push(fault);
                        }
                    }
                }
            }
            CorePlants { core, began_ns: None, timed }
        }
    }

    /// What is planted in one core's loop.
    pub(crate) struct CorePlants {
        core: usize,
        began_ns: Option<u64>,
        timed: Vec<Fault>,
    }

    fn after_ns(fault: &Fault) -> u64 {
        match fault {
            Fault::Wedge { after_ns, .. } | Fault::PanicAgent { after_ns, .. } => *after_ns,
            Fault::Stages(_) => u64::MAX,
        }
    }

    impl CorePlants {
        /// Does what is due.
        pub fn before_turn(&mut self, now: Now) {
            let began_ns = *self.began_ns.get_or_insert(now.monotonic_ns);
            let age_ns = now.monotonic_ns - began_ns;
            let Some(place) = self.timed.iter().position(|fault| after_ns(fault) <= age_ns) else {
                return;
            };
            let core = self.core;
            match self.timed.remove(place) {
                Fault::Wedge { for_ns, .. } => {
                    eprintln!("deltaworksd: a planted fault: core {core} is wedged");
                    let mut held_ns = 0;
                    while for_ns.is_none_or(|for_ns| held_ns < for_ns) {
                        thread::sleep(WEDGE_STEP);
                        held_ns += WEDGE_STEP.as_nanos() as u64;
                    }
                    eprintln!("deltaworksd: a planted fault: core {core} goes on");
                }
                Fault::PanicAgent { .. } => panic!("a planted fault: the agent of core {core}"),
                Fault::Stages(_) => {}
            }
        }

        /// When the next fault is due.
        pub fn wake_at_ns(&self) -> u64 {
            let due_ns = self.timed.iter().map(after_ns).min();
            due_ns.map_or(u64::MAX, |due_ns| self.began_ns.unwrap_or(0).saturating_add(due_ns))
        }
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn what_can_be_planted_is_understood_and_nothing_else() {
            for text in [
                "",
                "wedge:0:1",
                "wedge:1:0.5:2",
                "panic_agent:3:0,panic_validation:a/b",
                "panic_validation:d:always",
                "panic_append:d",
                "panic_session:4096",
                "panic_session:notes/x",
            ] {
                assert!(text.parse::<Plants>().is_ok(), "{text}");
            }
            for text in [
                "wedge",
                "wedge:",
                "wedge:0",
                "wedge:0:x",
                "wedge:0:1:2:3",
                "wedge:-1:1",
                "panic_agent:0",
                "panic_agent:0:-1",
                "panic_validation:",
                "panic_validation::always",
                "explode:0",
                "wedge:0:1,explode:0",
            ] {
                assert!(text.parse::<Plants>().is_err(), "{text}");
            }
        }
    }
}

#[cfg(feature = "planted_faults")]
pub(crate) use armed::CorePlants;
#[cfg(feature = "planted_faults")]
pub use armed::{Plants, UnknownPlant};

#[cfg(not(feature = "planted_faults"))]
mod unarmed {
    use deltaworks_pipeline::stages::CoreStages;
    use deltaworks_runtime::clock::Now;

    /// Nothing is planted in a release.
    #[derive(Clone, Debug, Default)]
    pub(crate) struct Plants {}

    impl Plants {
        #[inline(always)]
        pub(crate) fn into_core(self, _: usize, _: &mut CoreStages) -> CorePlants {
            CorePlants {}
        }
    }

    /// Nothing is planted in a release.
    pub(crate) struct CorePlants {}

    impl CorePlants {
        #[inline(always)]
        pub fn before_turn(&mut self, _: Now) {}

        #[inline(always)]
        pub fn wake_at_ns(&self) -> u64 {
            u64::MAX
        }
    }
}

#[cfg(not(feature = "planted_faults"))]
pub(crate) use unarmed::{CorePlants, Plants};
