//! What each stage costs on the machine where it was measured, as `throughput calibrate` writes it.
//!
//! All times are nanoseconds of one core. A file is read whole and refused whole: a cost that is
//! missing, negative or no number has no place in a forecast.

use serde::{Deserialize, Serialize};

/// The version of the file that is written and read.
pub const VERSION: u32 = 1;

/// The stages whose time is told apart, in the order of a core's turn.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// Whoever writes: the harness's generator, or the reads of sockets.
    Source,
    /// Prelude, checksum, handle, ring.
    Reception,
    /// Ring, number, schema, stamp, node, tails, answers.
    Validation,
    /// Marks, subscriptions, gathering.
    Propagation,
    /// Whoever reads: the harness's subscribers, or the sends to sockets.
    Sink,
    /// Retirement, credit, and what else a turn does.
    Upkeep,
}

impl Stage {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::Source,
        Self::Reception,
        Self::Validation,
        Self::Propagation,
        Self::Sink,
        Self::Upkeep,
    ];

    /// Its name in lower case.
    pub fn name(self) -> &'static str {
        match self {
            Self::Source => "source",
            Self::Reception => "reception",
            Self::Validation => "validation",
            Self::Propagation => "propagation",
            Self::Sink => "sink",
            Self::Upkeep => "upkeep",
        }
    }
}

/// One step of what a cache that is too small costs.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cold {
    /// Documents that are still near.
    pub documents: f64,
    /// What each batch costs more whose document is not among so many that came last.
    pub batch_ns: f64,
}

/// What one stage costs.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StageCost {
    /// Each turn of a core.
    pub turn_ns: f64,
    /// Each send: one session's share of a turn.
    pub send_ns: f64,
    /// Each document of a turn that grows; at propagation and sink, each of a send.
    pub visit_ns: f64,
    /// Each batch; at propagation and sink, each of one subscription.
    pub batch_ns: f64,
    /// What the first batch of a document costs more: memory that nobody has touched.
    pub first_ns: f64,
    /// Each delta.
    pub delta_ns: f64,
    /// Each byte of an image.
    pub byte_ns: f64,
    /// What caches cost, by documents.
    pub cold: Vec<Cold>,
}

impl StageCost {
    /// How many costs there are that do not depend on caches.
    pub const PLAIN: usize = 7;

    /// Those costs, in the order of the fields.
    pub fn plain(&self) -> [f64; Self::PLAIN] {
        let Self { turn_ns, send_ns, visit_ns, batch_ns, first_ns, delta_ns, byte_ns, cold: _ } =
            self;
        [turn_ns, send_ns, visit_ns, batch_ns, first_ns, delta_ns, byte_ns].map(|ns| *ns)
    }

    /// The same the other way, with what caches cost.
    pub fn of_plain(plain: [f64; Self::PLAIN], cold: Vec<Cold>) -> Self {
        let [turn_ns, send_ns, visit_ns, batch_ns, first_ns, delta_ns, byte_ns] = plain;
        Self { turn_ns, send_ns, visit_ns, batch_ns, first_ns, delta_ns, byte_ns, cold }
    }
}

/// What a batch costs a stage more when its owner is on another core than its session.
#[derive(Clone, Copy, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CrossingCost {
    /// Each batch that crosses.
    pub batch_ns: f64,
    /// What it costs more if its document is not near, as told by [`CROSSING_NEAR`].
    pub cold_ns: f64,
    /// What the first batch of a document costs more.
    pub first_ns: f64,
    /// Each byte of it.
    pub byte_ns: f64,
}

impl CrossingCost {
    /// How many costs there are.
    pub const ALL: usize = 4;

    /// All of them, in the order of the fields.
    pub fn all(&self) -> [f64; Self::ALL] {
        let Self { batch_ns, cold_ns, first_ns, byte_ns } = *self;
        [batch_ns, cold_ns, first_ns, byte_ns]
    }

    /// The same the other way.
    pub fn of_all([batch_ns, cold_ns, first_ns, byte_ns]: [f64; Self::ALL]) -> Self {
        Self { batch_ns, cold_ns, first_ns, byte_ns }
    }
}

/// Documents that are near when a batch crosses.
pub const CROSSING_NEAR: f64 = 16_384.0;

