//! The hostile scenarios: who comes, how many, what each does, and what each may be told.
//!
//! Data only; played by a crowd. A scenario never decides by chance: the connection's number says
//! which of its scripts is played.

use std::rc::Rc;
use std::time::Duration;

use deltaworks_image::{BatchBuilder, Kind, Limits};
use deltaworks_protocol::Control;
use deltaworks_protocol::message::{Access, ClientHello, Open, OpenOptions, Ping, Policy, Start};

use super::stream::DOCUMENT;
use super::visitor::Act;
use crate::playbill::Billed;

/// Bytes of garbage that a connection sends.
const GARBAGE_BYTES: usize = 256 << 10;

/// Bytes of the batch whose checksum is wrong: long, so that checking it costs what it can.
const BATCH_BYTES: usize = 200 << 10;

/// One way to be hostile.
#[derive(Debug)]
pub struct Scenario {
    /// Its name on the command line.
    pub name: &'static str,
    /// What happens, for a person.
    pub about: &'static str,
    /// Connections at once.
    pub size: usize,
    /// Whether somebody new comes for each who has gone.
    pub renews: bool,
    /// Loopback addresses that they come from.
    pub addresses: u32,
    /// The receive buffer of those that do not read.
    pub receive_bytes: Option<usize>,
    /// The daemon's options for it.
    pub options: &'static [&'static str],
    /// A disturbance lasts so many seconds at least, or nobody would be told anything.
    pub seconds_min: f64,
    /// Numbers that a connection may be told.
    pub told: &'static [u16],
    /// Whether a connection may be ended without a number.
    pub may_be_untold: bool,
    /// What connections do, in turn.
    pub scripts: Vec<Rc<[Act]>>,
}

impl Billed for Scenario {
    fn name(&self) -> &'static str {
        self.name
    }

    fn about(&self) -> &'static str {
        self.about
    }
}

impl Scenario {
    /// What the connection of this number does.
    pub fn script(&self, number: u64) -> Rc<[Act]> {
        Rc::clone(&self.scripts[(number % self.scripts.len() as u64) as usize])
    }
}

/// All scenarios.
pub fn all() -> Vec<Scenario> {
    vec![
        silent(),
        beyond_the_limit(),
        one_address(),
        trickle(),
        storm(),
        half_open(),
        vanished(),
        reset(),
        deaf(),
        slow(),
        garbage(),
        garbage_behind_hello(),
        bad_crc(),
        flood(),
    ]
}

/// What most scenarios have in common.
fn scenario(name: &'static str, about: &'static str, scripts: Vec<Vec<Act>>) -> Scenario {
    Scenario {
        name,
        about,
        size: 64,
        renews: true,
        addresses: 64,
        receive_bytes: None,
        options: &[],
        seconds_min: 0.0,
        told: &[],
        may_be_untold: false,
        scripts: scripts.into_iter().map(Rc::from).collect(),
    }
}

fn silent() -> Scenario {
    Scenario {
        size: 10_000,
        renews: false,
        addresses: 1000,
        options: &["--sessions", "12000"],
        // Longer than the deadline of hello, so that their end is measured, too.
        seconds_min: 7.0,
        told: &[204],
        ..scenario("silent", "10,000 connections that send nothing", vec![vec![Act::ReadToEnd]])
    }
}

fn beyond_the_limit() -> Scenario {
    Scenario {
        size: 10_000,
        renews: false,
        addresses: 1000,
        seconds_min: 7.0,
        told: &[204, 207],
        ..scenario(
            "beyond-the-limit",
            "10,000 connections that send nothing, where 4,096 sessions are the limit",
            vec![vec![Act::ReadToEnd]],
        )
    }
}

fn one_address() -> Scenario {
    Scenario {
        size: 2000,
        addresses: 1,
        told: &[204, 208],
        ..scenario(
            "one-address",
            "2,000 at a time from one address; who is refused comes again",
            vec![vec![Act::ReadToEnd]],
        )
    }
}

