//! A core: one pinned thread that runs agents, and beside them tasks that wait for sockets.
//!
//! ```text
//!  thread on CPU n ── executor ┬ the loop: agents' do_work, turn after turn; idle; park
//!                              ├ socket tasks: put bytes where agents find them, wake the loop
//!                              └ the doorbell's task: one byte from another core wakes the loop
//! ```
//!
//! The executor is glommio, which nothing outside of this module names except for its sockets. It
//! polls the kernel only when no task can run (or when its preemption timer fires); so the loop
//! stands aside for a microsecond after every turn without work, and at least every
//! [`CoreConfig::io_interval_ns`] under load. Data never travels by the executor's wakers: other
//! cores push into rings and ring the doorbell. A core's tasks are bounded by who spawns them.

use crate::agent::Agent;
use crate::clock::{Clock, Now, SystemClock};
use crate::counters::{CounterReader, CounterWriter, counters};
use crate::doorbell::{Doorbell, Sleeper, Wake, doorbell_with};
use crate::ending::{Fate, PhaseWord, fate};
use crate::fences::Fences;
use crate::idle::{Idle, IdleBudget, Step};
use crate::sync::thread::{JoinHandle, yield_now};
use futures_lite::io::AsyncReadExt;
use glommio::net::UnixStream;
use glommio::timer::Timer;
use glommio::{Latency, LocalExecutorBuilder, Placement, Shares, TaskQueueHandle};
use std::cell::{Cell, RefCell};
use std::future::Future;
use std::io::{self, Write};
use std::os::fd::{FromRawFd, IntoRawFd};
use std::os::unix::net::UnixStream as SystemStream;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

mod failure;
mod tasks;
pub use failure::CoreFailure;
use failure::panic_message;
use tasks::Tasks;

/// Gets ready for cores, best before the process has a second thread: what the first core would
/// register before it first sleeps costs nothing then, and some 10 ms later. One system call.
pub fn prepare_process() {
    // A kernel that refuses does so when others ask, too, who then go another way.
    let _ = crate::platform::register_barriers();
}

/// What one core is to be.
#[derive(Debug, Clone)]
pub struct CoreConfig {
    /// The CPU to be pinned to; none leaves the thread to the system.
    pub cpu: Option<usize>,
    /// The name of its thread; the system shows fifteen bytes.
    pub name: String,
    /// How long to stay awake without work.
    pub idle: IdleBudget,
    /// Nanoseconds at most between two looks at sockets while agents have work. A look costs
    /// about eight microseconds.
    pub io_interval_ns: u64,
    /// Entries of the core's submission queue: how many requests go to the kernel at once. It is also
    /// what the kernel makes the table from in which it finds those that wait for sockets, a list for
    /// each sixteen; and each sleep looks for one.
    pub submission_entries: usize,
}

impl CoreConfig {
    /// The defaults for a CPU of one's own.
    pub fn new(cpu: Option<usize>, name: impl Into<String>) -> Self {
        Self {
            cpu,
            name: name.into(),
            idle: IdleBudget::default(),
            io_interval_ns: 100_000,
            submission_entries: 1024,
        }
    }
}

/// The sleeping side of a core's doorbell, made before the core so that others can ring.
#[derive(Debug)]
pub struct CoreSleeper {
    sleeper: Sleeper,
    rung: SystemStream,
}

impl CoreSleeper {
    /// A doorbell of this core.
    pub fn doorbell(&self) -> Doorbell {
        self.sleeper.doorbell()
    }
}

struct SocketWake {
    stream: SystemStream,
}

impl Wake for SocketWake {
    fn wake(&self) {
        // A full socket holds wakes that nobody has taken yet, so this one is not missed; any
        // other error means that the sleeper is gone. A short write of one byte there is not.
        let _ = (&self.stream).write(&[0]);
    }
}

/// Both sides of a doorbell for a core that is still to be spawned, one of a few. Two file descriptors.
///
/// # Errors
/// If the system has no descriptor left.
pub fn core_doorbell() -> io::Result<(Doorbell, CoreSleeper)> {
    core_doorbell_with(Fences::lopsided())
}

