//! Where a core answers what it is asked out of band: a slice a turn, and nothing while nobody asks.
//!
//! Questions come through a small mailbox, never with data; the core works at one at a time, in the
//! order in which they came, and does no more than [`DOCUMENTS_PER_TURN`] and the like in a turn.
//! A full mailbox refuses the question. The one lock is taken when a question is put and when it is
//! taken up.

use std::sync::Arc;

use deltaworks_pipeline::inventory::{DocumentEntry, DocumentMark, SessionEntry};
use deltaworks_pipeline::placement::{Decision, PlacementLimits, Situation};
use deltaworks_pipeline::stages::CoreStages;
use deltaworks_runtime::answer::Teller;
use deltaworks_runtime::clock::{Clock, Now};
use deltaworks_runtime::letterbox::Letterbox;

use crate::connection::Outgoing;
use crate::moving::{Drained, MoveOrder, MoveTold, Waiting, Whereabouts};
use crate::outlet::Outlet;
use crate::recording::{RecordRequest, Recorder};

/// Documents that are looked at in one turn: some ten microseconds.
const DOCUMENTS_PER_TURN: usize = 64;
/// The same if only their sequences are asked for.
const MARKS_PER_TURN: usize = 512;
/// Names that are looked up in one turn.
const NAMES_PER_TURN: usize = 128;
/// Sessions and open handles that are looked at before the turn goes on.
const HANDLES_PER_TURN: usize = 256;
/// Questions that wait for one core, at most.
const QUESTIONS_MAX: usize = 16;

/// A document's entry, and when its core looked.
pub(crate) type DatedDocument = (Now, DocumentEntry);
/// A document's mark, and when its core looked.
pub(crate) type DatedMark = (Now, DocumentMark);
/// A slot, its generation, and the name of the document there.
pub(crate) type Named = (u32, u32, Arc<str>);

/// What is known of where documents are, and what would be decided now.
#[derive(Clone, Debug)]
pub(crate) struct Rehearsed {
    pub situation: Situation,
    pub decisions: Vec<Decision>,
    pub limits: PlacementLimits,
}

/// What the socket's side knows of a session, besides its entry.
#[derive(Clone, Debug)]
pub(crate) struct SocketEntry {
    pub core: usize,
    pub entry: SessionEntry,
    pub transport: &'static str,
    pub peer: String,
    /// When it was accepted, and when its core looked, monotonic.
    pub began_ns: u64,
    pub at_ns: u64,
    pub received_bytes: u64,
    pub delivered_bytes: u64,
    pub is_blocked: bool,
}

/// Asked of one core.
#[derive(Debug)]
pub(crate) enum Question {
    Documents(Teller<DatedDocument>),
    Marks(Teller<DatedMark>),
    Names(Arc<[(u32, u32)]>, Teller<Named>),
    Sessions(usize, Teller<SocketEntry>),
    Record(RecordRequest),
    /// Asked of the coordinator.
    Rehearse(Teller<Rehearsed>),
    /// What a worker may have from now on; told to the coordinator.
    Drain(u16, Drained, Teller<()>),
    /// Whether this worker owns the document of that name.
    Find(Arc<str>, u16, Teller<Whereabouts>),
    /// Told to the worker that is to own a document, before its owner is told to move it.
    AwaitMove(MoveOrder, Teller<MoveTold>, Teller<()>),
    /// Told to a document's owner.
    Move(MoveOrder, Teller<MoveTold>),
}

/// The way of questions to one core.
pub(crate) type QuestionBox = Letterbox<Question>;

/// An empty one.
pub(crate) fn question_box() -> QuestionBox {
    Letterbox::new(QUESTIONS_MAX)
}

/// One core's desk.
#[derive(Debug, Default)]
pub(crate) struct Desk {
    /// What is being answered, and where the next slice begins.
    current: Option<(Question, usize)>,
    waiting: Waiting,
}

