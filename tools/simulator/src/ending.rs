//! How a world ends, and what must be true then.
//!
//! First everybody goes on until nothing is left to do: who is connected has been answered, and has
//! read all there is. Then the sessions end in one of several ways, and nothing of them is left.

use std::collections::BTreeMap;

use deltaworks_server::inline::Phase;

use crate::client::Client;
use crate::coverage::Event;
use crate::dice::Dice;
use crate::setting::{Ending, TURN_NS};
use crate::wire::Loss;
use crate::world::World;

/// How often somebody is connected anew so that batches enough are sent.
const ROUNDS: usize = 40;
/// Turns in which what cores owe each other comes back.
const SETTLING: usize = 20;
/// Looks in which a server that ends must be seen to be still.
const LOOKS: usize = 2_000;

impl World {
    /// Ends the world, and judges what is left.
    ///
    /// # Panics
    /// If something is.
    pub fn end(&mut self, seed: u64) {
        let mut dice = Dice::new(seed ^ 0xe7d);
        self.rest(&mut dice, true);
        self.send_enough(&mut dice);
        self.assert_answered();
        self.assert_streams();
        for place in 0..self.clients.len() {
            self.with_client(place, &mut dice, |client, around| client.assert_newest(around));
        }
        self.end_sessions(&mut dice);
        self.assert_nothing_left();
        self.count_all();
    }

    /// Lets one after the other write alone, until so many batches have been sent as are to be.
    fn send_enough(&mut self, dice: &mut Dice) {
        if self.model.batches_sent >= self.setting.batches {
            return;
        }
        for round in 0..ROUNDS {
            for place in 0..self.clients.len() {
                self.with_client(place, dice, Client::leave);
            }
            self.rest(dice, false);
            self.unload_all();
            let writer = round % self.clients.len();
            self.connect_writer(writer, dice);
            self.rest(dice, true);
            if self.model.batches_sent >= self.setting.batches {
                break;
            }
        }
        for place in 0..self.clients.len() {
            self.connect(place, dice);
        }
        self.rest(dice, false);
    }

    /// Who is connected has been answered.
    fn assert_answered(&self) {
        for client in self.clients.iter().filter(|client| client.wire.is_some()) {
            let unread = client.wire.as_ref().map_or(0, |wire| wire.borrow().unread());
            assert_eq!(unread, 0, "client {}: the server reads all of it", client.place);
            client.assert_answered(&self.setting);
        }
    }

    /// Who reads has read all there is, and there is what there must be.
    fn assert_streams(&mut self) {
        let mut ends = BTreeMap::new();
        for core in 0..self.cores.len() {
            let stages = self.server.stages(core);
            let mut from = Some(0);
            while let Some(place) = from {
                from = stages.documents(place, 64, |entry| {
                    let id = u64::from(entry.slot) | u64::from(entry.generation) << 32;
                    let other = ends.insert(id, (entry.next_sequence, entry.window_start));
                    assert!(other.is_none(), "one owner: {} has two", entry.name);
                });
            }
        }
        for client in self.clients.iter().filter(|client| client.wire.is_some()) {
            for handle in client.handles.values() {
                let was_ended = self.model.document(handle.id).was_ended;
                assert!(!was_ended, "client {} is not told that it was dropped", client.place);
            }
            for (number, handle) in client.handles.iter().filter(|(_, handle)| handle.reads) {
                let (end, _) = ends.get(&handle.id).expect("what is open is there");
                assert_eq!(
                    handle.next, *end,
                    "client {} has read all of handle {number}",
                    client.place
                );
            }
        }
        for (id, (next, _)) in ends {
            if !self.model.knows(id) {
                assert_eq!(next, 1, "nobody was told of a document that somebody wrote");
                continue;
            }
            let (least, most) = self.model.expected_next(id);
            assert!(least <= next && next <= most, "{next} is next, not {least} to {most}");
        }
    }

    fn end_sessions(&mut self, dice: &mut Dice) {
        match self.setting.ending {
            Ending::Leave => {
                for place in 0..self.clients.len() {
                    self.with_client(place, dice, Client::leave);
                }
                self.rest(dice, false);
                self.assert_ended_by(500);
            }
            Ending::Lost => {
                for place in 0..self.clients.len() {
                    let loss = dice.pick(&[Loss::Reset, Loss::Gone]);
                    self.with_client(place, dice, |client, around| client.lose(loss, around));
                }
                self.rest(dice, false);
            }
            Ending::Drain => {
                self.send_more(dice);
                self.server.enter(Phase::Draining);
                self.is_ending = true;
                self.come_to_rest(dice);
                self.coverage.count(Event::Drained);
                self.server.enter(Phase::Closing);
                self.rest(dice, false);
                self.assert_ended_by(200);
                let cut: usize = (0..self.cores.len()).map(|core| self.server.cut(core)).sum();
                assert_eq!(cut, 0, "everybody was told everything");
            }
            Ending::Refuse => {
                self.send_more(dice);
                self.server.enter(Phase::Draining);
                self.is_ending = true;
                self.turn(dice.below(self.cores.len()));
                self.server.enter(Phase::Refusing);
                self.come_to_rest(dice);
                self.coverage.count(Event::Refused);
                self.server.enter(Phase::Closing);
                self.rest(dice, false);
                self.assert_ended_by(200);
            }
            Ending::Fail => {
                self.send_more(dice);
                self.is_ending = true;
                self.server.enter(Phase::Failing);
                self.rest(dice, false);
                self.coverage.count(Event::Failed);
                self.assert_ended_by(299);
            }
        }
        self.give_up_ended();
        self.rest(dice, false);
    }

