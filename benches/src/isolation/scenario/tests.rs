//! A disturbance against a world that plays by a script.

use super::*;
use crate::isolation::fleet::{Fleet, Key, Plan};
use crate::isolation::world::Live;

/// A server that has promoted its document whenever it is asked again, and whose documents nobody else moves.
struct Promoting {
    fleet: Fleet,
    asked: u64,
}

impl World for Promoting {
    fn fleet(&mut self) -> &mut Fleet {
        &mut self.fleet
    }
    fn connect(&mut self, _: Plan) -> Result<Key, String> {
        Err("nobody comes in".to_owned())
    }
    fn disconnect(&mut self, _: Key) {}
    fn has_room(&mut self, _: Key) {}
    fn step(&mut self) -> Result<(), String> {
        Ok(())
    }
    fn documents_per_session(&self) -> usize {
        1
    }
    fn live(&mut self) -> Option<Live> {
        None
    }
    fn move_document(&mut self, _: u64, _: bool) -> Result<bool, String> {
        Err("it is placed by its heat".to_owned())
    }
    fn take_moved(&mut self) -> Option<Move> {
        None
    }
    fn placed(&mut self) -> Result<Option<Placed>, String> {
        self.asked += 1;
        let promoted = u64::from(self.asked > 2);
        Ok(Some(Placed { promoted, pauses: promoted, ..Placed::default() }))
    }
    fn budget_bytes(&self) -> u64 {
        0
    }
    fn finish(self: Box<Self>) -> Result<(), String> {
        Ok(())
    }
}

/// A promotion may be told before the span is over, and then nothing is left to be done.
#[test]
fn a_promotion_that_was_told_is_waited_for_no_more() {
    let mut world = Promoting { fleet: Fleet::new(None), asked: 0 };
    let disturbance = Disturbance::Moves { round_trips: 1 };
    let mut disturbing =
        Disturbing::begin(&mut world, disturbance, &Stage { documents: vec![0] }, 0)
            .expect("begins");
    for _ in 0..1000 {
        disturbing.tick(&mut world).expect("nobody is asked to move it");
        if disturbing.is_done() {
            break;
        }
        std::thread::sleep(LOOK);
    }
    assert!(disturbing.is_done(), "it was promoted");
    disturbing.tick(&mut world).expect("nobody is asked to move it");
    assert_eq!(disturbing.end(&mut world).moves.len(), 1);
}
