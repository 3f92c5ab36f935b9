//! Windows of a run: what its cores did in each millisecond, and those in which nobody disturbed them.
//!
//! On a machine that others use, too, a thread is put aside again and again, and what it finds in the
//! caches when it comes back is others'. A run as a whole then tells little of the code. So each core
//! marks where it stands once a millisecond, with how often its thread was put aside so far, and only
//! those milliseconds count in which, and some time before which, no core's thread was. They are chosen by that
//! alone, and by whether as much was read as written, and never by how fast they were, so rare work stays
//! in the mean.
//!
//! Where a round over all sessions takes longer than a millisecond, hardly one of them reads as much as it
//! writes; then some that follow each other are judged together.
//!
//! ```text
//!  core 0  ──┬── ran ──┬── ran ──┬─ put aside ─┬── ran ──┬── ran ──┬──▶
//!  core 1  ──┬── ran ──┬── ran ──┬──── ran ────┬── ran ──┬── ran ──┬──▶
//!          the first windows behind a disturbance do not count, the others do
//! ```

use std::ops::RangeInclusive;

use crate::core::StageTimes;

/// How long a window is.
pub const WINDOW_NS: u64 = 1_000_000;
/// The part of a run that passes before windows count: memory is then used again, and lines are formed.
const WARM_SHARE: f64 = 0.3;
/// The middle of the windows that count, as a share of the run.
pub const WINDOWS_MIDDLE: f64 = (1.0 + WARM_SHARE) / 2.0;
/// Windows behind a disturbance until what it left lying in rings and pools has gone.
const SETTLING: u32 = 3;
/// How far what is read may be from what is written in a window: a share, and some images.
const BALANCED_SHARE: f64 = 0.05;
const BALANCED_IMAGES: f64 = 4.0;
/// So many windows that follow each other are judged together: the first of these of which enough count.
const SPANS: [usize; 4] = [1, 4, 16, 64];
/// Enough: this share of those that nobody disturbed.
const ENOUGH_SHARE: f64 = 0.5;
/// Windows without which nothing is told of them.
const WINDOWS_MIN: usize = 8;

/// Where a core stands.
#[derive(Clone, Copy, Debug, Default)]
pub struct Mark {
    /// The time.
    pub at_ns: u64,
    /// How often its thread was put aside.
    pub switches: u64,
    /// Batches written.
    pub written: u64,
    /// Images read.
    pub images: u64,
    /// Deltas in them.
    pub deltas: u64,
    /// Sends.
    pub sends: u64,
    /// Time by stage.
    pub times: StageTimes,
}

impl Mark {
    fn window(&self) -> u64 {
        self.at_ns / WINDOW_NS
    }

    /// What was done from `before` to here.
    fn since(&self, before: &Self) -> Self {
        Self {
            at_ns: self.at_ns - before.at_ns,
            switches: self.switches - before.switches,
            written: self.written - before.written,
            images: self.images - before.images,
            deltas: self.deltas - before.deltas,
            sends: self.sends - before.sends,
            times: self.times.since(&before.times),
        }
    }

    fn add(&mut self, other: &Self) {
        self.at_ns += other.at_ns;
        self.switches += other.switches;
        self.written += other.written;
        self.images += other.images;
        self.deltas += other.deltas;
        self.sends += other.sends;
        self.times.add(&other.times);
    }
}

/// The marks of one core.
#[derive(Clone, Debug, Default)]
pub struct Windows {
    marks: Vec<Mark>,
    next_ns: u64,
}

impl Windows {
    /// Room for the marks of so many seconds.
    pub fn of(seconds: f64) -> Self {
        let marks = Vec::with_capacity((seconds * 1e9 / WINDOW_NS as f64) as usize + 16);
        Self { marks, next_ns: 0 }
    }

    /// Whether a new window has begun.
    #[inline]
    pub fn is_due(&self, now_ns: u64) -> bool {
        now_ns >= self.next_ns
    }

    /// Notes where the core stands.
    pub fn mark(&mut self, mark: Mark) {
        self.next_ns = (mark.window() + 1) * WINDOW_NS;
        self.marks.push(mark);
    }

    /// The window that ends with mark `at`, if nobody disturbed it.
    fn quiet(&self, at: usize) -> Option<Mark> {
        let (before, mark) = (self.marks.get(at.checked_sub(1)?)?, self.marks.get(at)?);
        let done = mark.since(before);
        let is_next = mark.window() == before.window() + 1;
        (is_next && done.switches == 0).then_some(done)
    }

