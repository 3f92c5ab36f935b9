//! The harness itself: a sound run is verified, and every planted fault is seen.

use deltaworks_benches::layout::Layout;
use deltaworks_benches::payload::Form;
use deltaworks_benches::pipeline::{Options, Report, run};
use deltaworks_benches::plant::Plant;
use deltaworks_benches::script::Law;

/// A run of `batches` batches on each of `cores` cores; `None`, said aloud, where the machine has
/// fewer CPUs.
fn tiny(cores: usize, batch: u32, batches: u64, plant: Option<Plant>) -> Option<Report> {
    tiny_of(Form::Cbor, cores, batch, batches, plant)
}

fn tiny_of(
    collection: Form,
    cores: usize,
    batch: u32,
    batches: u64,
    plant: Option<Plant>,
) -> Option<Report> {
    tiny_laid_out(Layout::Fused, collection, cores, batch, batches, plant)
}

fn tiny_laid_out(
    layout: Layout,
    collection: Form,
    cores: usize,
    batch: u32,
    batches: u64,
    plant: Option<Plant>,
) -> Option<Report> {
    let cpus = core_affinity::get_core_ids().unwrap_or_default().len();
    if cpus < cores {
        eprintln!("skipped: {cores} cores are asked for, {cpus} CPUs are there");
        return None;
    }
    let options = options(layout, collection, cores, batch, batches, plant);
    Some(run(&options).expect("it can be run here"))
}

fn options(
    layout: Layout,
    collection: Form,
    cores: usize,
    batch: u32,
    batches: u64,
    plant: Option<Plant>,
) -> Options {
    Options {
        cores,
        layout,
        documents: 60,
        delta_bytes: 46,
        batch,
        seconds: 0.0,
        batches: Some(batches),
        law: Law::Uniform,
        collection,
        budget_mib: 256,
        chunks: Some(4),
        read_bytes: 64 << 10,
        handles_per_reader: 25,
        seed: 11,
        no_latency: false,
        json: false,
        plant,
        plant_loss: None,
        plant_steps: 0,
        in_windows: false,
    }
}

/// Without a fault: verified, every rare case was there, and every chunk came round.
fn a_sound_run_is_verified(cores: usize, batch: u32, batches: u64) {
    let Some(report) = tiny(cores, batch, batches, None) else { return };
    assert!(report.verified, "{:?}", report.differences);
    assert!(report.account.refused_batches > 0 && report.account.duplicate_batches > 0);
    let chunks = cores as u64 * u64::from(report.chunks_per_core);
    assert!(report.recycled_chunks >= 2 * chunks, "{} times", report.recycled_chunks);
    assert!(cores == 1 || report.crossing_share == 0.5);
}

#[test]
fn a_sound_run_is_verified_on_one_core() {
    a_sound_run_is_verified(1, 1, 260_000);
    a_sound_run_is_verified(1, 32, 20_000);
}

#[test]
fn a_sound_run_is_verified_on_two_cores() {
    a_sound_run_is_verified(2, 1, 260_000);
    a_sound_run_is_verified(2, 32, 20_000);
}

#[test]
fn what_crosses_is_what_the_layout_says() {
    for (layout, crossing) in [(Layout::Fused, 0.5), (Layout::Split, 1.0), (Layout::Local, 0.0)] {
        for (batch, batches) in [(1, 100_000), (32, 10_000)] {
            let report = tiny_laid_out(layout, Form::Cbor, 2, batch, batches, None);
            let Some(report) = report else { continue };
            assert!(report.verified, "{layout:?}: {:?}", report.differences);
            assert_eq!(report.crossing_share, crossing, "{layout:?}");
            assert!(report.account.refused_batches > 0 && report.account.duplicate_batches > 0);
        }
    }
}

