//! How often a document comes, and how seldom it is still near when it comes again.
//!
//! A cache of some documents holds those that came last. Under the uniform law a draw misses it with
//! the share of documents that do not fit. Under the law of Zipf the share follows from the time in
//! which that many different documents come (Che and others 2002): a document is near if it came within it.

use crate::workload::Law;

/// Steps in which the time of a cache is found; each halves what is unknown.
const HALVINGS: u32 = 60;

/// The share of draws whose document is not among the `near` different ones that came last, of
/// `documents` in all.
pub fn cold_share(law: Law, documents: f64, near: f64) -> f64 {
    if near >= documents {
        return 0.0;
    }
    match law {
        Law::Uniform => 1.0 - near / documents,
        Law::Zipf => zipf_cold_share(documents, near),
    }
}

/// How many different documents were touched last within `near_bytes`, where each lays `state_bytes` there
/// and, with its batch, `image_bytes`, which go round in a pool of `pool_bytes`. One at least: that of
/// the batch before.
pub fn near_documents(near_bytes: f64, state_bytes: f64, image_bytes: f64, pool_bytes: f64) -> f64 {
    // As long as the pool has not gone round; and what is left of the bytes when it has.
    let before = near_bytes / (state_bytes + image_bytes).max(1.0);
    let behind = (near_bytes - pool_bytes) / state_bytes.max(1.0);
    let near = if before * image_bytes <= pool_bytes { before } else { behind };
    near.max(1.0)
}

/// How likely a draw behind `draws` even ones is the first of its document, of `documents`.
pub fn first_share(documents: f64, draws: f64) -> f64 {
    1.0 - different(documents, draws) / documents.max(1.0)
}

/// How many different documents come in `draws` even draws.
pub fn different(documents: f64, draws: f64) -> f64 {
    documents * -(draws * (-1.0 / documents.max(1.0 + 1e-9)).ln_1p()).exp_m1()
}

/// Ranks of nearly one weight, taken together.
struct Ranks {
    count: f64,
    weight: f64,
}

fn zipf_ranks(documents: f64) -> Vec<Ranks> {
    let mut ranks = Vec::new();
    let mut first = 1.0_f64;
    let mut sum = 0.0;
    while first <= documents {
        let end = (first * 1.03).floor().max(first + 1.0).min(documents + 1.0);
        let count = end - first;
        // The mean of 1/rank over first..end.
        let weight =
            if count < 1.5 { 1.0 / first } else { ((end - 0.5) / (first - 0.5)).ln() / count };
        sum += weight * count;
        ranks.push(Ranks { count, weight });
        first = end;
    }
    for it in &mut ranks {
        it.weight /= sum;
    }
    ranks
}

fn zipf_cold_share(documents: f64, near: f64) -> f64 {
    let ranks = zipf_ranks(documents);
    let seen = |draws: f64| -> f64 {
        ranks.iter().map(|it| it.count * -(-it.weight * draws).exp_m1()).sum()
    };
    let (mut few, mut many) = (0.0, near);
    while seen(many) < near {
        many *= 2.0;
    }
    for _ in 0..HALVINGS {
        let middle = f64::midpoint(few, many);
        if seen(middle) < near {
            few = middle;
        } else {
            many = middle;
        }
    }
    ranks.iter().map(|it| it.count * it.weight * (-it.weight * many).exp()).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Random;
    use std::collections::VecDeque;

    /// A list of those that came last, played.
    fn played(weights: &[f64], near: usize) -> f64 {
        let mut random = Random::new(1);
        let mut sums = Vec::new();
        let mut sum = 0.0;
        for weight in weights {
            sum += weight;
            sums.push(sum);
        }
        let mut last: VecDeque<usize> = VecDeque::new();
        let (mut cold, draws, warm) = (0, 60_000, 20_000);
        for number in 0..draws + warm {
            let point = random.unit() * sum;
            let document = sums.partition_point(|it| *it < point).min(weights.len() - 1);
            match last.iter().position(|it| *it == document) {
                Some(place) => {
                    last.remove(place);
                }
                None => {
                    cold += u32::from(number >= warm);
                    if last.len() == near {
                        last.pop_back();
                    }
                }
            }
            last.push_front(document);
        }
        f64::from(cold) / f64::from(draws)
    }

    #[test]
    fn shares_are_those_of_a_list_that_is_played() {
        for near in [10, 50, 200] {
            let uniform = cold_share(Law::Uniform, 300.0, near as f64);
            let is = played(&[1.0; 300], near);
            assert!((uniform - is).abs() < 0.02, "uniform {near}: {uniform}, played {is}");
            let weights: Vec<f64> = (1..=300).map(|rank| 1.0 / f64::from(rank)).collect();
            let zipf = cold_share(Law::Zipf, 300.0, near as f64);
            let is = played(&weights, near);
            assert!((zipf - is).abs() < 0.02, "zipf {near}: {zipf}, played {is}");
            // The comparison tells the two laws apart.
            assert!((uniform - is).abs() > 0.02);
        }
    }

    #[test]
    fn different_documents_are_those_that_come() {
        assert!((different(1.0, 50.0) - 1.0).abs() < 1e-6);
        let mut random = Random::new(2);
        for draws in [10, 300, 5000] {
            let mut seen = std::collections::BTreeSet::new();
            seen.extend((0..draws).map(|_| random.below(300)));
            let (is, must) = (seen.len() as f64, different(300.0, f64::from(draws)));
            assert!((is / must - 1.0).abs() < 0.05, "{draws}: {is}, computed {must}");
            let new = (300 - seen.len()) as f64 / 300.0;
            assert!((first_share(300.0, f64::from(draws)) - new).abs() < 0.02, "{draws}");
        }
    }

    /// Long batches push out more, until their pool has gone round.
    #[test]
    fn fewer_documents_are_near_when_batches_are_long() {
        let near = |image_bytes| near_documents(1e6, 400.0, image_bytes, 5e5);
        assert_eq!((near(0.0), near(100.0)), (2500.0, 2000.0));
        // 5e5 bytes of images and 5e5 of state.
        assert!((near(400.0) - 1250.0).abs() < 1e-9);
        assert!((near(10_000.0) - 1250.0).abs() < 1e-9);
        assert_eq!(near_documents(500.0, 400.0, 200.0, 1e6), 1.0);
    }

    #[test]
    fn what_fits_is_never_cold() {
        for law in [Law::Uniform, Law::Zipf] {
            assert_eq!(cold_share(law, 100.0, 100.0), 0.0);
            assert!(cold_share(law, 1e6, 999.0) > cold_share(law, 1e5, 999.0));
        }
    }
}
