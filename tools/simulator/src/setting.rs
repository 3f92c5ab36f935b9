//! What a seed's world is like: cores and their roles, sizes, budgets, documents and clients.
//!
//! Everything is small, so that rings fill, chunks come round and budgets run out all the time.

use deltaworks_pipeline::collection::{
    Collection, CollectionLimits, Collections, ConflationKey, Overload, Schema,
};
use deltaworks_pipeline::heat::Thresholds;
use deltaworks_pipeline::limits::{Limits, TurnBounds};
use deltaworks_pipeline::message::Policy;
use deltaworks_pipeline::placement::PlacementLimits;
use deltaworks_pipeline::quota::{Quota, Quotas};
use deltaworks_pipeline::stages::CoreRole;
use deltaworks_protocol::message::Policy as WirePolicy;
use deltaworks_schema::{Kind, Schema as TypedSchema};

use crate::dice::Dice;

/// Time that a turn takes.
pub const TURN_NS: u64 = 10_000;

/// How deltas of a document are checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Check {
    /// Any bytes.
    Opaque,
    /// CBOR under a schema that some deltas break.
    Typed,
    /// Any bytes, no `wait`, and smaller limits of its own.
    Narrow,
    /// Any bytes, but so slowly that batches are checked in slices.
    Slow,
}

impl Check {
    const ALL: [Self; 4] = [Self::Opaque, Self::Typed, Self::Narrow, Self::Slow];
}

/// A document of the world.
#[derive(Clone, Copy, Debug)]
pub struct Name {
    /// As clients ask for it.
    pub name: &'static str,
    /// How its collection checks.
    pub check: Check,
}

const NAMES: [Name; 8] = [
    Name { name: "a", check: Check::Opaque },
    Name { name: "typed/a", check: Check::Typed },
    Name { name: "b", check: Check::Opaque },
    Name { name: "slow/a", check: Check::Slow },
    Name { name: "narrow/a", check: Check::Narrow },
    Name { name: "typed/b", check: Check::Typed },
    Name { name: "c", check: Check::Opaque },
    Name { name: "slow/b", check: Check::Slow },
];

/// How the world ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// Every client closes its session.
    Leave,
    /// Every connection is lost.
    Lost,
    /// The server ends in order.
    Drain,
    /// The server ends, and has no time for what is on its way.
    Refuse,
    /// A core was lost.
    Fail,
}

/// The conduct of one client.
#[derive(Clone, Copy, Debug)]
pub struct Conduct {
    /// Whom it writes as.
    pub producer: u64,
    /// Its documents, one bit each.
    pub documents: u32,
    /// How often, of a hundred calls, something goes wrong with its connection that passes.
    pub trouble: u32,
    /// What its connection holds towards it.
    pub room: usize,
    /// How often, of a hundred, it takes nothing when it could.
    pub sloth: u32,
    /// Whether it sends beyond its credit, sometimes.
    pub overdraws: bool,
}

/// What a seed's world is like.
#[derive(Clone, Debug)]
pub struct Setting {
    /// The cores.
    pub roles: Vec<CoreRole>,
    /// Messages that each ring holds.
    pub ring_capacity: usize,
    /// Chunks of each core that serves sessions.
    pub chunks: u32,
    /// Bytes of each.
    pub chunk_bytes: usize,
    /// Chunks in which each home keeps documents' newest bytes; 0 for none.
    pub kept_chunks: u32,
    /// How many of these each document of a collection keeps.
    pub keep_bytes: [u32; 4],
    /// Node blocks over all workers.
    pub node_blocks: u32,
    /// Control that may wait on each core, in bytes.
    pub control_bytes_max: usize,
    /// The limits of the stages.
    pub limits: Limits,
    /// Bytes of a delta at most, mostly.
    pub delta_bytes: usize,
    /// The documents.
    pub names: Vec<Name>,
    /// The clients.
    pub clients: Vec<Conduct>,
    /// How often, of a hundred, a subscription is one that is waited for.
    pub waits: u32,
    /// What the others ask for.
    pub policies: Vec<WirePolicy>,
    /// What happens to those that fall behind, by collection.
    pub overloads: [Overload; 4],
    /// What the writers of each collection may send together.
    pub quotas: [Quota; 4],
    /// Some of them may conflate.
    pub conflates: bool,
    /// How often, of a hundred steps that could lose something, something is lost.
    pub losses: u32,
    /// How it ends.
    pub ending: Ending,
    /// Batches that are sent at least.
    pub batches: usize,
    /// Steps before the world comes to rest.
    pub steps: usize,
}

