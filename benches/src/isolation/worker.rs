//! A core that only owns documents, on a pinned thread of its own, as the world without sockets has
//! it beside the caller's.
//!
//! It turns without end. Now and then it looks for what it is asked: to give a document to another
//! worker, or to end.

use std::sync::mpsc::{Receiver, Sender, TryRecvError, channel};

use deltaworks_pipeline::handover::{MoveRefusal, Moved};
use deltaworks_pipeline::stages::CoreStages;
use deltaworks_runtime::clock::{Clock, SystemClock};
use deltaworks_runtime::pinned::PinnedThread;

use super::inside::Port;
use super::plant::{PAUSE, Plant};

/// Turns with nothing to do after which a core that only owns documents lets others have its CPU.
const IDLE_TURNS_MAX: u32 = 256;

/// Turns between two looks for what is asked.
const TURNS_PER_LOOK: u32 = 16;

/// What a core that only owns documents came to.
#[derive(Clone, Copy, Debug, Default)]
pub struct Worked {
    /// Time in turns that did something.
    pub busy_ns: u64,
    /// Time in all.
    pub wall_ns: u64,
    /// Deltas that it accepted.
    pub accepted_deltas: u64,
}

/// A document that is to be given to another worker.
#[derive(Clone, Copy, Debug)]
struct Order {
    slot: u32,
    generation: u32,
    to_worker: u16,
}

/// A worker's thread.
pub(super) struct Worker {
    thread: PinnedThread<Worked>,
    orders: Sender<Order>,
    moved: Receiver<Moved>,
}

impl Worker {
    /// Starts on `cpu`.
    ///
    /// # Errors
    /// If the system gives no thread.
    pub fn start(stages: CoreStages, cpu: usize, plant: Option<Plant>) -> Result<Self, String> {
        let (orders, ordered) = channel();
        let (told, moved) = channel();
        let run = move || own_documents(stages, &ordered, &told, plant);
        let thread = PinnedThread::spawn(cpu, "worker", run).map_err(|error| error.to_string())?;
        Ok(Self { thread, orders, moved })
    }

    /// Asks it to give a document to another worker, as soon as it may.
    ///
    /// # Errors
    /// If it has ended.
    pub fn give(&self, slot: u32, generation: u32, to_worker: u16) -> Result<(), String> {
        let order = Order { slot, generation, to_worker };
        self.orders.send(order).map_err(|_| "the worker has ended".to_owned())
    }

    /// A move that has ended there.
    pub fn take_moved(&self) -> Option<Moved> {
        self.moved.try_recv().ok()
    }

    /// Ends it; what it came to.
    ///
    /// # Errors
    /// If it panicked.
    pub fn end(self) -> Result<Worked, String> {
        drop(self.orders);
        self.thread.join().map_err(|_| "a worker panicked".to_owned())
    }
}

/// Turns until nobody can ask anything any more; how busy it was.
fn own_documents(
    mut stages: CoreStages,
    orders: &Receiver<Order>,
    told: &Sender<Moved>,
    plant: Option<Plant>,
) -> Worked {
    let mut clock = SystemClock::new();
    let mut nobody = Port::new(None);
    let began_ns = clock.now().monotonic_ns;
    let (mut before_ns, mut busy_ns) = (began_ns, 0);
    let (mut turns, mut idle_turns) = (0_u32, 0);
    let mut order = None;
    loop {
        let work = stages.turn(&mut nobody, clock.now());
        if plant == Some(Plant::Pause) {
            std::thread::sleep(PAUSE);
        }
        let now_ns = clock.now().monotonic_ns;
        busy_ns += if work > 0 { now_ns - before_ns } else { 0 };
        before_ns = now_ns;
        turns = turns.wrapping_add(1);
        if turns.is_multiple_of(TURNS_PER_LOOK) {
            match orders.try_recv() {
                Ok(newer) => order = Some(newer),
                Err(TryRecvError::Empty) => {}
                Err(TryRecvError::Disconnected) => break,
            }
            if let Some(Order { slot, generation, to_worker }) = order {
                let refusal = stages.move_document(slot, generation, to_worker).err();
                let is_later =
                    matches!(refusal, Some(MoveRefusal::AlreadyMoving | MoveRefusal::Busy));
                order = order.filter(|_| is_later);
            }
            while let Some(moved) = stages.take_moved() {
                // Nobody asks any more: then nobody needs to know.
                let _ = told.send(moved);
            }
        }
        idle_turns = if work > 0 { 0 } else { idle_turns + 1 };
        if idle_turns >= IDLE_TURNS_MAX {
            std::thread::yield_now();
        }
    }
    let accepted_deltas = stages.counts().validation.accepted_deltas;
    Worked { busy_ns, wall_ns: before_ns - began_ns, accepted_deltas }
}
