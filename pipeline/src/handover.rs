//! The hand-over of a document from one owner to the next: what is asked, answered, and carried.
//!
//! A document has a *home*, the worker that its name leads to, and an *owner*; the two are one until
//! it is moved. Slot, generation and epoch stay what they are. The parts are played by
//! `validation::leaving`, `validation::coming` and [`routes`](crate::routes).
//!
//! ```text
//! old owner                          session cores, home, keepers        new owner
//!  Prepare ─────────────────────────────────────────────────────────────▶ keeps room
//!  Reroute ────────────────────────▶ goes elsewhere from now on ◀──────── Prepared (or CannotTake)
//!     ◀───────────────────────────── Fence
//!  LastWord ───────────────────────▶                                      holds what comes
//!     ◀───────────────────────────── Heard
//!  HandOver ────────────────────────────────────────────────────────────▶ owns it
//!                                    ◀─────────────────────────── Rebind, then what was held
//! ```
//!
//! A worker gives or takes at one time, never both: so nobody waits in a circle.

use crate::registry::Baggage;
use crate::stream::Chain;

/// Documents that one worker gives at once, or takes at once, at most.
pub const MOVES_AT_ONCE: usize = 16;

/// Ended moves that a core remembers until they are taken.
pub(crate) const MOVED_MAX: usize = 64;

/// Why a document cannot be moved now; nothing has happened.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum MoveRefusal {
    /// It is not owned by this core.
    NotHere,
    /// It is there already.
    AlreadyThere,
    /// No worker has that number.
    NoSuchWorker,
    /// It is being moved, or has just come.
    AlreadyMoving,
    /// It was dropped.
    Dropped,
    /// This worker takes a document itself, or gives as many as it may.
    Busy,
    /// The server is ending.
    Ending,
}

/// Why a worker does not take a document.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CannotTake {
    /// It gives documents itself, or takes as many as it may.
    Busy,
    /// No place for a guest.
    Guests,
    /// No room for its producers.
    Producers,
    /// No room for credit that waits for subscriptions.
    Owed,
    /// No node blocks for as many as it holds.
    Nodes,
    /// It is ending.
    Ending,
}

/// For whom a worker that does not take a document has no room.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum NoRoom {
    /// For this document: a smaller one may find some.
    ForThis,
    /// For documents of other homes: its own may come home.
    ForGuests,
    /// For any: there is too little for one of a single block and a single producer.
    ForAny,
}

/// What became of a move that was begun.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum MoveOutcome {
    /// The new owner has it.
    Moved,
    /// The old owner has kept it, because the new one could not take it.
    Refused(CannotTake),
    /// The old owner has kept it: it was dropped, has ended, or has grown beyond what was asked for.
    Cancelled,
}

/// A move that has ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Moved {
    /// The document's slot.
    pub slot: u32,
    /// The slot's generation.
    pub generation: u32,
    /// The worker that owned it.
    pub from: u16,
    /// The worker that was to own it.
    pub to: u16,
    /// What became of it; a move is told by its new owner, anything else by the old.
    pub outcome: MoveOutcome,
    /// From the old owner's last append to the new one's first, in nanoseconds; `None` if nobody was
    /// writing.
    pub pause_ns: Option<u64>,
    /// Batches that were held until it had come.
    pub held: u32,
}

/// Moves, as this core has counted them.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct MoveCounts {
    /// Begun: documents that this core was asked to give.
    pub begun: u64,
    /// Documents that this core was given.
    pub finished: u64,
    /// Begun here, and not carried out.
    pub refused: u64,
    /// Batches that this core held for documents on their way.
    pub held_batches: u64,
    /// `open`s that this core sent back, because their document was on its way.
    pub deferred_opens: u64,
    /// Retirements that this core held for documents on their way.
    pub held_retirements: u64,
    /// `open`s that this core, their document's home, sent on to its owner.
    pub passed_opens: u64,
    /// Documents that were dropped while they left, or came.
    pub dropped: u64,
    /// Documents that this core gave with kept images in their window.
    pub with_kept: u64,
    /// Node blocks lent to others, or given back.
    pub lent_blocks: u64,
}

/// A document on its way from one owner to the next.
#[derive(Debug)]
pub struct HandOver {
    /// The worker that it comes from.
    pub(crate) from: u16,
    pub(crate) baggage: Baggage,
    /// Blocks for what is appended next.
    pub(crate) blocks: Chain,
    /// To which homes how many node blocks are owed now, for these and the document's.
    pub(crate) debts: Vec<(u16, u32)>,
    /// When the old owner appended last, if it did while the document was leaving.
    pub(crate) last_append_ns: Option<u64>,
    /// When all cores were told.
    pub(crate) rerouted_ns: u64,
}