/// One stage's costs.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StageCosts {
    /// On one core.
    pub own: StageCost,
    /// What crossing adds.
    pub crossing: CrossingCost,
}

/// What sleeping costs.
#[derive(Clone, Copy, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WakeCost {
    /// A core without work sleeps after so long.
    pub awake_ns: f64,
    /// From the doorbell to the first turn of a core that slept.
    pub parked_ns: f64,
    /// From the push to the turn that sees it, of a core that is awake without work.
    pub spinning_ns: f64,
    /// What ringing a core that sleeps takes of who rings.
    pub ring_ns: f64,
}

/// What the kernel takes for loopback TCP.
#[derive(Clone, Copy, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SocketCost {
    /// Each read.
    pub read_ns: f64,
    /// Each byte read.
    pub read_byte_ns: f64,
    /// Each send.
    pub send_ns: f64,
    /// Each byte sent.
    pub send_byte_ns: f64,
    /// Each look at all sockets of a core.
    pub look_ns: f64,
    /// Time between two looks under load.
    pub look_interval_ns: f64,
}

/// How much of what comes a turn takes.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TurnBound {
    /// Bytes that one session's read brings at most.
    pub read_bytes: f64,
    /// What is read in a turn may cost so much: 1,024 a read, a quarter a byte, 64 an image, 24 a delta.
    pub reception_cost: f64,
    /// Turns at most in which nothing is read because not everybody was sent to.
    pub held_turns: u32,
    /// Messages of one other core.
    pub messages: u32,
    /// Sends over all sessions.
    pub sends: u32,
    /// Sends of one session.
    pub sends_per_session: u32,
    /// Byte ranges of one send: images that lie behind each other and are of one document are one.
    pub parts_per_send: u32,
    /// Bytes of all sends.
    pub bytes: f64,
    /// Images of one document in one send.
    pub images_per_send: u32,
    /// Bytes of one send, about.
    pub bytes_per_send: f64,
}

/// What lies in memory.
#[derive(Clone, Copy, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MemoryCost {
    /// Bytes of a chunk.
    pub chunk_bytes: f64,
    /// The share of chunks that are not free under load.
    pub chunk_share: f64,
    /// Each document: state, name, producer, its writer's handle, empty blocks.
    pub document_bytes: f64,
    /// Each subscription, with its handle.
    pub subscription_bytes: f64,
    /// Each session.
    pub session_bytes: f64,
    /// Nodes and their blocks, for each image in a window.
    pub image_bytes: f64,
    /// Each message that a ring has room for.
    pub message_bytes: f64,
}

/// Where costs were measured.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Origin {
    /// The processor, by its own name.
    pub cpu: String,
    /// CPUs that could be used.
    pub cpus: u32,
    /// The kernel.
    pub kernel: String,
    /// What is to be told beside: an example says that it is one.
    pub note: String,
    /// The part of the time in which the measured threads ran, at its least.
    pub cpu_share_min: f64,
    /// How far the fit is from what it was fitted to, at most, as a share.
    pub fit_error_max: f64,
}

/// A costs file.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Costs {
    /// [`VERSION`].
    pub version: u32,
    /// Where it was measured.
    pub origin: Origin,
    /// The harness's generator; not used where sockets are the source.
    pub source: StageCosts,
    /// Reception.
    pub reception: StageCosts,
    /// Validation.
    pub validation: StageCosts,
    /// Propagation.
    pub propagation: StageCosts,
    /// The harness's subscribers; not used where sockets are the sink.
    pub sink: StageCosts,
    /// The rest of a turn.
    pub upkeep: StageCosts,
    /// All that a core does takes so many times as long beside another busy core as alone; 1 if cores
    /// share nothing that matters.
    pub beside: f64,
    /// Sleeping and waking.
    pub wake: WakeCost,
    /// Sockets.
    pub socket: SocketCost,
    /// The bounds of a turn.
    pub turn: TurnBound,
    /// Memory.
    pub memory: MemoryCost,
}

