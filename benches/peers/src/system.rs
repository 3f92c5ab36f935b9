//! What the system is asked for: CPUs, readiness, CPU time of a process, memory, children.
//!
//! The only place with unsafe code, each a system call without a safe name.
#![expect(unsafe_code, reason = "system calls that no crate here wraps")]

use std::fs;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

/// The two CPUs that everything runs on.
#[derive(Clone, Copy, Debug)]
pub struct Cpus {
    /// For what is measured.
    pub server: usize,
    /// For what loads it.
    pub load: usize,
}

impl Cpus {
    /// The first two that this process may use.
    ///
    /// # Errors
    /// If there is only one.
    pub fn two() -> Result<Self, String> {
        // SAFETY: an all-zero set is a valid, empty one.
        let mut set: libc::cpu_set_t = unsafe { std::mem::zeroed() };
        // SAFETY: the set is ours and as long as is said.
        let done = unsafe { libc::sched_getaffinity(0, size_of_val(&set), &mut set) };
        let most = libc::CPU_SETSIZE as usize;
        // SAFETY: the number is below the set's size.
        let allowed = (0..most).filter(|cpu| unsafe { libc::CPU_ISSET(*cpu, &set) });
        let allowed: Vec<usize> = if done == 0 { allowed.take(2).collect() } else { Vec::new() };
        match allowed[..] {
            [server, load] => Ok(Self { server, load }),
            _ => Err("two CPUs are needed, one for the server and one for the load".to_owned()),
        }
    }
}

/// Lets the calling thread, and what it starts, run on `cpu` only.
pub fn pin(cpu: usize) -> io::Result<()> {
    // SAFETY: an all-zero set is a valid, empty one.
    let mut set: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    // SAFETY: `Cpus::two` gave a number below the set's size.
    unsafe { libc::CPU_SET(cpu, &mut set) };
    // SAFETY: the set is ours and as long as is said.
    done(unsafe { libc::sched_setaffinity(0, size_of_val(&set), &set) }).map(drop)
}

fn done(code: i32) -> io::Result<i32> {
    if code < 0 { Err(io::Error::last_os_error()) } else { Ok(code) }
}

/// Lets this process, and what it starts, have as many descriptors as it may.
pub fn raise_descriptors(wanted: u64) -> io::Result<()> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the structure is ours.
    done(unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit) })?;
    if limit.rlim_cur < wanted {
        limit = libc::rlimit { rlim_cur: wanted, rlim_max: limit.rlim_max.max(wanted) };
        // SAFETY: the structure is ours.
        done(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &limit) })?;
    }
    Ok(())
}

/// Starts a program on `cpu`; it ends when the calling thread does.
pub fn start_on(cpu: usize, command: &mut Command) -> io::Result<Child> {
    let prepare = move || {
        pin(cpu)?;
        // SAFETY: this call takes numbers only.
        done(unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) }).map(drop)
    };
    // SAFETY: between fork and exec it makes two system calls and allocates nothing.
    unsafe { command.pre_exec(prepare) };
    command.spawn()
}