    /// The place of the mark that ends window `window`.
    fn place(&self, window: u64) -> Option<usize> {
        self.marks.binary_search_by_key(&window, Mark::window).ok()
    }
}

/// What was done in the windows that nobody disturbed.
#[derive(Clone, Debug, Default)]
pub struct Steady {
    /// Windows that count.
    pub windows: usize,
    /// The part of all behind the beginning that they are.
    pub share: f64,
    /// What each core did in them.
    pub cores: Vec<Mark>,
    /// The mean over windows of `exp` of minus the batches that each document has had: the share of batches
    /// that are the first of theirs.
    pub first_share: f64,
}

impl Steady {
    /// Deltas a second over all cores.
    pub fn deltas_per_second(&self) -> f64 {
        self.cores.iter().map(|it| it.deltas as f64 / it.at_ns.max(1) as f64 * 1e9).sum()
    }

    /// What all cores did together.
    pub fn all(&self) -> Mark {
        let mut all = Mark::default();
        for core in &self.cores {
            all.add(core);
        }
        all
    }
}

/// The windows of a run over `documents` that count; `None` if they are too few.
pub fn steady(cores: &[Windows], documents: u32) -> Option<Steady> {
    let first = cores.first()?;
    debug_assert!(first.marks.is_sorted_by_key(|it| it.at_ns));
    let began = cores.iter().map(|it| it.marks.first().map(Mark::window)).max()??;
    let ended = cores.iter().map(|it| it.marks.last().map(Mark::window)).min()??;
    let from = began + (WARM_SHARE * ended.saturating_sub(began) as f64) as u64;
    let mut most = Steady::default();
    for span in SPANS {
        let (steady, quiet) = steady_in_spans(cores, documents, from..=ended, span);
        let is_enough = steady.windows as f64 >= ENOUGH_SHARE * quiet as f64;
        if steady.windows > most.windows {
            most = steady;
        }
        if is_enough {
            break;
        }
    }
    let all = (ended + 1).saturating_sub(from).max(1);
    most.share = most.windows as f64 / all as f64;
    (most.windows >= WINDOWS_MIN).then_some(most)
}

/// The same where so many windows are judged together, and how many nobody disturbed.
fn steady_in_spans(
    cores: &[Windows],
    documents: u32,
    all: RangeInclusive<u64>,
    span: usize,
) -> (Steady, usize) {
    let mut steady = Steady { cores: vec![Mark::default(); cores.len()], ..Steady::default() };
    let of_window = |window: u64| -> Option<Vec<Mark>> {
        cores.iter().map(|it| it.quiet(it.place(window)?)).collect()
    };
    let mut quiet_before = 0;
    let mut quiet = 0;
    // What was done in windows that follow each other, by core, and the last of them.
    let mut together: Vec<(u64, Vec<Mark>)> = Vec::new();
    for window in all {
        // A window alone is disturbed, too, by what another left in the way.
        let done = of_window(window).filter(|done| span > 1 || is_balanced(done));
        quiet += usize::from(of_window(window).is_some());
        match done {
            None => {
                together.clear();
                quiet_before = 0;
                continue;
            }
            Some(done) if quiet_before >= SETTLING => together.push((window, done)),
            Some(_) => {}
        }
        quiet_before += 1;
        if together.len() < span {
            continue;
        }
        let mut sums = vec![Mark::default(); cores.len()];
        for (_, done) in &together {
            sums.iter_mut().zip(done).for_each(|(sum, done)| sum.add(done));
        }
        if is_balanced(&sums) {
            steady.windows += span;
            steady.cores.iter_mut().zip(&sums).for_each(|(sum, done)| sum.add(done));
            let written = |window: u64| -> u64 {
                let of_core = |it: &Windows| it.marks[it.place(window).unwrap_or_default()].written;
                cores.iter().map(of_core).sum()
            };
            let share =
                |window: u64| (-(written(window) as f64) / f64::from(documents.max(1))).exp();
            steady.first_share += together.iter().map(|(window, _)| share(*window)).sum::<f64>();
        }
        together.clear();
    }
    steady.first_share /= steady.windows.max(1) as f64;
    (steady, quiet)
}

