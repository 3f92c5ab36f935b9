//! One core of the test: its stages, the sessions that it plays, and how it sleeps.

use std::sync::Arc;

use deltaworks_image::{BatchBuilder, Limits as ImageLimits};
use deltaworks_pipeline::message::{Access, From, OpenRequest, SessionId};
use deltaworks_pipeline::port::ControlAction;
use deltaworks_pipeline::stages::CoreStages;
use deltaworks_runtime::clock::{Clock, SystemClock};
use deltaworks_stress_tests::{Random, content};

use super::port::{Port, Speed};
use super::{DOCUMENTS, Failing, MOVES_MIN, Meeting, WORKERS};
use deltaworks_stress_tests::rest::Rest;

/// What came of it.
#[derive(Debug, Default)]
pub struct Told {
    /// Images that readers have seen.
    pub images: u64,
    /// Gaps that they were told.
    pub gaps: u64,
    /// Images of which a socket took a part first.
    pub halves: u64,
    /// Sessions that have begun.
    pub sessions: u64,
    /// Chunks that were filled again.
    pub recycled_chunks: u64,
    /// How often a core slept.
    pub sleeps: u64,
    /// Documents that were handed from one core to another.
    pub moves: u64,
    /// How far readers have come in each document.
    pub ends: Vec<(u32, u64)>,
}

impl Told {
    /// Both together.
    pub fn and(self, mut other: Self) -> Self {
        other.ends.extend(self.ends);
        other.ends.sort_unstable();
        other.ends.dedup();
        Self {
            ends: other.ends,
            images: self.images + other.images,
            gaps: self.gaps + other.gaps,
            halves: self.halves + other.halves,
            sessions: self.sessions + other.sessions,
            recycled_chunks: self.recycled_chunks + other.recycled_chunks,
            sleeps: self.sleeps + other.sleeps,
            moves: self.moves + other.moves,
        }
    }
}

/// A core asks for a move in about one of so many turns.
const TURNS_PER_MOVE: u64 = 150;

/// The next guest comes before so many more batches are written.
const BATCHES_PER_GUEST: u64 = 20;

/// A core that plays.
pub struct Core {
    number: u64,
    stages: CoreStages,
    port: Port,
    rest: Rest,
    meetings: Arc<[Meeting; 3]>,
    random: Random,
    /// Batches of its writer in each document.
    batches: u64,
    writer: Option<SessionId>,
    /// What the writer's socket holds, and how much of it was read.
    unread: (Vec<u8>, usize),
    /// The reader that comes and goes.
    guest: Option<SessionId>,
    /// Batches that the writer has begun, and the count above which the next guest comes.
    written: u64,
    welcomed: u64,
    sessions: u64,
    /// Documents move.
    moves: bool,
    /// Moves to this core that the others know of.
    told_moves: u64,
}

impl Core {
    /// A core that has not begun.
    pub fn new(
        number: u64,
        stages: CoreStages,
        rest: Rest,
        meetings: Arc<[Meeting; 3]>,
        (batches, seed): (u64, u64),
        moves: bool,
    ) -> Self {
        Self {
            number,
            stages,
            port: Port::new(number),
            rest,
            meetings,
            random: Random::new(seed << 8 | number),
            batches,
            writer: None,
            unread: (Vec::new(), 0),
            guest: None,
            written: 0,
            welcomed: 0,
            sessions: 0,
            moves,
            told_moves: 0,
        }
    }

    /// Plays to the end.
    pub fn run(mut self) -> Told {
        let _failing = Failing(self.meetings.clone());
        let mut clock = SystemClock::new();
        self.writer = self.begin(Speed::Fast, Some(self.number + 1), From::Live, &mut clock);
        for speed in [Speed::Fast, Speed::Slow] {
            self.begin(speed, None, From::Start, &mut clock);
        }
        // An open waits for a document that moves, perhaps for longer than all is written.
        self.until(0, &mut clock, |core| core.is_answered() && core.port.is_opened());
        // The end: nothing is read any more, everything goes out, sessions end.
        self.stages.stop_reading();
        self.until(1, &mut clock, |core| core.stages.may_park() && !core.stages.has_backlog());
        let ends = self.port.ends();
        self.port.is_ending = true;
        for session in self.port.sessions() {
            self.stages.end_session(session, &mut self.port, clock.now());
        }
        self.until(2, &mut clock, |core| core.stages.session_count() == 0);
        let (live, counts) = (self.stages.live_bytes(), self.stages.counts());
        let left = (live.subscriptions, live.spills, live.carries);
        assert_eq!(left, (0, 0, 0), "core {}", self.number);
        let Port { images, gaps, halves, .. } = self.port;
        let (recycled_chunks, sleeps) = (counts.recycled_chunks, self.rest.sleeps());
        let (sessions, moves) = (self.sessions, self.stages.move_counts().finished);
        Told { images, gaps, halves, sessions, recycled_chunks, sleeps, moves, ends }
    }

    /// Turns until this core is `done` and all others are, too.
    fn until(&mut self, meeting: usize, clock: &mut SystemClock, done: impl Fn(&Self) -> bool) {
        let mut is_here = false;
        while !self.meetings[meeting].is_over() {
            let played = meeting < 2 && self.play(clock);
            if self.moves && meeting == 0 && self.random.one_in(TURNS_PER_MOVE) {
                self.move_one();
            }
            let work = self.stages.turn(&mut self.port, clock.now());
            self.tell_moves();
            if !is_here && done(self) {
                is_here = true;
                self.meetings[meeting].arrive();
            }
            if work == 0 {
                // Whoever has to make room for what waits here may need this CPU.
                std::thread::yield_now();
            }
            if work > 0 || played || meeting == 0 && self.lacks_moves() {
                continue;
            }
            let Self { stages, port, rest, meetings, .. } = self;
            rest.unless(|| {
                let work = stages.turn(port, clock.now());
                work > 0 || !stages.may_park() || meetings[meeting].is_over()
            });
        }
        assert!(!self.meetings[meeting].has_failed(), "another core has failed");
    }