impl Costs {
    /// The costs of a file's text.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &str) -> Result<Self, String> {
        let costs: Self = serde_json::from_str(text).map_err(|error| error.to_string())?;
        costs.check()?;
        Ok(costs)
    }

    /// Whether every cost is one.
    ///
    /// # Errors
    /// The first that is not.
    pub fn check(&self) -> Result<(), String> {
        if self.version != VERSION {
            return Err(format!("version {} is not {VERSION}: calibrate again", self.version));
        }
        for stage in Stage::ALL {
            let StageCosts { own, crossing } = self.of(stage);
            let cold = own.cold.iter().flat_map(|it| [it.documents, it.batch_ns]);
            let all = own.plain().into_iter().chain(cold).chain(crossing.all());
            proper(stage.name(), all)?;
            let is_sorted = own.cold.is_sorted_by(|one, next| one.documents < next.documents);
            if !is_sorted || own.cold.first().is_some_and(|it| it.documents < 1.0) {
                return Err(format!("{}: documents must rise, from 1 on", stage.name()));
            }
        }
        if !(self.beside.is_finite() && self.beside > 0.0) {
            return Err(format!("beside: {} is no share", self.beside));
        }
        let it = self.wake;
        proper("wake", [it.awake_ns, it.parked_ns, it.spinning_ns, it.ring_ns])?;
        let it = self.socket;
        proper(
            "socket",
            [
                it.read_ns,
                it.read_byte_ns,
                it.send_ns,
                it.send_byte_ns,
                it.look_ns,
                it.look_interval_ns,
            ],
        )?;
        let it = self.memory;
        proper(
            "memory",
            [
                it.chunk_bytes,
                it.chunk_share,
                it.document_bytes,
                it.subscription_bytes,
                it.session_bytes,
                it.image_bytes,
                it.message_bytes,
            ],
        )?;
        let it = self.turn;
        let all = [it.read_bytes, it.reception_cost, it.bytes, it.bytes_per_send];
        proper("turn", all)?;
        if all.iter().any(|it| *it < 1.0) {
            return Err("turn: a turn without bytes never ends".to_owned());
        }
        if it.parts_per_send == 0 || it.images_per_send == 0 {
            return Err("turn: a send without images never ends".to_owned());
        }
        if it.messages == 0 || it.sends == 0 || it.sends_per_session == 0 {
            return Err("turn: a turn without messages or sends never ends".to_owned());
        }
        Ok(())
    }

    /// Those of one stage.
    pub fn of(&self, stage: Stage) -> &StageCosts {
        match stage {
            Stage::Source => &self.source,
            Stage::Reception => &self.reception,
            Stage::Validation => &self.validation,
            Stage::Propagation => &self.propagation,
            Stage::Sink => &self.sink,
            Stage::Upkeep => &self.upkeep,
        }
    }

    /// The same, to be changed.
    pub fn of_mut(&mut self, stage: Stage) -> &mut StageCosts {
        match stage {
            Stage::Source => &mut self.source,
            Stage::Reception => &mut self.reception,
            Stage::Validation => &mut self.validation,
            Stage::Propagation => &mut self.propagation,
            Stage::Sink => &mut self.sink,
            Stage::Upkeep => &mut self.upkeep,
        }
    }

    /// Costs of nothing, to be filled in.
    pub fn nothing() -> Self {
        Self {
            version: VERSION,
            origin: Origin::default(),
            source: StageCosts::default(),
            reception: StageCosts::default(),
            validation: StageCosts::default(),
            propagation: StageCosts::default(),
            sink: StageCosts::default(),
            upkeep: StageCosts::default(),
            beside: 1.0,
            wake: WakeCost::default(),
            socket: SocketCost::default(),
            turn: TurnBound {
                read_bytes: 65_536.0,
                reception_cost: 40_000.0,
                held_turns: 16,
                messages: 512,
                sends: 16,
                sends_per_session: 4,
                parts_per_send: 64,
                bytes: 131_072.0,
                images_per_send: 256,
                bytes_per_send: 65_536.0,
            },
            memory: MemoryCost::default(),
        }
    }
}

fn proper(of: &str, all: impl IntoIterator<Item = f64>) -> Result<(), String> {
    match all.into_iter().find(|it| !it.is_finite() || *it < 0.0) {
        Some(it) => Err(format!("{of}: {it} is no cost")),
        None => Ok(()),
    }
}