impl Setting {
    /// The world of a seed.
    pub fn of_seed(seed: u64) -> Self {
        let mut dice = Dice::new(seed ^ 0x5e77_1e5e_ed00_0000);
        let roles = roles(&mut dice);
        let is_large = dice.says(15);
        let chunk_bytes = if is_large { 32 << 10 } else { 8 << 10 };
        let chunks = 2 + dice.below(4) as u32;
        let mut limits = limits(&mut dice, is_large);
        let names = NAMES[..2 + dice.below(NAMES.len() - 2)].to_vec();
        let count = 2 + dice.below(5);
        let clients = (0..count).map(|place| conduct(&mut dice, place, names.len())).collect();
        let mut policy_dice = Dice::new(seed ^ 0x0be7_10ad);
        let waits = dice.pick(&[0, 20, 60]);
        let conflates = policy_dice.says(40);
        if conflates && policy_dice.says(60) {
            // Room for all that conflate can copy: then no newest value may be lost.
            limits.spill_bytes_per_core_max = ROOMY_SPILL_BYTES;
            limits.slow_subscriptions_per_core_max = 64;
        }
        let mut quota_dice = Dice::new(seed ^ 0x900a_5e1f);
        let has_quotas = quota_dice.says(30);
        if has_quotas {
            limits.quotas = Quotas {
                session: quota(&mut quota_dice),
                producer: quota(&mut quota_dice),
                address: quota(&mut quota_dice),
            };
        }
        limits.aside_per_worker_max = quota_dice.pick(&[1, 3, 8, 1 << 10]);
        let quotas = Check::ALL.map(|_| match has_quotas {
            true => quota(&mut quota_dice),
            false => Quota::NONE,
        });
        let mut kept_dice = Dice::new(seed ^ 0x6e97_5a1e);
        let keeps = kept_dice.says(50);
        // Long enough for kept chunks to come round, too, with much in them, also of documents that moved.
        let lengths = if keeps && kept_dice.says(20) { 6 } else { 1 };
        let keep_bytes: &[u32] =
            if lengths > 1 { &[1_500, 6_000] } else { &[0, 300, 1_500, 6_000] };
        let node_blocks_min = if lengths > 1 { 256 } else { 0 };
        Self {
            kept_chunks: if keeps { kept_dice.pick(&[4, 4, 6]) } else { 0 },
            keep_bytes: Check::ALL.map(|_| kept_dice.pick(keep_bytes)),
            roles,
            ring_capacity: dice.pick(&[1, 1, 2, 3, 4, 8]),
            chunks,
            chunk_bytes,
            node_blocks: dice.pick(&[12, 24, 48, 256, 256]).max(node_blocks_min),
            control_bytes_max: dice.pick(&[4 << 10, 64 << 10, 1 << 20]),
            limits,
            delta_bytes: dice.pick(&[24, 200, 600]),
            names,
            clients,
            waits,
            policies: policies(&mut policy_dice, conflates),
            overloads: Check::ALL
                .map(|check| overload(&mut policy_dice, check, waits > 0, conflates)),
            quotas,
            conflates,
            losses: dice.pick(&[0, 30, 100]),
            ending: dice.pick(&[
                Ending::Leave,
                Ending::Leave,
                Ending::Lost,
                Ending::Drain,
                Ending::Drain,
                Ending::Refuse,
                Ending::Fail,
            ]),
            batches: 100 + dice.below(40),
            steps: lengths * (1_000 + dice.below(300)),
        }
    }

