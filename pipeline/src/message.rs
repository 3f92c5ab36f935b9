//! What one core tells another: one ring per ordered pair of cores carries all of it, in order.
//!
//! Batches and acks come once a batch and are no [`Message`]: mailboxes pack them. Of the others, small kinds
//! travel by value; the rare ones (open, refusal) are boxed, so that a message stays within 40 bytes.

use std::sync::Arc;

use deltaworks_runtime::chunk_memory::ChunkId;

use crate::chunk::Landed;
use crate::handover::{CannotTake, HandOver, NoRoom};
use crate::heat::LoadReport;
use crate::placement::Decision;
use crate::stream::{Chain, Place, Position};

/// A session's place in the table of its core. Reused only when nothing names it any more.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, PartialOrd, Ord)]
pub struct SessionId(pub u32);

/// What a session does with a document.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Access {
    /// Subscribes to the stream.
    pub read: bool,
    /// Publishes batches.
    pub write: bool,
}

/// Where a subscription begins.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum From {
    /// With the next batch.
    #[default]
    Live,
    /// With the oldest batch in the window.
    Start,
    /// With `sequence` of `epoch`; with the window's start if the epoch is another.
    Sequence {
        /// The next sequence wanted.
        sequence: u64,
        /// The epoch it counts in.
        epoch: u64,
    },
}

/// What happens to a subscription that falls behind.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Policy {
    /// Behind the window it moves to the window's start and is told from where to where.
    #[default]
    Gap,
    /// The document's publishers get no more credit until it has read.
    Wait,
    /// Too many bytes behind, or behind the window, it moves to the newest image.
    Skip,
    /// Too many bytes behind, or behind the window, it gets no image each of whose values a later one
    /// replaces.
    Conflate,
    /// Too many bytes behind, or behind the window, it ends.
    Close,
}

impl Policy {
    /// How many there are.
    pub const COUNT: usize = 5;

    /// All of them, by number.
    pub const ALL: [Self; Self::COUNT] =
        [Self::Gap, Self::Wait, Self::Skip, Self::Conflate, Self::Close];

    /// Its name, in configurations and figures.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Gap => "gap",
            Self::Wait => "wait",
            Self::Skip => "skip",
            Self::Conflate => "conflate",
            Self::Close => "close",
        }
    }
}

/// Sequences that a subscription was not sent, and is told of.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Missed {
    /// The first missing sequence.
    pub from: u64,
    /// The first that follows.
    pub to: u64,
    /// The policy that left them out.
    pub policy: Policy,
    /// How far the subscription was behind, in bytes of images, the missing ones included.
    pub behind_bytes: u64,
}

/// What a client asks for with `open`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct OpenRequest {
    /// The client's own number for this request.
    pub request: u32,
    /// `collection/rest`, or a name without `/` in the default collection.
    pub name: Arc<str>,
    /// Reading, writing, or both.
    pub access: Access,
    /// Where the subscription begins.
    pub from: From,
    /// What happens when it falls behind; by default what the collection says.
    pub policy: Option<Policy>,
    /// The producer's identity; not 0 when writing.
    pub producer: u64,
}

/// An [`OpenRequest`] on its way to the owner.
#[derive(Debug)]
pub struct Open {
    /// The session's core.
    pub core: u16,
    /// The session that asks.
    pub session: SessionId,
    /// Its handle for the document.
    pub handle: u32,
    /// The request.
    pub request: OpenRequest,
}