/// Asks a process of ours to end, and waits; kills it if it does not.
pub fn end(child: &mut Child) {
    if let Ok(pid) = i32::try_from(child.id()) {
        // SAFETY: the child was not waited for, so the number is still its own.
        unsafe { libc::kill(pid, libc::SIGTERM) };
    }
    let began = Instant::now();
    while began.elapsed() < Duration::from_secs(10) {
        if !matches!(child.try_wait(), Ok(None)) {
            return;
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    let _ = child.kill();
    let _ = child.wait();
}

/// CPU time of all threads of a process, in nanoseconds, those that have ended among them; 0 if it has
/// gone.
pub fn cpu_ns(pid: u32) -> u64 {
    let (mut clock, mut time) = (0, libc::timespec { tv_sec: 0, tv_nsec: 0 });
    // SAFETY: the clock's number is written to a place of ours.
    let found = unsafe { libc::clock_getcpuclockid(pid as libc::pid_t, &mut clock) };
    // SAFETY: the time is written to a place of ours; a number of no clock is refused.
    if found != 0 || unsafe { libc::clock_gettime(clock, &mut time) } != 0 {
        return 0;
    }
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

/// Whether a process has a thread whose name begins so.
pub fn has_thread(pid: u32, name: &str) -> bool {
    let Ok(threads) = fs::read_dir(format!("/proc/{pid}/task")) else { return false };
    let is_named = |entry: io::Result<fs::DirEntry>| {
        let told = fs::read_to_string(entry.ok()?.path().join("comm")).ok()?;
        Some(told.starts_with(name))
    };
    threads.filter_map(is_named).any(|is_named| is_named)
}

/// Bytes of a process that are in memory.
pub fn resident_bytes(pid: u32) -> u64 {
    let told = fs::read_to_string(format!("/proc/{pid}/statm")).unwrap_or_default();
    let pages = told.split_whitespace().nth(1).and_then(|word| word.parse::<u64>().ok());
    pages.unwrap_or(0) * 4096
}

/// The same once they have ceased to change: a server may touch its memory for some time after it has
/// begun to accept. Waits for ten seconds at most.
pub fn settled_bytes(pid: u32) -> u64 {
    let began = Instant::now();
    let (mut last, mut same) = (resident_bytes(pid), 0);
    while same < SETTLED_LOOKS && began.elapsed() < Duration::from_secs(10) {
        std::thread::sleep(Duration::from_millis(100));
        let now = resident_bytes(pid);
        same = if now.abs_diff(last) <= SETTLED_BYTES { same + 1 } else { 0 };
        last = now;
    }
    last
}

/// Looks in a row that see about the same, and how much that is.
const SETTLED_LOOKS: u32 = 4;
const SETTLED_BYTES: u64 = 64 << 10;

/// Bytes that the kernel has in its slabs, which is where sockets and what belongs to them are.
pub fn slab_bytes() -> u64 {
    let told = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let line = told.lines().find_map(|line| line.strip_prefix("Slab:"));
    let kib = line.and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok());
    kib.unwrap_or(0) << 10
}

/// Readiness of many descriptors, by number.
pub struct Readiness {
    epoll: OwnedFd,
    events: Vec<libc::epoll_event>,
}

impl Readiness {
    /// For so many at a time.
    pub fn new(most: usize) -> io::Result<Self> {
        // SAFETY: this call takes numbers only.
        let raw = done(unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) })?;
        // SAFETY: the descriptor is new and nobody else's.
        let epoll = unsafe { OwnedFd::from_raw_fd(raw) };
        Ok(Self { epoll, events: vec![libc::epoll_event { events: 0, u64: 0 }; most] })
    }

    /// Watches whether `descriptor` can be read.
    pub fn watch(&mut self, descriptor: &impl AsRawFd, number: usize) -> io::Result<()> {
        let mut event = libc::epoll_event { events: libc::EPOLLIN as u32, u64: number as u64 };
        let (epoll, raw) = (self.epoll.as_raw_fd(), descriptor.as_raw_fd());
        // SAFETY: both descriptors are open, and the event is ours.
        done(unsafe { libc::epoll_ctl(epoll, libc::EPOLL_CTL_ADD, raw, &mut event) }).map(drop)
    }

    /// How many can be read, after at most `wait_ms`.
    pub fn wait(&mut self, wait_ms: i32) -> usize {
        let (events, most) = (self.events.as_mut_ptr(), self.events.len() as i32);
        // SAFETY: there is room for as many events as is said.
        let count = unsafe { libc::epoll_wait(self.epoll.as_raw_fd(), events, most, wait_ms) };
        usize::try_from(count).unwrap_or(0)
    }

    /// The number of the one at `place` of those that can be read.
    pub fn number(&self, place: usize) -> usize {
        self.events[place].u64 as usize
    }
}

/// A descriptor that counts, and wakes whoever reads it.
pub fn event_descriptor(is_blocking: bool) -> io::Result<fs::File> {
    let flags = libc::EFD_CLOEXEC | if is_blocking { 0 } else { libc::EFD_NONBLOCK };
    // SAFETY: this call takes numbers only.
    let raw = done(unsafe { libc::eventfd(0, flags) })?;
    // SAFETY: the descriptor is new and nobody else's.
    Ok(unsafe { fs::File::from_raw_fd(raw) })
}

/// Waits until `descriptor` can be written.
pub fn wait_writable(descriptor: RawFd) {
    let mut one = libc::pollfd { fd: descriptor, events: libc::POLLOUT, revents: 0 };
    // SAFETY: one entry, as is said.
    unsafe { libc::poll(&mut one, 1, -1) };
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Works for a while, so that it shows.
    fn work() -> u64 {
        let began = Instant::now();
        let mut rounds = 0;
        while began.elapsed() < Duration::from_millis(20) {
            rounds = std::hint::black_box(rounds + 1);
        }
        rounds
    }

    #[test]
    fn what_threads_have_taken_counts_after_they_have_ended() {
        let pid = std::process::id();
        let thread = std::thread::Builder::new().name("worker-of-test".to_owned());
        let (end, ended) = std::sync::mpsc::channel::<()>();
        let (tell, told) = std::sync::mpsc::channel();
        let thread = thread.spawn(move || {
            let _ = tell.send(work());
            let _ = ended.recv();
        });
        let thread = thread.expect("a thread");
        assert!(told.recv().expect("it has worked") > 0);
        assert!(has_thread(pid, "worker-of") && !has_thread(pid, "nobody"));
        let while_it_lives_ns = cpu_ns(pid);
        drop(end);
        thread.join().expect("it ends");
        assert!(while_it_lives_ns > 0 && cpu_ns(pid) >= while_it_lives_ns);
        // More than the kernel's limit of process numbers, which has 22 bits.
        assert_eq!(cpu_ns(1 << 25), 0, "nobody");
    }
}
