//! Collections: which documents share a schema and policies, and how a batch is checked.
//!
//! A name `trades/EURUSD` belongs to collection `trades`; a name without `/` to the default one.
//! Collections are fixed when the stages are joined, and read by every worker.

use std::sync::Arc;

use deltaworks_image::Image;
use deltaworks_schema::{Kind, Machine as SchemaMachine, Progress, Schema as TypedSchema};

pub use deltaworks_schema::{SchemaError, ValidationError};

pub use crate::conflation::ConflationKey;

use crate::message::{BatchRefusal, Policy};
use crate::quota::{Quota, SharedUse};

/// How the deltas of a collection are checked.
#[derive(Debug)]
pub enum Schema {
    /// Any bytes.
    Opaque,
    /// CBOR under a JSON Type Definition, or changes of records that hold such.
    Typed(TypedSchema),
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
            Self::Opaque => Kind::Opaque.name(),
            Self::Typed(schema) => schema.kind_name(),
            #[cfg(feature = "testing")]
            Self::Busy { .. } => "busy",
        }
    }
}

/// What one collection may have, where that is less than [`Limits`](crate::limits::Limits) allow
/// all, and what it keeps; by default it is nothing less, and nothing. None costs memory beyond the budget.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CollectionLimits {
    /// Bytes of one image at most. A batch above it is refused.
    pub image_bytes_max: u32,
    /// Deltas of one batch at most. A batch above it is refused.
    pub deltas_per_batch_max: u32,
    /// Credit of a new handle: what may be on its way at once.
    pub credit_bytes: u32,
    /// Documents of one worker at most. Beyond it an open is refused.
    pub documents_per_worker_max: u32,
    /// Producers that a document remembers at most; the oldest is forgotten, or an open refused.
    pub producers_per_document_max: u32,
    /// What all writers of its documents together may send a second: two words.
    pub quota: Quota,
    /// The newest bytes of each document that stay in memory when their chunk goes, in whole images: half a
    /// chunk at most, and no more than the owner's kept chunks hold.
    pub keep_bytes: u32,
}

impl Default for CollectionLimits {
    fn default() -> Self {
        Self {
            image_bytes_max: u32::MAX,
            deltas_per_batch_max: u32::MAX,
            credit_bytes: u32::MAX,
            documents_per_worker_max: u32::MAX,
            producers_per_document_max: u32::MAX,
            quota: Quota::NONE,
            keep_bytes: 0,
        }
    }
}

/// What happens to a collection's subscriptions that fall behind. By default every policy that harms
/// nobody else may be asked for, so all but `wait`, and who asks for none gets gaps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Overload {
    /// The policy of an open that names none.
    pub policy: Policy,
    /// Which policies may be asked for, by their numbers.
    pub allowed: [bool; Policy::COUNT],
    /// From how many bytes behind on `skip`, `conflate` and `close` act, before the window is left;
    /// `None`: from [`SKIP_BYTES`] and [`CONFLATE_BYTES`] on, and `close` only behind the window.
    pub behind_bytes: Option<u64>,
    /// What `conflate` tells values apart by; without it nobody can ask for that policy.
    pub key: Option<ConflationKey>,
}

/// How far a `skip` subscription may be behind, unless its collection says otherwise.
pub const SKIP_BYTES: u64 = 1 << 20;

/// How far a `conflate` subscription may be behind, unless its collection says otherwise.
pub const CONFLATE_BYTES: u64 = 64 << 10;

impl Default for Overload {
    fn default() -> Self {
        let allowed = Policy::ALL.map(|policy| policy != Policy::Wait);
        Self { policy: Policy::Gap, allowed, behind_bytes: None, key: None }
    }
}

impl Overload {
    /// The same, with or without `policy` among those that may be asked for.
    #[must_use]
    pub fn with(mut self, policy: Policy, is_allowed: bool) -> Self {
        self.allowed[policy as usize] = is_allowed;
        self
    }

    /// Whether `policy` may be asked for.
    pub fn allows(&self, policy: Policy) -> bool {
        self.allowed[policy as usize] && (policy != Policy::Conflate || self.key.is_some())
    }

