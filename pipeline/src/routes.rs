//! Where documents are that are not at home, as far as one core has been told.
//!
//! Belongs to a core that serves sessions. A handle remembers where its document was when it looked
//! last; a number that rises with each change tells it to look again, so that a move costs a core one
//! entry, whatever the number of its handles. At most one entry for each guest of any worker.

use std::collections::BTreeMap;

use crate::document::home;

#[derive(Debug, Clone, Copy)]
struct Route {
    generation: u32,
    worker: u16,
}

/// The ways to documents.
#[derive(Debug)]
pub struct Routes {
    worker_cores: std::sync::Arc<[u16]>,
    /// By slot.
    away: BTreeMap<u32, Route>,
    version: u32,
}

impl Routes {
    /// All documents are at home. The core of each worker is given by its number.
    pub fn new(worker_cores: std::sync::Arc<[u16]>) -> Self {
        Self { worker_cores, away: BTreeMap::new(), version: 0 }
    }

    /// The core of a worker.
    #[inline]
    pub fn core(&self, worker: u16) -> u16 {
        self.worker_cores[usize::from(worker)]
    }

    /// How many workers there are.
    pub fn workers(&self) -> usize {
        self.worker_cores.len()
    }

    /// Another number than before as soon as a document is somewhere else.
    #[inline]
    pub fn version(&self) -> u32 {
        self.version
    }

    /// The worker that is told what concerns the document.
    pub fn worker(&self, slot: u32, generation: u32) -> u16 {
        match self.away.get(&slot) {
            Some(route) if route.generation == generation => route.worker,
            _ => home(slot) as u16,
        }
    }

    /// Whether `worker` may have said something of the document that is not answered: it is its home,
    /// or the document is away or was a short time ago.
    #[inline]
    pub fn concerns(&self, slot: u32, worker: u16) -> bool {
        home(slot) == usize::from(worker)
            || (!self.away.is_empty() && self.away.contains_key(&slot))
    }

    /// The homes of documents that are away, or were.
    pub fn homes_away(&self) -> u64 {
        self.away.keys().fold(0, |homes, slot| homes | 1 << home(*slot))
    }

    /// From now on the document is at `worker`.
    pub(crate) fn set(&mut self, slot: u32, generation: u32, worker: u16) {
        self.away.insert(slot, Route { generation, worker });
        self.version = self.version.wrapping_add(1);
    }

    /// The document is at home, or is no more.
    pub(crate) fn forget(&mut self, slot: u32, generation: u32) {
        if self.away.get(&slot).is_some_and(|route| route.generation == generation) {
            self.away.remove(&slot);
        }
    }

    /// Documents that are away.
    pub fn count(&self) -> usize {
        self.away.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::document::slot;

    #[test]
    fn a_document_is_at_home_until_it_is_elsewhere() {
        let mut routes = Routes::new([4, 7].into());
        let (here, before) = (slot(0, 3), routes.version());
        assert_eq!((routes.worker(here, 1), routes.core(1)), (0, 7));
        routes.set(here, 1, 1);
        assert_ne!(routes.version(), before, "handles look again");
        assert_eq!((routes.worker(here, 1), routes.worker(here, 2)), (1, 0), "by generation");
        assert!(routes.concerns(here, 0) && routes.concerns(here, 1));
        assert!(!routes.concerns(slot(0, 4), 1));
        routes.forget(here, 2);
        assert_eq!(routes.worker(here, 1), 1, "another document's end is nothing to it");
        routes.forget(here, 1);
        assert_eq!((routes.worker(here, 1), routes.count()), (0, 0));
    }
}
