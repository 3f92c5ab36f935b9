//! What each stage costs on the machine where it was measured, as `throughput calibrate` writes it.
//!
//! All times are nanoseconds of one core. A file is read whole and refused whole: a cost that is
//! missing, negative or no number has no place in a forecast.

use serde::{Deserialize, Serialize};

/// The version of the file that is written and read.
pub const VERSION: u32 = 3;

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

/// What the first deltas of a batch cost more than those behind them: a row of them is begun, a loop is
/// entered.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Early {
    /// So many.
    pub deltas: f64,
    /// Each of them.
    pub delta_ns: f64,
}

/// What deltas behind the first ones of a batch cost more: what is behind is not as near any more.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Late {
    /// So many are first.
    pub deltas: f64,
    /// Each of the others.
    pub delta_ns: f64,
}

/// One step of what a cache that is too small costs.
#[derive(Clone, Copy, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cold {
    /// Bytes that are still near: state of documents, and images that came with it.
    pub near_bytes: f64,
    /// What each batch costs more whose document was not touched within so many bytes.
    pub batch_ns: f64,
    /// And if it is long, so that few batches are on their way together: all of this from
    /// [`LONG_DELTAS`] deltas on, a part of it below.
    pub long_ns: f64,
    /// And each byte of its image, because what is cold pushes out chunks, too.
    pub byte_ns: f64,
}

/// Deltas from which a batch is long.
pub const LONG_DELTAS: f64 = 32.0;

/// Deltas of a row.
pub const ROW_DELTAS: f64 = 16.0;
/// Bytes of a delta that are checked together with those of its neighbours, at most.
pub const NEAR_DELTA_BYTES: f64 = 64.0;
/// Bytes of an image that stay in the first cache from stage to stage, about.
pub const NEAR_IMAGE_BYTES: f64 = 12_288.0;

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
    /// Each row of deltas that are looked at together, of [`ROW_DELTAS`] at most; none for a delta alone.
    pub row_ns: f64,
    /// Each byte of a delta beyond its first [`NEAR_DELTA_BYTES`] more.
    pub long_delta_byte_ns: f64,
    /// Each byte of an image beyond its first [`NEAR_IMAGE_BYTES`] more.
    pub long_image_byte_ns: f64,
    /// What the first deltas of a batch cost more.
    pub early: Vec<Early>,
    /// What the deltas behind the first ones cost more.
    pub late: Vec<Late>,
    /// What caches cost, by bytes.
    pub cold: Vec<Cold>,
}

impl StageCost {
    /// How many costs there are that depend neither on caches nor on how long a batch is.
    pub const PLAIN: usize = 10;

    /// Those costs, in the order of the fields.
    pub fn plain(&self) -> [f64; Self::PLAIN] {
        [
            self.turn_ns,
            self.send_ns,
            self.visit_ns,
            self.batch_ns,
            self.first_ns,
            self.delta_ns,
            self.byte_ns,
            self.row_ns,
            self.long_delta_byte_ns,
            self.long_image_byte_ns,
        ]
    }

    /// The same the other way, with what first deltas and caches cost.
    pub fn of_plain(
        plain: [f64; Self::PLAIN],
        early: Vec<Early>,
        late: Vec<Late>,
        cold: Vec<Cold>,
    ) -> Self {
        let [turn_ns, send_ns, visit_ns, batch_ns, first_ns, delta_ns, byte_ns, rest @ ..] = plain;
        let [row_ns, long_delta_byte_ns, long_image_byte_ns] = rest;
        Self {
            turn_ns,
            send_ns,
            visit_ns,
            batch_ns,
            first_ns,
            delta_ns,
            byte_ns,
            row_ns,
            long_delta_byte_ns,
            long_image_byte_ns,
            early,
            late,
            cold,
        }
    }

    /// All deltas and bytes of a batch.
    pub fn inside_ns(&self, batch: &Inside) -> f64 {
        let early = self.early.iter().map(|it| it.delta_ns * batch.deltas.min(it.deltas));
        let late = self.late.iter().map(|it| it.delta_ns * (batch.deltas - it.deltas).max(0.0));
        self.delta_ns * batch.deltas
            + early.sum::<f64>()
            + late.sum::<f64>()
            + self.byte_ns * batch.image_bytes
            + self.row_ns * batch.rows()
            + self.long_delta_byte_ns * batch.long_delta_bytes()
            + self.long_image_byte_ns * batch.long_image_bytes()
    }

