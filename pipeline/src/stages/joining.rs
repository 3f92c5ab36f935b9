//! How the stages of several cores are joined: rings, bitmaps, chunks, blocks, and who has which.
//!
//! Everything that two cores share is made here, once, before the first of them turns.

use std::sync::Arc as StdArc;

use deltaworks_image as image;
use deltaworks_runtime::chunk_memory::{ChunkId, RegionId};
use deltaworks_runtime::ring::ring;
use deltaworks_runtime::sync::Arc;

use super::{CORES_MAX, CoreRole, CoreStages, Inbox, Parts, SessionSide};
use crate::chunk::ChunkPool;
use crate::document::SharedDocuments;
use crate::kept::Kept;
use crate::mailbox::{Mailbox, Mailboxes, Parcel, Queue};
use crate::pending::Pending;
use crate::placement::coordinator::Coordinator;
use crate::placement::elastic_places;
use crate::propagation::Propagation;
use crate::reception::Reception;
use crate::registry::Registry;
use crate::routes::Routes;
use crate::stream::{BlockPool, NodeMemory};
use crate::subscription::NO_HOME;
use crate::validation::{Marks, Standing, Validation};

/// Bytes that the rings of `cores` cores take: a table for the budget.
pub fn ring_bytes(cores: usize, capacity: usize) -> u64 {
    (cores * cores) as u64 * deltaworks_runtime::ring::ring_bytes::<Parcel>(capacity)
}

