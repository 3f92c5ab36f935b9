//! Every hostile scenario, small, against the real daemon in a process of its own: the others' stream
//! stays whole, the hostile are told the right numbers, and what they held comes back. No times are
//! judged. And each check is shown something that is wrong.

mod program;

use std::io::Write;
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use deltaworks_benches::abuse::daemon::Daemon;
use deltaworks_benches::abuse::gauge::{Gauge, Holdings};
use deltaworks_benches::abuse::report::Report;
use deltaworks_benches::abuse::scenario::{self, Scenario};
use deltaworks_benches::abuse::trial::{Setting, not_given_back, run};
use program::program;

/// Descriptors that this process, its other tests and the daemon need beside the hostile's.
const DESCRIPTORS_OF_OTHERS: u64 = 5000;

fn find(name: &str) -> Scenario {
    scenario::all().into_iter().find(|it| it.name == name).expect("a scenario")
}

/// One pair of short spans with so many hostile connections.
fn setting(size: usize) -> Setting<'static> {
    Setting {
        program: program(),
        daemon_cpu: None,
        options: &["--cores", "2", "--hello-deadline-seconds", "3"],
        pairs: 1,
        length: Duration::from_millis(400),
        rate: 300.0,
        subscribers: 2,
        size,
        is_polite: true,
    }
}

fn play(scenario: &Scenario, size: usize) -> Report {
    play_with(scenario, &setting(size))
}

fn play_with(scenario: &Scenario, setting: &Setting<'_>) -> Report {
    run(scenario, setting, &mut |_| ()).expect("it can be run")
}

/// Nothing breaks; the report, to look at what was told.
fn is_borne(name: &str, size: usize) -> Report {
    is_borne_with(name, &setting(size))
}

/// The same with spans twice as long, and again, until there is enough to be shown: a busy machine plays less in
/// a span.
fn is_borne_at_length(name: &str, size: usize, is_enough: fn(&Report) -> bool) {
    let mut setting = setting(size);
    for _ in 0..6 {
        let report = is_borne_with(name, &setting);
        if is_enough(&report) {
            return;
        }
        eprintln!("{name}: too little in {:?}: {:?}", setting.length, report.hostile);
        setting.length *= 2;
    }
    panic!("{name}: too little was played to show anything");
}

fn is_borne_with(name: &str, setting: &Setting<'_>) -> Report {
    let report = play_with(&find(name), setting);
    assert!(report.verified, "{name}: {:#?} {:#?}", report.differences, report.hostile);
    assert!(report.verified_deltas > 1000, "{}", report.verified_deltas);
    let told = [&report.before, &report.during, &report.after].map(|it| it.live_bytes.is_some());
    assert_eq!(told, [true; 3], "the daemon tells what it holds, so it was judged");
    report
}

#[test]
fn silent_connections_are_told_and_leave_nothing() {
    let report = is_borne("silent", 500);
    assert_eq!(report.hostile.told, [(204, 500)].into());
}

#[test]
fn ten_thousand_silent_connections() {
    let size = as_many_as_descriptors_allow(10_000);
    let report = is_borne("silent", size);
    assert_eq!(report.hostile.told, [(204, size as u64)].into());
}

/// Those beyond the limit of sessions are told so at once, the others when their time is up.
#[test]
fn connections_beyond_the_limit_are_told() {
    let scenario = Scenario { options: &["--sessions", "300"], ..find("beyond-the-limit") };
    let report = play(&scenario, 1000);
    assert!(report.verified, "{:#?} {:#?}", report.differences, report.hostile);
    let told = |code| report.hostile.told.get(&code).copied().unwrap_or(0);
    assert_eq!((told(204) + told(207), report.hostile.told.len()), (1000, 2));
    assert!(told(207) >= 600, "{:?}", report.hostile);
}

/// One address may have 1,024 sessions; beyond that it is told so, and others come in.
#[test]
fn connections_of_one_address_are_told() {
    let scenario = Scenario { renews: false, ..find("one-address") };
    let report = play(&scenario, 1500);
    assert!(report.verified, "{:#?} {:#?}", report.differences, report.hostile);
    assert_eq!(report.hostile.told, [(204, 1024), (208, 476)].into());
}

#[test]
fn sessions_that_vanish_are_ended() {
    assert_eq!(is_borne("vanished", 100).hostile.told, [(205, 100)].into());
}

/// How many of `wanted` connections the limits of this machine let a test hold; fewer is said aloud.
fn as_many_as_descriptors_allow(wanted: u64) -> usize {
    let limits = std::fs::read_to_string("/proc/self/limits").expect("the system's limits");
    let line = limits.lines().find(|line| line.starts_with("Max open files")).expect("a limit");
    let soft = line.split_whitespace().nth(3).and_then(|it| it.parse().ok()).unwrap_or(u64::MAX);
    let size = soft.saturating_sub(DESCRIPTORS_OF_OTHERS).min(wanted);
    if size < wanted {
        eprintln!("only {size} connections: the limit of open files is {soft}");
    }
    assert!(size > 100, "{soft} open files are too few");
    size as usize
}