/// The same with these `fences`.
///
/// # Errors
/// As [`core_doorbell`].
pub fn core_doorbell_with(fences: Fences) -> io::Result<(Doorbell, CoreSleeper)> {
    let (stream, rung) = SystemStream::pair()?;
    stream.set_nonblocking(true)?;
    rung.set_nonblocking(true)?;
    let (bell, sleeper) = doorbell_with(fences, SocketWake { stream });
    Ok((bell, CoreSleeper { sleeper, rung }))
}

/// What a core counts of itself; see [`Core::counters`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(usize)]
pub enum CoreCounter {
    /// Turns of the loop.
    Turns,
    /// What the agents said that they did.
    Work,
    /// How often the executor was let to look at sockets.
    IoLooks,
    /// How often the core went to sleep.
    Parks,
}

/// How many counters a core has.
pub const CORE_COUNTERS: usize = 4;

/// A running core.
#[derive(Debug)]
pub struct Core {
    thread: JoinHandle<Result<(), String>>,
    fate: Fate,
    stop: PhaseWord,
    doorbell: Doorbell,
    counters: CounterReader<CORE_COUNTERS>,
}

impl Core {
    /// A core that runs `main` to its end, on a thread of its own. `main` gets the core from
    /// inside: it builds the agents there, spawns tasks, and gives its thread to
    /// [`LocalCore::run`]. Returns when the thread is pinned and its executor stands.
    ///
    /// # Errors
    /// If the thread cannot be had or pinned, or the system refuses the executor's memory.
    pub fn spawn<M, F>(
        config: CoreConfig,
        sleeper: CoreSleeper,
        main: M,
    ) -> Result<Self, CoreFailure>
    where
        M: FnOnce(LocalCore) -> F + Send + 'static,
        F: Future<Output = ()> + 'static,
    {
        let (living, fate) = fate();
        let stop = PhaseWord::default();
        let doorbell = sleeper.doorbell();
        let (writer, counters) = counters();
        let (standing, stands) = std::sync::mpsc::sync_channel(1);
        let name = config.name.clone();
        let stop_inside = stop.clone();
        let thread = std::thread::Builder::new().name(name).spawn(move || {
            // If the system refuses, the core waits behind busy neighbours as it did before.
            let _ = crate::platform::ask_for_short_slices();
            let placement = config.cpu.map_or(Placement::Unbound, Placement::Fixed);
            let executor = match LocalExecutorBuilder::new(placement)
                .name(&config.name)
                .io_memory(IO_MEMORY_BYTES)
                .spin_before_park(SPIN_BEFORE_SLEEP)
                .preempt_timer(NO_PREEMPTION)
                .ring_depth(config.submission_entries)
                .make()
            {
                Ok(executor) => executor,
                Err(error) => {
                    let _ = standing.send(Err(CoreFailure::from_executor(error, config.cpu)));
                    return Ok(());
                }
            };
            let _ = standing.send(Ok(()));
            let panicked = executor.run(async move {
                let local = LocalCore::new(config, sleeper, stop_inside, writer);
                local.live(main).await;
                local.inner.tasks.panic_message()
            });
            drop(executor);
            match panicked {
                None => {
                    living.ends();
                    Ok(())
                }
                Some(message) => {
                    drop(living);
                    Err(message)
                }
            }
        });
        let thread = thread.map_err(CoreFailure::Thread)?;
        match stands.recv() {
            Ok(Ok(())) => Ok(Self { thread, fate, stop, doorbell, counters }),
            Ok(Err(failure)) => {
                let _ = thread.join();
                Err(failure)
            }
            Err(_) => Err(CoreFailure::Panicked(match thread.join() {
                Ok(_) => "the thread ended early".to_owned(),
                Err(panic) => panic_message(panic),
            })),
        }
    }

    /// Asks the core's loop to end after its turn; safe to repeat.
    pub fn stop(&self) {
        self.stop.enter(STOPPING, [&self.doorbell]);
    }

