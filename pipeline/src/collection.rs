//! Collections: which documents share a schema and policies, and how a batch is checked.
//!
//! A name `trades/EURUSD` belongs to collection `trades`; a name without `/` to the default one.
//! Collections are fixed when the stages are joined, and read by every worker.

use std::sync::Arc;

use deltaworks_image::view::{Alike, Image};
use deltaworks_schema::{Kind, Machine as SchemaMachine, Overlay, Progress, Schema as TypedSchema};

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

impl BatchCheck {
    /// Whether nothing has been checked.
    #[cfg(test)]
    pub(crate) fn is_fresh(&self) -> bool {
        self.deltas == 0 && !self.is_inside
    }

    /// Takes in how far the next delta has come; the outcome of the batch unless it is valid.
    #[inline(always)]
    fn take(
        &mut self,
        progress: Progress,
        schema: &TypedSchema,
        machine: &SchemaMachine,
        delta: &[u8],
    ) -> Result<(), Outcome> {
        match progress {
            Progress::Valid => {
                self.is_inside = false;
                self.deltas += 1;
                self.payload_bytes += delta.len() as u32;
                Ok(())
            }
            Progress::OutOfSteps => {
                self.is_inside = true;
                Err(Outcome::OutOfSteps)
            }
            Progress::Invalid => {
                let error = Arc::new(machine.error(schema, delta));
                Err(Outcome::Invalid(BatchRefusal::Invalid { delta: self.deltas, error }))
            }
        }
    }
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

/// A look at deltas of one length, each the only one of its batch.
pub(crate) enum Look<'a> {
    /// Any bytes will do.
    Opaque,
    Typed(Overlay<'a>),
}

impl Look<'_> {
    /// Whether the delta is valid, as far as it tells.
    #[inline(always)]
    pub fn accepts(&self, delta: &[u8]) -> bool {
        match self {
            Self::Opaque => true,
            Self::Typed(overlay) => overlay.fits(delta),
        }
    }

    /// The steps of each that it accepts.
    #[inline(always)]
    pub fn steps(&self) -> u32 {
        match self {
            Self::Opaque => 1,
            Self::Typed(overlay) => overlay.steps(),
        }
    }

    /// So many were accepted.
    #[inline(always)]
    pub fn count(&mut self, deltas: u32) {
        if let Self::Typed(overlay) = self {
            overlay.count(deltas);
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
    /// A way to look at images of one delta, which all have `image_bytes`, whose checks have not begun and may take
    /// `steps` steps each; none if no look tells anything of them. What it does not accept is
    /// [`Collection::check`]'s.
    #[inline(always)]
    pub(crate) fn look<'a>(
        &self,
        machine: &'a mut Machine,
        image_bytes: usize,
        delta_bytes: usize,
        steps: u32,
    ) -> Option<Look<'a>> {
        let is_enough = steps >= SchemaMachine::STEPS_AT_ONCE
            && self.limits.deltas_per_batch_max > 0
            && image_bytes <= self.limits.image_bytes_max as usize;
        match &self.schema {
            _ if !is_enough => None,
            Schema::Opaque => Some(Look::Opaque),
            Schema::Typed(schema) => machine.schema.overlay(schema, delta_bytes).map(Look::Typed),
            #[cfg(feature = "testing")]
            Schema::Busy { .. } => None,
        }
    }

    /// Whether an image is within the collection's limits.
    #[inline(always)]
    fn takes(&self, image: &Image<'_>) -> bool {
        image.count() <= self.limits.deltas_per_batch_max
            && image.bytes().len() <= self.limits.image_bytes_max as usize
    }

