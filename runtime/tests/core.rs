//! Cores as they run: pinned, woken, idle, busy beside sockets, stopped, broken.
#![cfg(all(target_os = "linux", not(loom)))]

use deltaworks_runtime::agent::{Agent, DutyCycle};
use deltaworks_runtime::clock::Now;
use deltaworks_runtime::core::{Core, CoreConfig, CoreCounter, CoreFailure, core_doorbell};
use deltaworks_runtime::idle::IdleBudget;
use deltaworks_runtime::ring::{Consumer, Producer, ring};
use futures_lite::io::{AsyncReadExt, AsyncWriteExt};
use std::cell::RefCell;
use std::io::{Read, Write};
use std::rc::Rc;
use std::sync::mpsc;
use std::time::{Duration, Instant};

fn parked_config(name: &str) -> CoreConfig {
    CoreConfig { idle: IdleBudget::SHARED, ..CoreConfig::new(Some(first_cpu()), name) }
}

fn first_cpu() -> usize {
    core_affinity::get_core_ids().expect("the mask of this process")[0].id
}

/// Sends every value that it takes back.
struct Echo {
    values: Consumer<u64>,
    answers: mpsc::Sender<u64>,
}

impl Agent for Echo {
    fn do_work(&mut self, _: Now) -> usize {
        self.values.drain(16, |value| self.answers.send(value).expect("the test listens"))
    }
}

fn echo(capacity: usize) -> (Producer<u64>, mpsc::Receiver<u64>, Echo) {
    let (producer, values) = ring(capacity);
    let (answers, answered) = mpsc::channel();
    (producer, answered, Echo { values, answers })
}

#[test]
fn a_parked_core_is_woken_by_its_doorbell_every_time() {
    let (mut producer, answered, agent) = echo(4);
    let (bell, sleeper) = core_doorbell().unwrap();
    let core = Core::spawn(parked_config("parked"), sleeper, |core| async move {
        core.run(agent).await;
    })
    .unwrap();
    let mut waits = Vec::new();
    for value in 0..200 {
        if value % 4 == 0 {
            std::thread::sleep(Duration::from_millis(2));
        }
        let start = Instant::now();
        producer.push(value).unwrap();
        bell.ring();
        assert_eq!(answered.recv_timeout(Duration::from_secs(10)), Ok(value));
        waits.push(start.elapsed());
    }
    core.stop();
    let counters = core.counters();
    core.join().unwrap();
    assert_eq!(counters.get(CoreCounter::Work as usize), 200);
    assert!(counters.get(CoreCounter::Parks as usize) >= 50, "it slept in between");
    waits.sort();
    println!("from push to answer: median {:?}, slowest {:?}", waits[100], waits[199]);
}

/// CPU time of the calling thread, in hundredths of a second.
fn cpu_ticks() -> u64 {
    let stat = std::fs::read_to_string("/proc/thread-self/stat").unwrap();
    let fields: Vec<_> = stat[stat.rfind(')').unwrap() + 2..].split(' ').collect();
    fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
}

/// Notes the CPU time at its first turn, asks to be called a second later, and tells.
struct Idler {
    first: Option<(Now, u64)>,
    told: mpsc::Sender<(u64, u64)>,
}

impl Agent for Idler {
    fn do_work(&mut self, now: Now) -> usize {
        let (first, ticks) = *self.first.get_or_insert_with(|| (now, cpu_ticks()));
        if now.since_ns(first) >= 1_000_000_000 {
            let _ = self.told.send((now.since_ns(first), cpu_ticks() - ticks));
        }
        0
    }

    fn wake_at_ns(&self) -> u64 {
        self.first.map_or(u64::MAX, |(first, _)| first.monotonic_ns + 1_000_000_000)
    }
}

#[test]
fn an_idle_core_costs_nothing_and_keeps_its_deadline() {
    let (told, idled) = mpsc::channel();
    let (_, sleeper) = core_doorbell().unwrap();
    let config = CoreConfig::new(Some(first_cpu()), "idle");
    let core = Core::spawn(config, sleeper, |core| async move {
        core.run(Idler { first: None, told }).await;
    })
    .unwrap();
    let (idle_ns, ticks) = idled.recv_timeout(Duration::from_secs(20)).unwrap();
    core.stop();
    core.join().unwrap();
    let percent = ticks as f64 * 10_000_000.0 / idle_ns as f64 * 100.0;
    println!("{percent:.1} % of a CPU over {idle_ns} ns, deadline included");
    assert!(percent < 10.0, "{percent} %");
}

/// Always has something to do.
struct Busy;

