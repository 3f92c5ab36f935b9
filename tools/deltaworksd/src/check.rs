//! `--check`: reads all that a start reads, binds nothing, and says what is wrong.

use serde_json::json;

use crate::arrangement::Arrangement;
use crate::config::Effective;
use crate::exit::Failure;
use crate::quantity::counted;

/// What a start would be like, as text or as one JSON object.
///
/// # Errors
/// What would keep the daemon from starting, addresses in use excepted.
pub fn check(effective: &Effective, json: bool) -> Result<String, Failure> {
    let arrangement = Arrangement::new(&effective.config)?;
    let notes: Vec<&String> = effective.notes.iter().chain(&arrangement.placement.notes).collect();
    let worst_case_bytes = arrangement.sizing.worst_case_bytes();
    let budget_bytes = arrangement.sizing.budget_bytes;
    let cores = arrangement.placement.cores.len();
    let collections = effective.config.collections.len();
    if json {
        let report = json!({
            "ok": true, "cores": cores, "collections": collections,
            "budget_bytes": budget_bytes, "worst_case_bytes": worst_case_bytes, "notes": notes,
        });
        return Ok(format!("{report}\n"));
    }
    let mut text: String = notes.iter().map(|note| format!("note: {note}\n")).collect();
    text.push_str(&format!(
        "ok: {}, {}, {} MiB at most of {} MiB\n",
        counted(cores, "core"),
        counted(collections, "collection"),
        worst_case_bytes >> 20,
        budget_bytes >> 20
    ));
    Ok(text)
}
