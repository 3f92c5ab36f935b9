//! Whether cores that are to end have come to rest: nothing is on its way between them any more.
//!
//! Each core tells of its turns; whoever ends them looks. It never waits. That all cores are quiet
//! is not enough: one that has not turned since does not know yet what another has just sent it,
//! and on a machine with much to do it may not turn for a while. So each must also have had a whole
//! turn in which it found nothing, while none has worked.
//!
//! | step | each core, at the end of a turn | who looks |
//! |---|---|---|
//! | 1 | stores its word: turns, turns that worked, quiet or not | loads the words of all: quiet? |
//! | 2 | `fence(SeqCst)` | `fence(SeqCst)` |
//! | 3 | looks for work in its next turn | loads the words again, for the turns |
//! | 4 | and so on | at the next look: quiet, two turns more of each, none of them with work? |
//!
//! Of the two fences one comes first. Either the core's next turn sees all that was sent by the
//! turns of step 1, or the look sees that this turn had begun, and waits for a later one. So at step
//! 4 every message that a counted turn has sent was taken by a counted turn; and a turn that is not
//! counted has nothing to take, nor ever will. The words themselves are Relaxed: a turn that has sent
//! something is not quiet, so a fence of its core lies between that and the quiet word that is seen.

use crate::sync::Arc;
use crate::sync::atomic::{AtomicU64, Ordering, fence};

/// Turns of which one at least began after the first was seen under way.
const A_WHOLE_TURN: u32 = 2;

/// Bits of the count of turns, which may wrap between two looks: then one more is needed.
const TURNS_BITS: u32 = 24;
const TURNS_MASK: u32 = (1 << TURNS_BITS) - 1;

/// Both sides of what one core tells of its turns while it is to end.
pub fn restfulness() -> (Resting, Restfulness) {
    let word = Arc::new(AtomicU64::new(0));
    (Resting { told: Told::default(), word: Arc::clone(&word) }, Restfulness { word })
}

/// The core's side.
#[derive(Debug)]
pub struct Resting {
    told: Told,
    word: Arc<AtomicU64>,
}

/// The side of who looks; cheap to clone, on any thread.
#[derive(Clone, Debug)]
pub struct Restfulness {
    /// | bits | meaning |
    /// |---|---|
    /// | 0..8 | the phase in which nothing is left to do; 0 if something is |
    /// | 8..32 | turns |
    /// | 32..64 | turns that worked |
    word: Arc<AtomicU64>,
}

/// The word, taken apart.
#[derive(Clone, Copy, Debug, Default)]
struct Told {
    quiet_in: u8,
    turns: u32,
    working_turns: u32,
}

impl Told {
    fn from_word(word: u64) -> Self {
        let low = word as u32;
        Self { quiet_in: low as u8, turns: low >> 8, working_turns: (word >> 32) as u32 }
    }

    fn to_word(self) -> u64 {
        u64::from(self.working_turns) << 32 | u64::from(self.turns << 8 | u32::from(self.quiet_in))
    }
}

impl Resting {
    /// Tells of a turn: whether it worked, and if not, the phase in which nothing is left to do, or
    /// 0. A turn that has sent something to another core has worked.
    pub fn turned(&mut self, has_worked: bool, quiet_in: u8) {
        let Told { turns, working_turns, .. } = self.told;
        self.told = Told {
            quiet_in: if has_worked { 0 } else { quiet_in },
            turns: turns.wrapping_add(1) & TURNS_MASK,
            working_turns: working_turns.wrapping_add(u32::from(has_worked)),
        };
        // Relaxed: the fences order it.
        self.word.store(self.told.to_word(), Ordering::Relaxed);
        // Pairs with the fence in `Stillness::look`; see the table above.
        fence(Ordering::SeqCst);
    }
}

impl Restfulness {
    fn told(&self) -> Told {
        // Relaxed: the fences order it.
        Told::from_word(self.word.load(Ordering::Relaxed))
    }
}

/// What was seen so far.
#[derive(Debug, Default)]
pub struct Stillness {
    /// The cores when they were first seen quiet; empty if they are not.
    since: Vec<Told>,
}