    /// A doorbell of this core.
    pub fn doorbell(&self) -> Doorbell {
        self.doorbell.clone()
    }

    /// What the core counts of itself, by [`CoreCounter`].
    pub fn counters(&self) -> CounterReader<CORE_COUNTERS> {
        self.counters.clone()
    }

    /// Whether its executor has ended, in order or not, and [`Core::join`] does not wait any more.
    pub fn is_finished(&self) -> bool {
        self.fate.has_ended()
    }

    /// Waits until `main` has ended.
    ///
    /// # Errors
    /// If an agent, a task or `main` panicked. The core then ended in order: its loop stopped,
    /// its tasks were dropped; the message is that of the first panic.
    pub fn join(self) -> Result<(), CoreFailure> {
        match self.thread.join() {
            Ok(Ok(())) => Ok(()),
            Ok(Err(message)) => Err(CoreFailure::Panicked(message)),
            Err(panic) => Err(CoreFailure::Panicked(panic_message(panic))),
        }
    }
}

/// The phase of a core whose loop is to end.
const STOPPING: u8 = 1;

/// Memory that glommio keeps for files, which is not used here: the least that it takes.
const IO_MEMORY_BYTES: usize = 64 << 10;

/// How long the loop stands aside so that the executor polls the kernel.
const KERNEL_PAUSE: Duration = Duration::from_nanos(1_000);

/// The same at most, on a machine that is slow to get there.
const KERNEL_PAUSE_MAX: Duration = Duration::from_micros(16);

/// How long the executor polls before it sleeps: longer than the pause, so that it never sleeps
/// for that.
const SPIN_BEFORE_SLEEP: Duration = Duration::from_micros(20);

const _: () = assert!(KERNEL_PAUSE_MAX.as_nanos() < SPIN_BEFORE_SLEEP.as_nanos());

/// Between two looks at sockets while spinning: about what a look costs, so that rings are watched
/// half of the time.
const SPIN_INTERVAL_NS: u64 = 16_000;

/// The executor's preemption timer must not fire: if it does after the executor polled and before
/// the first task ran, which takes no more than losing the CPU for that long, the executor goes to
/// sleep although tasks can run. The loop stands aside by itself, so nothing needs the timer.
const NO_PREEMPTION: Duration = Duration::from_secs(24 * 3600);

/// An hour: a deadline further away is looked at again then.
const SLEEP_NS_MAX: u64 = 3_600_000_000_000;

struct Inner {
    config: CoreConfig,
    queue: TaskQueueHandle,
    sleeper: RefCell<Option<Sleeper>>,
    rung: Cell<Option<SystemStream>>,
    stop: PhaseWord,
    counters: RefCell<CounterWriter<CORE_COUNTERS>>,
    woken: Cell<bool>,
    waiting: RefCell<Option<Waker>>,
    tasks: Rc<Tasks>,
}

/// A core from inside. Cheap to clone, stays on its thread.
#[derive(Clone)]
pub struct LocalCore {
    inner: Rc<Inner>,
}

impl LocalCore {
    fn new(
        config: CoreConfig,
        sleeper: CoreSleeper,
        stop: PhaseWord,
        counters: CounterWriter<CORE_COUNTERS>,
    ) -> Self {
        let executor = glommio::executor();
        let latency = Latency::NotImportant;
        let queue = executor.create_task_queue(Shares::default(), latency, &config.name);
        Self {
            inner: Rc::new(Inner {
                config,
                queue,
                sleeper: RefCell::new(Some(sleeper.sleeper)),
                rung: Cell::new(Some(sleeper.rung)),
                stop,
                counters: RefCell::new(counters),
                woken: Cell::new(false),
                waiting: RefCell::new(None),
                tasks: Rc::default(),
            }),
        }
    }

