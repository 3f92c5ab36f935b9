//! One core of the simulation: what lies in front of it, and its turn.

use std::cmp::{Ordering, Reverse};
use std::collections::{BinaryHeap, VecDeque};

use crate::costs::{Stage, TurnBound};
use crate::layout::Seat;
use crate::workload::Ends;

use super::{Arrivals, Nanos, Places, Plant, World};

/// What another core pushed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum What {
    /// A batch, to be judged.
    Judge(u32),
    /// A batch of a document that sessions here read.
    Grown(u32),
}

/// A message, in the order of its time.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Message {
    pub at: Nanos,
    pub order: u64,
    pub from: u16,
    pub what: What,
}

impl PartialOrd for Message {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Message {
    fn cmp(&self, other: &Self) -> Ordering {
        (self.at, self.order).cmp(&(other.at, other.order))
    }
}

/// A batch that a session has not been sent, and the core that owns its document.
#[derive(Clone, Copy, Debug)]
struct Waiting {
    batch: u32,
    owner: u16,
}

#[derive(Debug)]
pub(super) struct Core {
    seat: Seat,
    /// Batches that will come, in the order of their time; of an open load only.
    pub arrivals: VecDeque<u32>,
    pub inbox: BinaryHeap<Reverse<Message>>,
    sessions: Vec<VecDeque<Waiting>>,
    lines: Lines,
    /// Turns on end in which nothing was read because not everybody was sent to.
    held_turns: u32,
    /// What was read since the last round was over.
    of_round_bytes: f64,
    /// It has read in its last turn.
    has_read: bool,
    /// The document of the batch that came last.
    pub last_document: Option<u32>,
    pub next_turn_ns: f64,
    pub idle_since_ns: Option<f64>,
    /// Rings of others' doorbells that are not yet paid for.
    pub ringing_ns: f64,
    looked_ns: f64,
    in_flight_bytes: f64,
    /// Steps of validation that were begun and that turns have not yet had room for.
    steps_owed: f64,
    /// The turn in which each publisher was read last; of a few, by remainder.
    read_at: Vec<u64>,
    turn: u64,
}

/// The lines of sessions that have something to be sent: whoever is new in the quick one; whoever has
/// had its share of a turn, and readers behind the first of a document, in the long one.
#[derive(Debug, Default)]
struct Lines {
    quick: VecDeque<u32>,
    long: VecDeque<u32>,
    /// Sessions of the long line that have not been sent to in this round.
    left: usize,
}

/// Readers of a document that stand in the quick line.
const QUICK_READERS: usize = 16;

/// Places in which it is noted who was read this turn; two publishers of one place count as one.
const READ_PLACES: usize = 4096;

impl Core {
    pub fn new(_: u16, seat: Seat, places: &Places) -> Self {
        let sessions = if seat.serves_sessions { places.readers_of_core_max() } else { 0 };
        Self {
            seat,
            arrivals: VecDeque::new(),
            inbox: BinaryHeap::new(),
            sessions: vec![VecDeque::new(); sessions],
            lines: Lines::default(),
            held_turns: 0,
            of_round_bytes: 0.0,
            has_read: false,
            last_document: None,
            next_turn_ns: f64::INFINITY,
            idle_since_ns: Some(0.0),
            ringing_ns: 0.0,
            looked_ns: f64::NEG_INFINITY,
            in_flight_bytes: 0.0,
            steps_owed: 0.0,
            read_at: if seat.serves_sessions { vec![0; READ_PLACES] } else { Vec::new() },
            turn: 0,
        }
    }
}

/// A turn that is under way.
struct Turn {
    core: u16,
    /// When it began: what came later is not seen.
    began_ns: f64,
    /// How far it is.
    at_ns: f64,
    has_worked: bool,
    is_counted: bool,
    /// Batches of this core's own documents that it has just read.
    own: Vec<u32>,
    /// Batches that were appended here, and are to be told to those who read them.
    appended: Vec<u32>,
}

impl World<'_> {
    /// The core's turn, and when its next one is.
    pub(super) fn turn(&mut self, core: u16, began_ns: f64) {
        let place = usize::from(core);
        let it = &mut self.cores[place];
        it.next_turn_ns = f64::INFINITY;
        let was_idle = it.idle_since_ns.take().is_some();
        it.turn += 1;
        let is_counted = self.tally.counts(began_ns);
        let (own, appended) = (Vec::new(), Vec::new());
        let mut turn =
            Turn { core, began_ns, at_ns: began_ns, has_worked: false, is_counted, own, appended };
        let anyway_ns: f64 =
            Stage::ALL.iter().map(|stage| self.game.times.stage(*stage).turn_ns).sum();
        turn.at_ns += anyway_ns;
        if self.cores[place].seat.serves_sessions {
            self.receive(&mut turn, was_idle);
        }
        self.drain(&mut turn);
        self.append(&mut turn);
        if self.cores[place].seat.serves_sessions {
            self.send(&mut turn);
        }
        let ringing_ns = std::mem::take(&mut self.cores[place].ringing_ns);
        self.spend_exactly(&mut turn, Stage::Upkeep, ringing_ns);
        if turn.has_worked {
            self.tally.turns[place] += u64::from(is_counted);
            if is_counted {
                self.tally.turn_ns[place] += anyway_ns;
            }
            self.schedule(core, turn.at_ns);
        } else {
            self.cores[place].idle_since_ns = Some(turn.at_ns);
            self.expect(core, turn.at_ns);
        }
    }