fn trickle() -> Scenario {
    let every = Duration::from_secs(1);
    let ping = sent(&encoded(&Ping { token: 7 }));
    let batch = sent(&batch(100_000));
    Scenario {
        size: 1000,
        renews: false,
        // Behind the deadline of hello, which ends those who trickle it.
        options: &["--message-deadline-seconds", "6"],
        seconds_min: 9.0,
        told: &[204, 206],
        ..scenario(
            "trickle",
            "1,000 connections that send one byte a second: hello, ping, or a batch",
            vec![
                vec![Act::Trickle { bytes: sent(&hello()), piece: 1, every }, Act::ReadToEnd],
                vec![
                    Act::Send(sent(&hello())),
                    Act::Await(Kind::Hello),
                    Act::Trickle { bytes: ping, piece: 1, every },
                    Act::ReadToEnd,
                ],
                vec![
                    Act::Send(sent(&[hello(), open(Access::Write, "trickle")].concat())),
                    Act::Await(Kind::Opened),
                    // The first piece holds the prelude, which announces 100 kB.
                    Act::Trickle { bytes: batch, piece: 9, every },
                    Act::ReadToEnd,
                ],
            ],
        )
    }
}

fn storm() -> Scenario {
    let hello = sent(&hello());
    scenario(
        "storm",
        "connections that come and go as fast as they are accepted, with and without hello",
        vec![
            vec![],
            vec![Act::Send(hello.clone())],
            vec![Act::Send(hello.clone()), Act::Await(Kind::Hello)],
            vec![Act::Send(hello), Act::Await(Kind::Hello), Act::Reset],
        ],
    )
}

fn half_open() -> Scenario {
    let greeted = || vec![Act::Send(sent(&hello())), Act::Await(Kind::Hello)];
    let nonsense = sent(&[hello(), vec![0xff; 64]].concat());
    Scenario {
        size: 500,
        told: &[101],
        may_be_untold: true,
        ..scenario(
            "half-open",
            "500 connections that shut their sending side, or never read their end",
            vec![
                vec![Act::ShutWrite, Act::ReadToEnd],
                [greeted(), vec![Act::ShutWrite, Act::ReadToEnd]].concat(),
                [greeted(), vec![Act::ShutWrite, Act::Hold]].concat(),
                vec![Act::Send(nonsense.clone()), Act::Hold],
                vec![Act::Send(nonsense), Act::ShutWrite, Act::ReadToEnd],
            ],
        )
    }
}

fn vanished() -> Scenario {
    Scenario {
        size: 1000,
        renews: false,
        options: &["--ping-interval-seconds", "1", "--ping-timeout-seconds", "3"],
        seconds_min: 6.0,
        told: &[205],
        ..scenario(
            "vanished",
            "1,000 sessions that say hello and are never heard of again",
            vec![vec![Act::Send(sent(&hello())), Act::Await(Kind::Hello), Act::ReadToEnd]],
        )
    }
}

fn reset() -> Scenario {
    let (hello, open) = (hello(), open(Access::Both, "reset"));
    let opening = || vec![Act::Send(sent(&[hello.clone(), open.clone()].concat()))];
    let opened = || [opening(), vec![Act::Await(Kind::Opened)]].concat();
    let batch = batch(9000);
    let half = sent(&batch[..batch.len() / 2]);
    let cut_open = [hello.clone(), open[..open.len() / 2].to_vec()].concat();
    scenario(
        "reset",
        "connections that are reset at every stage: connected, in hello, in open, in a batch, with \
         answers unread",
        vec![
            vec![Act::Reset],
            vec![Act::Send(sent(&hello[..hello.len() / 2])), Act::Reset],
            vec![Act::Send(sent(&cut_open)), Act::Reset],
            [opening(), vec![Act::Reset]].concat(),
            [opened(), vec![Act::Send(half), Act::Reset]].concat(),
            [opened(), vec![Act::Send(sent(&batch)), Act::Reset]].concat(),
        ],
    )
}

fn deaf() -> Scenario {
    let reading = sent(&[hello(), open(Access::Read, DOCUMENT)].concat());
    Scenario {
        size: 1000,
        renews: false,
        addresses: 100,
        receive_bytes: Some(4096),
        told: &[213],
        ..scenario(
            "deaf",
            "1,000 subscribers of the others' document that never read",
            vec![vec![Act::Send(reading), Act::Hold]],
        )
    }
}

fn slow() -> Scenario {
    let reading = sent(&[hello(), open(Access::Read, DOCUMENT)].concat());
    let every = Duration::from_millis(50);
    Scenario {
        size: 200,
        renews: false,
        receive_bytes: Some(4096),
        told: &[213],
        ..scenario(
            "slow",
            "200 subscribers of the others' document that read 7 bytes at a time",
            vec![vec![Act::Send(reading), Act::ReadSlowly { bytes: 7, every }]],
        )
    }
}

