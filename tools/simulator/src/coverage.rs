//! What really happened in the worlds: a count of each event that the simulator is for.
//!
//! A seed that passes proves nothing if nothing happened in it. Over ten thousand seeds every one of
//! these must have.

use std::ops::AddAssign;

macro_rules! events {
    ($($event:ident = $text:literal),* $(,)?) => {
        /// Something that is worth to happen.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[repr(usize)]
        pub enum Event {
            $(#[doc = $text] $event),*
        }

        /// All of them, with what each means.
        pub const EVENTS: &[(Event, &str)] = &[$((Event::$event, $text)),*];
    };
}

events! {
    Step = "steps of the scheduler",
    Batch = "batches and infos sent",
    Image = "images read",
    Ack = "acknowledgements read",
    Resend = "resends sent",
    Duplicate = "resends dropped as duplicates",
    Jump = "numbers left out, and refused",
    Forgotten = "resends below the floor of a forgotten producer",
    Info = "infos read",
    RefusedBySchema = "batches refused by the schema",
    RefusedByCollection = "batches refused by their collection's limit",
    RefusedInfo = "infos refused",
    RefusedByBudget = "batches refused for want of nodes or of places for owed credit",
    RefusedByDrop = "batches refused because their document was dropped",
    RefusedByFence = "batches refused because their writer was fenced off",
    RefusedByEnd = "batches refused because the server ends",
    CreditSpent = "times a client had no credit left",
    CreditWithheld = "credit withheld for want of chunks",
    QuotaThrottled = "credit withheld because of a quota",
    QuotaWithWait = "the same while a wait subscription could hold it back, too",
    QuotaInMove = "the same in worlds whose documents moved",
    FullAside = "times that a worker took no message because so much waited in it",
    CreditWaits = "times a wait subscription held credit back",
    GapTold = "gaps told to a slow reader",
    GapAtOpen = "gaps told behind an open",
    Merged = "misses of several windows told as one gap",
    Skipped = "jumps to the newest image",
    Conflated = "gaps of conflate without a newest value",
    ConflateLost = "gaps of conflate with a newest value, for want of room",
    ConflateCopied = "turns that copied newest values for a conflate subscription",
    NewestJudged = "newest values that a conflate subscription was judged by",
    ClosedByPolicy = "handles closed because they were too far behind",
    PolicyOfCollection = "subscriptions whose policy their collection chose",
    Recycled = "chunks recycled",
    RecycledUnderSlow = "chunks recycled under a reader that was behind",
    Kept = "images kept when their chunk went",
    KeptUnderSlow = "turns that kept images while a reader of the core was behind",
    CopiedOn = "bytes of kept images copied on to another chunk",
    KeptMoved = "documents handed over with kept images",
    KeptTakenOver = "bytes of moved documents' kept images copied on by their new owner",
    KeptLetGo = "bytes of kept images that went for want of room",
    HalfCopied = "half-sent images copied out of a retiring chunk",
    SpilledForWait = "images copied for a wait subscription",
    OpenWhileRetiring = "documents opened while a chunk was retired",
    DropWhileOpening = "drops while an open of the same name was on its way",
    SlotReused = "documents in a slot that another had before",
    Unloaded = "idle documents unloaded",
    StreamEnded = "readers that read a dropped document to its end",
    Fenced = "writers fenced off",
    Closed = "handles closed by their client",
    CutOff = "bytes carried because a message was cut",
    Stalled = "batches checked in slices",
    Promoted = "hot documents promoted",
    Demoted = "documents demoted that were hot",
    PlacedElsewhere = "moves that the coordinator decided",
    WorkerFull = "times that a worker had no room, and who places documents was told",
    Laned = "batches of hot documents judged in their lane's turn",
    LaneOverrun = "times that more waited in lanes than may",
    ReadingPaused = "reads that found no chunk",
    SetAside = "reads that brought more than their share of a turn",
    RingFull = "messages that waited for room in a ring",
    Slept = "cores that slept and were woken",
    SleptOverTimer = "cores that a deadline woke",
    MessageToSleeper = "doorbells that woke a core out of its sleep",
    MoveBegun = "moves of documents begun",
    MoveRefused = "moves that could not begin",
    Moved = "documents handed to a worker that is not their home",
    CameHome = "documents handed to their home",
    NotTaken = "moves that the new owner had no room for",
    MoveCancelled = "moves given up by the old owner",
    MovedUnderLoad = "documents that were written while they moved",
    Held = "batches held for a document on its way",
    OpenDeferred = "opens of a document that left",
    OpenPassedOn = "opens that a home passed on",
    RetirementHeld = "retirements held for a document on its way",
    DroppedOnTheWay = "documents dropped on their way",
    BlocksLent = "node blocks lent",
    Reset = "connections reset",
    Gone = "connections closed in mid-message",
    Resumed = "readers that came back with sequence and epoch",
    EpochChanged = "readers that came back to another epoch",
    OpenRefusedDocuments = "opens refused: documents",
    OpenRefusedHandles = "opens refused: handles",
    OpenRefusedProducers = "opens refused: producers",
    OpenRefusedBudget = "opens refused: budget",
    OpenRefusedTwice = "opens refused: read already",
    OpenRefusedPolicy = "opens refused: policy",
    SessionRefused = "sessions refused: too many",
    Overdrawn = "batches sent beyond credit",
    EndedByCredit = "sessions ended: credit exceeded",
    EndedByCarry = "sessions ended: unfinished messages",
    EndedBySpill = "sessions ended: copies",
    EndedByBacklog = "sessions ended: control",
    Drained = "servers that drained",
    Refused = "servers that refused the rest",
    Failed = "servers that lost a core",
}

/// How often each happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Coverage(Vec<u64>);

impl Default for Coverage {
    fn default() -> Self {
        Self(vec![0; EVENTS.len()])
    }
}

impl Coverage {
    /// It happened.
    pub fn count(&mut self, event: Event) {
        self.add(event, 1);
    }

    /// It happened so many times.
    pub fn add(&mut self, event: Event, times: u64) {
        self.0[event as usize] += times;
    }

    /// How often it happened.
    pub fn of(&self, event: Event) -> u64 {
        self.0[event as usize]
    }

    /// What never happened.
    pub fn missing(&self) -> Vec<&'static str> {
        let missing = EVENTS.iter().filter(|(event, _)| self.of(*event) == 0);
        missing.map(|(_, text)| *text).collect()
    }
}

impl AddAssign<&Coverage> for Coverage {
    fn add_assign(&mut self, other: &Coverage) {
        self.0.iter_mut().zip(&other.0).for_each(|(sum, count)| *sum += count);
    }
}