    /// Cores that serve sessions.
    pub fn session_cores(&self) -> impl Iterator<Item = usize> + '_ {
        (0..self.roles.len()).filter(|core| self.roles[*core].serves_sessions)
    }

    /// What happens to those that fall behind in a document of this check.
    pub fn overload(&self, check: Check) -> &Overload {
        &self.overloads[check as usize]
    }

    /// The credit that a handle of a document of this check is granted when nothing is short, and as
    /// soon as its quotas allow it.
    pub fn full_credit(&self, check: Check) -> u64 {
        let of_collection = if check == Check::Narrow { NARROW_CREDIT_BYTES } else { u32::MAX };
        let credit = u64::from(self.limits.credit_bytes.min(of_collection));
        let Quotas { session, producer, address } = &self.limits.quotas;
        let quotas = [session, producer, address, &self.quotas[check as usize]];
        quotas.into_iter().fold(credit, |credit, quota| {
            credit.min(quota.bytes.burst()).min(quota.deltas.burst().saturating_mul(64))
        })
    }

    /// Whether somebody may send so much a second only.
    pub fn has_quotas(&self) -> bool {
        self.limits.quotas.is_some() || self.quotas.iter().any(Quota::is_some)
    }

    /// Whether there is room for every copy that anybody could need.
    pub fn is_roomy(&self) -> bool {
        self.limits.spill_bytes_per_core_max == ROOMY_SPILL_BYTES
    }

    /// The policy of a subscription that asked for `asked`.
    pub fn policy(&self, check: Check, asked: WirePolicy) -> WirePolicy {
        match asked {
            WirePolicy::OfCollection => WirePolicy::NAMED[self.overload(check).policy as usize].0,
            named => named,
        }
    }

    /// The collections of this world.
    pub fn collections(&self) -> Collections {
        let schema = r#"{"properties":{"n":{"type":"uint32"}},"additionalProperties":true}"#;
        let typed = TypedSchema::compile(Kind::Cbor, schema)
            .unwrap_or_else(|error| panic!("the schema of every world: {error}"));
        let collection = |name: &str, check, schema, limits| Collection {
            name: name.to_owned(),
            schema,
            overload: self.overload(check).clone(),
            limits: CollectionLimits {
                keep_bytes: self.keep_bytes[check as usize],
                quota: self.quotas[check as usize],
                ..limits
            },
        };
        let all = CollectionLimits::default();
        let narrow = CollectionLimits {
            image_bytes_max: NARROW_IMAGE_BYTES,
            credit_bytes: NARROW_CREDIT_BYTES,
            producers_per_document_max: 2,
            ..all
        };
        Collections::new(vec![
            collection("", Check::Opaque, Schema::Opaque, all),
            collection("typed", Check::Typed, Schema::Typed(typed), all),
            collection("narrow", Check::Narrow, Schema::Opaque, narrow),
            collection("slow", Check::Slow, Schema::Busy { steps_per_delta: 300 }, all),
        ])
    }
}

/// Room for copies that nothing in a world fills.
const ROOMY_SPILL_BYTES: u64 = 8 << 20;

/// The longest image of the narrow collection.
pub const NARROW_IMAGE_BYTES: u32 = 400;

/// The credit of its writers.
const NARROW_CREDIT_BYTES: u32 = 4096;

/// So little that it bites in a world of some milliseconds, or nothing.
fn quota(dice: &mut Dice) -> Quota {
    let bytes = dice.pick(&[None, None, Some(500_000), Some(4_000_000)]);
    let deltas = dice.pick(&[None, None, None, Some(20_000), Some(200_000)]);
    Quota::new(bytes, deltas, dice.pick(&[1_000_000, 4_000_000]))
}

/// What those ask for that are not waited for.
fn policies(dice: &mut Dice, conflates: bool) -> Vec<WirePolicy> {
    use WirePolicy::{Close, Conflate, Gap, OfCollection, Skip};
    if conflates {
        return vec![Gap, Conflate, Conflate, Conflate, OfCollection];
    }
    match dice.below(5) {
        0 => vec![Gap],
        1 => vec![Gap, OfCollection],
        2 => vec![Skip, OfCollection],
        3 => vec![Close, Gap],
        _ => vec![Gap, Skip, Close, OfCollection],
    }
}

fn overload(dice: &mut Dice, check: Check, may_wait: bool, conflates: bool) -> Overload {
    let mut overload = Overload::default()
        .with(Policy::Wait, check != Check::Narrow)
        .with(Policy::Skip, dice.says(90))
        .with(Policy::Close, dice.says(90));
    overload.behind_bytes = dice.pick(&[None, None, Some(300), Some(2_000)]);
    if conflates && check == Check::Typed {
        overload.key = Some(ConflationKey::Path(vec!["k".to_owned()]));
        // Or nobody is ever too far behind there, and nothing is left out.
        overload.behind_bytes = overload.behind_bytes.or(Some(300));
    }
    let mut defaults =
        vec![Policy::Gap, Policy::Gap, Policy::Skip, Policy::Close, Policy::Conflate];
    defaults.extend(may_wait.then_some(Policy::Wait));
    defaults.retain(|policy| overload.allows(*policy));
    overload.policy = dice.pick(&defaults);
    overload
}

fn roles(dice: &mut Dice) -> Vec<CoreRole> {
    let both = CoreRole { serves_sessions: true, owns_documents: true, is_elastic: false };
    let serving = CoreRole { serves_sessions: true, owns_documents: false, is_elastic: false };
    let owning = CoreRole { serves_sessions: false, owns_documents: true, is_elastic: false };
    let mut roles: Vec<CoreRole> =
        (0..1 + dice.below(4)).map(|_| dice.pick(&[both, both, serving, owning])).collect();
    if !roles.iter().any(|role| role.serves_sessions) {
        roles[0].serves_sessions = true;
    }
    if !roles.iter().any(|role| role.owns_documents) {
        let last = roles.len() - 1;
        roles[last].owns_documents = true;
    }
    for place in 0..roles.len() {
        let homes = roles.iter().filter(|role| role.is_home()).count();
        roles[place].is_elastic = roles[place].is_home() && homes > 1 && dice.says(40);
    }
    roles
}

