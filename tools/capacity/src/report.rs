//! A forecast for people.

use std::fmt::Write as _;

use crate::forecast::Forecast;

/// The forecast as text.
pub fn describe(it: &Forecast) -> String {
    let mut text = String::new();
    let _ = describe_to(&mut text, it);
    text
}

fn describe_to(text: &mut String, it: &Forecast) -> std::fmt::Result {
    let (serving, workers, elastic) = it.roles;
    let workload = &it.workload;
    writeln!(
        text,
        "{} cores on {} memory nodes: {serving} serve sessions, {workers} own documents, {elastic} are for hot ones",
        it.cores, it.nodes
    )?;
    writeln!(
        text,
        "{} documents ({}), batches of {} × {} bytes, {} publishers, {} subscribers each",
        workload.documents,
        format!("{:?}", workload.law).to_lowercase(),
        workload.batch,
        workload.delta_bytes,
        workload.publishers,
        workload.subscribers
    )?;
    let limit = &it.limit;
    writeln!(
        text,
        "\nat most   {} deltas/s in ({} batches/s), {} deliveries/s out",
        counted(limit.deltas_per_second),
        counted(limit.batches_per_second),
        counted(limit.deliveries_per_second)
    )?;
    let first = &limit.saturates_first;
    writeln!(
        text,
        "full first   {}, on core {} ({}), {:.0} % full",
        first.stage.name(),
        first.core,
        first.role,
        first.core_share * 100.0
    )?;
    if let Some((role, share)) = first.next {
        writeln!(text, "then   the cores with {role}, {:.0} % full", share * 100.0)?;
    }
    writeln!(text, "\nstage          fullest core   cores of work")?;
    for share in &limit.stages {
        let (most, cores) = (share.most * 100.0, share.cores);
        writeln!(text, "{:<14} {most:>10.1} %   {cores:>13.2}", share.stage.name())?;
    }
    writeln!(
        text,
        "\n  deltas/s   of limit   fullest core    mean µs     p50 µs     p99 µs   p99.9 µs    history"
    )?;
    for rate in &it.rates {
        let latency = &rate.latency_us;
        writeln!(
            text,
            "{:>10}   {:>6.0} %   {:>10.0} % {:>10.1} {:>10.1} {:>10.1} {:>10.1} {:>8.1} s{}",
            counted(rate.deltas_per_second),
            rate.limit_share * 100.0,
            rate.core_share_max * 100.0,
            latency.mean,
            latency.p50,
            latency.p99,
            latency.p999,
            rate.history_seconds,
            if rate.is_steady { "" } else { "   too much: the queue grows" }
        )?;
    }
    writeln!(text, "\nmemory         MiB")?;
    for kind in &it.memory.kinds {
        writeln!(text, "{:<14} {:>9.1}", kind.kind, mib(kind.bytes))?;
    }
    writeln!(text, "{:<14} {:>9.1}", "all", mib(it.memory.total_bytes))?;
    writeln!(text, "\nThis assumes:")?;
    for sentence in &it.assumes {
        writeln!(text, "- {sentence}")?;
    }
    writeln!(text, "({} batches simulated, seed {})", it.simulated_batches, workload.seed)
}

fn mib(bytes: f64) -> f64 {
    bytes / f64::from(1 << 20)
}

/// A count with three digits that matter.
fn counted(count: f64) -> String {
    match count {
        count if count >= 99.95e6 => format!("{:.0} M", count / 1e6),
        count if count >= 9.995e6 => format!("{:.1} M", count / 1e6),
        count if count >= 999.5e3 => format!("{:.2} M", count / 1e6),
        count if count >= 9.995e3 => format!("{:.0} k", count / 1e3),
        count => format!("{count:.0}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_have_three_digits() {
        let told: Vec<String> =
            [7.0, 12_345.0, 1_234_567.0, 12.34e6, 123.4e6].map(counted).to_vec();
        assert_eq!(told, ["7", "12 k", "1.23 M", "12.3 M", "123 M"]);
    }
}
