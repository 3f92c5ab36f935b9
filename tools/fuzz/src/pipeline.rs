//! The pipeline on one thread: sessions of any conduct, tiny chunks, and everything comes back.
//!
//! Input: what the world is like, then actions of up to eight sessions on up to three cores: opens,
//! batches whole and in halves, raw bytes, closes, drops, sockets that take little, turns of single
//! cores, time. Whoever reads a document gets a stream without a hole that was not told, the same as
//! every other reader; whoever kept the rules is answered; and when all have gone, no byte is live.

mod peer;

use std::sync::Arc;

use arbitrary::{Arbitrary, Unstructured};
use deltaworks_image::builder::info;
use deltaworks_image::{BatchBuilder, Limits as ImageLimits};
use deltaworks_pipeline::collection::{
    Collection, CollectionLimits, Collections, ConflationKey, Overload, Schema,
};
use deltaworks_pipeline::inline::{Event, Inline, InlineConfig};
use deltaworks_pipeline::limits::Limits;
use deltaworks_pipeline::message::{Access, From, OpenRequest, Policy};
use deltaworks_pipeline::stages::CoreRole;
use deltaworks_schema::{Kind, Schema as TypedSchema};

use peer::{Peer, Streams};

const PEERS_MAX: usize = 8;
const ACTIONS_MAX: usize = 400;
const CHUNKS: u32 = 4;
const CHUNK_BYTES: usize = 32 << 10;
const IMAGE_BYTES_MAX: u32 = 20 << 10;
const IDLE_UNLOAD_NS: u64 = 60_000_000_000;

/// Documents of every collection, and two names that none has.
const NAMES: [&str; 8] = ["a", "b", "cbor/a", "cbor/b", "rows/a", "busy/a", "none/a", ""];

/// What is done to the pipeline besides. Planted faults hide in here.
pub trait Plant {
    /// Before the first action.
    fn begin(&self, _world: &mut Inline) {}
    /// Between what a peer was told and who checks it.
    fn told(&self, _events: &mut Vec<Event>) {}
}

/// Nothing.
#[derive(Debug)]
pub struct Nothing;

impl Plant for Nothing {}

/// What the world is like.
#[derive(Arbitrary, Debug)]
struct Setting {
    cores: u8,
    rings: u8,
    nodes: u8,
    credit: u8,
    steps: u8,
    producers: u8,
    room: u8,
}

/// From how many bytes behind on `skip`, `conflate` and `close` act, where a collection says so.
const BEHIND_BYTES: u64 = 2_000;

/// What a subscription asks for: what its collection says, or each policy that there is.
const POLICIES: [Option<Policy>; 1 + Policy::COUNT] = [
    None,
    Some(Policy::Wait),
    Some(Policy::Gap),
    Some(Policy::Skip),
    Some(Policy::Conflate),
    Some(Policy::Close),
];

#[derive(Arbitrary, Debug)]
enum Action<'a> {
    Connect { core: u8 },
    Disconnect { peer: u8 },
    Open { peer: u8, name: u8, access: u8, from: u8, sequence: u8, policy: u8, producer: u8 },
    Publish { peer: u8, handle: u8, deltas: u8, bytes: u16, skip: u8, cut: u8 },
    Burst { peer: u8, handle: u8, batches: u8, bytes: u16 },
    PublishInfo { peer: u8, handle: u8, bytes: u8 },
    Bytes { peer: u8, bytes: &'a [u8] },
    Close { peer: u8, handle: u8 },
    Drop { peer: u8, handle: u8 },
    Room { peer: u8, bytes: u16 },
    Turn { core: u8 },
    Run,
    Time { ms: u16 },
}

struct World<'p, P> {
    plant: &'p P,
    inline: Inline,
    /// Cores in all; the first of them serve sessions.
    cores: usize,
    session_cores: usize,
    peers: Vec<Peer>,
    streams: Streams,
}

/// Turns the project's pipeline.
pub fn run(data: &[u8]) {
    body(&Nothing, data);
}

/// Turns a pipeline in which `plant` hides.
///
/// # Panics
/// If a promise of the pipeline is broken.
pub fn body(plant: &impl Plant, data: &[u8]) {
    let mut actions = Unstructured::new(data);
    let Ok(setting) = actions.arbitrary::<Setting>() else { return };
    let mut world = World::new(plant, &setting);
    for _ in 0..ACTIONS_MAX {
        if actions.is_empty() {
            break;
        }
        let Ok(action) = actions.arbitrary::<Action<'_>>() else { break };
        world.act(&action);
    }
    world.settle();
    world.end();
}

