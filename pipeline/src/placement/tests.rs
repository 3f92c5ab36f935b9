use super::*;
use crate::document::slot;
use crate::registry::mix;

const CORE: u64 = 1_000_000;

fn worker(load_ppm: u64) -> WorkerLoad {
    WorkerLoad {
        load_ppm,
        is_home: true,
        may_take: true,
        is_emptied: false,
        is_full: false,
        is_full_of_guests: false,
    }
}

fn own_core(load_ppm: u64) -> WorkerLoad {
    WorkerLoad { is_home: false, ..worker(load_ppm) }
}

fn document(number: u32, at: u16, load_ppm: u64) -> KnownDocument {
    KnownDocument {
        slot: slot(at, number),
        generation: 0,
        worker: at,
        load_ppm,
        elastic: None,
        wish: Wish::Stay,
        rests: false,
    }
}

fn hot(number: u32, at: u16, load_ppm: u64) -> KnownDocument {
    KnownDocument { wish: Wish::Promotion, ..document(number, at, load_ppm) }
}

fn shared(worker: u16) -> ElasticWorker {
    let place = ElasticPlace { worker, has_own_core: false, weight: 1 };
    ElasticWorker { place, is_free: true }
}

fn alone(worker: u16) -> ElasticWorker {
    let place = ElasticPlace { worker, has_own_core: true, weight: 1 };
    ElasticWorker { place, is_free: true }
}

fn short(decisions: &[Decision]) -> Vec<(u32, u16, Option<u16>)> {
    decisions.iter().map(|it| (it.slot, it.to, it.elastic)).collect()
}

/// Does what was decided, as the workers would.
fn apply(situation: &mut Situation, decisions: &[Decision]) {
    for decision in decisions {
        let is_it = |it: &&mut KnownDocument| it.slot == decision.slot;
        let document = situation.documents.iter_mut().find(is_it).expect("it is known");
        assert_eq!(document.worker, decision.from);
        situation.workers[usize::from(decision.from)].load_ppm -= document.load_ppm;
        situation.workers[usize::from(decision.to)].load_ppm += document.load_ppm;
        document.worker = decision.to;
        if let Some(before) = document.elastic {
            situation.elastic[usize::from(before)].is_free = true;
        }
        document.elastic = decision.elastic;
        if document.wish == Wish::Promotion || document.elastic.is_none() {
            document.wish = Wish::Stay;
        }
        if let Some(number) = decision.elastic {
            let elastic = &mut situation.elastic[usize::from(number)];
            assert!(elastic.is_free, "an elastic worker has one document");
            assert_eq!(elastic.place.worker, decision.to);
            elastic.is_free = false;
        }
    }
}

#[test]
fn a_hot_document_gets_a_core_of_its_own_first() {
    let situation = Situation {
        workers: vec![worker(CORE), worker(0), own_core(0)],
        documents: vec![hot(1, 0, 300_000), hot(2, 0, 500_000), hot(3, 0, 100_000)],
        elastic: vec![shared(0), shared(1), alone(2)],
        may_even: false,
    };
    let limits = PlacementLimits::default();
    let decisions = decide(&situation, &limits, 9);
    let expected = [(2, 2, Some(2)), (1, 1, Some(1)), (3, 0, Some(0))];
    assert_eq!(short(&decisions), expected, "the hottest alone, the others where there is least");
    // Without moves each may still get an elastic worker of its own core.
    assert_eq!(short(&decide(&situation, &limits, 0)), [(2, 0, Some(0))]);
    let off =
        PlacementLimits { thresholds: Thresholds { promotion: 0, ..limits.thresholds }, ..limits };
    assert_eq!(decide(&situation, &off, 9), []);
}

#[test]
fn a_hot_document_stays_on_a_core_that_is_no_worse_than_others() {
    let limits = PlacementLimits::default();
    for (here, there, to) in [(600_000, 100_000, 0), (800_000, 100_000, 1), (100, 100, 0)] {
        let situation = Situation {
            workers: vec![worker(here), worker(there)],
            documents: vec![hot(1, 0, here.min(500_000))],
            elastic: vec![shared(0), shared(1)],
            may_even: true,
        };
        let decisions = decide(&situation, &limits, 9);
        assert_eq!(short(&decisions), [(1, to, Some(to))], "{here} {there}");
    }
}