fn garbage() -> Scenario {
    Scenario {
        size: 8,
        told: &[101, 102, 103, 104, 105, 106, 107, 108, 109, 110, 113, 114, 202],
        ..scenario(
            "garbage",
            "eight connections at a time that send garbage as fast as it is taken",
            garbage_kinds()
                .into_iter()
                .map(|it| vec![Act::Send(sent(&it)), Act::ReadToEnd])
                .collect(),
        )
    }
}

fn garbage_behind_hello() -> Scenario {
    let script =
        |garbage: Vec<u8>| vec![Act::Send(sent(&[hello(), garbage].concat())), Act::ReadToEnd];
    Scenario {
        size: 8,
        told: &[101, 102, 103, 104, 105, 106, 107, 108, 109, 110, 113, 114, 209],
        ..scenario(
            "garbage-behind-hello",
            "eight connections at a time that say hello, then garbage as fast as it is taken",
            garbage_kinds().into_iter().map(script).collect(),
        )
    }
}

fn bad_crc() -> Scenario {
    let mut broken = batch(BATCH_BYTES);
    if let Some(last) = broken.len().checked_sub(9) {
        broken[last] ^= 0x40;
    }
    Scenario {
        size: 8,
        told: &[113],
        ..scenario(
            "bad-crc",
            "eight connections at a time that send a long batch with a wrong checksum",
            vec![vec![
                Act::Send(sent(&[hello(), open(Access::Write, "broken")].concat())),
                Act::Await(Kind::Opened),
                Act::Send(sent(&broken)),
                Act::ReadToEnd,
            ]],
        )
    }
}

fn flood() -> Scenario {
    let pings: Vec<u8> = (0..4096).flat_map(|token| encoded(&Ping { token })).collect();
    Scenario {
        size: 4,
        // Whoever asks faster than it reads.
        told: &[214],
        ..scenario(
            "flood",
            "four sessions that send nothing but pings, as fast as they are taken, and read answers",
            vec![vec![
                Act::Send(sent(&hello())),
                Act::Await(Kind::Hello),
                Act::Flood(sent(&pings)),
            ]],
        )
    }
}

/// Garbage that gets further and further: pure noise, then with a version, then with a kind, then
/// with a length that is believed.
fn garbage_kinds() -> Vec<Vec<u8>> {
    let noise = |seed: u64| {
        let mut state = seed;
        let words = std::iter::repeat_with(move || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state.to_le_bytes()
        });
        words.take(GARBAGE_BYTES / 8).flatten().collect::<Vec<u8>>()
    };
    let mut kinds = vec![noise(11), noise(12), noise(13), noise(14), noise(15)];
    for kind in &mut kinds[1..] {
        kind[6..8].copy_from_slice(&1_u16.to_le_bytes());
        kind[5] = 0;
    }
    for kind in &mut kinds[2..] {
        kind[4] = Kind::Batch.number();
    }
    kinds[3][..4].copy_from_slice(&64_u32.to_le_bytes());
    kinds[4][..4].copy_from_slice(&(128_u32 << 10).to_le_bytes());
    kinds
}

fn sent(bytes: &[u8]) -> Rc<[u8]> {
    Rc::from(bytes)
}

fn encoded(message: &impl Control) -> Vec<u8> {
    let mut bytes = Vec::new();
    message.encode_to(&mut bytes);
    bytes
}

fn hello() -> Vec<u8> {
    encoded(&ClientHello { version_min: 1, version_max: 1, client: "abuse", token: None })
}

/// Opens `name`; the handle will be 0.
fn open(access: Access, name: &str) -> Vec<u8> {
    let producer = if access.writes() { 666 } else { 0 };
    let options =
        OpenOptions { access, start: Start::Live, policy: Policy::Gap, producer, echo: true };
    encoded(&Open::new(1, name, options))
}

/// A batch for handle 0 of about so many bytes, number 1.
fn batch(bytes: usize) -> Vec<u8> {
    let mut builder = BatchBuilder::new(Limits::HARD);
    for _ in 0..bytes / 1000 {
        builder.append(&[0x61; 1000]).expect("a delta within the format's limits");
    }
    builder.finish(0, 1).expect("a batch within the format's limits")
}
