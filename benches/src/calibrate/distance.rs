//! How far two CPUs are from each other now: what a message takes there and back.
//!
//! The host of a virtual machine puts its CPUs where it likes, and elsewhere a moment later: between CPUs that
//! share their third cache a message takes a fraction of what it takes between others. Crossing costs
//! as much, so it is told with each sample of two cores how far they were.

use std::hint::spin_loop;
use std::time::Instant;

use deltaworks_runtime::pinned::PinnedThread;
use deltaworks_runtime::ring::{Consumer, Producer, ring};

/// Lots of round trips, and trips of each.
const LOTS: usize = 50;
const LOT: u64 = 100;
/// Ends the echo.
const END: u64 = u64::MAX;

/// Nanoseconds of a round trip between two CPUs, as undisturbed as one lot in five; 0 where there is only one.
///
/// # Errors
/// If a thread cannot be had, or an answer is wrong.
pub fn measure(cpus: &[usize]) -> Result<f64, String> {
    let [one, other, ..] = cpus[..] else { return Ok(0.0) };
    let (to, from_here) = ring(16);
    let (to_here, from) = ring(16);
    let echo = PinnedThread::spawn(other, "echo", move || echo(from_here, to_here))
        .map_err(|error| error.to_string())?;
    let calls = PinnedThread::spawn(one, "calls", move || calls(to, from))
        .map_err(|error| error.to_string())?;
    let lots = calls.join().map_err(|_| "a thread panicked".to_owned())?;
    echo.join().map_err(|_| "a thread panicked".to_owned())?;
    let mut lots = lots?;
    lots.sort_by(f64::total_cmp);
    Ok(lots[lots.len() / 5])
}

fn echo(mut from: Consumer<u64>, mut to: Producer<u64>) {
    loop {
        match from.pop() {
            Some(END) => return,
            Some(value) => to.push(value + 1).expect("one is on its way at a time"),
            None => spin_loop(),
        }
    }
}

fn calls(mut to: Producer<u64>, mut from: Consumer<u64>) -> Result<Vec<f64>, String> {
    let mut lots = Vec::new();
    let mut wrong = 0;
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
            wrong += u64::from(answer != value + 1);
        }
        lots.push(began.elapsed().as_nanos() as f64 / LOT as f64);
    }
    to.push(END).expect("all is answered");
    if wrong > 0 { Err(format!("{wrong} answers are wrong")) } else { Ok(lots) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_and_back_takes_some_time() {
        let cpus: Vec<usize> =
            core_affinity::get_core_ids().unwrap_or_default().iter().map(|it| it.id).collect();
        let told = measure(&cpus).expect("it can be measured");
        assert_eq!(told > 0.0, cpus.len() > 1, "{told}");
        assert_eq!(measure(&cpus[..1]), Ok(0.0));
    }
}