/// The owner's answer to an accepted `open`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Opened {
    /// The session that asked.
    pub session: SessionId,
    /// Its handle for the document.
    pub handle: u32,
    /// The client's own number for the request.
    pub request: u32,
    /// The document's slot.
    pub slot: u32,
    /// The slot's generation.
    pub generation: u32,
    /// The worker that owns it.
    pub worker: u16,
    /// What was opened.
    pub access: Access,
    /// The subscription's policy.
    pub policy: Policy,
    /// The writer's place in the owner's producer table.
    pub producer: u32,
    /// The number by which a client knows its own batches.
    pub origin: u32,
    /// The last producer sequence that was answered.
    pub producer_sequence: u64,
    /// The document's epoch.
    pub epoch: u64,
    /// First sequence still in memory.
    pub window_start: u64,
    /// The next sequence to be given.
    pub next_sequence: u64,
    /// Where the subscription begins.
    pub start_sequence: u64,
    /// First missing sequence, when the wanted start has left the window.
    pub gap_from: Option<u64>,
    /// Where the cursor stands.
    pub place: Place,
    /// The first node that is ordered from now on, and where in the stream's bytes it begins.
    pub live_from: u64,
    /// See `live_from`.
    pub position: Position,
    /// The number of the document's collection.
    pub collection: u16,
    /// The newest `info`, a CBOR map.
    pub info: Option<Arc<[u8]>>,
    /// The collection's kind.
    pub kind: &'static str,
    /// The most credit that the collection grants.
    pub credit_bytes_max: u32,
}

/// Why an `open` was refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum OpenRefusal {
    /// Empty, too long, or with control characters.
    BadName,
    /// The part before `/` names no collection.
    UnknownCollection,
    /// As many documents as the limit allows.
    DocumentLimit,
    /// As many handles as a session may have.
    HandleLimit,
    /// The collection does not allow this policy.
    PolicyNotAllowed,
    /// Neither reading nor writing, or writing without a producer.
    BadAccess,
    /// The wanted sequence has not been given yet.
    SequenceAhead,
    /// The document remembers as many producers as it may, and all are connected.
    ProducerLimit,
    /// The session reads the document already.
    AlreadyOpen,
    /// The budget is used up.
    Budget,
}

/// Why a batch was refused.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum BatchRefusal {
    /// A delta breaks the schema, or is not well-formed.
    Invalid {
        /// Its index in the batch.
        delta: u32,
        /// The first error.
        error: Arc<deltaworks_schema::ValidationError>,
    },
    /// The producer sequence left out numbers; it is not consumed.
    SequenceJump {
        /// The number that should have come.
        expected: u64,
    },
    /// A number below the document's floor: whether it was applied is no longer known.
    ProducerForgotten,
    /// Another session has opened the document as the same producer.
    Fenced,
    /// The document was dropped.
    Dropped,
    /// No room for another node; nothing was appended.
    Budget,
    /// An `info` that is no CBOR map, or too large.
    BadInfo,
    /// Longer, or of more deltas, than its collection allows.
    BeyondCollection,
    /// The server is ending, and has not appended it.
    NotAppended,
    /// The server failed at this batch or at one before; the document takes no more.
    Failed,
}

/// A refused batch, on its way to the session.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Refusal {
    /// The session that sent it.
    pub session: SessionId,
    /// Its handle for the document.
    pub handle: u32,
    /// The refused batch.
    pub producer_sequence: u64,
    /// Why.
    pub reason: BatchRefusal,
}

/// Why a handle was closed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CloseReason {
    /// The client asked.
    Asked,
    /// The document was dropped; everything before was sent.
    Dropped,
    /// A newer session opened the document as the same producer.
    Fenced,
    /// Its subscription was too far behind; it has been told how far.
    Behind,
    /// The session has been told otherwise: nothing is left to tell.
    Silent,
}

/// Cumulative acknowledgement of one handle's batches.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Ack {
    /// The session.
    pub session: SessionId,
    /// Its handle for the document.
    pub handle: u32,
    /// All batches up to this one are answered.
    pub producer_sequence: u64,
    /// First sequence of that last batch; 0 if refused, or applied and no longer known.
    pub sequence: u64,
    /// Bytes of credit that come back.
    pub credit_bytes: u32,
    /// Resends among the newly answered.
    pub duplicates: u32,
}

/// An image at its owner, until it is judged.
#[derive(Debug)]
pub(crate) struct Arrival {
    pub landed: Landed,
    /// Who sent it, and on which core.
    pub session: SessionId,
    pub core: u16,
    /// Its producer's place.
    pub producer: u32,
    /// The place of the producer's document, known when its line has arrived.
    pub place: u32,
}

impl Arrival {
    /// Nobody's, of nothing.
    pub fn nothing() -> Self {
        let landed = Landed::nothing();
        Self { landed, session: SessionId(0), core: 0, producer: 0, place: 0 }
    }