    /// From more than how many bytes behind on a subscription of `policy` is too far behind.
    #[inline]
    pub(crate) fn behind_bytes_max(&self, policy: Policy) -> u64 {
        match policy {
            Policy::Gap | Policy::Wait => u64::MAX,
            Policy::Skip => self.behind_bytes.unwrap_or(SKIP_BYTES),
            Policy::Conflate => self.behind_bytes.unwrap_or(CONFLATE_BYTES),
            Policy::Close => self.behind_bytes.unwrap_or(u64::MAX),
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
    /// What happens to subscriptions that fall behind.
    pub overload: Overload,
    /// What its documents may have, where that is less than all may.
    pub limits: CollectionLimits,
}

/// How far the check of a batch has come.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct BatchCheck {
    /// Deltas that are valid.
    deltas: u32,
    /// Payload bytes of those.
    payload_bytes: u32,
    /// The machine stands inside the next delta.
    is_inside: bool,
}

/// The state of a check that may be interrupted.
#[derive(Debug)]
pub(crate) struct Machine {
    schema: SchemaMachine,
    #[cfg(feature = "testing")]
    burnt_steps: u64,
}

impl Default for Machine {
    fn default() -> Self {
        Self {
            schema: SchemaMachine::new(),
            #[cfg(feature = "testing")]
            burnt_steps: 0,
        }
    }
}

/// How a check ended, or did not.
pub(crate) enum Outcome {
    Valid,
    Invalid(BatchRefusal),
    OutOfSteps,
}

impl Collection {
    /// Checks every delta of `image` from where `check` stands, for about `steps` steps.
    #[inline]
    pub(crate) fn check(
        &self,
        image: &Image<'_>,
        machine: &mut Machine,
        check: &mut BatchCheck,
        steps: &mut u32,
    ) -> Outcome {
        if image.count() > self.limits.deltas_per_batch_max
            || image.bytes().len() > self.limits.image_bytes_max as usize
        {
            return Outcome::Invalid(BatchRefusal::BeyondCollection);
        }
        match &self.schema {
            Schema::Opaque => {
                *steps = steps.saturating_sub(1);
                Outcome::Valid
            }
            Schema::Typed(schema) => check_typed(schema, image, &mut machine.schema, check, steps),
            #[cfg(feature = "testing")]
            Schema::Busy { steps_per_delta } => {
                if !check.is_inside {
                    check.is_inside = true;
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

fn check_typed(
    schema: &TypedSchema,
    image: &Image<'_>,
    machine: &mut SchemaMachine,
    check: &mut BatchCheck,
    steps: &mut u32,
) -> Outcome {
    let deltas = image.deltas().skip_to(check.deltas, check.payload_bytes);
    for delta in deltas {
        let progress = if check.is_inside {
            machine.run(schema, delta, steps)
        } else {
            machine.check(schema, delta, steps)
        };
        match progress {
            Progress::Valid => {
                check.is_inside = false;
                check.deltas += 1;
                check.payload_bytes += delta.len() as u32;
            }
            Progress::OutOfSteps => {
                check.is_inside = true;
                return Outcome::OutOfSteps;
            }
            Progress::Invalid => {
                let error = Arc::new(machine.error(schema, delta));
                return Outcome::Invalid(BatchRefusal::Invalid { delta: check.deltas, error });
            }
        }
    }
    Outcome::Valid
}

/// All collections of a daemon.
#[derive(Debug)]
pub struct Collections {
    all: Vec<Collection>,
    /// What every `info` must be: one map.
    info: TypedSchema,
    /// Of their quotas, where they have one.
    used: Vec<Option<SharedUse>>,
}

impl Collections {
    /// The collections; the one with the empty name is the default one.
    ///
    /// # Panics
    /// With more than 65,535.
    pub fn new(all: Vec<Collection>) -> Self {
        assert!(all.len() < usize::from(u16::MAX));
        let Ok(info) = TypedSchema::compile(Kind::Cbor, r#"{"values": {}}"#) else {
            unreachable!("a schema of maps")
        };
        let has_quota = |it: &Collection| it.limits.quota.is_some();
        let used = all.iter().map(|it| has_quota(it).then(SharedUse::default)).collect();
        Self { all, info, used }
    }

    /// The collection of a document's name.
    pub fn of_name(&self, name: &str) -> Option<u16> {
        let collection = name.split_once('/').map_or("", |(collection, _)| collection);
        let place = self.all.iter().position(|known| known.name == collection)?;
        Some(place as u16)
    }

    /// Checks an `info`, whose length bounds the steps.
    pub(crate) fn check_info(&self, map: &[u8], machine: &mut Machine) -> Outcome {
        match machine.schema.check(&self.info, map, &mut { u32::MAX }) {
            Progress::Valid => Outcome::Valid,
            _ => Outcome::Invalid(BatchRefusal::BadInfo),
        }
    }

    /// Whether one of them has a quota.
    pub(crate) fn have_quotas(&self) -> bool {
        self.used.iter().any(Option::is_some)
    }

    /// A collection's quota, and what has been used of it; none if it has none.
    pub(crate) fn used(&self, collection: u16) -> Option<(&SharedUse, &Quota)> {
        let used = self.used[collection as usize].as_ref()?;
        Some((used, &self.all[collection as usize].limits.quota))
    }

    /// How many collections there are; they are numbered from 0.
    pub fn count(&self) -> usize {
        self.all.len()
    }

    /// Name and kind of each, by number.
    pub fn labels(&self) -> impl Iterator<Item = (String, &'static str)> + '_ {
        self.all.iter().map(|collection| (collection.name.clone(), collection.schema.kind_name()))
    }

    /// The collection of that number.
    #[inline]
    pub fn get(&self, collection: u16) -> &Collection {
        &self.all[collection as usize]
    }
}