impl<'p, P: Plant> World<'p, P> {
    fn new(plant: &'p P, setting: &Setting) -> Self {
        let pick = |values: &[u32], choice: u8| values[usize::from(choice) % values.len()];
        let both = CoreRole { serves_sessions: true, owns_documents: true, is_elastic: false };
        let serving = CoreRole { serves_sessions: true, owns_documents: false, is_elastic: false };
        let owning = CoreRole { serves_sessions: false, owns_documents: true, is_elastic: false };
        let roles = match setting.cores % 4 {
            0 => vec![both],
            1 => vec![both; 2],
            2 => vec![serving, serving, owning],
            _ => vec![serving, both, owning],
        };
        let cores = roles.len();
        let session_cores = roles.iter().filter(|role| role.serves_sessions).count();
        let room = u64::from(pick(&[64, 24, 40], setting.room)) << 10;
        let limits = Limits {
            image_bytes_max: IMAGE_BYTES_MAX,
            documents_per_worker_max: 6,
            handles_per_session_max: 6,
            sessions_per_core_max: PEERS_MAX as u32,
            producers_per_document_max: pick(&[2, 1, 4], setting.producers),
            producers_per_worker_max: 8,
            credit_bytes: pick(&[64 << 10, 8 << 10, 30 << 10], setting.credit),
            carry_bytes_per_core_max: room,
            spill_bytes_per_core_max: room,
            owed_per_worker_max: 16,
            idle_unload_ns: IDLE_UNLOAD_NS,
            steps_per_turn: pick(&[1 << 16, 256], setting.steps),
            steps_per_batch: pick(&[4_096, 64], setting.steps),
            ..Limits::default()
        };
        let mut inline = Inline::new(InlineConfig {
            roles,
            chunks: CHUNKS,
            kept_chunks: 0,
            chunk_bytes: CHUNK_BYTES,
            ring_capacity: pick(&[64, 1, 2], setting.rings) as usize,
            node_blocks: pick(&[1_024, 24, 128], setting.nodes),
            collections: collections(),
            limits,
            epoch_seed: 1,
        });
        plant.begin(&mut inline);
        let peers = Vec::new();
        Self { plant, inline, cores, session_cores, peers, streams: Streams::default() }
    }

    fn act(&mut self, action: &Action<'_>) {
        match *action {
            Action::Connect { core } => self.connect(usize::from(core)),
            Action::Disconnect { peer } => {
                if let Some(place) = self.place(peer) {
                    let gone = self.peers.swap_remove(place);
                    self.inline.disconnect(gone.id);
                }
            }
            Action::Open { peer, name, access, from, sequence, policy, producer } => {
                let Some(place) = self.place(peer) else { return };
                let access = access % 4;
                let sequence = u64::from(sequence);
                let name: Arc<str> = NAMES[usize::from(name) % NAMES.len()].into();
                let epoch = self.streams.newest_epoch(&name);
                let producer = u64::from(producer % 4);
                let request = OpenRequest {
                    request: self.peers[place].request(&name),
                    name,
                    access: Access { read: access != 1, write: access != 2 },
                    from: [From::Live, From::Start, From::Sequence { sequence, epoch }]
                        [usize::from(from) % 3],
                    policy: POLICIES[usize::from(policy) % POLICIES.len()],
                    producer,
                };
                self.peers[place].finish(&mut self.inline);
                self.inline.open(self.peers[place].id, request);
            }
            Action::Publish { peer, handle, deltas, bytes, skip, cut } => {
                let bytes = usize::from(bytes) % (IMAGE_BYTES_MAX as usize + 64);
                self.publish(peer, handle, deltas, bytes, skip, cut);
            }
            Action::Burst { peer, handle, batches, bytes } => {
                for _ in 0..batches % 32 {
                    self.publish(peer, handle, 1, usize::from(bytes) % 4_096, 0, 0);
                }
            }
            Action::PublishInfo { peer, handle, bytes } => {
                let map = if bytes % 4 == 0 { vec![0xa0] } else { vec![bytes; 1 + bytes as usize] };
                self.say(peer, handle, 0, 0, |handle, number| {
                    info(&ImageLimits::DEFAULT, handle, number, &map).expect("a small map")
                });
            }
            Action::Bytes { peer, bytes } => {
                let Some(place) = self.place(peer) else { return };
                let peer = &mut self.peers[place];
                peer.finish(&mut self.inline);
                peer.is_rude |= !bytes.is_empty();
                self.streams.has_strangers |= !bytes.is_empty();
                self.inline.send(peer.id, bytes);
            }
            Action::Close { peer, handle } => {
                let Some(place) = self.place(peer) else { return };
                let peer = &mut self.peers[place];
                peer.finish(&mut self.inline);
                if let Some(handle) = peer.closing(handle) {
                    self.inline.close(peer.id, handle);
                }
            }
            Action::Drop { peer, handle } => {
                let Some(place) = self.place(peer) else { return };
                let peer = &mut self.peers[place];
                peer.finish(&mut self.inline);
                if let Some(handle) = peer.dropping(handle) {
                    self.inline.drop_document(peer.id, handle);
                }
            }
            Action::Room { peer, bytes } => {
                let Some(place) = self.place(peer) else { return };
                let room = if bytes == u16::MAX { usize::MAX } else { usize::from(bytes) };
                self.inline.set_room(self.peers[place].id, room);
            }
            Action::Turn { core } => {
                self.inline.turn_core(usize::from(core) % self.cores);
            }
            Action::Run => self.inline.run(),
            Action::Time { ms } => {
                self.inline.advance_ns(u64::from(ms) * 1_000_000);
                self.inline.turn();
            }
        }
        self.hear();
    }

