//! Two CPUs for what crosses cores.

use std::sync::OnceLock;

/// Asked once: afterwards this thread is pinned, and would be told of its own CPU only.
static PAIR: OnceLock<Option<(usize, usize)>> = OnceLock::new();

/// The CPUs for this thread, which is pinned there, and for the other one; `None`, said aloud, if
/// there is only one.
pub(crate) fn two_cpus(what: &str) -> Option<(usize, usize)> {
    let pair = PAIR.get_or_init(|| {
        let cpus = core_affinity::get_core_ids().unwrap_or_default();
        let [own, other, ..] = cpus[..] else { return None };
        core_affinity::set_for_current(own).then_some((own.id, other.id))
    });
    if pair.is_none() {
        eprintln!("skipped: {what}, because it needs two CPUs");
    }
    *pair
}