    /// Checks every delta of `image` from where `check` stands, for about `steps` steps.
    #[inline]
    pub(crate) fn check(
        &self,
        image: &Image<'_>,
        machine: &mut Machine,
        check: &mut BatchCheck,
        steps: &mut u32,
    ) -> Outcome {
        if !self.takes(image) {
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
    let mut deltas = image.deltas().skip_to(check.deltas, check.payload_bytes);
    if check.is_inside {
        let Some(delta) = deltas.next() else { return Outcome::Valid };
        if let Err(outcome) = check.take(machine.run(schema, delta, steps), schema, machine, delta)
        {
            return outcome;
        }
    }
    // Most batches are of deltas that have one length, and one layout.
    while let Some(alike) = deltas.alike() {
        let Alike { bytes, delta_bytes, count } = alike;
        if count > 1 && machine.are_alike(schema, bytes, delta_bytes, count, steps) {
            check.deltas += count;
            check.payload_bytes += bytes.len() as u32;
            deltas = deltas.skip_to(count, bytes.len() as u32);
            continue;
        }
        for delta in deltas.by_ref().take(count as usize) {
            let progress = machine.check(schema, delta, steps);
            if let Err(outcome) = check.take(progress, schema, machine, delta) {
                return outcome;
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

    /// Takes deltas that have come for a collection out of its quota, if it has one.
    pub(crate) fn take_deltas(&self, collection: u16, deltas: u64, now_ns: u64) {
        if deltas > 0
            && let Some((used, quota)) = self.used(collection)
        {
            used.take_deltas(deltas, quota, now_ns);
        }
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

#[cfg(test)]
mod tests {
    use deltaworks_image::{BatchBuilder, OneDelta};

    use super::*;

    fn collection(limits: CollectionLimits) -> Collection {
        let text = r#"{"properties":{"op":{"enum":["ins","del"]},"text":{"type":"string"}}}"#;
        let schema = TypedSchema::compile(Kind::Cbor, text).expect("a schema");
        let overload = Overload::default();
        Collection { name: String::new(), schema: Schema::Typed(schema), overload, limits }
    }

    fn delta(number: usize, text_bytes: usize) -> Vec<u8> {
        let mut delta = b"\xa2\x62op\x63ins\x64text".to_vec();
        delta[5..8].copy_from_slice([b"ins", b"del"][number % 2]);
        delta.push(0x60 | text_bytes as u8);
        delta.extend((0..text_bytes).map(|place| b'a' + ((number + place) % 26) as u8));
        delta
    }

    fn image(deltas: &[Vec<u8>]) -> Vec<u8> {
        let mut builder = BatchBuilder::new(deltaworks_image::Limits::DEFAULT);
        for delta in deltas {
            builder.append(delta).expect("a short one");
        }
        builder.finish(1, 1).expect("an image")
    }

    /// The steps of an image of one delta, if one look accepts it.
    fn at_once(
        collection: &Collection,
        image: &Image<'_>,
        machine: &mut Machine,
        steps: u32,
    ) -> Option<u32> {
        let (model, bytes) = (OneDelta::of(image)?, image.bytes());
        let look = collection.look(machine, bytes.len(), model.delta_bytes(), steps)?;
        let (_, delta) = model.image(bytes).expect("it is like itself");
        look.accepts(delta).then(|| look.steps())
    }

    /// The first invalid delta, and the steps that were taken, when a slice has so many.
    fn told(collection: &Collection, deltas: &[Vec<u8>], slice: u32) -> (Option<u32>, u32) {
        let image = image(deltas);
        let image = Image::parse(&image).expect("an image");
        let (mut machine, mut check, mut taken) = (Machine::default(), BatchCheck::default(), 0);
        // It has met one of each length before.
        for text_bytes in 3..6 {
            machine.schema.check(typed(collection), &delta(0, text_bytes), &mut { u32::MAX });
        }
        loop {
            let mut steps = slice;
            if check.is_fresh()
                && let Some(at_once) = at_once(collection, &image, &mut machine, steps)
            {
                assert_eq!(deltas.len(), 1);
                return (None, taken + at_once);
            }
            let outcome = collection.check(&image, &mut machine, &mut check, &mut steps);
            taken += slice - steps;
            match outcome {
                Outcome::Valid => return (None, taken),
                Outcome::Invalid(BatchRefusal::Invalid { delta, .. }) => {
                    return (Some(delta), taken);
                }
                Outcome::Invalid(refusal) => panic!("{refusal:?}"),
                Outcome::OutOfSteps => {}
            }
        }
    }

    fn typed(collection: &Collection) -> &TypedSchema {
        match &collection.schema {
            Schema::Typed(schema) => schema,
            _ => panic!("another schema"),
        }
    }

    /// The same, one delta after another, by the schema's machine alone.
    fn in_turn(collection: &Collection, deltas: &[Vec<u8>], slice: u32) -> (Option<u32>, u32) {
        let (mut machine, mut steps, mut taken) = (SchemaMachine::new(), slice, 0);
        let schema = typed(collection);
        for (place, delta) in deltas.iter().enumerate() {
            let mut progress = machine.check(schema, delta, &mut steps);
            while progress == Progress::OutOfSteps {
                (taken, steps) = (taken + slice - steps, slice);
                progress = machine.run(schema, delta, &mut steps);
            }
            if progress == Progress::Invalid {
                return (Some(place as u32), taken + slice - steps);
            }
        }
        (None, taken + slice - steps)
    }

    /// Batches of rows of one length, of lengths that change, and of one delta.
    fn batches() -> impl Iterator<Item = Vec<Vec<u8>>> {
        [(1, 1), (2, 1), (40, 40), (40, 1), (40, 3), (33, 16), (50, 17)].into_iter().map(
            |(count, row): (usize, usize)| {
                (0..count).map(|number| delta(number, 3 + number / row % 3)).collect()
            },
        )
    }

    #[test]
    fn a_batch_is_judged_as_its_deltas_one_after_another_are() {
        let collection = collection(CollectionLimits::default());
        for batch in batches() {
            for slice in [1, 3, 63, 64, 65, 100, 1_000, 100_000] {
                assert_eq!(told(&collection, &batch, slice), in_turn(&collection, &batch, slice));
            }
        }
    }

    #[test]
    fn an_invalid_delta_is_told_wherever_it_stands() {
        let collection = collection(CollectionLimits::default());
        let mut planted = 0;
        for batch in batches() {
            for place in 0..batch.len() {
                // Another text than the enum's; a byte of a text that is none; a key.
                for at in [5, 14, 2] {
                    let mut bent = batch.clone();
                    bent[place][at] = 0xff;
                    for slice in [50, 200, 100_000] {
                        let told = told(&collection, &bent, slice);
                        assert_eq!(told.0, Some(place as u32), "{at} {slice}");
                        assert_eq!(told, in_turn(&collection, &bent, slice), "{at} {slice}");
                        planted += 1;
                    }
                }
            }
        }
        assert!(planted > 1_000);
    }

    #[test]
    fn a_valid_batch_beyond_the_collections_limits_is_refused() {
        let limits = CollectionLimits { deltas_per_batch_max: 1, ..CollectionLimits::default() };
        let short = CollectionLimits { image_bytes_max: 64, ..CollectionLimits::default() };
        for (limits, count) in [(limits, 2), (short, 1)] {
            let collection = collection(limits);
            let image = image(&vec![delta(0, 5); count]);
            let image = Image::parse(&image).expect("an image");
            let (mut machine, mut steps) = (Machine::default(), 1_000);
            machine.schema.check(typed(&collection), &delta(0, 5), &mut { u32::MAX });
            assert_eq!(at_once(&collection, &image, &mut machine, steps), None);
            let mut check = BatchCheck::default();
            let outcome = collection.check(&image, &mut machine, &mut check, &mut steps);
            assert!(matches!(outcome, Outcome::Invalid(BatchRefusal::BeyondCollection)));
        }
    }
}
