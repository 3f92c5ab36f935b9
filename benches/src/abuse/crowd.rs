//! A scenario's hostile connections: who comes, who is there, and what they were told.
//!
//! Belongs to the load's thread, between two looks at the others' stream, so a step is short and
//! bounded. It never waits. When the system has no socket or port left, nobody more comes until
//! somebody has gone, and that is counted.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use super::scenario::Scenario;
use super::visitor::{End, STEP_BYTES, Step, Visitor};

/// Time of one step at most, but for the visit that it is in.
const STEP_TIME: Duration = Duration::from_micros(40);

/// Visits in a row without anything to do, after which a step is over.
const IDLE_VISITS_MAX: usize = 32;

/// Connections that are begun in one step at most.
const ARRIVALS_MAX: usize = 2;

/// After the system gave no socket.
const PAUSE: Duration = Duration::from_millis(20);

/// What became of the visits.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Tally {
    /// Connections begun.
    pub connections: u64,
    /// The most that stood at once.
    pub standing_max: usize,
    /// Ended by the server with a number: how many of each.
    pub told: BTreeMap<u16, u64>,
    /// Ended by the server without a number.
    pub untold: u64,
    /// Ended as their script says.
    pub played: u64,
    /// Sent home by the harness when their time was over.
    pub sent_home: u64,
    /// Not accepted in time.
    pub unreached: u64,
    /// Times that the system gave no socket or port.
    pub no_socket: u64,
}

impl Tally {
    /// Adds the visits of another crowd.
    pub fn add(&mut self, other: &Tally) {
        self.connections += other.connections;
        self.standing_max = self.standing_max.max(other.standing_max);
        for (code, count) in &other.told {
            *self.told.entry(*code).or_default() += count;
        }
        self.untold += other.untold;
        self.played += other.played;
        self.sent_home += other.sent_home;
        self.unreached += other.unreached;
        self.no_socket += other.no_socket;
    }
}

/// Hostile connections.
#[derive(Debug)]
pub struct Crowd<'a> {
    scenario: &'a Scenario,
    to: SocketAddr,
    size: usize,
    visitors: Vec<Visitor>,
    cursor: usize,
    scratch: Vec<u8>,
    renews: bool,
    paused_until: Instant,
    tally: Tally,
}

impl<'a> Crowd<'a> {
    /// Nobody yet; at most `size` at once.
    pub fn new(scenario: &'a Scenario, to: SocketAddr, size: usize, now: Instant) -> Self {
        Crowd {
            scenario,
            to,
            size,
            visitors: Vec::with_capacity(size),
            cursor: 0,
            scratch: vec![0; STEP_BYTES],
            renews: true,
            paused_until: now,
            tally: Tally::default(),
        }
    }

    /// What became of the visits so far.
    pub fn tally(&self) -> &Tally {
        &self.tally
    }

    /// Lets some visitors do a little; whether anything was done.
    pub fn step(&mut self, now: Instant) -> bool {
        let mut has_worked = self.welcome(now);
        let mut idle = 0;
        while idle < IDLE_VISITS_MAX.min(self.visitors.len()) {
            if self.cursor >= self.visitors.len() {
                self.cursor = 0;
            }
            match self.visitors[self.cursor].step(now, &mut self.scratch) {
                Step::Idle => {
                    idle += 1;
                    self.cursor += 1;
                }
                Step::Moved => {
                    has_worked = true;
                    self.cursor += 1;
                }
                Step::Over(end) => {
                    has_worked = true;
                    self.visitors.swap_remove(self.cursor);
                    self.count(end);
                }
            }
            if now.elapsed() >= STEP_TIME {
                break;
            }
        }
        has_worked
    }

    /// Begins connections, as long as the scenario wants more.
    fn welcome(&mut self, now: Instant) -> bool {
        if !self.renews || now < self.paused_until {
            return false;
        }
        let mut begun = 0;
        while begun < ARRIVALS_MAX && self.visitors.len() < self.size && self.wants_more() {
            let number = self.tally.connections;
            let script = self.scenario.script(number);
            let from = source(number, self.scenario.addresses);
            let receive_bytes = self.scenario.receive_bytes;
            let Ok(visitor) = Visitor::connect(self.to, from, receive_bytes, script, now) else {
                self.tally.no_socket += 1;
                self.paused_until = now + PAUSE;
                break;
            };
            self.visitors.push(visitor);
            self.tally.connections += 1;
            begun += 1;
        }
        self.tally.standing_max = self.tally.standing_max.max(self.visitors.len());
        begun > 0
    }

    fn wants_more(&self) -> bool {
        self.scenario.renews || self.tally.connections < self.size as u64
    }

    /// Whether all have come that are to stand at once.
    pub fn has_come(&self) -> bool {
        self.scenario.renews || !self.wants_more()
    }

    /// Nobody comes any more, and who does not wait to be ended by the server goes.
    pub fn close(&mut self) {
        self.renews = false;
        let before = self.visitors.len();
        self.visitors.retain(Visitor::awaits_its_end);
        self.tally.sent_home += (before - self.visitors.len()) as u64;
    }

    /// Everybody goes.
    pub fn send_home(&mut self) {
        self.renews = false;
        self.tally.sent_home += self.visitors.len() as u64;
        self.visitors.clear();
    }

    /// How many are there.
    pub fn standing(&self) -> usize {
        self.visitors.len()
    }

    fn count(&mut self, end: End) {
        match end {
            End::Played => self.tally.played += 1,
            End::Told(code) => *self.tally.told.entry(code).or_default() += 1,
            End::Untold => self.tally.untold += 1,
            End::Unreached => self.tally.unreached += 1,
        }
    }
}

/// One of `addresses` loopback addresses, none of which is the others'.
fn source(number: u64, addresses: u32) -> Ipv4Addr {
    let place = (number % u64::from(addresses.max(1))) as u32;
    Ipv4Addr::from_bits(Ipv4Addr::new(127, 1, 0, 1).to_bits() + place)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_are_loopback_addresses_of_their_own() {
        assert_eq!(source(0, 1), Ipv4Addr::new(127, 1, 0, 1));
        assert_eq!(source(7, 1), source(0, 1));
        let all: std::collections::BTreeSet<Ipv4Addr> =
            (0..5000).map(|it| source(it, 600)).collect();
        assert_eq!(all.len(), 600);
        assert!(all.iter().all(|it| it.is_loopback() && *it != Ipv4Addr::LOCALHOST));
    }
}