    /// Takes it out of a list.
    pub fn take(&mut self) -> Self {
        let landed = core::mem::replace(&mut self.landed, Landed::nothing());
        Self { landed, ..*self }
    }
}

/// One message between two cores.
#[derive(Debug)]
pub enum Message {
    // Session core to owner.
    /// An image that has landed, for a document that was moved: its producer's place is not known.
    Rerouted {
        /// The image.
        landed: Landed,
        /// Who sent it.
        session: SessionId,
        /// The document.
        slot: u32,
    },
    /// Open a document: to its home.
    Open(Box<Open>),
    /// Session core to owner: open a document that is not at home, behind what the session has sent there.
    OpenAt {
        /// What is asked for.
        open: Box<Open>,
        /// The document.
        slot: u32,
        /// Its generation.
        generation: u32,
    },
    /// A handle has let go of its document.
    Close {
        /// The document.
        slot: u32,
        /// Its generation.
        generation: u32,
        /// The session.
        session: SessionId,
        /// Its handle.
        handle: u32,
        /// Its producer; `u32::MAX` if it has none, one less if its place is not known.
        producer: u32,
        /// Whether it had a subscription, and whether that one made publishers wait.
        reader: Option<Policy>,
        /// What the session is to be told.
        reason: CloseReason,
    },
    /// Drop a document.
    Drop {
        /// The document.
        slot: u32,
        /// Its generation.
        generation: u32,
    },
    /// Let go of a chunk.
    Retire {
        /// The chunk.
        chunk: ChunkId,
    },
    /// Agent to owner: no cursor of this agent stands before the new window starts.
    Released {
        /// The chunk.
        chunk: ChunkId,
    },
    /// Agent to owner: all `wait` subscriptions of this agent have taken the nodes before this one.
    Progress {
        /// The document.
        slot: u32,
        /// Its generation.
        generation: u32,
        /// The lowest cursor.
        node: u64,
    },
    /// Agent to owner: deltas that subscriptions were not sent, since it last told.
    Missed {
        /// The document.
        slot: u32,
        /// Its generation.
        generation: u32,
        /// How many.
        deltas: u64,
    },

    // Owner to the first owner, and back.
    /// What the worker has had to do.
    Load(Box<LoadReport>),
    /// The worker had no room for a document that you have sent there.
    Full {
        /// The document.
        slot: u32,
        /// Its generation.
        generation: u32,
        /// The worker.
        worker: u16,
        /// For whom it has none.
        no_room: NoRoom,
    },
    /// Where a document of yours is to go.
    Place(Box<Decision>),
    /// Whether all your documents are to go: then tell of all of them, some at a time.
    Empty {
        /// They are.
        is_emptied: bool,
    },
    // A document moves; see `handover`.
    /// Old owner to new: keep room for a document.
    Prepare {
        /// The document.
        slot: u32,
        /// Its generation.
        generation: u32,
        /// The old owner.
        from: u16,
        /// Its producers.
        producers: u32,
        /// Batches whose credit waits.
        owed: u32,
        /// Node blocks that it holds.
        blocks: u32,
    },
    /// New owner to old: there is room.
    Prepared {
        /// The document.
        slot: u32,
        /// Its generation.
        generation: u32,
    },
    /// New owner to old: there is none.
    CannotTake {
        /// The document.
        slot: u32,
        /// Its generation.
        generation: u32,
        /// Why.
        reason: CannotTake,
        /// For whom there is none; `None` if that is not why.
        no_room: Option<NoRoom>,
    },
    /// Old owner to new: it does not come.
    Cancel {
        /// The document.
        slot: u32,
        /// Its generation.
        generation: u32,
    },
    /// Old owner to session cores, to the home and to owners of kept chunks: go to another worker with it from
    /// now on.
    Reroute {
        /// The document.
        slot: u32,
        /// Its generation.
        generation: u32,
        /// The old owner.
        from: u16,
        /// The new one.
        to: u16,
    },
    /// Its answer: nothing of the document comes on this way any more.
    Fence {
        /// The document.
        slot: u32,
        /// Its generation.
        generation: u32,
    },
    /// Old owner to session cores: nothing more is said about the document.
    LastWord {
        /// The document.
        slot: u32,
        /// Its generation.
        generation: u32,
        /// The old owner.
        from: u16,
    },
    /// Its answer: all of it was heard.
    Heard {
        /// The document.
        slot: u32,
        /// Its generation.
        generation: u32,
    },
    /// Old owner to new: here it is.
    HandOver(Box<HandOver>),
    /// New owner to session core: a handle's producer has this place now.
    Rebind {
        /// The session.
        session: SessionId,
        /// Its handle.
        handle: u32,
        /// The new owner.
        worker: u16,
        /// The place.
        producer: u32,
    },
    /// Owner to session cores: the document is at home, or is no more.
    Forget {
        /// The document.
        slot: u32,
        /// Its generation.
        generation: u32,
    },
    /// Owner to home: the document was dropped, its name is free.
    NameFree {
        /// The document.
        slot: u32,
        /// Its generation.
        generation: u32,
    },
    /// Owner to home: the document is no more.
    SlotFree {
        /// The document.
        slot: u32,
        /// Its generation.
        generation: u32,
    },
    /// Worker to worker: node blocks, lent or given back.
    Blocks {
        /// The blocks.
        chain: Chain,
        /// Who has sent them.
        worker: u16,
    },
    /// Worker to home: lend some node blocks.
    WantBlocks {
        /// Who wants them.
        worker: u16,
    },

