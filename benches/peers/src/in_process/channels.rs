//! Channels: crossbeam, flume and tokio, bounded, tried again and again by both ends.

use std::time::Duration;

use super::{CAPACITY, Message, Passed, Rival, Taken, message, pass};
use crate::system::Cpus;

pub const RIVALS: [Rival; 3] = [
    ("crossbeam", "channel 0.5", &[1], crossbeam),
    ("flume", "0.12", &[1], flume_channel),
    ("tokio-mpsc", "1", &[1], tokio_channel),
];

/// Sends one message after the other by `send_one`, which gives back what did not fit.
fn one_by_one(mut send_one: impl FnMut(Message) -> Option<Message>) -> impl FnMut(u64, u64) {
    move |first, count| {
        for number in first..first + count {
            let mut value = Some(message(number));
            while let Some(back) = value.take() {
                value = send_one(back);
                if value.is_some() {
                    std::hint::spin_loop();
                }
            }
        }
    }
}

fn received(value: Option<Message>, taken: &mut Taken) {
    match value {
        Some(value) => taken.take(&value),
        None => std::hint::spin_loop(),
    }
}

fn crossbeam(cpus: Cpus, time: Duration, batch: u64) -> Passed {
    let (sender, receiver) = crossbeam_channel::bounded::<Message>(CAPACITY);
    let send = one_by_one(move |value| sender.try_send(value).err().map(|it| it.into_inner()));
    let receive = move |taken: &mut Taken| received(receiver.try_recv().ok(), taken);
    pass(cpus, time, batch, move || send, move || receive)
}

fn flume_channel(cpus: Cpus, time: Duration, batch: u64) -> Passed {
    let (sender, receiver) = flume::bounded::<Message>(CAPACITY);
    let send = one_by_one(move |value| sender.try_send(value).err().map(|it| it.into_inner()));
    let receive = move |taken: &mut Taken| received(receiver.try_recv().ok(), taken);
    pass(cpus, time, batch, move || send, move || receive)
}

fn tokio_channel(cpus: Cpus, time: Duration, batch: u64) -> Passed {
    use tokio::sync::mpsc::error::TrySendError;
    let (sender, mut receiver) = tokio::sync::mpsc::channel::<Message>(CAPACITY);
    let send = one_by_one(move |value| match sender.try_send(value) {
        Ok(()) => None,
        Err(TrySendError::Full(back) | TrySendError::Closed(back)) => Some(back),
    });
    let receive = move |taken: &mut Taken| received(receiver.try_recv().ok(), taken);
    pass(cpus, time, batch, move || send, move || receive)
}