#[test]
fn a_quiet_document_goes_home_and_what_rests_is_left_alone() {
    let mut quiet =
        KnownDocument { worker: 2, elastic: Some(0), wish: Wish::Demotion, ..document(7, 1, 0) };
    let mut situation = Situation {
        workers: vec![worker(0), worker(9), own_core(0)],
        documents: vec![quiet],
        elastic: vec![ElasticWorker { is_free: false, ..alone(2) }],
        may_even: true,
    };
    let still = PlacementLimits { moves_per_second: 0, ..PlacementLimits::default() };
    assert_eq!(short(&decide(&situation, &still, 0)), [(slot(1, 7), 2, None)], "nothing moves");
    let limits = PlacementLimits { moves_per_second: 10, ..still };
    assert_eq!(short(&decide(&situation, &limits, 1)), [(slot(1, 7), 1, None)]);
    assert_eq!(decide(&situation, &limits, 0), [], "no moves are left");
    situation.workers[1].may_take = false;
    assert_eq!(short(&decide(&situation, &limits, 1)), [(slot(1, 7), 0, None)]);
    quiet.rests = true;
    situation.documents = vec![quiet];
    assert_eq!(decide(&situation, &limits, 1), []);
}

#[test]
fn a_worker_that_is_to_be_empty_gives_away_what_it_has() {
    let mut situation = Situation {
        workers: vec![worker(10), worker(500), worker(40)],
        documents: vec![document(1, 0, 4), document(2, 0, 3), document(3, 0, 3)],
        elastic: vec![],
        may_even: true,
    };
    situation.workers[0].is_emptied = true;
    let limits = PlacementLimits::default();
    let decisions = decide(&situation, &limits, 2);
    assert_eq!(short(&decisions), [(1, 2, None), (2, 2, None)]);
    situation.workers.iter_mut().for_each(|worker| worker.may_take = false);
    assert_eq!(decide(&situation, &limits, 2), [], "nobody may take it");
}

/// A situation drawn from a seed: some workers, elastic workers, documents of any load and wish.
fn drawn(seed: u64) -> Situation {
    let mut state = seed;
    let mut draw = move |below: u64| {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(state) % below
    };
    let homes = 1 + draw(4) as u16;
    let owning = draw(3) as u16;
    let mut situation = Situation { may_even: true, ..Situation::default() };
    for _ in 0..homes {
        let may_take = draw(8) > 0;
        let base = draw(200_000);
        let is_emptied = draw(16) == 0;
        let is_full = draw(8) == 0;
        let is_full_of_guests = draw(8) == 0;
        let drawn = WorkerLoad { may_take, is_emptied, is_full, is_full_of_guests, ..worker(base) };
        situation.workers.push(drawn);
    }
    situation.workers.extend((0..owning).map(|_| own_core(0)));
    situation.elastic.extend((homes..homes + owning).map(alone));
    for _ in 0..draw(4) {
        situation.elastic.push(shared(draw(u64::from(homes)) as u16));
    }
    for number in 0..draw(40) as u32 {
        let at = if draw(2) == 0 { 0 } else { draw(u64::from(homes)) as u16 };
        let below = [2_000, 20_000, 400_000][draw(3) as usize];
        let mut document = document(number, at, draw(below));
        document.rests = draw(8) == 0;
        document.wish = if draw(8) == 0 { Wish::Promotion } else { Wish::Stay };
        situation.workers[usize::from(at)].load_ppm += document.load_ppm;
        situation.documents.push(document);
    }
    situation
}

/// Load of the most and of the least loaded worker that evening looks at.
fn extremes(situation: &Situation) -> (u64, u64) {
    let loads = || situation.workers.iter().filter(|worker| worker.is_home && !worker.is_emptied);
    let least = loads().filter(|it| it.takes()).map(|it| it.load_ppm).min();
    let most = loads().map(|it| it.load_ppm).max();
    (most.unwrap_or(0), least.unwrap_or(0))
}