    fn connect(&mut self, core: usize) {
        if self.peers.len() < PEERS_MAX
            && let Some(id) = self.inline.connect(core % self.session_cores)
        {
            self.peers.push(Peer::new(id));
        }
    }

    fn place(&self, peer: u8) -> Option<usize> {
        (!self.peers.is_empty()).then(|| usize::from(peer) % self.peers.len())
    }

    fn publish(&mut self, peer: u8, handle: u8, deltas: u8, bytes: usize, skip: u8, cut: u8) {
        let count = 1 + usize::from(deltas % 8);
        self.say(peer, handle, skip, cut, |handle, number| {
            let mut batch = BatchBuilder::new(ImageLimits::DEFAULT);
            for delta in 0..count {
                let delta = delta_of(deltas, number, delta, bytes / count);
                batch.append(&delta).expect("within the format's limits");
            }
            batch.finish(handle, number).expect("it has deltas")
        });
    }

    /// Sends an image through a handle, numbered as its producer must, unless `skip` says otherwise.
    fn say(
        &mut self,
        peer: u8,
        handle: u8,
        skip: u8,
        cut: u8,
        image: impl Fn(u32, u64) -> Vec<u8>,
    ) {
        let Some(place) = self.place(peer) else { return };
        let peer = &mut self.peers[place];
        peer.finish(&mut self.inline);
        let Some((handle, number)) = peer.next_number(handle, skip) else { return };
        let image = image(handle, number);
        peer.is_rude |= image.len() > IMAGE_BYTES_MAX as usize;
        if !peer.may_send(handle, image.len(), number) {
            return;
        }
        self.streams.sent(&image);
        peer.send(&mut self.inline, image, cut);
    }

    /// Hears what everybody was told, and lets go of those whose session was ended.
    fn hear(&mut self) {
        for peer in &mut self.peers {
            let mut events = self.inline.events(peer.id);
            self.plant.told(&mut events);
            // Behind an end by fault the inline form tells at once what would have come behind an image
            // that was sent in part: what it tells then is in no order to be judged.
            if events.iter().any(|event| matches!(event, Event::Fault(_))) {
                events.retain(|event| matches!(event, Event::Fault(_)));
            }
            for event in &events {
                peer.hear(event, &mut self.streams);
            }
        }
        self.peers.retain(|peer| !peer.is_ended);
    }

    /// Everybody reads and ends what was begun; then who kept the rules has been answered.
    fn settle(&mut self) {
        for peer in &mut self.peers {
            peer.finish(&mut self.inline);
            self.inline.set_room(peer.id, usize::MAX);
        }
        // What was begun by raw bytes and never ended has its deadline.
        for _ in 0..2 {
            self.inline.run();
            self.inline.advance_ns(11_000_000_000);
            self.inline.run();
            self.hear();
        }
        for peer in &self.peers {
            assert_eq!(self.inline.unread_bytes(peer.id), 0, "everything is read");
            peer.assert_answered();
        }
    }