impl Stillness {
    /// Takes a look at all cores of an end that has come to `phase`; whether nothing moves any
    /// more. Always the same cores, in the same order.
    pub fn look<'a>(
        &mut self,
        phase: u8,
        cores: impl ExactSizeIterator<Item = &'a Restfulness> + Clone,
    ) -> bool {
        let told: Vec<Told> = cores.clone().map(Restfulness::told).collect();
        if told.iter().any(|told| told.quiet_in != phase) {
            self.since.clear();
            return false;
        }
        let both = || self.since.iter().zip(&told);
        if self.since.len() == told.len()
            && both().all(|(since, told)| told.working_turns == since.working_turns)
        {
            return both().all(|(since, told)| {
                told.turns.wrapping_sub(since.turns) & TURNS_MASK >= A_WHOLE_TURN
            });
        }
        // Pairs with the fence in `Resting::turned`; see the table above.
        fence(Ordering::SeqCst);
        let turns = cores.map(|core| core.told().turns);
        self.since = told.iter().zip(turns).map(|(told, turns)| Told { turns, ..*told }).collect();
        false
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    const ENDING: u8 = 1;

    fn cores() -> ([Resting; 2], [Restfulness; 2]) {
        let ((one, of_one), (other, of_other)) = (restfulness(), restfulness());
        ([one, other], [of_one, of_other])
    }

    fn turn(core: &mut Resting, work: u64) {
        core.turned(work > 0, ENDING);
    }

    #[test]
    fn cores_that_find_nothing_in_a_whole_turn_are_still() {
        let ((mut cores, told), mut stillness) = (cores(), Stillness::default());
        assert!(!stillness.look(ENDING, told.iter()), "nobody has turned");
        cores.iter_mut().for_each(|core| turn(core, 0));
        assert!(!stillness.look(ENDING, told.iter()), "the first look");
        cores.iter_mut().for_each(|core| turn(core, 0));
        assert!(!stillness.look(ENDING, told.iter()), "this turn may have been under way");
        cores.iter_mut().for_each(|core| turn(core, 0));
        assert!(stillness.look(ENDING, told.iter()));
        assert!(!stillness.look(ENDING + 1, told.iter()), "quiet in another phase");
    }

    #[test]
    fn a_core_that_has_not_turned_since_may_have_been_sent_something() {
        let ((mut cores, told), mut stillness) = (cores(), Stillness::default());
        turn(&mut cores[1], 0);
        // The first sends the other something, and has nothing more to do.
        turn(&mut cores[0], 1);
        for _ in 0..5 {
            turn(&mut cores[0], 0);
            assert!(!stillness.look(ENDING, told.iter()), "the other has not looked yet");
        }
        turn(&mut cores[1], 1);
        assert!(!stillness.look(ENDING, told.iter()));
        turn(&mut cores[1], 0);
        assert!(!stillness.look(ENDING, told.iter()), "it has worked, and may have answered");
        for _ in 0..2 {
            cores.iter_mut().for_each(|core| turn(core, 0));
        }
        assert!(stillness.look(ENDING, told.iter()));
    }

    #[test]
    fn a_count_that_wraps_is_still_a_count() {
        let ((mut cores, told), mut stillness) = (cores(), Stillness::default());
        cores[0].told = Told { quiet_in: 0, turns: TURNS_MASK - 1, working_turns: u32::MAX };
        cores.iter_mut().for_each(|core| turn(core, 0));
        assert!(!stillness.look(ENDING, told.iter()));
        for _ in 0..2 {
            cores.iter_mut().for_each(|core| turn(core, 0));
        }
        assert!(stillness.look(ENDING, told.iter()));
        turn(&mut cores[0], 1);
        turn(&mut cores[0], 0);
        assert_eq!(told[0].told().working_turns, 0);
        assert!(!stillness.look(ENDING, told.iter()));
    }

    #[test]
    fn work_begins_it_anew() {
        let ((mut cores, told), mut stillness) = (cores(), Stillness::default());
        cores.iter_mut().for_each(|core| turn(core, 0));
        assert!(!stillness.look(ENDING, told.iter()));
        turn(&mut cores[0], 1);
        cores.iter_mut().for_each(|core| turn(core, 0));
        cores.iter_mut().for_each(|core| turn(core, 0));
        assert!(!stillness.look(ENDING, told.iter()), "one has worked since");
        cores.iter_mut().for_each(|core| turn(core, 0));
        cores.iter_mut().for_each(|core| turn(core, 0));
        assert!(stillness.look(ENDING, told.iter()));
    }
}
