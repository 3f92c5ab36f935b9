//! Where documents are, asked of the coordinator and of their owners.

use std::collections::HashMap;
use std::sync::Arc;

use deltaworks_pipeline::placement::{KnownDocument, Situation};

use super::{Observer, Unanswered, owns};
use crate::desk::{Question, Rehearsed};
use crate::placing::{
    HotReport, PlacementReport, RehearsalReport, ShiftReport, WorkerReport, WorkersReport, ratio,
};

/// Asked of cores; see the others of [`Observer`].
impl Observer {
    /// How many workers there are.
    pub fn worker_count(&self) -> usize {
        self.shared.workers.len()
    }

    /// The workers and what they have to do.
    ///
    /// # Errors
    /// If too many questions wait for a core already, or the coordinator's has ended.
    pub async fn workers(&self) -> Result<WorkersReport, Unanswered> {
        let Rehearsed { situation, .. } = self.situation().await?;
        let hot = self.hot(&situation).await?;
        let cores = self.status().cores;
        let report = |(worker, core): (usize, &usize)| {
            let (core, load) = (&cores[*core], &situation.workers[worker]);
            WorkerReport {
                worker: worker as u16,
                core: core.core,
                cpu: core.cpu,
                is_elastic: core.is_elastic,
                documents: core.documents,
                guests: core.guests,
                accepted_deltas: core.accepted_deltas,
                load_ratio: ratio(load.load_ppm),
                busy_ratio: core.busy_ratio,
                is_drained: !load.may_take,
            }
        };
        let workers = self.shared.workers.iter().enumerate().map(report).collect();
        Ok(WorkersReport { workers, hot })
    }

    /// What the coordinator would do now if moves were free; nothing is done.
    ///
    /// # Errors
    /// As [`Observer::workers`].
    pub async fn rehearse(&self) -> Result<RehearsalReport, Unanswered> {
        let Rehearsed { situation, decisions, limits } = self.situation().await?;
        let names = self.names(decisions.iter().map(|it| (it.slot, it.generation))).await?;
        let mut after: Vec<u64> = situation.workers.iter().map(|it| it.load_ppm).collect();
        let mut placements = Vec::new();
        for decision in &decisions {
            let key = (decision.slot, decision.generation);
            let is_it = |it: &&KnownDocument| (it.slot, it.generation) == key;
            let load_ppm = situation.documents.iter().find(is_it).map_or(0, |it| it.load_ppm);
            let from = &mut after[usize::from(decision.from)];
            *from = from.saturating_sub(load_ppm);
            after[usize::from(decision.to)] += load_ppm;
            placements.push(PlacementReport {
                document: names.get(&key).map(ToString::to_string).unwrap_or_default(),
                slot: decision.slot,
                generation: decision.generation,
                from: decision.from,
                to: decision.to,
                elastic: decision.elastic,
                reason: decision.reason.into(),
                load_ratio: ratio(load_ppm),
            });
        }
        let shift = |(worker, (before, after)): (usize, (_, u64))| {
            let before: &deltaworks_pipeline::placement::WorkerLoad = before;
            ShiftReport {
                worker: worker as u16,
                load_before_ratio: ratio(before.load_ppm),
                load_after_ratio: ratio(after),
            }
        };
        let workers = situation.workers.iter().zip(after).enumerate().map(shift).collect();
        Ok(RehearsalReport { workers, placements, moves_per_second: limits.moves_per_second })
    }

    /// What the coordinator knows; it is on the first worker's core.
    async fn situation(&self) -> Result<Rehearsed, Unanswered> {
        let first = self.shared.workers.first().ok_or(Unanswered)?;
        let asked = self.ask_core(*first, Question::Rehearse)?;
        asked.await.pop().ok_or(Unanswered)
    }

    async fn hot(&self, situation: &Situation) -> Result<Vec<HotReport>, Unanswered> {
        let documents = || situation.documents.iter().filter(|it| it.elastic.is_some());
        let names = self.names(documents().map(|it| (it.slot, it.generation))).await?;
        let report = |it: &KnownDocument| {
            let elastic = it.elastic?;
            let place = situation.elastic.get(usize::from(elastic))?.place;
            let document = names.get(&(it.slot, it.generation))?.to_string();
            let has_own_core = place.has_own_core;
            Some(HotReport { elastic, worker: it.worker, has_own_core, document })
        };
        let mut hot: Vec<HotReport> = documents().filter_map(report).collect();
        hot.sort_by_key(|it| it.elastic);
        Ok(hot)
    }

    /// The names of documents, by slot and generation; those that have gone are left out.
    async fn names(
        &self,
        of: impl Iterator<Item = (u32, u32)>,
    ) -> Result<HashMap<(u32, u32), Arc<str>>, Unanswered> {
        let of: Arc<[(u32, u32)]> = of.collect();
        if of.is_empty() {
            return Ok(HashMap::new());
        }
        let names = self.ask(owns, |_, teller| Question::Names(Arc::clone(&of), teller))?.await;
        Ok(names.into_iter().map(|(slot, generation, name)| ((slot, generation), name)).collect())
    }
}
