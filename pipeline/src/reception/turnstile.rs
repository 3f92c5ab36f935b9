//! The turnstile: whose bytes a core takes next, and how many of them in a turn.
//!
//! Belongs to the reception of one core. It shares a turn by deficit round robin: whoever comes
//! gets a quantum at once, and whoever has used it stands in line behind the others. What is
//! counted is what a message costs, some nanoseconds: [`READ_COST`], [`BYTES_PER_COST`],
//! [`IMAGE_COST`], [`DELTA_COST`], [`CONTROL_COST`]. All sessions have the same weight.
//! Newcomers, who have not used their quantum, go before those who have, and never get more than
//! three quarters of a turn together. It never reads a clock and never waits; its lines hold each
//! session of the core once.
//!
//! ```text
//! a session may be read ─▶ quantum ─▶ read ┬ all is said: nothing is remembered but a debt
//!                             ▲            ├ the quantum is used: the line of the heavy ─┐
//!                             │            └ the turn is used: the line of newcomers ────┤
//!                             └──────────────────────── next turn ◀──────────────────────┘
//! ```

use std::collections::VecDeque;

/// What a read costs, whatever it brings: a wake of its task and a system call.
const READ_COST: i32 = 1_024;
/// Bytes that are received, checked and later sent for one.
const BYTES_PER_COST: i32 = 4;
/// What an image costs until it is ordered, without its deltas.
const IMAGE_COST: i32 = 64;
/// What a delta costs.
const DELTA_COST: i32 = 24;
/// What a control message costs.
const CONTROL_COST: i32 = 512;
/// Room that a read gets at least, so that a debt is not paid off by the byte.
const ROOM_BYTES_MIN: i32 = 1_024;
/// What a newcomer that stood in line is expected to cost.
const NEWCOMER_COST: i32 = READ_COST + READ_COST / 4;
/// Parts of a cost that the cost of a byte is kept in.
const DENSITY_ONE: i32 = 256;
/// Turns after which the line of the heavy moves on although the core is behind.
const HELD_TURNS_MAX: u32 = 32;

/// What the messages of a read have cost so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Cost(i32);

impl Cost {
    /// That of receiving so many bytes.
    pub fn of_read(bytes: usize) -> Self {
        Self(READ_COST + bytes as i32 / BYTES_PER_COST)
    }

    /// Adds images with so many deltas together.
    #[inline]
    pub fn add_images(&mut self, images: usize, deltas: u32) {
        self.0 += images as i32 * IMAGE_COST + deltas as i32 * DELTA_COST;
    }

    /// Adds a control message.
    #[inline]
    pub fn add_control(&mut self) {
        self.0 += CONTROL_COST;
    }
}

/// What the turnstile knows of a session.
#[derive(Clone, Copy, Debug)]
pub(super) struct Visitor {
    /// The turn in which it last got something.
    turn: u32,
    /// What it may still cost; below zero it owes.
    deficit: i32,
    /// What a byte of it has cost when it was read last.
    density: i32,
    /// Its deficit was taken out of the turn beforehand.
    has_paid: bool,
    /// It stands in a line.
    waits: bool,
}

impl Visitor {
    /// Somebody new.
    pub const NEW: Self = Self {
        turn: u32::MAX,
        deficit: 0,
        density: DENSITY_ONE / BYTES_PER_COST,
        has_paid: false,
        waits: false,
    };

    /// Whether it stands in a line.
    #[inline]
    pub fn waits(&self) -> bool {
        self.waits
    }
}

/// One core's turnstile: **`room` before each read, `charge` behind it, `turn` once a turn**.
#[derive(Debug)]
pub(super) struct Turnstile {
    turn: u32,
    /// What newcomers may still cost in this turn.
    left: i32,
    newcomers: VecDeque<u32>,
    heavy: VecDeque<u32>,
    cost_per_turn: i32,
    quantum: i32,
    /// Less than this is not worth a read: it is kept for the next turn.
    least: i32,
    held_turns: u32,
}

impl Turnstile {
    /// Of a core whose turns may cost so much, and that gives each session so much at a time.
    pub fn new(cost_per_turn: u32, quantum_cost: u32) -> Self {
        let cost_per_turn = cost_per_turn.clamp(1, 1 << 24) as i32;
        let quantum = (quantum_cost.max(1) as i32).min(cost_per_turn);
        Self {
            turn: 0,
            left: cost_per_turn,
            newcomers: VecDeque::new(),
            heavy: VecDeque::new(),
            cost_per_turn,
            quantum,
            least: (quantum / 4).clamp(1, 2 * READ_COST),
            held_turns: 0,
        }
    }