    fn spend(&mut self, turn: &mut Turn, stage: Stage, other: u16) {
        let ns = self.batch_ns(stage, turn.core, other);
        self.spend_exactly(turn, stage, ns);
    }

    fn spend_exactly(&mut self, turn: &mut Turn, stage: Stage, ns: f64) {
        turn.at_ns += ns;
        if turn.is_counted {
            self.tally.stage_ns[usize::from(turn.core)][stage as usize] += ns;
        }
    }

    /// Reads what has come, as far as the turn's bound and the room go.
    fn receive(&mut self, turn: &mut Turn, was_idle: bool) {
        let place = usize::from(turn.core);
        let game = self.game;
        let mut seen_ns = turn.began_ns;
        if game.workload.ends == Ends::Tcp {
            let since_ns = turn.began_ns - self.cores[place].looked_ns;
            if was_idle || since_ns >= game.times.look_interval_ns {
                self.cores[place].looked_ns = turn.began_ns;
                self.spend_exactly(turn, Stage::Source, game.times.look_ns);
            } else {
                seen_ns = self.cores[place].looked_ns;
            }
        }
        let it = &mut self.cores[place];
        let bound = &game.costs.turn;
        if it.lines.left == 0 {
            it.of_round_bytes = 0.0;
        }
        let is_ahead = it.lines.left > 0 && it.of_round_bytes >= bound.bytes_per_send / 4.0;
        it.steps_owed = (it.steps_owed - bound.steps).max(0.0);
        let is_checking = bound.steps > 0.0 && it.steps_owed >= bound.steps;
        if (is_ahead || is_checking) && it.held_turns < bound.held_turns {
            it.held_turns += 1;
            // A turn that checks what was read is the one in which nothing is read.
            it.has_read &= !is_checking;
            turn.has_worked = true;
            return;
        }
        it.held_turns = 0;
        // Whoever uses up its share is read in every second turn.
        if game.arrivals == Arrivals::Always && std::mem::replace(&mut it.has_read, false) {
            turn.has_worked = true;
            return;
        }
        let image_bytes = game.workload.image_bytes();
        let most = images_of_turn(bound, image_bytes, game.workload.batch);
        let room_bytes = game.room_bytes();
        let mut read_bytes = 0.0;
        for _ in 0..most {
            if self.cores[place].in_flight_bytes + image_bytes > room_bytes {
                break;
            }
            let Some(number) = self.take(turn, seen_ns) else { break };
            self.cores[place].in_flight_bytes += image_bytes;
            self.cores[place].has_read = true;
            let document = self.batches[number as usize].document;
            let is_first = match game.arrivals {
                // Whoever publishes has more than a read brings.
                Arrivals::Always => read_bytes == 0.0,
                Arrivals::Random(_) => {
                    let it = &mut self.cores[place];
                    let at = game.places.publisher(document) as usize % READ_PLACES;
                    std::mem::replace(&mut it.read_at[at], it.turn) != it.turn
                }
            };
            read_bytes += image_bytes;
            self.cores[place].of_round_bytes += image_bytes;
            if is_first {
                let ns = self.time(game.times.read_ns);
                self.spend_exactly(turn, Stage::Source, ns);
            }
            let owner = game.places.owner(document);
            self.spend(turn, Stage::Source, turn.core);
            self.spend(turn, Stage::Reception, owner);
            turn.has_worked = true;
            if owner == turn.core {
                turn.own.push(number);
            } else {
                self.push(turn.core, owner, turn.at_ns, What::Judge(number));
            }
        }
    }

