//! Between processes: the same messages as in process, from this process to another one.
//!
//! iceoryx2's shared memory, both ends awake; nothing is dropped. The other end is this program
//! again, on the other CPU; it tells on its standard output what it has taken.

use std::io::Read as _;
use std::process::{Command, Stdio};
use std::time::Duration;

use iceoryx2::port::backpressure_strategy::BackpressureStrategy;
use iceoryx2::port::update_connections::UpdateConnections as _;
use iceoryx2::prelude::*;
use serde_json::{Value, json};

use crate::Options;
use crate::in_process::{
    AERON_ABSENT, CAPACITY, LOOK, Message, Passed, Rival, Taken, end, message, pass_all,
};
use crate::sample::Teller;
use crate::system::{self, Cpus};

const RIVALS: [Rival; 1] = [("iceoryx2", "0.10", &[1], iceoryx)];

/// How long this may take at most.
const PATIENCE: Duration = Duration::from_secs(60);

/// What the other end must know.
#[derive(Clone, Debug, clap::Args)]
pub struct OtherEnd {
    /// The service's name.
    #[arg(long)]
    service: String,
}

/// Measures every rival.
///
/// # Errors
/// If nothing can be told.
pub fn run(options: &Options, cpus: Cpus, teller: &mut Teller) -> Result<(), String> {
    pass_all("between-processes", &RIVALS, options, cpus, teller)?;
    if options.peers.is_empty() || options.peers.iter().any(|it| it == "aeron") {
        teller.absent("between-processes", "aeron", AERON_ABSENT);
    }
    Ok(())
}

fn told(error: impl std::fmt::Debug) -> String {
    format!("iceoryx2: {error:?}")
}

type Port =
    iceoryx2::service::port_factory::publish_subscribe::PortFactory<ipc::Service, Message, ()>;

fn service(name: &str) -> Result<Port, String> {
    set_log_level(LogLevel::Error);
    let node = NodeBuilder::new().create::<ipc::Service>().map_err(told)?;
    let name = ServiceName::new(name).map_err(told)?;
    node.service_builder(&name)
        .publish_subscribe::<Message>()
        .enable_safe_overflow(false)
        .subscriber_max_buffer_size(CAPACITY)
        .open_or_create()
        .map_err(told)
}

fn iceoryx(cpus: Cpus, time: Duration, _: u64) -> Passed {
    let name = format!("deltaworks-peers-between-{}", std::process::id());
    let service = service(&name)?;
    let publisher = service
        .publisher_builder()
        .backpressure_strategy(BackpressureStrategy::RetryUntilDelivered)
        .create()
        .map_err(told)?;
    let this = std::env::current_exe().map_err(|error| error.to_string())?;
    let mut command = Command::new(this);
    command.args(["between", "--service", &name]).stdin(Stdio::null()).stdout(Stdio::piped());
    let mut other = system::start_on(cpus.load, &mut command).map_err(|error| error.to_string())?;
    // Its first line says that it is there.
    let mut out = other.stdout.take().ok_or("the other end has no output")?;
    let mut ready = [0; 6];
    let is_ready = out.read_exact(&mut ready).is_ok() && &ready == b"ready\n";
    let mut sent = 0;
    if is_ready {
        system::pin(cpus.server).map_err(|error| error.to_string())?;
        publisher.update_connections().map_err(told)?;
        let began = std::time::Instant::now();
        while began.elapsed() < time {
            for _ in 0..LOOK {
                publisher.send_copy(message(sent)).map_err(told)?;
                sent += 1;
            }
        }
        publisher.send_copy(end()).map_err(told)?;
    }
    let mut text = String::new();
    let _ = out.read_to_string(&mut text);
    system::end(&mut other);
    let heard: Value = serde_json::from_str(&text).map_err(|_| "the other end told nothing")?;
    let taken = heard["taken"].as_u64().unwrap_or(0);
    let seconds = heard["seconds"].as_f64().unwrap_or(0.0);
    let mut faults: Vec<String> = heard["fault"].as_str().map(str::to_owned).into_iter().collect();
    if taken != sent || !is_ready {
        faults.push(format!("{taken} of {sent} came"));
    }
    Ok((taken as f64 / seconds.max(1e-9), seconds, faults))
}

/// Takes what comes until the end comes, and tells it.
///
/// # Errors
/// If there is no such service.
pub fn other_end(end: &OtherEnd) -> Result<(), String> {
    let service = service(&end.service)?;
    let subscriber = service.subscriber_builder().buffer_size(CAPACITY).create().map_err(told)?;
    println!("ready");
    let mut taken = Taken::default();
    while !taken.is_over() {
        match subscriber.receive().map_err(told)? {
            Some(sample) => taken.take(&sample),
            None => std::hint::spin_loop(),
        }
        taken.look(PATIENCE);
    }
    let (count, seconds, fault) = taken.done();
    println!("{}", json!({"taken": count, "seconds": seconds, "fault": fault}));
    Ok(())
}
