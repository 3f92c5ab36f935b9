//! What a batch of one workload costs each stage: costs, put together once before the simulation.

use crate::costs::{CROSSING_NEAR_BYTES, Costs, CrossingCost, Inside, Stage};
use crate::layout::Layout;
use crate::popularity::{cold_share, near_documents};
use crate::simulation::CHUNKS_PER_CORE;
use crate::workload::{Collection, Ends, Workload};

/// Times of one stage, in nanoseconds.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub struct StageTimes {
    /// Each turn.
    pub turn_ns: f64,
    /// Each send.
    pub send_ns: f64,
    /// Each document of a turn, or of a send.
    pub visit_ns: f64,
    /// Each batch, cold documents and first batches included.
    pub batch_ns: f64,
    /// Each batch that crosses between the two cores that were measured.
    pub crossing_ns: f64,
}

/// Times of all stages.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub struct Times {
    stages: [StageTimes; Stage::ALL.len()],
    /// Each read of a session.
    pub read_ns: f64,
    /// Each look at sockets.
    pub look_ns: f64,
    /// Time between two looks.
    pub look_interval_ns: f64,
    /// Steps of validation of each batch.
    pub batch_steps: f64,
}

impl Times {
    /// Those of a workload on a machine, when `first_share` of the batches are the first of their
    /// documents.
    pub fn of(costs: &Costs, workload: &Workload, layout: &Layout, first_share: f64) -> Self {
        let mut times = Self::default();
        for stage in Stage::ALL {
            *times.stage_mut(stage) = stage_times(costs, workload, layout, stage, first_share);
        }
        if workload.collection == Collection::Cbor {
            times.batch_steps = f64::from(workload.batch) * costs.turn.delta_steps;
        }
        if workload.ends == Ends::Tcp {
            let it = &costs.socket;
            let image_bytes = workload.image_bytes();
            times.read_ns = it.read_ns;
            times.look_ns = it.look_ns;
            times.look_interval_ns = it.look_interval_ns;
            times.stage_mut(Stage::Source).batch_ns = it.read_byte_ns * image_bytes;
            let sink = times.stage_mut(Stage::Sink);
            sink.send_ns = it.send_ns;
            sink.batch_ns = it.send_byte_ns * image_bytes;
        }
        times
    }

    /// Those of one stage.
    #[inline]
    pub fn stage(&self, stage: Stage) -> &StageTimes {
        &self.stages[stage as usize]
    }

    /// The same, to be changed.
    pub fn stage_mut(&mut self, stage: Stage) -> &mut StageTimes {
        &mut self.stages[stage as usize]
    }
}

fn stage_times(
    costs: &Costs,
    workload: &Workload,
    layout: &Layout,
    stage: Stage,
    first_share: f64,
) -> StageTimes {
    let is_end = matches!(stage, Stage::Source | Stage::Sink);
    if is_end && workload.ends != Ends::Harness {
        return StageTimes::default();
    }
    let (own, crossing) = (&costs.of(stage).own, &costs.of(stage).crossing);
    let bytes = workload.image_bytes();
    let inside = Inside {
        deltas: f64::from(workload.batch),
        delta_bytes: f64::from(workload.delta_bytes),
        image_bytes: bytes,
    };
    let sharing = match stage {
        Stage::Validation => layout.cores(|seat| seat.owns_documents),
        _ => layout.cores(|seat| seat.serves_sessions),
    };
    let documents = (f64::from(workload.documents) / sharing.len().max(1) as f64).max(1.0);
    let chunks = f64::from(workload.chunks_per_core.unwrap_or(CHUNKS_PER_CORE));
    let pool_bytes = chunks * costs.memory.chunk_bytes;
    let state_bytes = costs.memory.state_bytes();
    let cold = |near_bytes: f64| {
        let near = near_documents(near_bytes, state_bytes, bytes, pool_bytes);
        cold_share(workload.law, documents, near)
    };
    let cold_ns = own.cold_ns(&inside, cold);
    let looks_inside = stage != Stage::Validation || workload.collection == Collection::Cbor;
    let inside_ns = if looks_inside { own.inside_ns(&inside) } else { 0.0 };
    let beside = if layout.seats.len() > 1 { costs.beside } else { 1.0 };
    StageTimes {
        turn_ns: own.turn_ns * beside,
        send_ns: own.send_ns * beside,
        visit_ns: own.visit_ns * beside,
        batch_ns: (own.batch_ns + inside_ns + cold_ns + own.first_ns * first_share) * beside,
        crossing_ns: CrossingCost::counts(&inside, cold(CROSSING_NEAR_BYTES), first_share, 1.0)
            .iter()
            .zip(crossing.all())
            .map(|(count, ns)| count * ns)
            .sum(),
    }
}