    /// Something is on its way when the end begins.
    fn send_more(&mut self, dice: &mut Dice) {
        for place in 0..self.clients.len() {
            self.with_client(place, dice, Client::publish);
        }
        for _ in 0..dice.below(20) {
            let word = dice.next();
            self.step_quietly(word);
        }
    }

    /// Goes on as whoever stops the server waits for it: until all cores are still.
    fn come_to_rest(&mut self, dice: &mut Dice) {
        for _ in 0..LOOKS {
            self.server.ring_all();
            self.rest(dice, false);
            if self.server.is_still() {
                return;
            }
        }
        panic!("the server is never still");
    }

    fn assert_ended_by(&self, code: u16) {
        for client in &self.clients {
            assert!(client.wire.is_none(), "client {}: is told its end", client.place);
            if let Some(ended_by) = client.ended_by {
                let before = [207, 211, 212, 213, 214, 500];
                let is_right = ended_by == code || before.contains(&ended_by);
                assert!(is_right, "client {} was ended for {ended_by}, not {code}", client.place);
            }
        }
    }

    /// When all sessions have gone, and idle documents too, nothing is live.
    fn assert_nothing_left(&mut self) {
        assert_eq!(self.link_count(), 0, "all connections are let go");
        self.unload_all();
        let homes = self.setting.roles.iter().filter(|role| role.is_home()).count() as u32;
        let began = self.setting.node_blocks / homes * homes;
        let cores = 0..self.cores.len();
        let blocks: u64 = cores.map(|core| self.server.stages(core).node_blocks()).sum();
        assert_eq!(blocks, u64::from(began), "node blocks are never more or fewer");
        for core in 0..self.cores.len() {
            let stages = self.server.stages(core);
            assert_eq!(stages.session_count(), 0, "sessions of core {core}");
            let live = stages.live_bytes();
            let kinds = [
                ("nodes", live.nodes),
                ("documents", live.documents),
                ("names", live.names),
                ("producers", live.producers),
                ("subscriptions", live.subscriptions),
                ("spills", live.spills),
                ("carries", live.carries),
                ("control", self.server.control_bytes(core) as u64),
            ];
            for (kind, bytes) in kinds {
                assert_eq!(bytes, 0, "{kind} of core {core} when everybody has gone");
            }
            assert!(!self.server.has_connections(core));
            assert_eq!(stages.owed_blocks(), 0, "core {core} has given back what it was lent");
        }
    }

    /// Time passes until every idle document is unloaded.
    fn unload_all(&mut self) {
        let before: u32 =
            (0..self.cores.len()).map(|core| self.server.stages(core).document_count()).sum();
        self.coverage.add(Event::Unloaded, u64::from(before));
        self.pass_time(self.setting.limits.idle_unload_ns + TURN_NS);
        // Homes hear of guests that have gone, and node blocks go back.
        let sweeps = 2 * self.setting.limits.turn.turns_between_sweeps as usize + SETTLING;
        for _ in 0..sweeps {
            for core in 0..self.cores.len() {
                self.server.turn(core, self.now());
            }
        }
    }

    /// Counts what the stages have counted.
    fn count_all(&mut self) {
        for core in 0..self.cores.len() {
            self.count_moves(core);
            let counts = self.server.stages(core).counts();
            let coverage = &mut self.coverage;
            coverage.add(Event::Recycled, counts.recycled_chunks);
            coverage.add(Event::CutOff, counts.reception.carried_bytes);
            coverage.add(Event::ReadingPaused, counts.reception.paused_reads);
            coverage.add(Event::SetAside, counts.reception.set_aside_reads);
            coverage.add(Event::CreditWithheld, counts.reception.withheld_credits);
            let throttled = counts.reception.quota_throttled;
            coverage.add(Event::QuotaThrottled, throttled);
            if self.setting.waits > 0 {
                coverage.add(Event::QuotaWithWait, throttled);
            }
            if coverage.of(Event::Moved) > 0 {
                coverage.add(Event::QuotaInMove, throttled);
            }
            coverage.add(Event::FullAside, counts.validation.full_asides);
            coverage.add(Event::Stalled, counts.validation.stalled_batches);
            coverage.add(Event::Promoted, counts.placement.promotions);
            coverage.add(Event::Demoted, counts.placement.demotions);
            coverage.add(Event::PlacedElsewhere, counts.placement.moves);
            coverage.add(Event::WorkerFull, counts.placement.full);
            coverage.add(Event::Laned, counts.validation.laned_batches);
            coverage.add(Event::LaneOverrun, counts.validation.lane_overruns);
            coverage.add(Event::Kept, counts.kept.images);
            coverage.add(Event::CopiedOn, counts.kept.copied_on_bytes);
            coverage.add(Event::KeptTakenOver, counts.kept.taken_over_bytes);
            coverage.add(Event::KeptLetGo, counts.kept.let_go_bytes);
            if self.setting.waits > 0 && !self.setting.conflates {
                coverage.add(Event::SpilledForWait, counts.propagation.spilled_images);
            }
            assert_eq!(counts.reception.failed_sessions, 0, "no input panics");
            assert_eq!(counts.validation.failed_batches, 0, "no batch panics");
        }
    }
}