/// Whether about as much was read as written: else it is of what lay in the way before.
fn is_balanced(done: &[Mark]) -> bool {
    let (written, images) =
        done.iter().fold((0, 0), |sums, it| (sums.0 + it.written, sums.1 + it.images));
    let off = (written as f64 - images as f64).abs();
    off <= BALANCED_SHARE * images as f64 + BALANCED_IMAGES
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A core that does a delta in a microsecond that it runs, and is put aside in some windows.
    fn core(windows: u64, is_aside: impl Fn(u64) -> bool) -> Windows {
        let mut all = Windows::of(0.1);
        let mut mark = Mark { at_ns: 5 * WINDOW_NS, ..Mark::default() };
        all.mark(mark);
        for window in 0..windows {
            assert!(all.is_due(mark.at_ns + WINDOW_NS) && !all.is_due(mark.at_ns + 10));
            let ran_ns = if is_aside(window) { WINDOW_NS / 2 } else { WINDOW_NS };
            mark.at_ns += WINDOW_NS;
            mark.switches += u64::from(is_aside(window));
            mark.deltas += ran_ns / 1000;
            mark.images += ran_ns / 1000;
            mark.written += ran_ns / 1000;
            mark.times.turns += 1;
            all.mark(mark);
        }
        all
    }

    #[test]
    fn what_was_put_aside_does_not_count() {
        for every in [5, 6, 10] {
            let disturbed = core(100, |window| window % every == 0);
            let quiet = core(100, |_| false);
            for cores in [vec![disturbed.clone()], vec![quiet.clone(), disturbed.clone()]] {
                let steady = steady(&cores, 10).expect("some are left");
                let rate = steady.deltas_per_second();
                assert!((rate / (1e6 * cores.len() as f64) - 1.0).abs() < 1e-9, "{rate}");
                // Those behind a disturbed one do not count either.
                let share = 1.0 - f64::from(1 + SETTLING) / every as f64;
                assert!((steady.share - share).abs() < 0.03, "{}", steady.share);
                assert_eq!(steady.all().times.turns, (steady.windows * cores.len()) as u64);
            }
        }
        // Had it counted, the rate would be another.
        let rate = |all: &Windows| {
            let (first, last) = (all.marks[0], all.marks[all.marks.len() - 1]);
            last.since(&first).deltas as f64 / (last.at_ns - first.at_ns) as f64 * 1e9
        };
        assert!(rate(&core(100, |window| window % 3 == 0)) < 0.9e6);
    }

    #[test]
    fn too_few_windows_tell_nothing() {
        assert!(steady(&[core(100, |window| window % 4 == 0)], 10).is_none());
        assert!(steady(&[core(3, |_| false)], 10).is_none());
        assert!(steady(&[Windows::default()], 10).is_none());
        assert!(steady(&[], 10).is_none());
    }

    /// What was written before is no measure of what is read.
    #[test]
    fn a_backlog_does_not_count() {
        let mut drains = core(100, |_| false);
        for (place, mark) in drains.marks.iter_mut().enumerate() {
            mark.images += 100 * place.min(50) as u64;
        }
        let steady = steady(&[drains], 10).expect("half of it");
        assert!(steady.windows < 60, "{}", steady.windows);
        assert_eq!(steady.all().images, steady.all().written);
    }

    /// A round over all sessions takes ten windows, and what is read of it comes in the last five: none of them
    /// reads what it writes, and all of them together do.
    #[test]
    fn rounds_that_are_longer_than_a_window_count_as_a_whole() {
        let slow = |often: u64| {
            let mut slow = core(1000, |window| window % often == often - 1);
            for (place, mark) in slow.marks.iter_mut().enumerate() {
                let (round, place) = (place as u64 / 10, place as u64 % 10);
                mark.images = 10_000 * round + 2000 * place.saturating_sub(5);
            }
            slow
        };
        let alone = steady_in_spans(&[slow(1000)], 10, 0..=1005, 1);
        assert_eq!(alone.0.windows, 0, "none by itself");
        let steady_of = |often| steady(&[slow(often)], 10);
        let told = steady_of(1000).expect("some together");
        let all = told.all();
        assert!(told.share > 0.5, "{}", told.share);
        assert!((all.written as f64 / all.images as f64 - 1.0).abs() < 0.03);
        assert!(steady_of(6).is_none(), "nothing stays undisturbed for so long");
    }

    /// A core that was late for a whole window has none there.
    #[test]
    fn windows_that_were_missed_do_not_count() {
        let mut late = core(20, |_| false);
        let last = late.marks[20];
        let at_ns = last.at_ns + 3 * WINDOW_NS;
        late.mark(Mark { at_ns, ..last });
        assert!(late.quiet(21).is_none() && late.quiet(20).is_some());
    }

    #[test]
    fn first_batches_become_rare() {
        let all = [core(50, |_| false)];
        let (few, many) = (steady(&all, 10), steady(&all, 1_000_000));
        assert!(few.is_some_and(|it| it.first_share < 1e-9));
        assert!(many.is_some_and(|it| it.first_share > 0.9));
    }
}
