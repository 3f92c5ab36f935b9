//! Whose time may be up: for each session's place, a time before which nobody need look at it.
//!
//! Belongs to one core. Thousands of silent sessions are compared with the clock eight to a line of
//! memory; a session itself is touched only when its time may be up. It decides nothing: it may name
//! a session too early, never too late. Holds one word for each place.
//!
//! ```text
//!  every 250 ms: time of place 0, 1, 2 … ≤ now? ─▶ look at that session ─▶ ping, end, or a later time
//! ```

use deltaworks_pipeline::message::SessionId;
use deltaworks_protocol::server::Config;

/// Sessions whose time is compared in one turn, at most.
const COMPARES_PER_TURN: usize = 8192;

/// The times of one core's sessions.
#[derive(Debug, Default)]
pub(crate) struct Deadlines {
    look_at_ns: Vec<u64>,
    /// Where the look goes on.
    place: usize,
}

impl Deadlines {
    /// A session takes a place: nothing is known of it yet.
    pub fn begin(&mut self, id: SessionId) {
        let place = id.0 as usize;
        if self.look_at_ns.len() <= place {
            self.look_at_ns.resize(place + 1, 0);
        }
        self.look_at_ns[place] = 0;
    }

    /// Nobody is looked at in a place that no session has, or an ended one, until the next takes it.
    pub fn forget(&mut self, id: SessionId) {
        self.look_at_ns[id.0 as usize] = u64::MAX;
    }

    /// The next session whose time may be up. `compares` is what this turn has compared so far.
    pub fn next(&mut self, now_ns: u64, compares: &mut usize) -> Option<SessionId> {
        let left = COMPARES_PER_TURN.saturating_sub(*compares);
        let times = self.look_at_ns[self.place..].iter().take(left);
        let found = times.clone().position(|look_at_ns| *look_at_ns <= now_ns);
        let passed = found.map_or(times.len(), |before| before + 1);
        self.place += passed;
        *compares += passed;
        found.map(|_| SessionId(self.place as u32 - 1))
    }

    /// Whether all have been compared: then the next look begins anew.
    pub fn has_come_round(&mut self) -> bool {
        let is_over = self.place >= self.look_at_ns.len();
        if is_over {
            self.place = 0;
        }
        is_over
    }

    /// A session was looked at, and its time is up at `due_ns` as it stands. What it says meanwhile
    /// may bring that nearer, because who answers a ping is pinged again, but never nearer than an
    /// interval from now.
    pub fn looked(&mut self, id: SessionId, due_ns: u64, config: &Config, now_ns: u64) {
        let interval_ms = config.ping_interval_ms.min(config.ping_timeout_ms);
        let soonest_ns = now_ns.saturating_add(u64::from(interval_ms) * 1_000_000);
        self.look_at_ns[id.0 as usize] = due_ns.min(soonest_ns);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fake::Dice;
    use deltaworks_image::{Kind, PRELUDE_BYTES};
    use deltaworks_protocol::Control;
    use deltaworks_protocol::message::ClientHello;
    use deltaworks_protocol::server::Session;

    const TICK_NS: u64 = 250_000_000;

    fn greet(session: &mut Session, config: &Config, now_ns: u64) {
        let mut bytes = Vec::new();
        ClientHello { version_min: 1, version_max: u16::MAX, client: "test", token: None }
            .encode_to(&mut bytes);
        session.handle_message(config, now_ns, Kind::Hello, &bytes[PRELUDE_BYTES..]);
    }

    /// Whether a session that is looked at when its time may be up, by `soonest`, is pinged and ended
    /// when one is that is looked at always.
    fn is_never_late(seed: u64, forgets_answers: bool) -> bool {
        let mut dice = Dice::new(seed);
        let config = Config {
            hello_deadline_ms: 1 + dice.below(20_000) as u32,
            ping_interval_ms: 1 + dice.below(20_000) as u32,
            ping_timeout_ms: 1 + dice.below(60_000) as u32,
            ..Config::default()
        };
        let (mut always, mut seldom) = (Session::new(0), Session::new(0));
        let mut deadlines = Deadlines::default();
        let id = SessionId(0);
        deadlines.begin(id);
        let talks = dice.below(20) as u32;
        let mut is_greeted = false;
        for now_ns in (1..1_000).map(|tick| tick * TICK_NS) {
            if dice.says(talks) {
                for session in [&mut always, &mut seldom] {
                    if is_greeted {
                        session.handle_activity(now_ns - 1);
                    } else {
                        greet(session, &config, now_ns - 1);
                    }
                }
                is_greeted = true;
            }
            if always.poll_timeout(&config).is_some_and(|due_ns| due_ns <= now_ns) {
                always.handle_timeout(&config, now_ns);
            }
            if deadlines.next(now_ns, &mut 0).is_some() {
                match seldom.poll_timeout(&config) {
                    Some(due_ns) if due_ns <= now_ns => {
                        seldom.handle_timeout(&config, now_ns);
                    }
                    Some(due_ns) if forgets_answers => deadlines.look_at_ns[0] = due_ns,
                    Some(due_ns) => deadlines.looked(id, due_ns, &config, now_ns),
                    None => {}
                }
            }
            deadlines.has_come_round();
            if always.has_transmit() != seldom.has_transmit()
                || always.is_ended() != seldom.is_ended()
            {
                return false;
            }
            always.poll_transmit(&config, &mut Vec::new());
            seldom.poll_transmit(&config, &mut Vec::new());
        }
        true
    }

    #[test]
    fn nobody_is_pinged_or_ended_late() {
        assert!((0..500).all(|seed| is_never_late(seed, false)));
        assert!((0..500).any(|seed| !is_never_late(seed, true)), "the test sees it");
    }

    #[test]
    fn places_without_sessions_are_never_due() {
        let mut deadlines = Deadlines::default();
        (0..1_000).map(SessionId).for_each(|id| deadlines.begin(id));
        (0..1_000).map(SessionId).for_each(|id| deadlines.forget(id));
        assert_eq!(deadlines.next(u64::MAX - 1, &mut 0), None);
        assert!(deadlines.has_come_round());
        deadlines.begin(SessionId(700));
        assert_eq!(deadlines.next(0, &mut 0), Some(SessionId(700)), "the place is taken again");
        assert_eq!(deadlines.next(u64::MAX - 1, &mut 0), None, "and no other");
    }

    #[test]
    fn a_turn_compares_so_many_and_goes_on_in_the_next() {
        let mut deadlines = Deadlines::default();
        let places = COMPARES_PER_TURN as u32 + 10;
        (0..places).map(SessionId).for_each(|id| deadlines.begin(id));
        deadlines.look_at_ns.fill(100);
        deadlines.look_at_ns[3] = 50;
        deadlines.look_at_ns[places as usize - 1] = 50;
        let mut compares = 0;
        assert_eq!(deadlines.next(60, &mut compares), Some(SessionId(3)));
        assert_eq!(deadlines.next(60, &mut compares), None);
        assert_eq!(compares, COMPARES_PER_TURN);
        assert!(!deadlines.has_come_round());
        assert_eq!(deadlines.next(60, &mut 0), Some(SessionId(places - 1)));
        assert!(deadlines.has_come_round());
        assert_eq!(deadlines.next(60, &mut 0), Some(SessionId(3)), "from the front again");
    }
}