    /// From the first task to the last.
    async fn live<F: Future<Output = ()> + 'static>(
        &self,
        main: impl FnOnce(LocalCore) -> F + 'static,
    ) {
        let weak = Rc::downgrade(&self.inner);
        self.inner.tasks.on_panic(move || {
            if let Some(inner) = weak.upgrade() {
                inner.stop.enter(STOPPING, []);
                LocalCore { inner }.wake();
            }
        });
        self.spawn(listen(self.clone()));
        let inside = self.clone();
        let main = self.inner.tasks.adopt(async move { main(inside).await });
        if let Ok(main) = glommio::spawn_local_into(main, self.inner.queue) {
            main.await;
        }
        self.inner.tasks.close();
        while self.inner.tasks.live() > 0 {
            yield_to_kernel().await;
        }
    }

    /// Wakes the loop if it is parked, from a task of this core that left work for an agent.
    /// From any other thread, ring the doorbell.
    pub fn wake(&self) {
        self.inner.woken.set(true);
        if let Some(waker) = self.inner.waiting.borrow_mut().take() {
            waker.wake();
        }
    }

    /// Starts a task beside the loop; it ends by itself, or is dropped when the core's `main`
    /// ends. A panic in it stops the core. Two allocations.
    pub fn spawn(&self, task: impl Future<Output = ()> + 'static) {
        let task = self.inner.tasks.adopt(task);
        if let Ok(task) = glommio::spawn_local_into(task, self.inner.queue) {
            task.detach();
        }
    }

    /// Whether [`Core::stop`] has been called, or something on this core has panicked.
    pub fn is_stopping(&self) -> bool {
        self.inner.stop.get() == STOPPING
    }

    /// A doorbell of this core, or none once its loop has begun.
    pub fn doorbell(&self) -> Option<Doorbell> {
        self.inner.sleeper.borrow().as_ref().map(Sleeper::doorbell)
    }

    /// Runs `agent` turn after turn until the core is stopped. Give it a
    /// [`DutyCycle`](crate::agent::DutyCycle) for several.
    ///
    /// # Panics
    /// If the core's loop already runs.
    pub async fn run(&self, mut agent: impl Agent) {
        self.run_until(&mut agent, |_| self.is_stopping()).await;
    }

    /// Runs `agent` turn after turn until `done` says so: asked after every turn, and it must not
    /// become true without a turn, a [`LocalCore::wake`] or the doorbell. May be called again.
    ///
    /// # Panics
    /// If the core's loop already runs.
    pub async fn run_until<A: Agent>(&self, agent: &mut A, mut done: impl FnMut(&A) -> bool) {
        let mut sleeper = self.inner.sleeper.borrow_mut().take().expect("a core has one loop");
        let mut clock = SystemClock::new();
        let mut idle = Idle::new(self.inner.config.idle);
        let mut looked_ns = 0;
        loop {
            let now = clock.now();
            self.inner.woken.set(false);
            let work = self.turn(agent, now);
            if done(agent) {
                break;
            }
            let step = match idle.after_turn(work, now) {
                Step::Park if self.inner.woken.get() => Step::Spin,
                step => step,
            };
            let interval_ns = match step {
                Step::Work => self.inner.config.io_interval_ns,
                Step::Spin => SPIN_INTERVAL_NS,
                Step::Yield | Step::Park => 0,
            };
            match step {
                Step::Work | Step::Spin if now.monotonic_ns - looked_ns < interval_ns => {
                    futures_lite::future::yield_now().await;
                }
                Step::Work | Step::Spin => self.look(now, &mut looked_ns).await,
                Step::Yield => {
                    yield_now();
                    self.look(now, &mut looked_ns).await;
                }
                Step::Park => {
                    // The last look is a whole turn: who pushed before our store of `sleeping`
                    // is seen by it, who pushed after it rings.
                    let now = clock.now();
                    let mut work = 0;
                    let found = || {
                        work = self.turn(agent, now);
                        work > 0 || self.inner.woken.get() || done(agent)
                    };
                    if sleeper.may_sleep(found) {
                        agent.before_sleep();
                        self.sleep(agent.wake_at_ns(), now).await;
                        sleeper.woke();
                        agent.after_sleep();
                    } else if work > 0 {
                        idle.after_turn(work, now);
                    }
                }
            }
        }
        self.inner.counters.borrow_mut().publish();
        *self.inner.sleeper.borrow_mut() = Some(sleeper);
    }

    fn turn(&self, agent: &mut impl Agent, now: Now) -> usize {
        let work = agent.do_work(now);
        self.count(CoreCounter::Turns, 1);
        self.count(CoreCounter::Work, work as u64);
        work
    }

    fn count(&self, counter: CoreCounter, amount: u64) {
        self.inner.counters.borrow_mut().add(counter as usize, amount);
    }

    /// Lets the executor look at sockets: it does so when no task can run, and a timer that has
    /// already expired brings this one back.
    async fn look(&self, now: Now, looked_ns: &mut u64) {
        *looked_ns = now.monotonic_ns;
        self.count(CoreCounter::IoLooks, 1);
        self.inner.counters.borrow_mut().publish();
        yield_to_kernel().await;
    }

    async fn sleep(&self, wake_at_ns: u64, now: Now) {
        self.count(CoreCounter::Parks, 1);
        self.inner.counters.borrow_mut().publish();
        if wake_at_ns == u64::MAX {
            Woken(&self.inner).await;
        } else {
            let sleep_ns = wake_at_ns.saturating_sub(now.monotonic_ns);
            let deadline = Timer::new(Duration::from_nanos(sleep_ns.min(SLEEP_NS_MAX)));
            WokenOr { woken: Woken(&self.inner), deadline: pin!(deadline) }.await;
        }
    }
}

