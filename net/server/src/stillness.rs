//! Whether the cores of a server that ends have come to rest: nothing is on its way any more.
//!
//! Belongs to the thread that stops the server. It never waits. That all cores are quiet is not
//! enough: one that has not turned since does not know yet what another has just sent it, and on
//! a machine with much to do it may not turn for a while. So each must also have had a whole turn
//! in which it found nothing, while none has worked.

use std::sync::Arc;

use deltaworks_runtime::sync::atomic::Ordering;

use crate::station::CoreDoor;

/// Turns of which one at least began after the first was seen under way.
const A_WHOLE_TURN: u64 = 2;

/// What was seen so far.
#[derive(Debug, Default)]
pub(crate) struct Stillness {
    since: Option<Since>,
}

/// The cores when they were first seen quiet.
#[derive(Debug)]
struct Since {
    worked: u64,
    turns: Vec<u64>,
}

impl Stillness {
    /// Takes a look; whether nothing moves any more.
    pub fn look(&mut self, doors: &[Arc<CoreDoor>]) -> bool {
        // Turns are read before work here and behind it below, so that a whole turn lies between
        // the two counts of work of all cores.
        let has_turned = self.since.as_ref().is_some_and(|since| {
            let mut turns = since.turns.iter().zip(doors);
            turns.all(|(turns, door)| turns_of(door) >= turns + A_WHOLE_TURN)
        });
        let worked = worked_if_quiet(doors);
        if let (Some(worked), Some(since)) = (worked, &self.since)
            && worked == since.worked
        {
            return has_turned;
        }
        self.since =
            worked.map(|worked| Since { worked, turns: doors.iter().map(turns_of).collect() });
        false
    }
}

fn turns_of(door: &Arc<CoreDoor>) -> u64 {
    // Acquire: pairs with the Release in `turned`; what the turn found is seen below.
    door.turns.load(Ordering::Acquire)
}

/// The work that all cores have done, if all are quiet.
fn worked_if_quiet(doors: &[Arc<CoreDoor>]) -> Option<u64> {
    let mut worked = 0;
    for door in doors {
        // Acquire: pairs with the Release in `turned` that follows the count. Relaxed: our own
        // store, and a count that is published by theirs.
        if door.quiet_in.load(Ordering::Acquire) != door.phase.load(Ordering::Relaxed) {
            return None;
        }
        worked += door.worked.load(Ordering::Relaxed);
    }
    Some(worked)
}

#[cfg(test)]
mod tests {
    use super::*;
    use deltaworks_runtime::doorbell::{Wake, doorbell};
    use deltaworks_runtime::sync::Arc as SharedArc;
    use deltaworks_runtime::sync::atomic::AtomicU8;

    use crate::station::DRAINING;

    struct NoWake;

    impl Wake for NoWake {
        fn wake(&self) {}
    }

    fn doors() -> Vec<Arc<CoreDoor>> {
        let phase = SharedArc::new(AtomicU8::new(DRAINING));
        let door = |_| Arc::new(CoreDoor::new(SharedArc::clone(&phase), doorbell(NoWake).0));
        (0..2).map(door).collect()
    }

    fn turn(door: &CoreDoor, work: u64) {
        door.turned(work, if work == 0 { DRAINING } else { 0 });
    }

    #[test]
    fn cores_that_find_nothing_in_a_whole_turn_are_still() {
        let (doors, mut stillness) = (doors(), Stillness::default());
        assert!(!stillness.look(&doors), "nobody has turned");
        doors.iter().for_each(|door| turn(door, 0));
        assert!(!stillness.look(&doors), "the first look");
        doors.iter().for_each(|door| turn(door, 0));
        assert!(!stillness.look(&doors), "this turn may have been under way");
        doors.iter().for_each(|door| turn(door, 0));
        assert!(stillness.look(&doors));
    }

    #[test]
    fn a_core_that_has_not_turned_since_may_have_been_sent_something() {
        let (doors, mut stillness) = (doors(), Stillness::default());
        turn(&doors[1], 0);
        // The first sends the other something, and has nothing more to do.
        turn(&doors[0], 1);
        for _ in 0..5 {
            turn(&doors[0], 0);
            assert!(!stillness.look(&doors), "the other has not looked yet");
        }
        turn(&doors[1], 1);
        assert!(!stillness.look(&doors));
        turn(&doors[1], 0);
        assert!(!stillness.look(&doors), "it has worked, and may have answered");
        for _ in 0..2 {
            doors.iter().for_each(|door| turn(door, 0));
        }
        assert!(stillness.look(&doors));
    }

    #[test]
    fn work_begins_it_anew() {
        let (doors, mut stillness) = (doors(), Stillness::default());
        doors.iter().for_each(|door| turn(door, 0));
        assert!(!stillness.look(&doors));
        turn(&doors[0], 1);
        doors.iter().for_each(|door| turn(door, 0));
        doors.iter().for_each(|door| turn(door, 0));
        assert!(!stillness.look(&doors), "one has worked since");
        doors.iter().for_each(|door| turn(door, 0));
        doors.iter().for_each(|door| turn(door, 0));
        assert!(stillness.look(&doors));
    }
}