impl Desk {
    /// Answers a slice; returns how much was looked at. A load while nobody asks.
    #[inline]
    pub fn answer(
        &mut self,
        questions: &QuestionBox,
        stages: &mut CoreStages,
        outlet: &Outlet<impl Outgoing, impl Clock>,
        recorder: &mut Option<Box<Recorder>>,
        now: Now,
    ) -> usize {
        let ended = self.waiting.tell(stages);
        if self.current.is_none() {
            match questions.take() {
                None => return ended,
                Some(Question::Record(request)) => {
                    // One at a time: a second request is dropped, which tells its asker.
                    recorder.get_or_insert_with(|| Box::new(Recorder::new(request, now)));
                    return 1;
                }
                Some(question) => match self.answer_at_once(question, stages, now) {
                    None => return ended + 1,
                    Some(question) => self.current = Some((question, 0)),
                },
            }
        }
        ended + self.answer_slice(stages, outlet, now)
    }

    #[cold]
    fn answer_slice(
        &mut self,
        stages: &CoreStages,
        outlet: &Outlet<impl Outgoing, impl Clock>,
        now: Now,
    ) -> usize {
        let Some((question, from)) = &mut self.current else { return 0 };
        let (next, is_wanted) = match question {
            Question::Documents(teller) => {
                let mut slice = Vec::with_capacity(DOCUMENTS_PER_TURN);
                let next = stages.documents(*from, DOCUMENTS_PER_TURN, |it| slice.push((now, it)));
                (next, teller.tell(slice))
            }
            Question::Marks(teller) => {
                let mut slice = Vec::with_capacity(MARKS_PER_TURN);
                let next = stages.document_marks(*from, MARKS_PER_TURN, |it| slice.push((now, it)));
                (next, teller.tell(slice))
            }
            Question::Names(wanted, teller) => {
                let end = (*from + NAMES_PER_TURN).min(wanted.len());
                let name = |(slot, generation): &(u32, u32)| {
                    let name = stages.document_name(*slot, *generation)?;
                    Some((*slot, *generation, name))
                };
                let slice = wanted[*from..end].iter().filter_map(name).collect();
                ((end < wanted.len()).then_some(end), teller.tell(slice))
            }
            Question::Sessions(core, teller) => {
                let mut slice = Vec::new();
                let next = stages.sessions(*from, HANDLES_PER_TURN, |entry| {
                    slice.extend(outlet.socket_entry(*core, entry, now));
                });
                (next, teller.tell(slice))
            }
            // Those that take no slices have been answered.
            _ => (None, false),
        };
        match next {
            Some(next) if is_wanted => *from = next,
            _ => self.current = None,
        }
        1
    }

    /// Answers what takes no slices; gives the others back.
    #[cold]
    fn answer_at_once(
        &mut self,
        question: Question,
        stages: &mut CoreStages,
        now: Now,
    ) -> Option<Question> {
        match question {
            Question::Rehearse(teller) => {
                let rehearsed = stages.coordinator().map(|coordinator| Rehearsed {
                    situation: coordinator.situation(now.monotonic_ns),
                    decisions: coordinator.rehearse(now.monotonic_ns),
                    limits: *coordinator.limits(),
                });
                teller.tell(rehearsed.into_iter().collect());
            }
            Question::Drain(worker, drained, teller) => {
                if let Some(coordinator) = stages.coordinator_mut() {
                    let (may_take, is_emptied) = (drained == Drained::No, drained == Drained::Keep);
                    coordinator.set_worker(worker, may_take, is_emptied);
                    teller.tell(vec![()]);
                }
            }
            Question::Find(name, worker, teller) => {
                let found = stages.document_of_name(&name);
                let found =
                    found.map(|(slot, generation)| Whereabouts { slot, generation, worker });
                teller.tell(found.into_iter().collect());
            }
            Question::AwaitMove(order, teller, _is_waiting) => {
                self.waiting.wait(order, teller, stages);
            }
            Question::Move(order, teller) => self.waiting.begin(order, teller, stages),
            question => return Some(question),
        }
        None
    }
}

#[cfg(test)]
mod stress;
