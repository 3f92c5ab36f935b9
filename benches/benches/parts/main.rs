//! The parts of the data path, each alone: what one costs when nothing else runs.
//!
//! Every bench asserts its result before it is timed, and its file says what the number means. Two
//! CPUs are needed where cores hand over to each other; where there are fewer, that is said and
//! left out. `cargo bench -p deltaworks-benches`; read ratios on shared machines, not absolutes.

mod chunk;
mod pair;
mod ring;
mod stamp;
mod stream;
mod validation;
mod wake;

fn main() {
    let mut criterion = criterion::Criterion::default()
        .sample_size(20)
        .warm_up_time(std::time::Duration::from_millis(300))
        .measurement_time(std::time::Duration::from_secs(1))
        .configure_from_args();
    ring::bench(&mut criterion);
    stamp::bench(&mut criterion);
    chunk::bench(&mut criterion);
    validation::bench(&mut criterion);
    stream::bench(&mut criterion);
    wake::bench(&mut criterion);
    criterion.final_summary();
}