#[test]
fn never_more_moves_than_there_may_be_and_never_twice_the_same() {
    let limits = PlacementLimits::default();
    let mut used_up = 0;
    for seed in 0..4_000 {
        let situation = drawn(seed);
        for moves_max in [0, 1, 3, 100] {
            let decisions = decide(&situation, &limits, moves_max);
            let moves = decisions.iter().filter(|it| it.is_move()).count();
            assert!(moves <= moves_max, "seed {seed}");
            used_up += usize::from(moves == moves_max && moves > 0);
            let mut slots: Vec<u32> = decisions.iter().map(|it| it.slot).collect();
            slots.sort_unstable();
            slots.dedup();
            assert_eq!(slots.len(), decisions.len(), "seed {seed}: one decision a document");
            for decision in &decisions {
                let rests = |it: &KnownDocument| it.slot == decision.slot && it.rests;
                assert!(!situation.documents.iter().any(rests), "seed {seed}: it rests");
                let to = situation.workers[usize::from(decision.to)];
                let is_guest = home(decision.slot) != usize::from(decision.to);
                let has_place = !is_guest || !to.is_full_of_guests;
                let has_room = has_place && !to.is_full;
                let may = !decision.is_move() || (to.may_take && !to.is_emptied && has_room);
                assert!(may, "seed {seed}: worker {} takes nothing", decision.to);
            }
            apply(&mut situation.clone(), &decisions);
        }
    }
    assert!(used_up > 1_000);
}

#[test]
fn evening_never_makes_the_distance_wider() {
    let limits = PlacementLimits::default();
    let (mut moved, mut evened) = (0, 0);
    for seed in 0..4_000 {
        let mut situation = drawn(seed);
        situation.documents.iter_mut().for_each(|document| document.wish = Wish::Stay);
        situation.workers.iter_mut().for_each(|worker| worker.is_emptied = false);
        for moves_max in [1, 2, 100] {
            let decisions = decide(&situation, &limits, moves_max);
            assert!(decisions.iter().all(|it| it.reason == Reason::Evening));
            let (most, least) = extremes(&situation);
            let mut after = situation.clone();
            apply(&mut after, &decisions);
            let (most_after, least_after) = extremes(&after);
            assert!(most_after <= most && least_after >= least, "seed {seed}");
            assert!(decisions.is_empty() || is_uneven(&situation, &limits), "seed {seed}");
            moved += decisions.len();
            evened += usize::from(!decisions.is_empty() && !is_uneven(&after, &limits));
        }
    }
    assert!(moved > 2_000 && evened > 500, "{moved} {evened}");
}

/// Under constant load a situation comes to rest, and each document moves in one direction only.
#[test]
fn a_constant_load_is_put_right_once() {
    let limits = PlacementLimits::default();
    for seed in 0..2_000 {
        let mut situation = drawn(seed);
        situation.documents.iter_mut().for_each(|document| document.rests = false);
        let mut rounds = 0;
        loop {
            let decisions = decide(&situation, &limits, 2);
            if decisions.is_empty() {
                break;
            }
            apply(&mut situation, &decisions);
            rounds += 1;
            assert!(rounds < 100, "seed {seed}: it goes in circles");
        }
        assert_eq!(decide(&situation, &limits, 100), [], "seed {seed}");
    }
}

#[test]
fn what_can_be_evened_is_evened_by_the_fewest() {
    let limits = PlacementLimits::default();
    let mut situation = Situation {
        workers: vec![worker(900_000), worker(100_000), worker(100_000)],
        documents: (0..9).map(|number| document(number, 0, 100_000)).collect(),
        elastic: vec![],
        may_even: true,
    };
    let decisions = decide(&situation, &limits, 100);
    apply(&mut situation, &decisions);
    assert!(!is_uneven(&situation, &limits), "{situation:?}");
    assert_eq!(decisions.len(), 5, "{decisions:?}");
    // One that alone is the load has nowhere better to be.
    let situation = Situation {
        workers: vec![worker(900_000), worker(0)],
        documents: vec![document(1, 0, 900_000)],
        ..situation
    };
    assert!(is_uneven(&situation, &limits));
    assert_eq!(decide(&situation, &limits, 100), []);
    // Below the floor nothing is done, nor when it is switched off.
    let small = Situation {
        workers: vec![worker(100_000), worker(0)],
        documents: vec![document(1, 0, 50_000)],
        ..situation
    };
    assert_eq!(decide(&small, &limits, 100), []);
    let just = Situation { workers: vec![worker(100_001), worker(0)], ..small };
    assert_eq!(decide(&just, &limits, 100).len(), 1);
    assert_eq!(decide(&just, &PlacementLimits { balance_percent: 0, ..limits }, 100), []);
    // At the stated factor nothing is done either.
    let at = Situation { workers: vec![worker(600_000), worker(400_000)], ..just };
    assert_eq!(decide(&at, &limits, 100), []);
    let above = Situation { workers: vec![worker(600_001), worker(400_000)], ..at };
    assert_eq!(decide(&above, &limits, 100).len(), 1);
}