    // Owner to session core.
    /// An open was accepted.
    Opened(Box<Opened>),
    /// An open was refused.
    OpenRefused {
        /// The session.
        session: SessionId,
        /// Its handle, now free.
        handle: u32,
        /// The client's own number for the request.
        request: u32,
        /// Why.
        reason: OpenRefusal,
    },
    /// A batch was refused.
    Refused(Box<Refusal>),
    /// Descriptors of a chunk were answered.
    Answered {
        /// The chunk.
        chunk: ChunkId,
        /// How many.
        count: u32,
    },
    /// Owner to agent: move cursors past the new window starts, then answer.
    Retiring {
        /// The chunk.
        chunk: ChunkId,
        /// The worker to be answered.
        worker: u16,
    },
    /// Owner to reception, or to the owner of a kept chunk: nothing of this worker names the chunk any more.
    Freed {
        /// The chunk.
        chunk: ChunkId,
        /// The worker.
        worker: u16,
    },
    /// Home or old owner to session core: the document is elsewhere, or goes; ask where its way leads.
    OpenElsewhere {
        /// What is asked for.
        open: Box<Open>,
        /// The document.
        slot: u32,
        /// Its generation.
        generation: u32,
    },
    /// Owner to session core: end this handle.
    End {
        /// The session.
        session: SessionId,
        /// Its handle.
        handle: u32,
        /// Why.
        reason: CloseReason,
    },
    /// Owner to session core: the handle is closed; nothing of it is on its way any more.
    Closed {
        /// The session.
        session: SessionId,
        /// Its handle.
        handle: u32,
        /// Why.
        reason: CloseReason,
    },
}

impl Message {
    /// Whether it goes to the validation of its core, not to the sessions' side.
    #[inline]
    pub fn is_for_worker(&self) -> bool {
        matches!(
            self,
            Self::Rerouted { .. }
                | Self::Open(_)
                | Self::OpenAt { .. }
                | Self::Close { .. }
                | Self::Drop { .. }
                | Self::Retire { .. }
                | Self::Released { .. }
                | Self::Progress { .. }
                | Self::Missed { .. }
                | Self::Place(_)
                | Self::Empty { .. }
                | Self::Prepare { .. }
                | Self::Prepared { .. }
                | Self::CannotTake { .. }
                | Self::Cancel { .. }
                | Self::Fence { .. }
                | Self::Heard { .. }
                | Self::HandOver(_)
                | Self::NameFree { .. }
                | Self::SlotFree { .. }
                | Self::Blocks { .. }
                | Self::WantBlocks { .. }
        )
    }
}

const _: () = assert!(size_of::<Message>() <= 40);
