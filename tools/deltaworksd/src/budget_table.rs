//! The worst case of the memory budget, as a table for a person or as JSON.

use std::fmt::Write as _;

use deltaworks_server::sizing::Sizing;
use serde_json::{Value as Json, json};

/// A line a kind, and the sum.
pub fn as_text(sizing: &Sizing) -> String {
    let mut text = String::new();
    let _ = writeln!(
        text,
        "{:<18} {:>10} {:>12} {:>12}  when full",
        "kind", "bytes each", "at most", "MiB"
    );
    for row in &sizing.rows {
        let mib = row.bytes() as f64 / f64::from(1 << 20);
        let _ = writeln!(
            text,
            "{:<18} {:>10} {:>12} {mib:>12.1}  {}",
            row.kind, row.each_bytes, row.count, row.when_full
        );
    }
    let all = sizing.worst_case_bytes() as f64 / f64::from(1 << 20);
    let budget = sizing.budget_bytes >> 20;
    let _ = writeln!(text, "{:<18} {:>10} {:>12} {all:>12.1}  of {budget} MiB", "all", "", "");
    text
}

/// The same as one object.
pub fn as_json(sizing: &Sizing) -> Json {
    let row = |row: &deltaworks_server::sizing::Row| {
        json!({
            "kind": row.kind, "each_bytes": row.each_bytes, "count": row.count,
            "bytes": row.bytes(), "when_full": row.when_full,
        })
    };
    json!({
        "budget_bytes": sizing.budget_bytes,
        "worst_case_bytes": sizing.worst_case_bytes(),
        "rows": sizing.rows.iter().map(row).collect::<Vec<_>>(),
    })
}
