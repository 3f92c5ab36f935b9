//! A client as the fleet knows it: what it is to be, and what is known of each of its handles.
//!
//! Data only; who writes and who checks is the fleet.

use std::collections::HashMap;
use std::rc::Rc;

use deltaworks_pipeline::message::Policy;

use super::delta::Template;

/// A session's place.
pub type Key = usize;

/// A document, as its one writer knows it.
#[derive(Clone, Debug)]
pub struct Document {
    /// Its name.
    pub name: String,
    pub(super) template: Rc<Template>,
    pub(super) salt: u32,
    /// Slot and generation, once somebody has opened it.
    pub id: Option<u64>,
    /// Deltas written so far.
    pub published: u64,
    pub(super) batches: u64,
    /// Its place in the timetable.
    pub(super) turn: Option<usize>,
}

/// Whether a session is one of those that must not feel anything.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Side {
    /// It is: its figures are told.
    Others,
    /// It is what disturbs them.
    Disturbance,
}

/// How fast a reader's socket takes bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Speed {
    /// At once.
    Full,
    /// Not at all.
    Frozen,
    /// One byte for so many that the yardstick has got.
    OneIn(u64),
}

/// What a session does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Role {
    /// It writes what the timetable says.
    Paced,
    /// It writes as fast as it is read, as far as credit goes.
    Greedy,
    /// It writes when it is told to.
    Asked,
    /// It reads.
    Reader {
        /// With this policy.
        policy: Policy,
        /// So fast.
        speed: Speed,
    },
}

/// What a session is to be.
#[derive(Clone, Debug)]
pub struct Plan {
    /// On which side it is.
    pub side: Side,
    /// What it does.
    pub role: Role,
    /// Its documents, by handle.
    pub documents: Vec<usize>,
}

/// What is known of a handle.
#[derive(Clone, Copy, Debug, Default)]
pub struct Handle {
    pub(super) is_open: bool,
    /// The server has ended it, as its policy says.
    pub(super) is_closed: bool,
    /// Of a reader: what comes next, and where it began.
    pub(super) next: u64,
    pub(super) start: u64,
    pub(super) delivered: u64,
    pub(super) told: u64,
    /// Of a writer: the last number given and answered, and the credit left.
    pub(super) number: u64,
    pub(super) acked: u64,
    pub(super) balance: i64,
}

/// One session.
#[derive(Debug)]
pub struct Session {
    /// What it is.
    pub plan: Plan,
    pub(super) handles: Vec<Handle>,
    pub(super) opened: usize,
    /// By document id, for readers.
    pub(super) by_id: HashMap<u64, u32>,
    pub(super) last: (u64, u32),
    /// What its socket is to take, and how much of it has gone.
    pub(super) out: Vec<u8>,
    pub(super) sent: usize,
    pub(super) is_ready: bool,
    /// Bytes that it takes before it blocks.
    pub room_bytes: usize,
    /// The next greedy batch is of this handle.
    pub(super) turn: usize,
}

/// What an `opened` says.
#[derive(Clone, Copy, Debug)]
pub struct OpenedAs {
    /// The handle.
    pub handle: u32,
    /// The document's id.
    pub document: u64,
    /// Where a reader begins.
    pub start_sequence: u64,
    /// The last number that was answered to a writer.
    pub producer_sequence: u64,
    /// The credit of a writer.
    pub credit: u64,
}

/// Sums over all sessions of one side.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sums {
    /// Deltas that came, each checked.
    pub delivered: u64,
    /// Deltas that were told not to come.
    pub told: u64,
    /// Tellings.
    pub gaps: u64,
}

/// What became of one subscription.
#[derive(Clone, Copy, Debug)]
pub struct Account {
    /// Deltas written for it: since it began, and until it was closed if it was.
    pub published: u64,
    /// Deltas that came.
    pub delivered: u64,
    /// Deltas that were told not to come.
    pub told: u64,
    /// The server has ended it.
    pub is_closed: bool,
}
