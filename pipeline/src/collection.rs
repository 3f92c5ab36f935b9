//! Collections: which documents share a schema and policies, and how a batch is checked.
//!
//! A name `trades/EURUSD` belongs to collection `trades`; a name without `/` to the default one.
//! Collections are fixed when the stages are joined, and read by every worker.

use deltaworks_image::{Image, Kind};

use crate::message::BatchRefusal;

/// What is wrong with a delta, and where.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct InvalidDelta {
    /// What is wrong, in words.
    pub reason: String,
    /// Where in the delta (RFC 6901).
    pub instance_path: String,
    /// Where in the schema (RFC 6901).
    pub schema_path: String,
    /// It is no well-formed CBOR, or nested too deep; else it breaks the schema.
    pub is_malformed: bool,
    /// Byte of the delta at which it was seen.
    pub offset_bytes: u32,
}

/// How the deltas of a collection are checked.
#[derive(Debug)]
pub enum Schema {
    /// Any bytes.
    Opaque,
    /// Any bytes, at a price: each delta burns this many steps. For tests of the step budget.
    #[cfg(feature = "testing")]
    Busy {
        /// Steps that each delta takes.
        steps_per_delta: u64,
    },
}

impl Schema {
    /// The name of the kind, as clients are told.
    pub fn kind_name(&self) -> &'static str {
        match self {
            Self::Opaque => "opaque",
            #[cfg(feature = "testing")]
            Self::Busy { .. } => "busy",
        }
    }
}

/// Documents with the same schema and policies.
#[derive(Debug)]
pub struct Collection {
    /// What stands before the `/` in a document's name; empty for the default collection.
    pub name: String,
    /// How deltas are checked.
    pub schema: Schema,
    /// Whether subscriptions may make publishers wait.
    pub wait_allowed: bool,
}

/// How far the check of a batch has come.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct BatchCheck {
    delta: u32,
}

/// The state of a check that may be interrupted.
#[derive(Debug, Default)]
pub(crate) struct Machine {
    #[cfg(feature = "testing")]
    burnt_steps: u64,
}

/// How a check ended, or did not.
pub(crate) enum Outcome {
    Valid,
    Invalid(BatchRefusal),
    OutOfSteps,
}

impl Collection {
    /// Checks every delta of `image` from where `check` stands, for at most `steps` steps.
    pub(crate) fn check(
        &self,
        image: &Image<'_>,
        machine: &mut Machine,
        check: &mut BatchCheck,
        steps: &mut u32,
    ) -> Outcome {
        if image.kind() == Kind::Info {
            return Outcome::Valid;
        }
        match &self.schema {
            Schema::Opaque => {
                check.delta = image.count();
                *steps = steps.saturating_sub(1);
                Outcome::Valid
            }
            #[cfg(feature = "testing")]
            Schema::Busy { steps_per_delta } => {
                if check.delta == 0 {
                    check.delta = 1;
                    machine.burnt_steps = 0;
                }
                let left = steps_per_delta * u64::from(image.count()) - machine.burnt_steps;
                let burns = left.min(u64::from(*steps));
                machine.burnt_steps += burns;
                *steps -= burns as u32;
                if burns < left { Outcome::OutOfSteps } else { Outcome::Valid }
            }
        }
    }
}

/// All collections of a daemon.
#[derive(Debug)]
pub struct Collections {
    all: Vec<Collection>,
}

impl Collections {
    /// The collections; the one with the empty name is the default one.
    ///
    /// # Panics
    /// With more than 65,535.
    pub fn new(all: Vec<Collection>) -> Self {
        assert!(all.len() < usize::from(u16::MAX));
        Self { all }
    }

    /// The collection of a document's name.
    pub fn of_name(&self, name: &str) -> Option<u16> {
        let collection = name.split_once('/').map_or("", |(collection, _)| collection);
        let place = self.all.iter().position(|known| known.name == collection)?;
        Some(place as u16)
    }

    /// The collection of that number.
    #[inline]
    pub fn get(&self, collection: u16) -> &Collection {
        &self.all[collection as usize]
    }
}
