//! How far two CPUs are from each other now: what a message takes there and back.
//!
//! The host of a virtual machine puts its CPUs where it likes, and elsewhere a moment later: between CPUs that
//! share their third cache a message takes a fraction of what it takes between others. Crossing costs
//! as much, so both threads of a run measure it right before and right behind the region that is timed.

use std::hint::spin_loop;
use std::time::Instant;

use deltaworks_runtime::ring::{Consumer, Producer, ring};

/// Lots of round trips, and trips of each.
const LOTS: usize = 50;
const LOT: u64 = 100;
/// Ends the echo.
const END: u64 = u64::MAX;

/// One end of the way between two threads.
#[derive(Debug)]
pub enum Probe {
    /// Calls and waits for the answer.
    Calls(Producer<u64>, Consumer<u64>),
    /// Answers.
    Echo(Producer<u64>, Consumer<u64>),
}

impl Probe {
    /// Both ends.
    pub fn both() -> [Self; 2] {
        let (to, from_here) = ring(16);
        let (to_here, from) = ring(16);
        [Self::Calls(to, from), Self::Echo(to_here, from_here)]
    }

    /// Nanoseconds of a round trip, as undisturbed as one lot in five; 0 at the end that answers.
    /// Both threads must come here, and wait for each other; may be asked again.
    ///
    /// # Panics
    /// If an answer is wrong.
    pub fn measure(&mut self) -> f64 {
        match self {
            Self::Calls(to, from) => {
                let mut lots = calls(to, from);
                lots.sort_by(f64::total_cmp);
                lots[lots.len() / 5]
            }
            Self::Echo(to, from) => {
                echo(from, to);
                0.0
            }
        }
    }
}

fn echo(from: &mut Consumer<u64>, to: &mut Producer<u64>) {
    loop {
        match from.pop() {
            Some(END) => return,
            Some(value) => to.push(value + 1).expect("one is on its way at a time"),
            None => spin_loop(),
        }
    }
}

fn calls(to: &mut Producer<u64>, from: &mut Consumer<u64>) -> Vec<f64> {
    let mut lots = Vec::new();
    for _ in 0..LOTS {
        let began = Instant::now();
        for value in 0..LOT {
            to.push(value).expect("one is on its way at a time");
            let answer = loop {
                match from.pop() {
                    Some(answer) => break answer,
                    None => spin_loop(),
                }
            };
            assert_eq!(answer, value + 1, "an answer is wrong");
        }
        lots.push(began.elapsed().as_nanos() as f64 / LOT as f64);
    }
    to.push(END).expect("all is answered");
    lots
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_and_back_takes_some_time_as_often_as_it_is_asked() {
        let [mut calls, mut echo] = Probe::both();
        let answers = std::thread::spawn(move || [echo.measure(), echo.measure()]);
        assert!(calls.measure() > 0.0 && calls.measure() > 0.0);
        assert_eq!(answers.join().expect("it answers"), [0.0, 0.0]);
    }

    #[test]
    #[should_panic(expected = "an answer is wrong")]
    fn a_wrong_answer_is_no_distance() {
        let [mut calls, echo] = Probe::both();
        let Probe::Echo(mut to, _from) = echo else { panic!("the second end answers") };
        to.push(7).expect("there is room");
        calls.measure();
    }
}