    /// What a batch costs more for caches, where `share` tells how often its document was not touched within
    /// so many bytes.
    pub fn cold_ns(&self, batch: &Inside, share: impl Fn(f64) -> f64) -> f64 {
        let one = |it: &Cold| {
            it.batch_ns + it.long_ns * batch.long_share() + it.byte_ns * batch.image_bytes
        };
        self.cold.iter().map(|it| one(it) * share(it.near_bytes)).sum()
    }
}

/// What is in a batch.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Inside {
    /// Its deltas.
    pub deltas: f64,
    /// Bytes of each.
    pub delta_bytes: f64,
    /// Bytes of all, with their header.
    pub image_bytes: f64,
}

impl Inside {
    /// Rows that its deltas make.
    pub fn rows(&self) -> f64 {
        if self.deltas > 1.0 { (self.deltas / ROW_DELTAS).ceil() } else { 0.0 }
    }

    /// Bytes of deltas beyond what of each is near.
    pub fn long_delta_bytes(&self) -> f64 {
        self.deltas * (self.delta_bytes - NEAR_DELTA_BYTES).max(0.0)
    }

    /// Bytes of the image beyond what of it is near.
    pub fn long_image_bytes(&self) -> f64 {
        (self.image_bytes - NEAR_IMAGE_BYTES).max(0.0)
    }

    /// How far it is a long batch.
    pub fn long_share(&self) -> f64 {
        (self.deltas / LONG_DELTAS).min(1.0)
    }
}

/// What a batch costs a stage more when its owner is on another core than its session.
#[derive(Clone, Copy, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CrossingCost {
    /// Each batch that crosses.
    pub batch_ns: f64,
    /// What it costs more if its document is not near, as told by [`CROSSING_NEAR_BYTES`].
    pub cold_ns: f64,
    /// What the first batch of a document costs more.
    pub first_ns: f64,
    /// Each byte of it.
    pub byte_ns: f64,
    /// Each of the first [`HEAD_BYTES`] of it more: nobody has asked for them ahead.
    pub head_byte_ns: f64,
    /// Each of the first [`NECK_BYTES`] of it more: the processor only begins to ask ahead.
    pub neck_byte_ns: f64,
    /// Each batch that crosses, however far the cores are from each other; all the others are of
    /// [`Costs::distance_ns`], and grow with the distance. 0 if it was measured at one distance only.
    pub anyway_ns: f64,
}

impl CrossingCost {
    /// How many costs there are.
    pub const ALL: usize = 7;

    /// All of them, in the order of the fields.
    pub fn all(&self) -> [f64; Self::ALL] {
        let Self { batch_ns, cold_ns, first_ns, byte_ns, head_byte_ns, neck_byte_ns, anyway_ns } =
            *self;
        [batch_ns, cold_ns, first_ns, byte_ns, head_byte_ns, neck_byte_ns, anyway_ns]
    }

    /// The same the other way.
    pub fn of_all(all: [f64; Self::ALL]) -> Self {
        let [batch_ns, cold_ns, first_ns, byte_ns, head_byte_ns, neck_byte_ns, anyway_ns] = all;
        Self { batch_ns, cold_ns, first_ns, byte_ns, head_byte_ns, neck_byte_ns, anyway_ns }
    }

    /// How often each of them comes in a batch of which `cold` and `first` tell the shares, between cores that
    /// are `far` times as far from each other as those that were measured.
    pub fn counts(batch: &Inside, cold: f64, first: f64, far: f64) -> [f64; Self::ALL] {
        let bytes = batch.image_bytes;
        let (head, neck) = (bytes.min(HEAD_BYTES), bytes.min(NECK_BYTES));
        [far, cold * far, first * far, bytes * far, head * far, neck * far, 1.0]
    }

    /// The same costs between such cores.
    #[must_use]
    pub fn at(&self, far: f64) -> Self {
        Self { anyway_ns: self.anyway_ns, ..Self::of_all(self.all().map(|ns| ns * far)) }
    }
}

/// Bytes of an image that crosses slowest, and slower than the rest.
pub const HEAD_BYTES: f64 = 512.0;
/// The same of those that follow.
pub const NECK_BYTES: f64 = 2048.0;
/// Bytes that are near when a batch crosses.
pub const CROSSING_NEAR_BYTES: f64 = 8_388_608.0;

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
    /// Bytes of one document in one send to its first readers; half of that in rounds.
    pub bytes_per_send: f64,
    /// Steps of validation in a turn; a core that is behind with them reads nothing. 0: it is not known.
    #[serde(default)]
    pub steps: f64,
    /// Such steps of a delta that a schema checks.
    #[serde(default)]
    pub delta_steps: f64,
}