fn limits(dice: &mut Dice, is_large: bool) -> Limits {
    let turn = TurnBounds {
        reception_cost: dice.pick(&[1_500, 4_000, 28_000]),
        quantum_cost: dice.pick(&[600, 2_000, 7_000]),
        messages_per_turn: dice.pick(&[1, 3, 64, 1024]),
        marks_per_owner: dice.pick(&[1, 2, 64]),
        sends_per_turn: dice.pick(&[1, 2, 16]),
        bytes_per_turn: dice.pick(&[1, 4 << 10, 128 << 10]),
        sends_per_session: dice.pick(&[1, 2, 16]),
        images_per_send: dice.pick(&[1, 3, 256]),
        bytes_per_send: dice.pick(&[512, 4 << 10, 256 << 10]),
        retirement_entries: dice.pick(&[1, 4, 1024]),
        turns_between_sweeps: dice.pick(&[7, 64]),
    };
    let image_bytes_max = if is_large { 22 << 10 } else { 3 << 10 };
    Limits {
        image_bytes_max,
        documents_per_worker_max: dice.pick(&[2, 4, 8, 8]),
        guests_per_worker_max: dice.pick(&[1, 2, 8, 8]),
        names_bytes_per_worker_max: 64,
        handles_per_session_max: dice.pick(&[2, 8, 16]),
        handles_per_core_max: dice.pick(&[4, 64, 64]),
        sessions_per_core_max: dice.pick(&[2, 8, 8, 8]),
        producers_per_document_max: dice.pick(&[1, 2, 8]),
        producers_per_worker_max: dice.pick(&[3, 16, 16]),
        subscriptions_per_core_max: dice.pick(&[3, 64, 64, 64]),
        credit_bytes: dice.pick(&[4 << 10, 6 << 10, 16 << 10]),
        carry_bytes_per_core_max: dice.pick(&[1 << 10, 8 << 10, 64 << 10, 64 << 10]),
        spill_bytes_per_core_max: dice.pick(&[1 << 10, 8 << 10, 64 << 10, 64 << 10]),
        waiting_messages_max: dice.pick(&[2, 16, 1024]),
        owed_per_worker_max: dice.pick(&[4, 64, 1024]),
        idle_unload_ns: dice.pick(&[30, 300, 100_000]) * TURN_NS,
        steps_per_turn: dice.pick(&[256, 1024, 1 << 16]),
        steps_per_batch: dice.pick(&[64, 256, 4096]),
        machines_per_worker: dice.pick(&[2, 4]),
        slow_subscriptions_per_core_max: dice.pick(&[0, 1, 64, 64]),
        turn,
        placement: placement(&mut dice.apart()),
        ..Limits::default()
    }
}

/// What is hot in a world that lasts for some milliseconds: one delta in a span, or some.
fn placement(dice: &mut Dice) -> PlacementLimits {
    let span_ns = dice.pick(&[5, 20, 100]) * TURN_NS;
    let per_second = |deltas: u64| deltas * 1_000_000_000 / span_ns;
    PlacementLimits {
        elastic_workers_max: dice.pick(&[0, 1, 2, 8]),
        thresholds: Thresholds {
            promotion: per_second(dice.pick(&[0, 1, 2, 5])),
            demotion: per_second(1),
            quiet_ns: dice.pick(&[1, 3, 10]) * span_ns,
            span_ns,
        },
        balance_percent: dice.pick(&[0, 101, 150]),
        balance_floor_ppm: dice.pick(&[0, 1_000]),
        moves_per_second: dice.pick(&[0, 100_000]),
        lane_bytes_per_turn: dice.pick(&[200, 200, 400, 64 << 10]),
        lane_waiting_max: dice.pick(&[0, 1, 4, 1 << 10]),
    }
}

fn conduct(dice: &mut Dice, place: usize, names: usize) -> Conduct {
    Conduct {
        // Some share an identity, and fence each other off.
        producer: if dice.says(80) { 10 + place as u64 } else { 1 },
        documents: 1 + dice.below((1 << names) - 1) as u32,
        trouble: dice.pick(&[0, 0, 5, 20]),
        room: dice.pick(&[64, 300, 1 << 10, 8 << 10, 64 << 10]),
        sloth: dice.pick(&[0, 20, 60, 90]),
        overdraws: dice.apart().says(8),
    }
}
