//! How far a replay is, on standard error: bars on a terminal, now and then a line elsewhere.

use std::fmt::Write;
use std::io::{IsTerminal, stderr};
use std::time::Duration;

use indicatif::{
    HumanCount, MultiProgress, ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle,
};

use crate::output;

/// Time between two lines where there is no terminal.
const LINE_EVERY: Duration = Duration::from_secs(5);

/// What shows how far a replay is.
#[derive(Debug)]
pub struct Progress {
    bars: Option<Bars>,
    totals: Totals,
    /// When the next line is due, since the start.
    next_line: Duration,
}

/// How much there is to do.
#[derive(Clone, Copy, Debug)]
pub struct Totals {
    /// Deltas to publish.
    pub deltas: u64,
    /// Deltas to read, by all subscribers together.
    pub deliveries: u64,
}

#[derive(Debug)]
struct Bars {
    all: MultiProgress,
    acknowledged: ProgressBar,
    read: ProgressBar,
}

impl Progress {
    /// Shows nothing yet.
    pub fn new(totals: Totals) -> Progress {
        let bars = stderr().is_terminal().then(|| Bars::new(totals));
        Progress { bars, totals, next_line: LINE_EVERY }
    }

    /// Shows what has been done after `elapsed`.
    pub fn show(&mut self, elapsed: Duration, acknowledged: u64, read: u64) {
        if let Some(bars) = &self.bars {
            bars.acknowledged.set_position(acknowledged);
            bars.read.set_position(read);
        } else if elapsed >= self.next_line {
            self.next_line = elapsed + LINE_EVERY;
            let Totals { deltas, deliveries } = self.totals;
            output::tell(format_args!(
                "replay: {:.0} s, {acknowledged} of {deltas} deltas acknowledged, \
                 {read} of {deliveries} delivered",
                elapsed.as_secs_f64()
            ));
        }
    }

    /// Takes the bars away.
    pub fn clear(&self) {
        if let Some(bars) = &self.bars {
            // A terminal that cannot be written to shows nothing; the replay does not need it.
            let _ = bars.all.clear();
        }
    }
}

impl Bars {
    fn new(totals: Totals) -> Bars {
        let all = MultiProgress::with_draw_target(ProgressDrawTarget::stderr_with_hz(8));
        let template = "{prefix:>9} {wide_bar} {human_pos}/{human_len} {rate:>14} {eta:>4}";
        let rate = |state: &ProgressState, text: &mut dyn Write| {
            // What cannot be shown is left out.
            let _ = write!(text, "{}/s", HumanCount(state.per_sec() as u64));
        };
        let style = ProgressStyle::with_template(template)
            .unwrap_or_else(|_| ProgressStyle::default_bar())
            .with_key("rate", rate);
        let bar = |name: &'static str, length| {
            all.add(ProgressBar::new(length).with_style(style.clone()).with_prefix(name))
        };
        let (acknowledged, read) =
            (bar("published", totals.deltas), bar("delivered", totals.deliveries));
        Bars { all, acknowledged, read }
    }
}