#[test]
fn trickling_connections_are_told() {
    let report = is_borne("trickle", 60);
    assert_eq!(report.hostile.told, [(204, 20), (206, 40)].into());
}

#[test]
fn storms_of_connections_leave_nothing() {
    is_borne_at_length("storm", 16, |report| report.hostile.connections > 100);
}

#[test]
fn half_open_connections_are_ended() {
    is_borne_at_length("half-open", 100, |report| {
        report.hostile.untold > 0 && report.hostile.told.contains_key(&101)
    });
}

#[test]
fn resets_at_every_stage_leave_nothing() {
    is_borne_at_length("reset", 12, |report| report.hostile.played > 50);
}

#[test]
fn subscribers_that_never_read_hold_nobody_up() {
    assert_eq!(is_borne("deaf", 100).hostile.connections, 100);
}

#[test]
fn slow_readers_hold_nobody_up() {
    assert_eq!(is_borne("slow", 40).hostile.connections, 40);
}

#[test]
fn garbage_is_told() {
    for name in ["garbage", "garbage-behind-hello"] {
        // It comes to different places.
        is_borne_at_length(name, 4, |report| report.hostile.told.len() >= 4);
    }
}

#[test]
fn wrong_checksums_are_told() {
    is_borne_at_length("bad-crc", 4, |report| {
        report.hostile.told.get(&113).is_some_and(|times| *times > 10)
    });
}

#[test]
fn floods_of_pings_hold_nobody_up() {
    is_borne("flood", 3);
}

/// Somebody who is told a number that the scenario does not know makes a report that is not
/// verified: so does any number if none is expected.
#[test]
fn a_wrong_number_is_seen() {
    let scenario = Scenario { told: &[], ..find("bad-crc") };
    let report = play(&scenario, 2);
    assert!(!report.verified);
    assert!(report.differences.iter().all(|it| it.contains("were told 113")), "{report:#?}");
}

/// A daemon that dies under it makes a report that says so.
#[test]
fn a_daemon_that_dies_is_seen() {
    let scenario = find("storm");
    let setting = Setting { length: Duration::from_secs(3), ..setting(8) };
    let killer = std::thread::spawn(|| {
        eventually(|| marked().is_some_and(|(_, ready)| ready.exists()));
        // Behind the warm-up, and long before the end.
        std::thread::sleep(Duration::from_secs(2));
        let (pid, _) = marked().expect("it was there");
        let killed = Command::new("kill").args(["-KILL", &pid]).status();
        assert!(killed.expect("kill runs").success());
    });
    let options = ["--cores", "1", "--drain-seconds", MARK];
    let setting = Setting { options: &options, ..setting };
    let report = run(&scenario, &setting, &mut |_| ()).expect("a report, although it died");
    killer.join().expect("killed");
    assert!(!report.verified && report.differences.len() > 1, "{:?}", report.differences);
}

/// A value that no other daemon of this process is given.
const MARK: &str = "12345";

/// The process id and the ready file of this process's daemon that has the mark.
fn marked() -> Option<(String, PathBuf)> {
    let parent = format!("PPid:\t{}\n", std::process::id());
    std::fs::read_dir("/proc").expect("processes").flatten().find_map(|process| {
        let read = |file| std::fs::read_to_string(process.path().join(file)).ok();
        let command = read("cmdline").filter(|command| command.contains(MARK))?;
        read("status").filter(|status| status.contains(&parent))?;
        let ready = command.split('\0').skip_while(|it| *it != "--ready-file").nth(1)?.into();
        Some((process.file_name().to_str()?.to_owned(), ready))
    })
}

/// A scenario whose connections do not leave by themselves, and which the server does not end.
#[test]
fn a_session_that_stays_is_seen() {
    let daemon = Daemon::start(program(), None, &["--cores".into(), "1".into()]).expect("starts");
    let gauge = Gauge::new(daemon.pid(), None);
    let before = settled(&gauge);
    let mut leak = TcpStream::connect(daemon.address()).expect("connects");
    leak.write_all(&[0]).expect("a byte");
    eventually(|| !not_given_back(&before, &gauge.holdings().expect("it runs")).is_empty());
    drop(leak);
    eventually(|| not_given_back(&before, &gauge.holdings().expect("it runs")).is_empty());
    daemon.stop().expect("ends in order");
}

/// What a daemon holds once it has given back what starting takes: a leak of as much would not be seen beside it.
fn settled(gauge: &Gauge) -> Holdings {
    let (mut held, mut looks) = (gauge.holdings().expect("it runs"), 0);
    eventually(|| {
        let now = gauge.holdings().expect("it runs");
        looks += 1;
        if !not_given_back(&now, &held).is_empty() {
            (held, looks) = (now, 0);
        }
        looks == 25
    });
    held
}

fn eventually(mut is_so: impl FnMut() -> bool) {
    for _ in 0..1000 {
        if is_so() {
            return;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    panic!("not in time");
}