    /// The next batch that has come, if any.
    fn take(&mut self, turn: &Turn, seen_ns: f64) -> Option<u32> {
        let place = usize::from(turn.core);
        let number = match self.game.arrivals {
            Arrivals::Always => {
                if self.batches.len() as u64 >= self.game.batches
                    || !self.game.places.writes(turn.core)
                {
                    return None;
                }
                let document = self.game.places.draw_at(turn.core, &mut self.random);
                self.begin(document, turn.core, turn.at_ns)
            }
            Arrivals::Random(_) => {
                let batches = &self.batches;
                let arrivals = &mut self.cores[place].arrivals;
                let came = arrivals.partition_point(|it| batches[*it as usize].came_ns <= seen_ns);
                match self.game.plant {
                    _ if came == 0 => return None,
                    Some(Plant::LastFirst) => arrivals.remove(came - 1)?,
                    _ => arrivals.pop_front()?,
                }
            }
        };
        self.tally.began(u64::from(number), self.batches[number as usize].came_ns);
        Some(number)
    }

    /// Takes what other cores have pushed before this turn.
    fn drain(&mut self, turn: &mut Turn) {
        let place = usize::from(turn.core);
        let others = self.cores.len().max(2) - 1;
        for _ in 0..self.game.costs.turn.messages as usize * others {
            let it = &mut self.cores[place];
            let is_there = |it: &Reverse<Message>| it.0.at.0 <= turn.began_ns;
            if !it.inbox.peek().is_some_and(is_there) {
                break;
            }
            let Some(Reverse(message)) = it.inbox.pop() else { break };
            turn.has_worked = true;
            match message.what {
                What::Judge(batch) => self.judge(turn, batch, message.from),
                What::Grown(batch) => self.wait(turn.core, batch, message.from),
            }
        }
        for batch in std::mem::take(&mut turn.own) {
            self.judge(turn, batch, turn.core);
        }
    }

    fn judge(&mut self, turn: &mut Turn, batch: u32, from: u16) {
        self.spend(turn, Stage::Validation, from);
        self.spend(turn, Stage::Upkeep, from);
        self.cores[usize::from(turn.core)].steps_owed += self.game.times.batch_steps;
        let document = self.batches[batch as usize].document as usize;
        let number = self.cores[usize::from(turn.core)].turn;
        if std::mem::replace(&mut self.grown_at[document], number) != number {
            let ns = self.time(self.game.times.stage(Stage::Validation).visit_ns);
            self.spend_exactly(turn, Stage::Validation, ns);
        }
        turn.appended.push(batch);
    }

    /// Publishes what was appended in this turn to the cores whose sessions read it.
    fn append(&mut self, turn: &mut Turn) {
        let mut cores = Vec::new();
        for batch in std::mem::take(&mut turn.appended) {
            let document = self.batches[batch as usize].document;
            self.game.places.reading_cores(document, &mut cores);
            for core in &cores {
                if *core == turn.core {
                    self.wait(turn.core, batch, turn.core);
                } else {
                    self.push(turn.core, *core, turn.at_ns, What::Grown(batch));
                }
            }
        }
    }

    /// Has the sessions of `core` that read the batch's document wait for their send.
    fn wait(&mut self, core: u16, batch: u32, owner: u16) {
        let mut sessions = std::mem::take(&mut self.sessions_found);
        let document = self.batches[batch as usize].document;
        self.game.places.sessions_at(document, core, &mut sessions);
        if self.game.plant == Some(Plant::Loses) && batch.is_multiple_of(16) {
            sessions.pop();
        }
        let it = &mut self.cores[usize::from(core)];
        for (reader, session) in sessions.iter().enumerate() {
            let queue = &mut it.sessions[*session as usize];
            if queue.is_empty() {
                let is_quick = reader < QUICK_READERS;
                let line = if is_quick { &mut it.lines.quick } else { &mut it.lines.long };
                line.push_back(*session);
            }
            queue.push_back(Waiting { batch, owner });
        }
        self.sessions_found = sessions;
    }

    /// Sends: the quick line first, but so that the long one gets a quarter of the turn.
    fn send(&mut self, turn: &mut Turn) {
        let place = usize::from(turn.core);
        let bound = self.game.costs.turn;
        let all = Purse { sends: bound.sends, bytes: bound.bytes };
        let kept = Purse { sends: all.sends / 4, bytes: all.bytes / 4.0 };
        let mut left = all;
        while left.sends > kept.sends && left.bytes > kept.bytes {
            let Some(session) = self.cores[place].lines.quick.pop_front() else { break };
            self.send_to(turn, session, &mut left, bound.bytes_per_send);
        }
        left =
            Purse { sends: left.sends.max(kept.sends).max(1), bytes: left.bytes.max(kept.bytes) };
        let lines = &mut self.cores[place].lines;
        if lines.left == 0 {
            lines.left = lines.long.len();
        }
        while left.sends > 0 && left.bytes > 0.0 {
            let lines = &mut self.cores[place].lines;
            if lines.left == 0 {
                break;
            }
            lines.left -= 1;
            let Some(session) = lines.long.pop_front() else { break };
            self.send_to(turn, session, &mut left, bound.bytes_per_send / 2.0);
        }
        let lines = &self.cores[place].lines;
        turn.has_worked |= !(lines.quick.is_empty() && lines.long.is_empty());
    }