impl Agent for Busy {
    fn do_work(&mut self, _: Now) -> usize {
        std::hint::black_box((0..100u64).sum::<u64>());
        1
    }
}

#[test]
fn sockets_are_served_beside_agents_that_never_rest() {
    let (there, path) = mpsc::channel();
    let (_, sleeper) = core_doorbell().unwrap();
    let config = CoreConfig::new(Some(first_cpu()), "busy");
    let core = Core::spawn(config, sleeper, move |core| async move {
        let listener = glommio::net::TcpListener::bind("127.0.0.1:0").unwrap();
        there.send(listener.local_addr().unwrap()).unwrap();
        core.spawn(async move {
            let mut stream = listener.accept().await.unwrap();
            let mut bytes = [0; 16];
            loop {
                let count = stream.read(&mut bytes).await.unwrap();
                if count == 0 {
                    return;
                }
                stream.write_all(&bytes[..count]).await.unwrap();
            }
        });
        core.run(Busy).await;
    })
    .unwrap();
    let mut stream = std::net::TcpStream::connect(path.recv().unwrap()).unwrap();
    stream.set_nodelay(true).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let mut waits = Vec::new();
    for value in 0..200u64 {
        let start = Instant::now();
        stream.write_all(&value.to_le_bytes()).unwrap();
        let mut answer = [0; 8];
        stream.read_exact(&mut answer).unwrap();
        assert_eq!(u64::from_le_bytes(answer), value);
        waits.push(start.elapsed());
    }
    let counters = core.counters();
    core.stop();
    core.join().unwrap();
    waits.sort();
    println!(
        "echo beside busy agents: median {:?}, slowest {:?}; {} turns, {} looks",
        waits[100],
        waits[199],
        counters.get(CoreCounter::Turns as usize),
        counters.get(CoreCounter::IoLooks as usize),
    );
    assert!(waits[100] < Duration::from_millis(50), "waited for a preemption timer");
    assert_eq!(counters.get(CoreCounter::Parks as usize), 0);
}

/// Takes what a task of the same core left.
struct Inbox(Rc<RefCell<Vec<u64>>>, mpsc::Sender<u64>);

impl Agent for Inbox {
    fn do_work(&mut self, _: Now) -> usize {
        let left = std::mem::take(&mut *self.0.borrow_mut());
        left.iter().for_each(|value| self.1.send(*value).expect("the test listens"));
        left.len()
    }
}

#[test]
fn a_task_of_the_core_wakes_its_parked_loop() {
    let (told, answered) = mpsc::channel();
    let (_, sleeper) = core_doorbell().unwrap();
    let path = std::env::temp_dir().join(format!("deltaworks-core-{}", std::process::id()));
    let _ = std::fs::remove_file(&path);
    let (ready, is_ready) = mpsc::channel();
    let bound = path.clone();
    let core = Core::spawn(parked_config("tasks"), sleeper, move |core| async move {
        let left = Rc::new(RefCell::new(Vec::new()));
        let listener = glommio::net::UnixListener::bind(&bound).unwrap();
        ready.send(()).unwrap();
        let (inside, leave) = (core.clone(), left.clone());
        core.spawn(async move {
            let mut stream = listener.accept().await.unwrap();
            let mut bytes = [0; 8];
            while stream.read_exact(&mut bytes).await.is_ok() {
                leave.borrow_mut().push(u64::from_le_bytes(bytes));
                inside.wake();
            }
        });
        core.run(DutyCycle::new().with(Inbox(left, told))).await;
    })
    .unwrap();
    is_ready.recv().unwrap();
    let mut near = std::os::unix::net::UnixStream::connect(&path).unwrap();
    for value in 0..50u64 {
        std::thread::sleep(Duration::from_millis(1));
        near.write_all(&value.to_le_bytes()).unwrap();
        assert_eq!(answered.recv_timeout(Duration::from_secs(10)), Ok(value));
    }
    core.stop();
    core.join().unwrap();
    std::fs::remove_file(&path).unwrap();
}

