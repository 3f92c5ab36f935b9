//! How many files the daemon may have open: the limit is raised to what its sessions need.
//!
//! Belongs to the daemon's start. The soft limit of a process is often 1,024, for programs of
//! another age; the hard one is what the operator grants, and is never touched. When sessions use
//! all of it, newcomers are told so (215) and the others go on.

use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// What a core needs beyond its sessions: its rings to the kernel, timers, and both ends of a
/// doorbell.
const PER_CORE: u64 = 16;
/// What the rest of the daemon needs, with the connections of whoever looks at it, and those that
/// were refused and linger.
const BESIDE: u64 = 256;

/// Raises the limit as far as it may be, for so many sessions and cores; what a person should know,
/// if it is too low for them.
pub fn provide(sessions: u64, cores: u64) -> Option<String> {
    let needed = sessions + cores * PER_CORE + BESIDE;
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).ok()?;
    let mut granted = soft;
    if soft < needed && setrlimit(Resource::RLIMIT_NOFILE, needed.min(hard), hard).is_ok() {
        granted = needed.min(hard);
    }
    (granted < needed).then(|| {
        format!(
            "{granted} files may be open, which is less than the {needed} that {sessions} sessions \
             need; newcomers beyond it are refused (215); raise LimitNOFILE or ulimit -Hn"
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_soft_limit_rises_to_the_hard_one_and_no_further() {
        let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).expect("a limit");
        let told = provide(hard, 1).expect("more than may be had");
        assert!(told.contains(&format!("{hard} files")), "{told}");
        assert_eq!(getrlimit(Resource::RLIMIT_NOFILE).expect("a limit"), (hard, hard));
        assert_eq!(provide(1, 1), None);
        assert_eq!(getrlimit(Resource::RLIMIT_NOFILE).expect("a limit"), (hard, hard));
    }
}
