//! What happened between two samples, each second.

use serde::Serialize;

use super::sample::Sample;
use crate::status::Core;

/// Rates since the sample before; all 0 where there was none, or the daemon is another one.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Rates {
    /// Seconds between the samples.
    pub seconds: f64,
    /// Of each core, in the order of the status.
    pub cores: Vec<CoreRates>,
    /// Measured passages of each stage, in the order of the status.
    pub stages_per_second: Vec<f64>,
}

/// What one core did, each second.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct CoreRates {
    /// Turns.
    pub turns_per_second: f64,
    /// Times that it went to sleep.
    pub parks_per_second: f64,
    /// Deltas that it accepted.
    pub accepted_deltas_per_second: f64,
    /// Bytes that it received.
    pub received_bytes_per_second: f64,
    /// Bytes that it delivered.
    pub delivered_bytes_per_second: f64,
}

impl Rates {
    /// What happened between the two.
    pub fn between(before: Option<&Sample>, now: &Sample) -> Rates {
        let is_same = |before: &&Sample| {
            before.status.pid == now.status.pid
                && before.status.uptime_seconds <= now.status.uptime_seconds
        };
        let before = before.filter(is_same);
        let seconds = before.map_or(0.0, |before| (now.at - before.at).as_secs_f64());
        let per_second = |before: Option<u64>, now: u64| match before {
            Some(before) if seconds > 0.0 => now.saturating_sub(before) as f64 / seconds,
            _ => 0.0,
        };
        let core = |place: usize| before.and_then(|before| before.status.cores.get(place));
        let stage = |place: usize| before.and_then(|before| before.status.latency.get(place));
        Rates {
            seconds,
            cores: (now.status.cores.iter().enumerate())
                .map(|(place, now)| {
                    let rate =
                        |pick: fn(&Core) -> u64| per_second(core(place).map(pick), pick(now));
                    CoreRates {
                        turns_per_second: rate(|core| core.turns),
                        parks_per_second: rate(|core| core.parks),
                        accepted_deltas_per_second: rate(|core| core.accepted_deltas),
                        received_bytes_per_second: rate(|core| core.received_bytes),
                        delivered_bytes_per_second: rate(|core| core.delivered_bytes),
                    }
                })
                .collect(),
            stages_per_second: (now.status.latency.iter().enumerate())
                .map(|(place, now)| per_second(stage(place).map(|stage| stage.count), now.count))
                .collect(),
        }
    }
}