    /// Whether documents have to move before all is written. Nobody sleeps until they have: a core that
    /// owns documents asks for moves in its turns, and nobody rings for a writer that waits for these.
    fn lacks_moves(&self) -> bool {
        self.moves && self.meetings[0].moves() < MOVES_MIN
    }

    /// Tells the others of documents that have come here.
    fn tell_moves(&mut self) {
        let finished = self.stages.move_counts().finished;
        if finished > self.told_moves {
            self.meetings[0].add_moves(finished - self.told_moves);
            self.told_moves = finished;
        }
    }

    /// Asks for one of the documents that are here to go to some worker. What cannot go stays.
    fn move_one(&mut self) {
        let mut documents = Vec::new();
        self.stages.documents(0, 64, |entry| documents.push((entry.slot, entry.generation)));
        if documents.is_empty() {
            return;
        }
        let (slot, generation) = documents[self.random.below(documents.len() as u64) as usize];
        let to = self.random.below(WORKERS) as u16;
        let _ = self.stages.move_document(slot, generation, to);
    }

    /// A session that opens every document, to write if there is a producer.
    fn begin(
        &mut self,
        speed: Speed,
        producer: Option<u64>,
        from: From,
        clock: &mut SystemClock,
    ) -> Option<SessionId> {
        let session = self.stages.begin_session()?;
        self.sessions += 1;
        self.port.begin(session, speed, producer.is_some());
        for document in 0..DOCUMENTS {
            let request = OpenRequest {
                request: document,
                name: format!("document-{document}").into(),
                access: Access { read: producer.is_none(), write: producer.is_some() },
                from,
                policy: None,
                producer: producer.unwrap_or(0),
            };
            let action = ControlAction::Open(request);
            self.stages.act(session, action, &mut self.port, clock.now());
        }
        Some(session)
    }

    /// What clients do between two turns; whether they may do more at once.
    fn play(&mut self, clock: &mut SystemClock) -> bool {
        if self.writer.is_none() {
            return false;
        }
        let mut may_more = self.write(clock);
        // A slow reader's socket takes nothing until the chunk has gone in which this core's first batches
        // lay: so it misses some, however fast the other threads are.
        let has_recycled = self.stages.counts().recycled_chunks > 0;
        let may_have_room = has_recycled || self.is_answered();
        for session in self.port.blocked() {
            may_more = true;
            if may_have_room && self.random.one_in(20) {
                self.port.make_room(session, self.random.below(3_000) as usize);
                self.stages.writable(session);
            }
        }
        let is_answered = self.is_answered();
        match self.guest {
            Some(session) if is_answered || self.random.one_in(40) => {
                self.guest = None;
                self.stages.end_session(session, &mut self.port, clock.now());
            }
            // By batches and not by turns: otherwise a core that waits for room fills the rings
            // with what guests ask for, and does the more the longer it waits.
            None if self.written > self.welcomed && !is_answered => {
                self.welcomed = self.written + self.random.below(BATCHES_PER_GUEST);
                self.guest = self.begin(Speed::Fast, None, From::Start, clock);
            }
            _ => {}
        }
        may_more
    }

    /// Writes a batch where there is credit, and lets the stages read what the socket holds.
    fn write(&mut self, clock: &mut SystemClock) -> bool {
        let Some(session) = self.writer else { return false };
        if self.unread.1 == self.unread.0.len() {
            let batches = if self.lacks_moves() { self.batches / 2 } else { self.batches };
            let Some((document, handle, number)) = self.port.next_batch(batches) else {
                return false;
            };
            self.unread = (self.image(document, handle, number), 0);
            self.written += 1;
        }
        let Some(room) = self.stages.read_room(session) else { return false };
        let rest = &self.unread.0[self.unread.1..];
        // A socket cuts where it likes.
        let most = if self.random.one_in(3) { 1 + self.random.below(200) as usize } else { 4096 };
        let count = rest.len().min(room.len()).min(most);
        room[..count].copy_from_slice(&rest[..count]);
        self.unread.1 += count;
        self.stages.received(session, count, &mut self.port, clock.now());
        true
    }

    /// A batch of this core's writer: producer, document, number, then what follows from these.
    fn image(&mut self, document: u32, handle: u32, number: u64) -> Vec<u8> {
        let mut builder = BatchBuilder::new(ImageLimits::default());
        for delta in 0..1 + self.random.below(4) {
            let mut bytes = Vec::new();
            for word in [self.number, u64::from(document), number, delta] {
                bytes.extend(word.to_le_bytes());
            }
            let seed = content(self.number << 48 | number << 16 | delta);
            let words = 1 + self.random.below(20);
            bytes.extend((0..words).flat_map(|word| content(seed ^ word).to_le_bytes()));
            builder.append(&bytes).expect("within the limits");
        }
        let image = builder.finish(handle, number).expect("within the limits");
        self.port.spend(handle, image.len());
        image
    }

    /// Whether every batch of this core's writer has its answer.
    fn is_answered(&self) -> bool {
        self.writer.is_none_or(|_| self.port.is_answered(self.batches))
    }
}