/// Joins the stages of all cores: one ring for each ordered pair of which one owns documents, one
/// bitmap for each pair of a home and an agent.
///
/// Workers are numbered in the order of their cores, those that are a home first.
///
/// # Panics
/// If roles, doorbells and regions do not fit each other, if no worker is a home, or with more than
/// [`CORES_MAX`] cores.
pub fn join(parts: Parts) -> Vec<CoreStages> {
    let cores = parts.roles.len();
    assert!(cores > 0 && cores <= CORES_MAX && parts.doorbells.len() == cores);
    let with = |pick: fn(&CoreRole) -> bool| -> Vec<u16> {
        let roles = parts.roles.iter().enumerate();
        roles.filter(|(_, role)| pick(role)).map(|(core, _)| core as u16).collect()
    };
    let home_cores = with(|role| role.is_home());
    let elastic_cores = with(|role| role.owns_documents && role.is_elastic);
    let homes = home_cores.len();
    let worker_cores: StdArc<[u16]> = [home_cores, elastic_cores].concat().into();
    let session_cores = with(|role| role.serves_sessions);
    let regions = parts.memory.regions() as usize;
    let keeps = regions == session_cores.len() + homes;
    assert!(homes > 0 && (keeps || regions == session_cores.len()));
    let keeping_cores = worker_cores[..homes].iter().filter(|_| keeps);
    let keeping_mask = keeping_cores.clone().fold(0, |cores, core| cores | 1_u64 << core);
    let chunk_cores: StdArc<[u16]> = session_cores
        .iter()
        .chain(keeping_cores)
        .enumerate()
        .flat_map(|(region, core)| parts.memory.chunks_of(RegionId(region as u32)).map(|_| *core))
        .collect();
    let first_kept = keeps.then_some(RegionId(session_cores.len() as u32));
    let first_kept = first_kept.and_then(|region| parts.memory.chunks_of(region).next());
    let kept_from = first_kept.map_or(u32::MAX, |chunk| chunk.0);

    let per_worker = parts.limits.documents_per_worker_max as usize;
    let shared = SharedDocuments::new(homes, per_worker);
    let nodes = NodeMemory::new(parts.node_blocks);
    let pending: Marks = (0..homes)
        .map(|_| {
            let of_core =
                |role: &CoreRole| role.serves_sessions.then(|| Arc::new(Pending::new(per_worker)));
            parts.roles.iter().map(of_core).collect()
        })
        .collect();

    let mut inboxes: Vec<Vec<Inbox>> = (0..cores).map(|_| vec![]).collect();
    let mut outboxes = Vec::new();
    for from in 0..cores {
        let mut boxes = Vec::new();
        for (to, inbox) in inboxes.iter_mut().enumerate() {
            if to == from {
                boxes.push(Mailbox::own(from as u16));
                continue;
            }
            if !parts.roles[from].owns_documents && !parts.roles[to].owns_documents {
                boxes.push(Mailbox::none());
                continue;
            }
            let (producer, consumer) = ring(parts.ring_capacity);
            boxes.push(Mailbox::new(producer, parts.doorbells[to].clone()));
            inbox.push(Inbox::new(from as u16, consumer));
        }
        outboxes.push(Mailboxes::new(boxes, from, Routes::new(worker_cores.clone())));
    }

    let own_cores = (worker_cores.len() - homes) as u16;
    let elastic_max = parts.limits.placement.elastic_workers_max;
    let elastic = elastic_places(homes as u16, own_cores, elastic_max);
    let blocks_each = parts.node_blocks / homes as u32;
    let image_limits = image::Limits {
        image_bytes_max: parts.limits.image_bytes_max,
        deltas_per_batch_max: parts.limits.deltas_per_batch_max,
        info_bytes_max: parts.limits.info_bytes_max,
        ..image::Limits::default()
    };
    let mut stages = Vec::new();
    for (core, (inbox, boxes)) in inboxes.into_iter().zip(outboxes).enumerate() {
        let region = session_cores.iter().position(|with| *with as usize == core);
        let worker = worker_cores.iter().position(|with| *with as usize == core);
        let own_home = worker.filter(|worker| *worker < homes).map_or(NO_HOME, |home| home as u16);
        let sessions = region.map(|region| {
            let mut chunks = parts.memory.chunks_of(RegionId(region as u32));
            let count = chunks.len() as u32;
            let first = chunks.next().unwrap_or(ChunkId(0));
            let marks = pending.iter().filter_map(|by_core| by_core[core].clone()).collect();
            SessionSide {
                reception: Reception::new(
                    ChunkPool::new(Arc::clone(&parts.memory), first, count),
                    worker_cores.clone(),
                    parts.collections.clone(),
                    homes,
                    image_limits,
                    parts.limits.clone(),
                    parts.measures_latency,
                ),
                propagation: Propagation::new(
                    (Arc::clone(&shared), own_home),
                    Arc::clone(&nodes),
                    Arc::clone(&parts.memory),
                    marks,
                    worker_cores.clone(),
                    parts.collections.clone(),
                    &parts.limits,
                ),
            }
        });
        let validation = worker.map(|worker| {
            let of_worker = elastic
                .iter()
                .zip(0_u16..)
                .filter(|(place, _)| usize::from(place.worker) == worker && !place.has_own_core);
            let standing = Standing {
                coordinator_core: worker_cores[0],
                elastic: of_worker.map(|(place, number)| (number, place.weight)).collect(),
                blocks_each,
                kept_from,
                keeping_cores: keeping_mask,
            };
            // A worker that is nobody's home begins without.
            let first = worker.min(homes) as u32 * blocks_each;
            let end = (worker + 1).min(homes) as u32 * blocks_each;
            let blocks = BlockPool::new(Arc::clone(&nodes), first, end);
            let registry = Registry::new(
                worker as u16,
                Arc::clone(&shared),
                parts.collections.clone(),
                blocks,
                parts.limits.clone(),
                parts.epoch_seed,
            );
            let mut validation = Validation::new(
                core as u16,
                registry,
                Arc::clone(&parts.memory),
                chunk_cores.clone(),
                pending.clone(),
                &standing,
                parts.limits.clone(),
            );
            if keeps && worker < homes {
                let region = RegionId((session_cores.len() + worker) as u32);
                let mut chunks = parts.memory.chunks_of(region);
                let count = chunks.len() as u32;
                let first = chunks.next().unwrap_or(ChunkId(0));
                let memory = Arc::clone(&parts.memory);
                let kept = Kept::new(memory, first, count, worker as u16);
                validation.retirements.kept = Some(kept);
            }
            validation
        });
        let coordinator = (worker == Some(0)).then(|| {
            let is_home: Vec<bool> = (0..worker_cores.len()).map(|it| it < homes).collect();
            Box::new(Coordinator::new(parts.limits.placement, &is_home, &elastic))
        });
        stages.push(CoreStages {
            core: core as u16,
            inbox,
            own: Queue::default(),
            boxes,
            sessions,
            validation,
            coordinator,
            worker_cores: worker_cores.clone(),
            reading_stopped: false,
            deepest_inbox: 0,
            last_inbox: 0,
            waiting_messages_max: parts.limits.waiting_messages_max as usize,
            messages_per_turn: parts.limits.turn.messages_per_turn,
            first_ring: 0,
            resumed: Vec::new(),
            before_round_bytes: 0,
            ahead_bytes_max: u64::from(parts.limits.turn.bytes_per_send_in_rounds() / 2),
        });
    }
    stages
}