    /// Sends to one session, so many bytes of a document at once, until nothing is left for it, or its share of
    /// the turn is used.
    fn send_to(&mut self, turn: &mut Turn, session: u32, left: &mut Purse, send_bytes: f64) {
        let place = usize::from(turn.core);
        let bound = self.game.costs.turn;
        let share = left.sends.min(bound.sends_per_session);
        for _ in 0..share {
            if left.bytes <= 0.0 {
                break;
            }
            let bytes = self.send_once(turn, session, send_bytes);
            left.sends -= 1;
            left.bytes -= bytes;
            if left.bytes < bound.bytes / 8.0 {
                left.bytes = 0.0;
            }
            if self.cores[place].sessions[session as usize].is_empty() {
                return;
            }
        }
        self.cores[place].lines.long.push_back(session);
    }

    /// One send of what fits into one; the bytes of it.
    fn send_once(&mut self, turn: &mut Turn, session: u32, send_bytes: f64) -> f64 {
        let place = usize::from(turn.core);
        let bound = self.game.costs.turn;
        let image_bytes = self.game.workload.image_bytes();
        turn.has_worked = true;
        for stage in [Stage::Propagation, Stage::Sink] {
            let ns = self.time(self.game.times.stage(stage).send_ns);
            self.spend_exactly(turn, stage, ns);
        }
        let mut sent = Vec::new();
        let (mut parts, mut of_document, mut bytes_of_document) = (0, 0, 0.0);
        while let Some(next) = self.cores[place].sessions[session as usize].front().copied() {
            let continues = !sent.is_empty() && self.batches[next.batch as usize].continues;
            if continues {
                let is_full = of_document >= bound.images_per_send
                    || bytes_of_document + image_bytes > send_bytes;
                if is_full {
                    break;
                }
            } else {
                if parts == bound.parts_per_send {
                    break;
                }
                parts += 1;
                (of_document, bytes_of_document) = (0, 0.0);
            }
            of_document += 1;
            bytes_of_document += image_bytes;
            self.cores[place].sessions[session as usize].pop_front();
            self.spend(turn, Stage::Propagation, next.owner);
            self.spend(turn, Stage::Sink, next.owner);
            sent.push(next);
        }
        let mut documents: Vec<u32> =
            sent.iter().map(|it| self.batches[it.batch as usize].document).collect();
        documents.sort_unstable();
        documents.dedup();
        for stage in [Stage::Propagation, Stage::Sink] {
            let mean_ns = self.game.times.stage(stage).visit_ns * documents.len() as f64;
            let ns = self.time(mean_ns);
            self.spend_exactly(turn, stage, ns);
        }
        self.tally.sends += 1;
        self.tally.images += sent.len() as u64;
        for it in &sent {
            self.delivered(turn, it.batch);
        }
        sent.len() as f64 * image_bytes
    }

    fn delivered(&mut self, turn: &Turn, number: u32) {
        let batch = &mut self.batches[number as usize];
        self.tally.delivered(u64::from(number), turn.at_ns - batch.came_ns);
        batch.deliveries_left -= 1;
        if batch.deliveries_left > 0 {
            return;
        }
        let home = batch.home;
        self.tally.on_their_way -= 1;
        self.tally.finished += 1;
        let it = &mut self.cores[usize::from(home)];
        it.in_flight_bytes -= self.game.workload.image_bytes();
        // Whoever waited for room reads on.
        if it.idle_since_ns.is_some() && home != turn.core {
            self.schedule(home, turn.at_ns);
        }
    }
}

/// What a turn may still send.
#[derive(Clone, Copy)]
struct Purse {
    sends: u32,
    bytes: f64,
}

/// Images that a turn reads at most: what is read costs something, and the heavy get three quarters of
/// what a turn may cost.
pub fn images_of_turn(bound: &TurnBound, image_bytes: f64, deltas: u32) -> u64 {
    let image_cost = image_bytes / 4.0 + 64.0 + 24.0 * f64::from(deltas);
    let by_cost = (0.75 * bound.reception_cost - 1024.0) / image_cost;
    by_cost.min(bound.read_bytes / image_bytes).max(1.0) as u64
}