#[test]
fn a_worker_without_room_is_given_nothing() {
    let full = |load_ppm| WorkerLoad { is_full: true, ..worker(load_ppm) };
    let limits = PlacementLimits::default();
    let mut situation = Situation {
        workers: vec![worker(900_000), full(0), worker(100_000)],
        documents: (0..8).map(|number| document(number, 0, 100_000)).collect(),
        elastic: vec![],
        may_even: true,
    };
    let decisions = decide(&situation, &limits, 100);
    assert!(decisions.len() > 2 && decisions.iter().all(|it| it.to == 2), "{decisions:?}");
    // The only other one has no room: that they are uneven is not news.
    situation.workers[2].is_full = true;
    assert!(!is_uneven(&situation, &limits));
    assert_eq!(decide(&situation, &limits, 100), []);
    situation.workers[0].is_emptied = true;
    assert_eq!(decide(&situation, &limits, 100), [], "emptied later");

    // A hot document gets another core, or a lane where it is, which needs no room.
    let elastic = vec![alone(1), alone(2), shared(0)];
    let own = |is_full| WorkerLoad { is_full, ..own_core(0) };
    let mut situation = Situation {
        workers: vec![worker(500_000), own(true), own(false)],
        documents: vec![hot(1, 0, 300_000)],
        elastic,
        may_even: true,
    };
    assert_eq!(short(&decide(&situation, &limits, 9)), [(1, 2, Some(1))]);
    situation.workers[2].is_full = true;
    assert_eq!(short(&decide(&situation, &limits, 9)), [(1, 0, Some(2))]);

    // A quiet one whose home has no room waits with what it has.
    let quiet =
        KnownDocument { worker: 2, elastic: Some(1), wish: Wish::Demotion, ..document(7, 0, 0) };
    situation.documents = vec![quiet];
    situation.elastic[1].is_free = false;
    situation.workers[0].is_full = true;
    assert_eq!(decide(&situation, &limits, 9), []);
    // Where nothing moves it gives its lane up where it is: that needs no room.
    let still = PlacementLimits { moves_per_second: 0, ..limits };
    assert_eq!(short(&decide(&situation, &still, 0)), [(slot(0, 7), 2, None)]);
    // At home it is no guest.
    (situation.workers[0].is_full, situation.workers[0].is_full_of_guests) = (false, true);
    assert_eq!(short(&decide(&situation, &limits, 9)), [(slot(0, 7), 0, None)]);
    situation.workers[0].is_full_of_guests = false;
    assert_eq!(short(&decide(&situation, &limits, 9)), [(slot(0, 7), 0, None)]);
}

#[test]
fn a_worker_that_is_full_of_guests_takes_its_own() {
    let limits = PlacementLimits::default();
    let full = WorkerLoad { is_full_of_guests: true, ..worker(0) };
    let mut situation = Situation {
        workers: vec![worker(900_000), full],
        documents: vec![document(3, 0, 300_000), document(4, 0, 300_000)],
        elastic: vec![],
        may_even: true,
    };
    assert!(!is_uneven(&situation, &limits));
    assert_eq!(decide(&situation, &limits, 9), []);
    situation.workers[0].is_emptied = true;
    assert_eq!(decide(&situation, &limits, 9), [], "guests of nobody");
    situation.documents[1] = KnownDocument { worker: 0, ..document(4, 1, 300_000) };
    assert_eq!(short(&decide(&situation, &limits, 9)), [(slot(1, 4), 1, None)], "it comes home");
}
