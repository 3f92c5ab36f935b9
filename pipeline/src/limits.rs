//! The limits of the pipeline: what input can make grow, and how far.

use crate::placement::PlacementLimits;

use crate::quota::Quotas;

/// Limits that the stages apply. Every field has a default and a worst-case memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of one image at most (262,144; at most a quarter of a chunk). A larger one ends the
    /// session.
    pub image_bytes_max: u32,
    /// Deltas in one batch at most (4,096).
    pub deltas_per_batch_max: u32,
    /// Bytes of an `info` map at most (1,024), kept once a document.
    pub info_bytes_max: u32,
    /// Bytes of a document's name at most (256), kept once a document.
    pub name_bytes_max: u32,
    /// Handles of one session at most (1,024).
    pub handles_per_session_max: u32,
    /// Handles of all sessions of one core at most (200,000 over all cores): 144 bytes each.
    pub handles_per_core_max: u32,
    /// Sessions of one core at most (4,096 over all cores): about 2 KiB each without handles.
    pub sessions_per_core_max: u32,
    /// Documents of one worker at most (100,000 over all workers and an eighth more): at most
    /// 512 bytes each without payload, names and producers.
    pub documents_per_worker_max: u32,
    /// Documents of other workers that one worker owns for them at most (256): 72 bytes each, used or
    /// not, beside what such a document takes wherever it is.
    pub guests_per_worker_max: u32,
    /// Bytes of the names of one worker's documents at most (64 a document).
    pub names_bytes_per_worker_max: u64,
    /// Producers that a document remembers at most (64): 64 bytes each.
    pub producers_per_document_max: u32,
    /// Producers of one worker's documents at most (200,000 over all workers): 64 bytes each.
    pub producers_per_worker_max: u32,
    /// Subscriptions of one core at most (200,000 over all cores): 80 bytes each.
    pub subscriptions_per_core_max: u32,
    /// Subscriptions of one core that are remembered to have missed something (50,000 over all
    /// cores): 64 bytes each. Beyond it each miss is told at once, not merged with the next.
    pub slow_subscriptions_per_core_max: u32,
    /// Credit of a new handle (262,144 bytes): what may be on its way at once.
    pub credit_bytes: u32,
    /// Bytes of unfinished messages kept aside on one core at most.
    pub carry_bytes_per_core_max: u64,
    /// Bytes copied out of retiring chunks for slow subscribers on one core at most.
    pub spill_bytes_per_core_max: u64,
    /// Messages of one core that may wait for room in rings (5,000 over two cores): 64 bytes
    /// each. Beyond it the core reads no more until they have gone.
    pub waiting_messages_max: u32,
    /// Batches of one worker whose credit waits for `wait` subscriptions at most (100,000 over
    /// all workers): 24 bytes each. Beyond it a batch is refused.
    pub owed_per_worker_max: u32,
    /// What may wait at one worker behind batches that are checked in slices and in lanes, those batches
    /// with it (16,384). Beyond it the worker takes no more messages until some have gone.
    pub aside_per_worker_max: u32,
    /// What sessions, producers and addresses may send a second (as much as they like): some words of
    /// what is counted for each, in handles and sessions.
    pub quotas: Quotas,
    /// A message must be whole this long after its prelude (10 s).
    pub message_deadline_ns: u64,
    /// A document that nobody has opened for this long is unloaded (300 s); its history goes.
    pub idle_unload_ns: u64,
    /// Validation steps of one worker in a turn (8,192, some 35 µs): when batches have used them
    /// up, the others wait for the next. Batches that are checked in slices get half at least.
    pub steps_per_turn: u32,
    /// Validation steps that one batch gets before others come (2,048).
    pub steps_per_batch: u32,
    /// Check machines of one worker (65), two at least: one for arrivals, the others for batches
    /// that are checked in slices.
    pub machines_per_worker: u32,
    /// How much of each kind of work a turn takes.
    pub turn: TurnBounds,
    /// When documents get workers of their own, and when they move.
    pub placement: PlacementLimits,
}

