//! The grid of queues, small: every batch is answered in order, every delta accepted, and no more is
//! on its way than the budget holds. No times are judged.

use std::sync::{Arc, Mutex};

use deltaworks_benches::payload::Lengths;
use deltaworks_benches::queues::{BoundedBy, Cell, QueuesOptions, run};

fn cells(lengths: Lengths, capacity: &[u32], rows: &[u32], documents: &[u32]) -> Option<Vec<Cell>> {
    if core_affinity::get_core_ids().unwrap_or_default().len() < 2 {
        eprintln!("skipped: two CPUs are needed");
        return None;
    }
    let folder = std::env::temp_dir();
    let plot = folder.join(format!("deltaworks-queues-{}-{}.svg", std::process::id(), rows[0]));
    let options = QueuesOptions {
        capacity: capacity.to_vec(),
        rows: rows.to_vec(),
        documents: documents.to_vec(),
        lengths,
        seconds: 0.05,
        budget_mib: 48,
        plot: Some(plot.clone()),
        json: true,
    };
    let cells: Arc<Mutex<Vec<Cell>>> = Arc::default();
    let tell = {
        let cells = cells.clone();
        move |cell: &Cell| cells.lock().expect("nobody panicked").push(cell.clone())
    };
    assert!(run(&options, tell).expect("it can be run"), "{cells:#?}");
    let picture = std::fs::read_to_string(&plot).expect("a picture");
    std::fs::remove_file(plot).expect("it was there");
    let mut cells = cells.lock().expect("nobody panicked");
    assert_eq!(picture.matches("<circle").count(), 2 * cells.len(), "a point a cell and figure");
    Some(std::mem::take(&mut cells))
}

#[test]
fn every_size_of_message_goes_through_queues_of_every_length() {
    let Some(cells) = cells(Lengths::Mixed, &[100, 1000, 100_000], &[100, 1000], &[1, 10]) else {
        return;
    };
    assert_eq!(cells.len(), 12);
    for cell in cells {
        assert!(cell.verified && cell.depth_max > 0, "{cell:?}");
        // What a worker has taken and not judged is on its way, too: chunks bound all of it.
        assert!(cell.queue_bytes_max <= cell.chunk_bytes + (4 << 20), "{cell:?}");
        assert_eq!(cell.worker_utilisation.len(), 1);
    }
}

#[test]
fn the_longest_messages_are_bounded_by_the_budget() {
    let Some(cells) = cells(Lengths::Equal, &[100, 10_000], &[10_000], &[2]) else { return };
    for cell in cells {
        assert!(cell.image_bytes > 460_000 && cell.image_bytes <= 512 << 10);
        assert_eq!(cell.bounded_by, BoundedBy::Budget);
        assert!(cell.queue_bytes_max <= cell.chunk_bytes + (4 << 20), "{cell:?}");
    }
}