/// What lies in memory.
#[derive(Clone, Copy, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MemoryCost {
    /// Bytes of a chunk.
    pub chunk_bytes: f64,
    /// The share of chunks that are not free under load, if nothing crosses.
    pub chunk_share: f64,
    /// The same if something does: what another core still has is not free.
    pub crossing_chunk_share: f64,
    /// Each document: state, name, producer.
    pub document_bytes: f64,
    /// Each document that was ever written, more: its block, or what its last one has left.
    pub written_bytes: f64,
    /// Each subscription.
    pub subscription_bytes: f64,
    /// Each session.
    pub session_bytes: f64,
    /// Each place of a session's table of handles, of which there are [`table_places`].
    pub handle_bytes: f64,
    /// Nodes, for each image in a window.
    pub image_bytes: f64,
    /// Each message that a ring has room for.
    pub message_bytes: f64,
}

impl MemoryCost {
    /// What a batch touches of its document: its state, its subscription, and a handle of who writes and one
    /// of who reads.
    pub fn state_bytes(&self) -> f64 {
        let document = self.document_bytes + self.written_bytes;
        document + self.subscription_bytes + 2.0 * self.handle_bytes
    }
}

/// Places of a table that has grown to so many handles: tables double, and the first has four.
pub fn table_places(handles: f64) -> f64 {
    handles.ceil().max(4.0).log2().ceil().exp2()
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
    /// How far the two cores were from each other when crossing was measured: nanoseconds of a message there
    /// and back. 0: it is not known.
    pub distance_ns: f64,
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
            let cold =
                own.cold.iter().flat_map(|it| [it.near_bytes, it.batch_ns, it.long_ns, it.byte_ns]);
            let early = own.early.iter().flat_map(|it| [it.deltas, it.delta_ns]);
            let late = own.late.iter().flat_map(|it| [it.deltas, it.delta_ns]);
            let all =
                own.plain().into_iter().chain(early).chain(late).chain(cold).chain(crossing.all());
            proper(stage.name(), all)?;
            let is_sorted = own.cold.is_sorted_by(|one, next| one.near_bytes < next.near_bytes);
            if !is_sorted || own.cold.first().is_some_and(|it| it.near_bytes < 1.0) {
                return Err(format!("{}: near bytes must rise, from 1 on", stage.name()));
            }
        }
        if !(self.beside.is_finite() && self.beside > 0.0) {
            return Err(format!("beside: {} is no share", self.beside));
        }
        proper("distance", [self.distance_ns])?;
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
                it.crossing_chunk_share,
                it.document_bytes,
                it.written_bytes,
                it.subscription_bytes,
                it.session_bytes,
                it.handle_bytes,
                it.image_bytes,
                it.message_bytes,
            ],
        )?;
        let it = self.turn;
        let all = [it.read_bytes, it.reception_cost, it.bytes, it.bytes_per_send];
        proper("turn", all.into_iter().chain([it.steps, it.delta_steps]))?;
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

    /// How many times as far it is as when crossing was measured.
    pub fn far(&self, distance_ns: f64) -> f64 {
        if self.distance_ns > 0.0 && distance_ns > 0.0 {
            distance_ns / self.distance_ns
        } else {
            1.0
        }
    }

    /// The same between cores that are so far from each other: what crosses costs in proportion, but for what it
    /// costs anyway.
    #[must_use]
    pub fn at_distance(&self, distance_ns: f64) -> Self {
        let far = self.far(distance_ns);
        let mut costs = self.clone();
        for stage in Stage::ALL {
            let crossing = &mut costs.of_mut(stage).crossing;
            *crossing = crossing.at(far);
        }
        costs.distance_ns *= far;
        costs
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
            distance_ns: 0.0,
            wake: WakeCost::default(),
            socket: SocketCost::default(),
            turn: TurnBound {
                read_bytes: 65_536.0,
                reception_cost: 40_000.0,
                held_turns: 32,
                messages: 512,
                sends: 16,
                sends_per_session: 4,
                parts_per_send: 64,
                bytes: 131_072.0,
                images_per_send: 256,
                bytes_per_send: 130_320.0,
                steps: 0.0,
                delta_steps: 0.0,
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
