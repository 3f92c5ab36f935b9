//! A recording of what one core does: turns with their stages, reads, and sleep.
//!
//! Made for a while when somebody asks; otherwise a turn pays one branch. The core writes into room
//! that the asking thread has made: 32,768 events of 64 bytes at most. When it is full, what
//! comes later is dropped, and the recording says so. Turns without work are not recorded.

use deltaworks_pipeline::port::SessionPort;
use deltaworks_pipeline::stages::{CoreStages, Counts, StageClock};
use deltaworks_runtime::answer::Teller;
use deltaworks_runtime::clock::{Clock, Now, SystemClock};

/// Events of one core at most: 2 MiB.
pub(crate) const EVENTS_MAX: usize = 1 << 15;

/// Something that a core did; times are nanoseconds of the process's monotonic clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// A turn with work.
    Turn {
        /// When it began.
        start_ns: u64,
        /// When rings were drained, and what was validated was published and answered.
        validated_ns: u64,
        /// When what sockets take had been sent.
        propagated_ns: u64,
        /// When it ended, behind retirements and what else reception does in a turn.
        end_ns: u64,
        /// What the turn dealt with: messages, marks, images.
        work: u32,
        /// Messages that it found in its rings.
        messages: u32,
        /// Batches that it gave a sequence.
        batches: u32,
        /// Calls that sent.
        sends: u32,
        /// Images that sockets took.
        images: u32,
    },
    /// A read of a socket: bytes checked and passed on.
    Read {
        /// When the bytes were there.
        start_ns: u64,
        /// When they were passed on.
        end_ns: u64,
        /// The session's place.
        session: u32,
        /// How many bytes.
        bytes: u32,
    },
    /// The core slept.
    Sleep {
        /// From.
        start_ns: u64,
        /// To.
        end_ns: u64,
    },
}

const _: () = assert!(size_of::<Event>() <= 64);

/// What one core has recorded.
#[derive(Clone, Debug)]
pub struct CoreRecording {
    /// The core.
    pub core: usize,
    /// The CPU that it is pinned to.
    pub cpu: Option<usize>,
    /// When it began to record.
    pub start_ns: u64,
    /// When it ended.
    pub end_ns: u64,
    /// What happened, in order.
    pub events: Vec<Event>,
    /// Events that found no room: all that came behind the last one here.
    pub dropped_events: u64,
}

/// Asks a core to record.
#[derive(Debug)]
pub(crate) struct RecordRequest {
    pub core: usize,
    pub cpu: Option<usize>,
    /// For how long.
    pub time_ns: u64,
    /// Room for the events, touched by whoever asks.
    pub room: Vec<Event>,
    pub teller: Teller<CoreRecording>,
}

impl RecordRequest {
    /// Room for `events` events whose memory is present.
    pub fn room(events: usize) -> Vec<Event> {
        let mut room = vec![Event::Sleep { start_ns: 1, end_ns: 1 }; events];
        room.clear();
        room
    }
}

/// The core's side while it records.
#[derive(Debug)]
pub(crate) struct Recorder {
    recording: CoreRecording,
    events_max: usize,
    until_ns: u64,
    teller: Teller<CoreRecording>,
    clock: SystemClock,
    slept_from_ns: u64,
}

/// Notes when the stages of a turn end.
#[derive(Debug)]
pub(crate) struct TurnClock<'a> {
    clock: &'a mut SystemClock,
    validated_ns: u64,
    propagated_ns: u64,
}

impl StageClock for TurnClock<'_> {
    fn validated(&mut self) {
        self.validated_ns = self.clock.now().monotonic_ns;
    }

    fn propagated(&mut self) {
        self.propagated_ns = self.clock.now().monotonic_ns;
    }
}

impl Recorder {
    pub fn new(request: RecordRequest, now: Now) -> Self {
        let RecordRequest { core, cpu, time_ns, room, teller } = request;
        let start_ns = now.monotonic_ns;
        Self {
            events_max: room.capacity(),
            recording: CoreRecording {
                core,
                cpu,
                start_ns,
                end_ns: start_ns,
                events: room,
                dropped_events: 0,
            },
            until_ns: start_ns + time_ns,
            teller,
            clock: SystemClock::new(),
            slept_from_ns: 0,
        }
    }

    /// When it is over.
    pub fn until_ns(&self) -> u64 {
        self.until_ns
    }

    fn push(&mut self, event: Event) {
        if self.recording.dropped_events > 0 || self.recording.events.len() >= self.events_max {
            self.recording.dropped_events += 1;
            return;
        }
        self.recording.events.push(event);
    }

    /// A turn of `stages`, recorded if it had work; returns its work.
    pub fn turn(
        &mut self,
        stages: &mut CoreStages,
        port: &mut impl SessionPort,
        now: Now,
    ) -> usize {
        let before = stages.counts();
        let start_ns = self.clock.now().monotonic_ns;
        let clock = &mut self.clock;
        let mut clock = TurnClock { clock, validated_ns: start_ns, propagated_ns: start_ns };
        let work = stages.turn_timed(port, now, &mut clock);
        let TurnClock { validated_ns, propagated_ns, .. } = clock;
        let end_ns = self.clock.now().monotonic_ns;
        if work > 0 {
            let after = stages.counts();
            let accepted = |counts: &Counts| counts.validation.accepted_batches;
            let sends = |counts: &Counts| counts.propagation.sends;
            let images = |counts: &Counts| counts.propagation.delivered_images;
            self.push(Event::Turn {
                start_ns,
                validated_ns,
                // A core without sessions propagates nothing.
                propagated_ns: propagated_ns.max(validated_ns),
                end_ns,
                work: work as u32,
                messages: stages.last_inbox() as u32,
                batches: (accepted(&after) - accepted(&before)) as u32,
                sends: (sends(&after) - sends(&before)) as u32,
                images: (images(&after) - images(&before)) as u32,
            });
        }
        work
    }

    /// Records a read that began at `start_ns`. Sockets' tasks run while the loop sleeps: the first
    /// read ends the sleep.
    pub fn read(&mut self, start_ns: u64, session: u32, bytes: usize) {
        self.ends_sleep(start_ns);
        let end_ns = self.clock.now().monotonic_ns;
        self.push(Event::Read { start_ns, end_ns, session, bytes: bytes as u32 });
    }

    /// The core goes to sleep.
    pub fn falls_asleep(&mut self) {
        self.slept_from_ns = self.clock.now().monotonic_ns;
    }

    /// The core has slept.
    pub fn wakes_up(&mut self) {
        let end_ns = self.clock.now().monotonic_ns;
        self.ends_sleep(end_ns);
    }

    fn ends_sleep(&mut self, end_ns: u64) {
        if self.slept_from_ns != 0 {
            self.push(Event::Sleep { start_ns: self.slept_from_ns, end_ns });
            self.slept_from_ns = 0;
        }
    }

    /// Hands over what was recorded.
    pub fn finish(mut self, now: Now) {
        self.recording.end_ns = now.monotonic_ns;
        self.teller.tell(vec![self.recording]);
    }
}