/// Everything is done as it must be, but not where.
#[test]
fn a_split_whose_documents_stay_where_sessions_are_is_seen() {
    let plant = Some(Plant::DocumentsStay);
    let report = tiny_laid_out(Layout::Split, Form::Cbor, 2, 32, 3000, plant);
    let Some(report) = report else { return };
    assert!(!report.verified);
    let of_layout = |it: &String| it.starts_with("documents owned by core");
    assert!(report.differences.iter().all(of_layout), "{:?}", report.differences);
}

#[test]
fn documents_that_stay_where_nothing_is_split_are_no_fault_and_refused() {
    let plant = Some(Plant::DocumentsStay);
    let refused = run(&options(Layout::Fused, Form::Cbor, 1, 32, 100, plant));
    assert!(refused.is_err_and(|told| told.contains("--layout split")));
}

#[test]
fn a_sound_run_of_every_form_is_verified() {
    for (form, refuses) in [(Form::Opaque, false), (Form::Cbor, true), (Form::Rows, true)] {
        for batch in [1, 32] {
            let report = tiny_of(form, 1, batch, 20_000, None).expect("one CPU is always there");
            assert!(report.verified, "{form:?}: {:?}", report.differences);
            assert_eq!(report.account.refused_batches > 0, refuses, "{form:?}");
            assert!(report.account.duplicate_batches > 0);
        }
    }
}

#[test]
fn a_batch_that_is_longer_than_a_rooms_rest_is_cut_and_whole_again() {
    a_sound_run_is_verified(1, 4000, 1100);
}

#[test]
fn every_planted_fault_is_seen() {
    for plant in [
        Plant::PayloadByte,
        Plant::HeaderBit,
        Plant::Bodies,
        Plant::Doubled,
        Plant::Swap,
        Plant::Missing,
        Plant::SkipValidation,
    ] {
        for (cores, batch) in [(1, 1), (1, 32), (2, 1), (2, 32)] {
            let Some(report) = tiny(cores, batch, 3000, Some(plant)) else { continue };
            assert!(!report.verified, "{plant:?} on {cores} cores in batches of {batch}");
            assert!(!report.differences.is_empty());
        }
        let is_seen = |form| !tiny_of(form, 1, 32, 3000, Some(plant)).is_some_and(|it| it.verified);
        assert!(is_seen(Form::Rows), "{plant:?}");
        // There is no validation to be skipped.
        assert!(plant == Plant::SkipValidation || is_seen(Form::Opaque), "{plant:?}");
    }
}

#[test]
fn what_cannot_be_run_is_refused_before_it_begins() {
    let options = |change: fn(&mut Options)| {
        let mut options = Options {
            cores: 1,
            layout: Layout::Fused,
            documents: 10,
            delta_bytes: 46,
            batch: 1,
            seconds: 0.01,
            batches: None,
            law: Law::Zipf,
            collection: Form::Cbor,
            budget_mib: 64,
            chunks: None,
            read_bytes: 4096,
            handles_per_reader: 1024,
            seed: 1,
            no_latency: false,
            json: false,
            plant: None,
            plant_loss: None,
            plant_steps: 0,
            in_windows: false,
        };
        change(&mut options);
        run(&options)
    };
    assert!(options(|_| ()).expect("it can be run").verified);
    let slower = options(|it| it.plant_loss = Some(10.0));
    assert!(slower.expect("it can be run").verified, "slower is not wrong");
    assert!(options(|it| it.plant_steps = 3).expect("it can be run").verified);
    assert!(options(|it| it.budget_mib = 8).unwrap_err().contains("budget"));
    assert!(options(|it| it.delta_bytes = 3).unwrap_err().contains("bytes"));
    assert!(options(|it| it.cores = 10_000).unwrap_err().contains("CPUs"));
    assert!(options(|it| it.batch = 5000).unwrap_err().contains("batches"));
    assert!(options(|it| it.documents = 0).is_err());
    assert!(options(|it| it.layout = Layout::Split).unwrap_err().contains("split"));
}