/// How much of each kind of work a core takes in a turn before it goes on to the next: how evenly
/// its time is shared. What is left comes with the next turn. The defaults are chosen for a turn
/// within [`TURN_BOUND_US`], whatever one session, one document or one other core has to say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TurnBounds {
    /// What messages that are read in a turn may cost (28,000), in about the nanoseconds that
    /// receiving, checking and ordering them takes: 1,024 a read, a quarter a byte, 64 an image, 24 a
    /// delta, 512 a control message. At least some 1,000.
    pub reception_cost: u32,
    /// What one session's messages may cost before others come (7,000). At least some 1,000.
    pub quantum_cost: u32,
    /// Messages of other cores, and of this one to itself (512).
    pub messages_per_turn: usize,
    /// Documents whose marks are taken from one owner (256).
    pub marks_per_owner: usize,
    /// Sends over all sessions (16).
    pub sends_per_turn: usize,
    /// Bytes that are sent over all sessions, about (131,072).
    pub bytes_per_turn: u32,
    /// Sends of one session before the others of its core come (4).
    pub sends_per_session: usize,
    /// Images of one subscription in one send (256).
    pub images_per_send: u64,
    /// Bytes of one subscription in one send (130,320), half of that in the rounds of many readers: whole
    /// images, at least one. The default is twice what leaves as one segment: see [`SEGMENT_BYTES`].
    pub bytes_per_send: u32,
    /// Entries of retired chunks that are walked or freed (128).
    pub retirement_entries: usize,
    /// Turns between two looks for idle documents (4,096).
    pub turns_between_sweeps: u32,
}

/// How long a turn of a core is meant to take at most under the default bounds, in microseconds: the sum
/// of what each kind of work is taken to cost on a core of its own, sockets not counted. It is computed,
/// and no clock enforces it; the server counts the turns that took longer, and `throughput isolation` tells
/// those that it saw.
pub const TURN_BOUND_US: u32 = 50;

impl TurnBounds {
    /// Bytes of one subscription in one send to who waits in the rounds of many readers: a round is not
    /// longer for it, and with so many the kernel takes no less for two segments at once than for each.
    pub(crate) fn bytes_per_send_in_rounds(&self) -> u32 {
        self.bytes_per_send / 2
    }
}

impl Default for TurnBounds {
    fn default() -> Self {
        Self {
            reception_cost: 28_000,
            quantum_cost: 7_000,
            messages_per_turn: 512,
            marks_per_owner: 256,
            sends_per_turn: 16,
            bytes_per_turn: 128 << 10,
            sends_per_session: 4,
            images_per_send: 256,
            bytes_per_send: 2 * SEGMENT_BYTES,
            retirement_entries: 128,
            turns_between_sweeps: 4096,
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            image_bytes_max: 256 << 10,
            deltas_per_batch_max: 4096,
            info_bytes_max: 1024,
            name_bytes_max: 256,
            handles_per_session_max: 1024,
            handles_per_core_max: 200_000,
            sessions_per_core_max: 4096,
            documents_per_worker_max: 112_500,
            guests_per_worker_max: 256,
            names_bytes_per_worker_max: 6_400_000,
            producers_per_document_max: 64,
            producers_per_worker_max: 200_000,
            subscriptions_per_core_max: 200_000,
            slow_subscriptions_per_core_max: 50_000,
            credit_bytes: 256 << 10,
            carry_bytes_per_core_max: 4 << 20,
            spill_bytes_per_core_max: 12 << 20,
            waiting_messages_max: 5_000,
            owed_per_worker_max: 100_000,
            aside_per_worker_max: 16_384,
            quotas: Quotas::default(),
            message_deadline_ns: 10_000_000_000,
            idle_unload_ns: 300_000_000_000,
            steps_per_turn: 8192,
            steps_per_batch: 2048,
            machines_per_worker: crate::validation::MACHINES as u32,
            turn: TurnBounds::default(),
            placement: PlacementLimits::default(),
        }
    }
}

/// The least credit that a handle is granted: below it nothing could be sent.
pub const CREDIT_FLOOR_BYTES: u32 = 4096;

/// What the kernel passes on as one: 45 full frames of Ethernet, and no more than a segment of the
/// loopback, which holds 65,483 bytes. A send of a few bytes more costs a second one, and a wake with it.
pub const SEGMENT_BYTES: u32 = 65_160;

/// Messages longer than this get contiguous room in a chunk at once.
pub const RESERVE_ABOVE_BYTES: u32 = 16 << 10;