#[test]
fn two_cores_play_ping_pong_over_rings() {
    struct Player(Consumer<u64>, Producer<u64>, deltaworks_runtime::doorbell::Doorbell, u64);
    impl Agent for Player {
        fn do_work(&mut self, _: Now) -> usize {
            let Some(value) = self.0.pop() else { return 0 };
            self.3 = value;
            self.1.push(value + 1).expect("one ball");
            self.2.ring();
            1
        }
    }
    const ROUNDS: u64 = 2_000;
    let (mut serve, ping) = ring(1);
    let (ping_back, pong) = ring(1);
    let (pong_out, mut won) = ring(1);
    let (ping_bell, ping_sleeper) = core_doorbell().unwrap();
    let (pong_bell, pong_sleeper) = core_doorbell().unwrap();
    let mut one = Player(ping, ping_back, pong_bell.clone(), 0);
    let mut other = Player(pong, pong_out, ping_bell.clone(), 0);
    let one = Core::spawn(parked_config("ping"), ping_sleeper, |core| async move {
        core.run(&mut one).await;
    })
    .unwrap();
    let other = Core::spawn(CoreConfig::new(None, "pong"), pong_sleeper, |core| async move {
        core.run(&mut other).await;
    })
    .unwrap();
    for round in 0..ROUNDS {
        serve.push(round).unwrap();
        ping_bell.ring();
        let start = Instant::now();
        let answer = loop {
            if let Some(answer) = won.pop() {
                break answer;
            }
            assert!(start.elapsed() < Duration::from_secs(10), "a wake-up was lost");
            std::thread::yield_now();
        };
        assert_eq!(answer, round + 2);
    }
    one.stop();
    other.stop();
    one.join().unwrap();
    other.join().unwrap();
}

#[test]
fn a_stop_before_the_first_turn_is_not_lost() {
    let (_, sleeper) = core_doorbell().unwrap();
    let (go, gone) = mpsc::channel::<()>();
    let core = Core::spawn(parked_config("stopped"), sleeper, move |core| async move {
        gone.recv().unwrap();
        core.run(DutyCycle::new()).await;
    })
    .unwrap();
    core.stop();
    go.send(()).unwrap();
    core.join().unwrap();
}

#[test]
fn a_panic_inside_is_told_by_join() {
    let (_, sleeper) = core_doorbell().unwrap();
    let core = Core::spawn(parked_config("broken"), sleeper, |core| async move {
        core.run(DutyCycle::new().with(Broken)).await;
    })
    .unwrap();
    struct Broken;
    impl Agent for Broken {
        fn do_work(&mut self, _: Now) -> usize {
            panic!("planted")
        }
    }
    let failure = core.join().unwrap_err();
    assert!(matches!(&failure, CoreFailure::Panicked(message) if message == "planted"));
}

#[test]
fn a_panic_in_a_task_ends_the_core_in_order() {
    struct Dropped(mpsc::Sender<()>);
    impl Drop for Dropped {
        fn drop(&mut self) {
            let _ = self.0.send(());
        }
    }
    let (dropped, was_dropped) = mpsc::channel();
    let (_, sleeper) = core_doorbell().unwrap();
    let core = Core::spawn(parked_config("taskpanic"), sleeper, move |core| async move {
        let dropped = Dropped(dropped);
        core.spawn(async move {
            let _dropped = dropped;
            std::future::pending::<()>().await;
        });
        core.spawn(async { panic!("planted in a task") });
        core.run(DutyCycle::new()).await;
    })
    .unwrap();
    let failure = core.join().unwrap_err();
    assert!(matches!(&failure, CoreFailure::Panicked(message) if message == "planted in a task"));
    was_dropped.recv_timeout(Duration::from_secs(10)).unwrap();
}

#[test]
fn a_cpu_that_is_not_there_is_refused() {
    let (_, sleeper) = core_doorbell().unwrap();
    let config = CoreConfig::new(Some(1_000), "nowhere");
    let refused = Core::spawn(config, sleeper, |_| async { panic!("ran") }).unwrap_err();
    assert!(refused.to_string().contains("CPU 1000"), "{refused}");
}

#[test]
fn a_low_limit_of_locked_memory_is_told() {
    const INSIDE: &str = "DELTAWORKS_TEST_LOW_MEMLOCK";
    if std::env::var_os(INSIDE).is_some() {
        let (_, sleeper) = core_doorbell().unwrap();
        let refused = Core::spawn(parked_config("poor"), sleeper, |_| async {}).unwrap_err();
        assert!(matches!(refused, CoreFailure::LockedMemory { limit_bytes: 102_400 }));
        assert!(refused.to_string().contains("LimitMEMLOCK="), "{refused}");
        return;
    }
    let inside = std::process::Command::new("sh")
        .args([
            "-c",
            "ulimit -S -l 100 && exec \"$0\" --exact a_low_limit_of_locked_memory_is_told",
        ])
        .arg(std::env::current_exe().unwrap())
        .env(INSIDE, "yes")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&inside.stdout);
    assert!(inside.status.success() && said.contains("1 passed"), "{said}");
}