    /// Everybody goes; nothing stays; and all chunks are to be had again.
    fn end(&mut self) {
        for peer in self.peers.drain(..) {
            self.inline.disconnect(peer.id);
            self.inline.run();
            assert!(self.inline.is_forgotten(peer.id), "its place is free");
        }
        self.inline.advance_ns(IDLE_UNLOAD_NS + 20_000_000_000);
        self.inline.unload_idle();
        for core in 0..self.cores {
            let live = self.inline.live_bytes(core);
            let kinds = [
                ("nodes", live.nodes),
                ("documents", live.documents),
                ("names", live.names),
                ("producers", live.producers),
                ("subscriptions", live.subscriptions),
                ("spills", live.spills),
                ("carries", live.carries),
            ];
            for (kind, bytes) in kinds {
                assert_eq!(bytes, 0, "{kind} of core {core} when everybody has gone");
            }
        }
        for core in 0..self.session_cores {
            self.all_chunks_come_round(core);
        }
    }

    /// A new session fills the pool of its core three times over.
    fn all_chunks_come_round(&mut self, core: usize) {
        let id = self.inline.connect(core).expect("all places are free");
        let name = "a new one";
        self.inline.open(
            id,
            OpenRequest {
                request: 1,
                name: name.into(),
                access: Access { read: true, write: true },
                from: From::Live,
                policy: None,
                producer: 1,
            },
        );
        self.inline.run();
        let opened = self.inline.events(id).into_iter().find_map(|event| match event {
            Event::Opened(opened, _) => Some(*opened),
            _ => None,
        });
        let opened = opened.expect("there is room for a document");
        let delta = [7; 15_000];
        let batches = 3 * u64::from(CHUNKS) * (CHUNK_BYTES / delta.len()) as u64;
        for number in 1..=batches {
            let number = opened.producer_sequence + number;
            self.inline.publish(id, opened.handle, number, &[&delta]);
            self.inline.run();
        }
        let events = self.inline.events(id);
        let images = events.iter().filter(|event| matches!(event, Event::Image(_))).count();
        assert_eq!(images as u64, batches, "core {core} has all of its chunks");
        self.inline.disconnect(id);
        self.inline.run();
    }
}

fn collections() -> Collections {
    let typed = |kind, json| {
        Schema::Typed(TypedSchema::compile(kind, json).unwrap_or_else(|error| panic!("{error}")))
    };
    let schema = r#"{"properties":{"n":{"type":"uint32"}},"additionalProperties":true}"#;
    let collection = |name: &str, schema| Collection {
        name: name.to_owned(),
        schema,
        overload: Overload {
            behind_bytes: (!name.is_empty()).then_some(BEHIND_BYTES),
            key: match name {
                "cbor" => Some(ConflationKey::Path(vec!["x".to_owned()])),
                "rows" => Some(ConflationKey::Record),
                _ => None,
            },
            ..Overload::default().with(Policy::Wait, name != "rows")
        },
        limits: CollectionLimits {
            image_bytes_max: if name == "cbor" { 10 << 10 } else { u32::MAX },
            ..CollectionLimits::default()
        },
    };
    Collections::new(vec![
        collection("", Schema::Opaque),
        collection("cbor", typed(Kind::Cbor, schema)),
        collection("rows", typed(Kind::Rows, schema)),
        collection("busy", Schema::Busy { steps_per_delta: 300 }),
    ])
}

/// A delta that says whose it is: valid CBOR of the schema, a row of it, or neither.
fn delta_of(choice: u8, number: u64, place: usize, bytes: usize) -> Vec<u8> {
    let mut delta = match choice / 64 {
        0 => b"\xa2\x61n\x19".to_vec(),
        1 => b"\x83\x00\x07\xa2\x61n\x19".to_vec(),
        2 => b"\xa2\x61m\x19".to_vec(),
        _ => b"\xff\x00\x00\x19".to_vec(),
    };
    delta.extend_from_slice(&(number as u16).to_be_bytes());
    // The other property is a byte string of as many bytes as are asked for.
    delta.extend_from_slice(b"\x61x\x59");
    delta.extend_from_slice(&(bytes as u16).to_be_bytes());
    delta.resize(delta.len() + bytes, place as u8);
    delta
}
