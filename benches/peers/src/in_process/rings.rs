//! Rings: rtrb as it is, and deltaworks' ring over it, whose doorbell is rung behind each batch.

use std::time::Duration;

use deltaworks_runtime::doorbell::doorbell;
use deltaworks_runtime::parking::parker;
use deltaworks_runtime::ring::ring;

use super::{CAPACITY, Message, Passed, Rival, Taken, message, pass};
use crate::system::Cpus;

pub const RIVALS: [Rival; 2] = [
    ("rtrb", "0.4.1", &[1, 8, 64], rtrb_ring),
    ("deltaworks-ring", env!("CARGO_PKG_VERSION"), &[1, 8, 64], own_ring),
];

// Messages of one and batches have each a loop of its own: what stands beside a push in a loop changes
// what the compiler makes of it, and nobody who sends one thing needs both.

fn rtrb_ring(cpus: Cpus, time: Duration, batch: u64) -> Passed {
    let (mut producer, mut consumer) = rtrb::RingBuffer::<Message>::new(CAPACITY);
    if batch == 1 {
        let send = move |sequence: u64, _| {
            let mut value = message(sequence);
            while let Err(rtrb::PushError::Full(back)) = producer.push(value) {
                value = back;
                std::hint::spin_loop();
            }
        };
        let receive = move |taken: &mut Taken| match consumer.pop() {
            Ok(value) => taken.take(&value),
            Err(_) => std::hint::spin_loop(),
        };
        return pass(cpus, time, batch, move || send, move || receive);
    }
    let send = move |first: u64, count: u64| {
        let mut values = (first..first + count).map(message);
        let mut left = count as usize;
        while left > 0 {
            match producer.write_chunk_uninit(left.min(producer.slots())) {
                Ok(chunk) => left -= chunk.fill_from_iter(&mut values),
                Err(_) => std::hint::spin_loop(),
            }
        }
    };
    let receive = move |taken: &mut Taken| match consumer.read_chunk(consumer.slots()) {
        Ok(chunk) => chunk.into_iter().for_each(|value| taken.take(&value)),
        Err(_) => std::hint::spin_loop(),
    };
    pass(cpus, time, batch, move || send, move || receive)
}

fn own_ring(cpus: Cpus, time: Duration, batch: u64) -> Passed {
    let (mut producer, mut consumer) = ring::<Message>(CAPACITY);
    let (_parker, unparker) = parker();
    let (bell, sleeper) = doorbell(unparker);
    if batch == 1 {
        let send = move |sequence: u64, _| {
            let mut value = message(sequence);
            while let Err(back) = producer.push(value) {
                value = back;
                std::hint::spin_loop();
            }
            bell.ring();
        };
        let receive = move |taken: &mut Taken| {
            // It stays awake, as a core under load does.
            let _awake = &sleeper;
            match consumer.pop() {
                Some(value) => taken.take(&value),
                None => std::hint::spin_loop(),
            }
        };
        return pass(cpus, time, batch, move || send, move || receive);
    }
    let send = move |first: u64, count: u64| {
        let mut values = (first..first + count).map(message);
        let mut left = count as usize;
        while left > 0 {
            let sent = producer.push_all(&mut values);
            left -= sent;
            if sent == 0 {
                std::hint::spin_loop();
            }
        }
        bell.ring();
    };
    let receive = move |taken: &mut Taken| {
        let _awake = &sleeper;
        if consumer.drain(CAPACITY, |value| taken.take(&value)) == 0 {
            std::hint::spin_loop();
        }
    };
    pass(cpus, time, batch, move || send, move || receive)
}