impl std::fmt::Debug for LocalCore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "LocalCore({})", self.inner.config.name)
    }
}

/// Ends after the executor has polled the kernel, which it does only when no task can run. A timer
/// that has expired before it is first polled ends at once and lets nobody run, so such a one is
/// tried again, longer.
async fn yield_to_kernel() {
    let mut pause = KERNEL_PAUSE;
    while pause <= KERNEL_PAUSE_MAX {
        let mut has_waited = false;
        let mut timer = Timer::new(pause);
        let waited = std::future::poll_fn(|context| {
            let polled = Pin::new(&mut timer).poll(context);
            has_waited |= polled.is_pending();
            polled.map(|_| ())
        });
        waited.await;
        if has_waited {
            return;
        }
        pause *= 2;
    }
    futures_lite::future::yield_now().await;
}

/// Ends when the loop is woken.
struct Woken<'a>(&'a Inner);

impl Future for Woken<'_> {
    type Output = ();
    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        if self.0.woken.get() {
            return Poll::Ready(());
        }
        *self.0.waiting.borrow_mut() = Some(context.waker().clone());
        Poll::Pending
    }
}

/// Ends when the loop is woken or the deadline has come.
struct WokenOr<'a> {
    woken: Woken<'a>,
    deadline: Pin<&'a mut Timer>,
}

impl Future for WokenOr<'_> {
    type Output = ();
    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        if self.deadline.as_mut().poll(context).is_ready() {
            return Poll::Ready(());
        }
        Pin::new(&mut self.woken).poll(context)
    }
}

/// The doorbell's task: takes the bytes that ringers wrote and wakes the loop.
async fn listen(local: LocalCore) {
    let Some(rung) = local.inner.rung.take() else { return };
    let mut rung = adopt(rung);
    let mut bytes = [0; 64];
    loop {
        match rung.read(&mut bytes).await {
            Ok(0) => return,
            Err(error) if error.kind() != io::ErrorKind::Interrupted => return,
            Ok(_) | Err(_) => local.wake(),
        }
    }
}

#[expect(unsafe_code, reason = "glommio takes a descriptor that exists only in this way")]
fn adopt(stream: SystemStream) -> UnixStream {
    // SAFETY: the descriptor is open, a stream socket, and given up by its owner in this line.
    unsafe { UnixStream::from_raw_fd(stream.into_raw_fd()) }
}