    /// How many bytes of session `id` may be read now; `None`: it stands in a line.
    #[inline]
    pub fn room(&mut self, visitor: &mut Visitor, id: u32) -> Option<usize> {
        if visitor.waits {
            return None;
        }
        if visitor.turn != self.turn {
            // Whoever used all in the last turn has only not had time to ask for more.
            let is_heavy =
                visitor.deficit < self.least && self.turn.wrapping_sub(visitor.turn) == 1;
            if is_heavy {
                return self.wait(visitor, id, true);
            }
            if self.left < self.least {
                return self.wait(visitor, id, false);
            }
            visitor.turn = self.turn;
            visitor.has_paid = false;
            visitor.deficit = visitor.deficit.min(0) + self.quantum;
        }
        if visitor.deficit < self.least {
            return self.wait(visitor, id, true);
        }
        if !visitor.has_paid && self.left < self.least {
            return self.wait(visitor, id, false);
        }
        let bytes = i64::from(self.allowance(visitor)) * i64::from(DENSITY_ONE);
        Some((bytes / i64::from(visitor.density)).max(i64::from(ROOM_BYTES_MIN)) as usize)
    }

    /// What the session may cost now.
    #[inline]
    pub fn allowance(&self, visitor: &Visitor) -> i32 {
        if visitor.has_paid { visitor.deficit } else { visitor.deficit.min(self.left) }
    }

    /// Whether what was taken is a quarter more than the session may cost now: as much as the
    /// estimate of what a read will cost may be wrong before the rest has to wait.
    #[inline]
    pub fn is_used_up(&self, visitor: &Visitor, cost: Cost) -> bool {
        let allowance = self.allowance(visitor);
        cost.0 >= allowance + allowance / 4
    }

    /// Charges a session for what `bytes` bytes of it have cost.
    #[inline]
    pub fn charge(&mut self, visitor: &mut Visitor, bytes: usize, cost: Cost) {
        visitor.deficit -= cost.0;
        if !visitor.has_paid {
            self.left -= cost.0;
        }
        if bytes > 0 {
            let of_bytes = i64::from((cost.0 - READ_COST).max(0));
            let density = of_bytes * i64::from(DENSITY_ONE) / bytes as i64;
            let least = i64::from(DENSITY_ONE / BYTES_PER_COST);
            visitor.density = density.clamp(least, i64::from(DENSITY_ONE) << 6) as i32;
        }
    }

    /// Puts a session in line that has more to be taken than it may cost.
    pub fn wait(&mut self, visitor: &mut Visitor, id: u32, is_heavy: bool) -> Option<usize> {
        visitor.waits = true;
        if is_heavy {
            self.heavy.push_back(id)
        } else {
            self.newcomers.push_back(id)
        }
        None
    }

    /// Forgets a session that has ended.
    pub fn forget(&mut self, visitor: &mut Visitor, id: u32) {
        if core::mem::take(&mut visitor.waits) {
            self.newcomers.retain(|other| *other != id);
            self.heavy.retain(|other| *other != id);
        }
    }

    /// Whether nobody stands in line.
    pub fn is_idle(&self) -> bool {
        self.newcomers.is_empty() && self.heavy.is_empty()
    }

    /// Begins a turn: puts the sessions that may go on into `resumed`, newcomers first, and returns
    /// how much was done. While the core is behind with what it has taken, the heavy stay where
    /// they are, but not for long.
    pub fn turn(
        &mut self,
        is_behind: bool,
        sessions: &mut [impl AsMut<Visitor>],
        resumed: &mut Vec<u32>,
    ) -> usize {
        self.turn = self.turn.wrapping_add(1);
        self.left = self.cost_per_turn;
        if self.is_idle() {
            return 0;
        }
        let mut expected = 0;
        while expected < self.cost_per_turn / 4 * 3
            && let Some(id) = self.newcomers.pop_front()
        {
            sessions[id as usize].as_mut().waits = false;
            expected += NEWCOMER_COST;
            resumed.push(id);
        }
        if self.heavy.is_empty() {
            return resumed.len();
        }
        if is_behind && self.held_turns < HELD_TURNS_MAX {
            self.held_turns += 1;
            // Whoever is held is work: the core must turn again.
            return resumed.len() + 1;
        }
        self.held_turns = 0;
        self.turn_for_heavy(expected, sessions, resumed);
        resumed.len() + 1
    }

    /// Gives the heavy what newcomers are not expected to need: a quantum each, and more if there are
    /// so few of them that some would be left.
    fn turn_for_heavy(
        &mut self,
        expected: i32,
        sessions: &mut [impl AsMut<Visitor>],
        resumed: &mut Vec<u32>,
    ) {
        let quarter = (self.cost_per_turn / 4).max(1);
        let mut left = (self.cost_per_turn - expected).clamp(quarter, 3 * quarter);
        let share = (left / self.heavy.len() as i32).max(self.quantum.min(left));
        for _ in 0..self.heavy.len() {
            if left <= 0 {
                break;
            }
            let Some(id) = self.heavy.pop_front() else { break };
            let visitor = sessions[id as usize].as_mut();
            visitor.deficit += share;
            if visitor.deficit < self.least {
                self.heavy.push_back(id);
                continue;
            }
            visitor.waits = false;
            visitor.has_paid = true;
            visitor.turn = self.turn;
            left -= visitor.deficit;
            self.left -= visitor.deficit;
            resumed.push(id);
        }
    }
}

impl AsMut<Visitor> for Visitor {
    fn as_mut(&mut self) -> &mut Visitor {
        self
    }
}
