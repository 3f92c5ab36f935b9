//! What a scenario is played in: sessions, and a way to let everything go on for a while.
//!
//! Two worlds have the same clients: one gives their bytes to the stages on the caller's thread, one
//! to sockets whose other end is the daemon.

use std::time::{Duration, Instant};

use super::fleet::{Fleet, Key, Plan};

/// How long something may take that must come, on a machine that is busy with other things.
pub const PATIENCE: Duration = Duration::from_secs(240);

/// Bytes that clients made a server hold.
#[derive(Clone, Copy, Debug, Default)]
pub struct Live {
    /// Chunks and node blocks: what documents' windows are in.
    pub window_bytes: u64,
    /// Everything else, but for what is carried.
    pub other_bytes: u64,
    /// What writers sent and nobody has judged yet: messages that are not whole, and the rest of a read that
    /// brought more than its session's share of a turn.
    pub carried_bytes: u64,
    /// Of that, subscriptions and what was copied for them.
    pub reader_bytes: u64,
}

impl Live {
    /// All of them.
    pub fn all_bytes(&self) -> u64 {
        self.window_bytes + self.other_bytes + self.carried_bytes
    }
}

/// What a server tells of documents that it places by their heat, since it began.
#[derive(Clone, Copy, Debug, Default)]
pub struct Placed {
    /// Documents that have an elastic worker now.
    pub promoted: u64,
    /// Pauses: from the last batch before a document had one, to the first behind it.
    pub pauses: u64,
    /// All of them together.
    pub pauses_us: f64,
    /// Batches that waited for an elastic worker's share of a turn.
    pub laned_batches: u64,
}

/// A move that has ended, or a promotion.
#[derive(Clone, Copy, Debug)]
pub struct Move {
    /// Whether the document has moved.
    pub has_moved: bool,
    /// How long nobody could append, if somebody was writing.
    pub pause_us: Option<f64>,
    /// Batches that were held meanwhile.
    pub held: u64,
}

/// What is played in.
pub trait World {
    /// The clients.
    fn fleet(&mut self) -> &mut Fleet;

    /// Begins a session that opens its documents; they are open when the fleet says so.
    ///
    /// # Errors
    /// If there is no place for it.
    fn connect(&mut self, plan: Plan) -> Result<Key, String>;

    /// Ends a session from the client's side, at once.
    fn disconnect(&mut self, key: Key);

    /// A reader may take more than before.
    fn has_room(&mut self, key: Key);

    /// Lets everybody do a little.
    ///
    /// # Errors
    /// If something broke that no client can be told of.
    fn step(&mut self) -> Result<(), String>;

    /// Documents that a session of many has at most, and so how many sessions there are.
    fn documents_per_session(&self) -> usize;

    /// Bytes that clients made the server hold, as it tells.
    fn live(&mut self) -> Option<Live>;

    /// Asks that a document move to the other worker, where there is one, or back home; `false` if it
    /// may not move now.
    ///
    /// # Errors
    /// If there is none, or it cannot be asked now.
    fn move_document(&mut self, document: u64, to_other: bool) -> Result<bool, String>;

    /// A move that has ended.
    fn take_moved(&mut self) -> Option<Move>;

    /// What the server tells of documents that it places by itself; `None` where it does not.
    ///
    /// # Errors
    /// If it does not tell.
    fn placed(&mut self) -> Result<Option<Placed>, String>;

    /// What the server's memory is bounded by.
    fn budget_bytes(&self) -> u64;

    /// Ends the server, in order.
    ///
    /// # Errors
    /// What was wrong at its end.
    fn finish(self: Box<Self>) -> Result<(), String>;
}

/// Lets everybody go on for `length`, and does `tick` between two steps.
///
/// # Errors
/// If something broke.
pub fn play(
    world: &mut dyn World,
    length: Duration,
    mut tick: impl FnMut(&mut dyn World) -> Result<(), String>,
) -> Result<(), String> {
    let end = Instant::now() + length;
    while Instant::now() < end {
        world.step()?;
        tick(world)?;
    }
    Ok(())
}

/// Lets everybody go on until it `is_so`.
///
/// # Errors
/// If it does not become so in time, or something broke.
pub fn until(
    world: &mut dyn World,
    what: &str,
    mut is_so: impl FnMut(&mut dyn World) -> bool,
) -> Result<(), String> {
    let began = Instant::now();
    while !is_so(world) {
        if began.elapsed() > PATIENCE || !world.fleet().faults().is_empty() {
            return Err(format!("it never came to {what}"));
        }
        world.step()?;
    }
    Ok(())
}
