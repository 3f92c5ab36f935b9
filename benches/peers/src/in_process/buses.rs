//! Buses: the Disruptor, polled, and iceoryx2 within one process, which drops nothing here.

use std::time::Duration;

use disruptor::{BusySpin, Polling, Producer as _, build_single_producer};
use iceoryx2::port::backpressure_strategy::BackpressureStrategy;
use iceoryx2::prelude::*;

use super::{CAPACITY, Message, Passed, Rival, Taken, message, pass};
use crate::system::Cpus;

pub const RIVALS: [Rival; 2] =
    [("disruptor", "4.4", &[1, 8, 64], disruptor_ring), ("iceoryx2", "0.10", &[1], iceoryx)];

fn disruptor_ring(cpus: Cpus, time: Duration, batch: u64) -> Passed {
    let builder = build_single_producer(CAPACITY, || [0; super::WORDS], BusySpin);
    let (mut poller, builder) = builder.new_event_poller();
    let mut producer = builder.build();
    let send = move |first: u64, count: u64| {
        if count == 1 {
            producer.publish(|place: &mut Message| *place = message(first));
            return;
        }
        producer.batch_publish(count as usize, |places| {
            for (place, number) in places.zip(first..) {
                *place = message(number);
            }
        });
    };
    let receive = move |taken: &mut Taken| match poller.poll() {
        Ok(mut events) => (&mut events).for_each(|value| taken.take(value)),
        Err(Polling::NoEvents) => std::hint::spin_loop(),
        Err(Polling::Shutdown) => taken.take(&super::end()),
    };
    pass(cpus, time, batch, move || send, move || receive)
}

fn iceoryx(cpus: Cpus, time: Duration, batch: u64) -> Passed {
    set_log_level(LogLevel::Error);
    let told = |error: &dyn std::fmt::Debug| format!("iceoryx2: {error:?}");
    let node = NodeBuilder::new().create::<local_threadsafe::Service>();
    let node = node.map_err(|error| told(&error))?;
    let name = format!("deltaworks-peers-{}", std::process::id());
    let name = ServiceName::new(&name).map_err(|error| told(&error))?;
    let service = node
        .service_builder(&name)
        .publish_subscribe::<Message>()
        .enable_safe_overflow(false)
        .subscriber_max_buffer_size(CAPACITY)
        .create()
        .map_err(|error| told(&error))?;
    let subscriber = service
        .subscriber_builder()
        .buffer_size(CAPACITY)
        .create()
        .map_err(|error| told(&error))?;
    let publisher = service
        .publisher_builder()
        .backpressure_strategy(BackpressureStrategy::RetryUntilDelivered)
        .create()
        .map_err(|error| told(&error))?;
    let send = move |first: u64, count: u64| {
        for number in first..first + count {
            if publisher.send_copy(message(number)).is_err() {
                return;
            }
        }
    };
    let receive = move |taken: &mut Taken| match subscriber.receive() {
        Ok(Some(sample)) => taken.take(&sample),
        Ok(None) => std::hint::spin_loop(),
        Err(_) => taken.take(&super::end()),
    };
    pass(cpus, time, batch, move || send, move || receive)
}
