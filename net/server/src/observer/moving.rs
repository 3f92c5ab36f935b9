//! A document is moved because somebody asks for it.

use deltaworks_pipeline::document::home;
use deltaworks_pipeline::inventory::DocumentEntry;
use deltaworks_runtime::answer::Answer;
use futures_lite::future::or;

use super::{Observer, Unanswered, owns};
use crate::desk::Question;
use crate::moving::{
    Drained, MoveFailure, MoveOrder, MoveReport, MoveTold, OwnedDocument, Whereabouts,
};

/// Asked of cores; see the others of [`Observer`].
impl Observer {
    /// Who has the document of that name; nobody also while it is on its way from one to the other,
    /// some microseconds.
    ///
    /// # Errors
    /// If too many questions wait for a core already.
    pub async fn find(&self, name: &str) -> Result<Option<Whereabouts>, Unanswered> {
        let worker_of = |core| self.shared.workers.iter().position(|of| *of == core);
        let found = self.ask(owns, |core, teller| {
            Question::Find(name.into(), worker_of(core).unwrap_or_default() as u16, teller)
        });
        Ok(found?.await.first().copied())
    }

    /// Moves a document to worker `to`, and waits until that has ended: for ever if a core does not
    /// turn any more, so whoever awaits bounds the time. One that is given up may still be moved.
    ///
    /// # Errors
    /// Why it was not moved.
    pub async fn move_document(
        &self,
        name: &str,
        at: Whereabouts,
        to: u16,
    ) -> Result<MoveReport, MoveFailure> {
        let Whereabouts { slot, generation, worker: from } = at;
        let unanswered = |_| MoveFailure::Unanswered;
        let core = |worker: u16| self.shared.workers.get(usize::from(worker)).copied();
        let target = core(to).ok_or(MoveFailure::NoSuchWorker)?;
        let owner = core(from).ok_or(MoveFailure::NoSuchDocument)?;
        let order = MoveOrder { slot, generation, to };
        let come = Answer::default();
        if target != owner {
            // It is waited for before it can come.
            let waits = self.ask_core(target, |is_waiting| {
                Question::AwaitMove(order, come.teller(), is_waiting)
            });
            waits.map_err(unanswered)?.await;
        }
        let asked = self.ask_core(owner, |teller| Question::Move(order, teller));
        let asked = asked.map_err(unanswered)?;
        let come = async {
            let told = come.await;
            if told.is_empty() { std::future::pending().await } else { told }
        };
        let told: Vec<MoveTold> = or(asked, come).await;
        let told = told.first().ok_or(MoveFailure::Unanswered)?;
        let moved = told.verdict().unwrap_or(Err(MoveFailure::AlreadyMoving))?;
        Ok(MoveReport {
            document: name.to_owned(),
            from,
            to,
            was_there: moved.is_none(),
            pause_us: moved.and_then(|it| it.pause_ns).map(|ns| ns as f64 / 1e3),
            held_batches: moved.map_or(0, |it| it.held),
        })
    }

    /// Lets a worker have documents, or not.
    ///
    /// # Errors
    /// If too many questions wait for a core already, or the coordinator's has ended.
    pub async fn drain(&self, worker: u16, drained: Drained) -> Result<(), Unanswered> {
        let first = self.shared.workers.first().ok_or(Unanswered)?;
        let asked = self.ask_core(*first, |teller| Question::Drain(worker, drained, teller));
        asked?.await.pop().ok_or(Unanswered)
    }

    /// The documents that a worker owns now.
    ///
    /// # Errors
    /// If too many questions wait for a core already.
    pub async fn documents_of(&self, worker: u16) -> Result<Vec<OwnedDocument>, Unanswered> {
        let Some(core) = self.shared.workers.get(usize::from(worker)) else { return Ok(vec![]) };
        let entries = self.ask_core(*core, Question::Documents)?.await;
        Ok(entries.into_iter().map(|(_, entry)| owned(entry)).collect())
    }

    /// The documents whose home is that worker, that others own, and that are not hot.
    ///
    /// # Errors
    /// If too many questions wait for a core already.
    pub async fn documents_away_from(&self, worker: u16) -> Result<Vec<OwnedDocument>, Unanswered> {
        let entries = self.ask(owns, |_, teller| Question::Documents(teller))?.await;
        let is_away = |entry: &DocumentEntry| {
            home(entry.slot) as u16 == worker && entry.worker != worker && entry.elastic.is_none()
        };
        let entries = entries.into_iter().map(|(_, entry)| entry).filter(is_away);
        Ok(entries.map(owned).collect())
    }
}

fn owned(entry: DocumentEntry) -> OwnedDocument {
    let DocumentEntry { slot, generation, worker, .. } = entry;
    let at = Whereabouts { slot, generation, worker };
    OwnedDocument { name: entry.name, at, home_worker: home(slot) as u16 }
}
