//! What a core sends to others and to itself, until it goes.
//!
//! One ring per ordered pair of cores, and a plain queue from a core to itself. What is sent to another core is
//! gathered here in parcels, and goes into its ring all at once at fixed points: behind each read, and where a turn
//! has validated, and ends. One store tells the reader of all. What a full ring does not take stays,
//! in order. Nothing waits, nothing is dropped. What may wait is bounded by what may be on its way: batches by
//! credit, opens by the handles of the sessions, retirements by the number of chunks.

mod parcel;
mod queue;

pub(crate) use parcel::MESSAGES_MAX;
pub use parcel::Parcel;
pub(crate) use queue::{Next, Queue};

use std::collections::VecDeque;

use deltaworks_runtime::doorbell::Doorbell;
use deltaworks_runtime::ring::Producer;

use crate::chunk::Landed;
use crate::message::{Ack, Arrival, Message, SessionId};
use crate::routes::Routes;

/// The worker of a core that owns no documents.
pub(crate) const NO_WORKER: u16 = u16::MAX;

/// The way to one core.
#[derive(Debug)]
pub struct Mailbox {
    way: Way,
}

#[derive(Debug)]
enum Way {
    /// To another core.
    Ring(Outbox),
    /// To this core itself: taken at its next turn, in order, like a ring that is never full.
    Own(u16, Queue),
    /// To a core that this one has nothing to tell: neither owns documents.
    None,
}

/// A ring, and what is gathered for it.
#[derive(Debug)]
struct Outbox {
    ring: Producer<Parcel>,
    doorbell: Doorbell,
    gathered: VecDeque<Parcel>,
    /// Messages in them.
    messages: usize,
    unrung: bool,
}

impl Mailbox {
    /// A mailbox over a ring and the doorbell of its reader.
    pub fn new(ring: Producer<Parcel>, doorbell: Doorbell) -> Self {
        let gathered = VecDeque::new();
        Self { way: Way::Ring(Outbox { ring, doorbell, gathered, messages: 0, unrung: false }) }
    }

    /// A mailbox that nothing is sent through.
    pub fn none() -> Self {
        Self { way: Way::None }
    }

    /// The mailbox of `core` to itself.
    pub fn own(core: u16) -> Self {
        Self { way: Way::Own(core, Queue::default()) }
    }

    /// Sends `message`, behind everything sent before.
    #[inline(always)]
    pub fn send(&mut self, message: Message) {
        match &mut self.way {
            Way::Own(_, queue) => queue.push(message),
            Way::Ring(outbox) => outbox.push(Parcel::Message(message)),
            Way::None => nobody(),
        }
    }

    /// Sends an image that has landed to its owner, with its producer's place there.
    #[inline]
    pub(crate) fn send_batch(&mut self, landed: Landed, session: SessionId, producer: u32) {
        match &mut self.way {
            Way::Own(core, queue) => {
                let core = *core;
                queue.push_batch(Arrival { landed, core, session, producer, place: 0 });
            }
            Way::Ring(outbox) => outbox.push_batch(landed, session, producer),
            Way::None => nobody(),
        }
    }

    /// Sends an acknowledgement.
    #[inline]
    pub(crate) fn send_ack(&mut self, ack: Ack) {
        match &mut self.way {
            Way::Own(_, queue) => queue.acks().push(ack),
            Way::Ring(outbox) => outbox.push_ack(ack),
            Way::None => nobody(),
        }
    }

    /// Whether a message would go out with the next [`Self::flush`]. Seldom looks at the reader's line, so it
    /// may be asked for each message.
    #[inline]
    pub fn has_room(&mut self) -> bool {
        match &mut self.way {
            Way::Own(..) => true,
            Way::None => false,
            Way::Ring(outbox) => {
                let gathered = outbox.gathered.len();
                outbox.ring.room_for(gathered + 1) > gathered
            }
        }
    }

    /// How many messages would go out with the next [`Self::flush`], at least.
    #[inline]
    pub fn room(&self) -> usize {
        match &self.way {
            Way::Own(..) => usize::MAX,
            Way::None => 0,
            Way::Ring(outbox) => outbox.ring.free_slots().saturating_sub(outbox.gathered.len()),
        }
    }

    /// Messages that are gathered or wait for room, or for this core's next turn.
    pub fn waiting(&self) -> usize {
        match &self.way {
            Way::Own(_, queue) => queue.len(),
            Way::None => 0,
            Way::Ring(outbox) => outbox.messages,
        }
    }

    /// Pushes what is gathered, as far as there is room; returns how many messages went.
    #[inline]
    pub fn flush(&mut self) -> usize {
        match &mut self.way {
            Way::Ring(outbox) if !outbox.gathered.is_empty() => outbox.flush(),
            _ => 0,
        }
    }

    /// Asks that the reader be woken at the end of the turn, without a message.
    #[inline]
    pub fn nudge(&mut self) {
        if let Way::Ring(outbox) = &mut self.way {
            outbox.unrung = true;
        }
    }

    /// Wakes the reader if it sleeps and something went out this turn.
    #[inline]
    pub fn ring_doorbell(&mut self) {
        if let Way::Ring(outbox) = &mut self.way
            && outbox.unrung
        {
            outbox.unrung = false;
            outbox.doorbell.ring();
        }
    }
}

impl Outbox {
    #[inline]
    fn push(&mut self, parcel: Parcel) {
        self.gathered.push_back(parcel);
        self.messages += 1;
    }

    #[inline]
    fn push_batch(&mut self, landed: Landed, session: SessionId, producer: u32) {
        let added = match self.gathered.back_mut() {
            Some(last) => last.add_batch(landed, session, producer),
            None => Err(landed),
        };
        match added {
            Ok(()) => self.messages += 1,
            Err(landed) => self.push(Parcel::of_batch(landed, session, producer)),
        }
    }

    #[inline]
    fn push_ack(&mut self, ack: Ack) {
        if self.gathered.back_mut().is_some_and(|last| last.add_ack(&ack)) {
            self.messages += 1;
        } else {
            self.push(Parcel::of_ack(ack));
        }
    }

    fn flush(&mut self) -> usize {
        let count = self.ring.room_for(self.gathered.len());
        if count == 0 {
            return 0;
        }
        let before = self.messages;
        let messages = &mut self.messages;
        let parcels = self.gathered.drain(..count);
        self.ring.push_all(&mut parcels.inspect(|parcel| *messages -= parcel.len()));
        self.unrung = true;
        before - self.messages
    }
}

/// Session cores do not talk to each other.
#[cold]
fn nobody() -> ! {
    unreachable!("session cores do not talk to each other")
}

/// The ways to all cores, by core index, this core's own included.
#[derive(Debug)]
pub struct Mailboxes {
    /// By core; this core's own is apart.
    boxes: Vec<Mailbox>,
    own: Mailbox,
    own_core: u16,
    /// The worker of this core; [`NO_WORKER`] if it has none.
    own_worker: u16,
    /// Where documents are that are not at home.
    pub(crate) routes: Routes,
}

impl Mailboxes {
    /// Mailboxes in order of core index; `own` is the core that they belong to.
    pub fn new(mut boxes: Vec<Mailbox>, own: usize, routes: Routes) -> Self {
        let own_core = own as u16;
        let own = core::mem::replace(&mut boxes[own], Mailbox::none());
        let mut workers = 0..routes.workers() as u16;
        let own_worker = workers.find(|worker| routes.core(*worker) == own_core);
        Self { boxes, own, own_core, own_worker: own_worker.unwrap_or(NO_WORKER), routes }
    }

    /// The core that they belong to.
    pub fn own_core(&self) -> u16 {
        self.own_core
    }

    /// The worker that runs on it; [`NO_WORKER`] if none does.
    #[inline]
    pub(crate) fn own_worker(&self) -> u16 {
        self.own_worker
    }

    /// The way to the core of `worker`.
    #[inline]
    pub fn to_worker(&mut self, worker: u16) -> &mut Mailbox {
        let core = self.routes.core(worker);
        self.to(core)
    }

    /// The way to `core`.
    #[inline]
    pub fn to(&mut self, core: u16) -> &mut Mailbox {
        if core == self.own_core { &mut self.own } else { &mut self.boxes[core as usize] }
    }

    /// This core's queue to itself, and the ways to the others, for who sends much at once.
    #[inline]
    pub(crate) fn apart(&mut self) -> (&mut Queue, Others<'_>) {
        let Way::Own(_, queue) = &mut self.own.way else {
            unreachable!("a core has a queue to itself")
        };
        (queue, Others { boxes: &mut self.boxes, routes: &self.routes })
    }

    /// Exchanges what this core has sent to itself for the empty `emptied`.
    #[inline]
    pub(crate) fn take_own(&mut self, emptied: &mut Queue) {
        emptied.clear();
        if let Way::Own(_, queue) = &mut self.own.way {
            queue.note();
            core::mem::swap(queue, emptied);
        }
    }

    /// Pushes what is gathered in all of them.
    pub fn flush(&mut self) -> usize {
        self.boxes.iter_mut().map(Mailbox::flush).sum()
    }

    /// Wakes every core that something was sent to since the last call.
    pub fn ring_doorbells(&mut self) {
        self.boxes.iter_mut().for_each(Mailbox::ring_doorbell);
    }

    /// Messages that wait, over all.
    pub fn waiting(&self) -> usize {
        self.own.waiting() + self.boxes.iter().map(Mailbox::waiting).sum::<usize>()
    }
}

/// The ways to other cores.
#[derive(Debug)]
pub(crate) struct Others<'a> {
    boxes: &'a mut [Mailbox],
    routes: &'a Routes,
}

impl Others<'_> {
    /// The way to the core of `worker`.
    #[inline]
    pub fn worker(&mut self, worker: u16) -> &mut Mailbox {
        self.core(self.routes.core(worker))
    }

    /// The way to `core`, which is another.
    #[inline]
    pub fn core(&mut self, core: u16) -> &mut Mailbox {
        &mut self.boxes[usize::from(core)]
    }
}

/// The cores of a mask, one bit each.
pub(crate) fn cores_of(mut cores: u64) -> impl Iterator<Item = u16> {
    core::iter::from_fn(move || {
        let core = (cores != 0).then(|| cores.trailing_zeros() as u16);
        cores &= cores.wrapping_sub(1);
        core
    })
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::chunk::ChunkPool;
    use deltaworks_runtime::chunk_memory::{ChunkMemory, RegionId, RegionSpec};
    use deltaworks_runtime::doorbell::{Wake, doorbell};
    use deltaworks_runtime::ring::{Consumer, ring};
    use deltaworks_runtime::sync::Arc;

    struct NeverSleeps;

    impl Wake for NeverSleeps {
        fn wake(&self) {}
    }

    fn random(state: &mut u64) -> usize {
        *state = state.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(1);
        (*state >> 33) as usize
    }

    fn pool() -> ChunkPool {
        let region = RegionSpec { chunks: 2, numa_node: None };
        let (memory, _) = ChunkMemory::new(&[region], 1 << 21).expect("memory");
        let first = memory.chunks_of(RegionId(0)).next().expect("a chunk");
        let mut pool = ChunkPool::new(Arc::new(memory), first, 2);
        assert!(pool.ensure_tail(1 << 20));
        pool
    }

    /// All that is in the ring, some parcels at a time, each as its kind, session and number.
    fn take(ring: &mut Consumer<Parcel>, most: usize, got: &mut Vec<(char, u32, u32)>) {
        let mut queue = Queue::default();
        ring.drain(most, |parcel| parcel.unpack(7, &mut queue));
        queue.note();
        loop {
            match queue.next(usize::MAX) {
                Next::Batches(batches) => got.extend(batches.iter().map(|it| {
                    assert!(it.core == 7 && it.landed.range().bytes() == 8 * (1 + it.producer));
                    ('b', it.session.0, it.producer)
                })),
                Next::Acks(acks) => got.extend(acks.iter().map(|it| {
                    let number = u64::from(it.handle);
                    assert_eq!((it.producer_sequence, it.sequence), (number + 1, number + 2));
                    assert_eq!((it.credit_bytes, it.duplicates), (it.handle + 3, it.handle % 3));
                    ('a', it.session.0, it.handle)
                })),
                Next::Message(Message::Drop { slot, generation }) => {
                    got.push(('m', generation, slot));
                }
                Next::Message(_) => unreachable!("no other was sent"),
                Next::Nothing => break,
            }
        }
    }

    /// Whether all kinds come out of a small ring as they were sent; with a fault, a batch goes into the first
    /// parcel of its session that has room, in front of what was sent since.
    fn is_in_order(seed: u64, is_faulty: bool) -> bool {
        let (producer, mut consumer) = ring(3);
        let mut mailbox = Mailbox::new(producer, doorbell(NeverSleeps).0);
        let (mut pool, mut state) = (pool(), seed);
        let (mut sent, mut got) = (Vec::new(), Vec::new());
        for number in 0..300_u32 {
            let session = SessionId((random(&mut state) % 8 / 7) as u32);
            let kind = ['b', 'b', 'b', 'b', 'a', 'a', 'a', 'm'][random(&mut state) % 8];
            sent.push((kind, session.0, number));
            match kind {
                'b' => {
                    let landed = pool.land(8 * (1 + number));
                    let earlier = match &mut mailbox.way {
                        Way::Ring(outbox) if is_faulty => outbox.gathered.iter_mut().next(),
                        _ => None,
                    };
                    let landed = match earlier {
                        Some(earlier) => earlier.add_batch(landed, session, number).err(),
                        None => Some(landed),
                    };
                    if let Some(landed) = landed {
                        mailbox.send_batch(landed, session, number);
                    } else if let Way::Ring(outbox) = &mut mailbox.way {
                        outbox.messages += 1;
                    }
                }
                'a' => mailbox.send_ack(Ack {
                    session,
                    handle: number,
                    producer_sequence: u64::from(number) + 1,
                    sequence: u64::from(number) + 2,
                    credit_bytes: number + 3,
                    duplicates: number % 3,
                }),
                _ => mailbox.send(Message::Drop { slot: number, generation: session.0 }),
            }
            if random(&mut state).is_multiple_of(8) {
                let (before, has_room) = (mailbox.waiting(), mailbox.has_room());
                let (went, room) = (mailbox.flush(), mailbox.room());
                assert_eq!(mailbox.waiting(), before - went);
                assert!(!has_room || mailbox.waiting() == 0, "what had room has gone");
                assert_eq!(mailbox.has_room(), room > 0);
            }
            if random(&mut state).is_multiple_of(8) {
                take(&mut consumer, 1 + random(&mut state) % 4, &mut got);
            }
        }
        while mailbox.waiting() > 0 {
            mailbox.flush();
            take(&mut consumer, usize::MAX, &mut got);
        }
        take(&mut consumer, usize::MAX, &mut got);
        assert_eq!(got.len(), sent.len(), "each comes once");
        got == sent
    }

    #[test]
    fn all_kinds_come_across_in_the_order_in_which_they_were_sent() {
        assert!((0..50).all(|seed| is_in_order(seed, false)));
    }

    #[test]
    fn a_batch_that_overtakes_is_seen() {
        assert!((0..5).all(|seed| !is_in_order(seed, true)));
    }

    #[test]
    fn what_goes_into_one_parcel_is_pushed_as_one() {
        let (producer, mut consumer) = ring(8);
        let mut mailbox = Mailbox::new(producer, doorbell(NeverSleeps).0);
        let mut pool = pool();
        for number in 0..9 {
            mailbox.send_batch(pool.land(8 * (1 + number)), SessionId(0), number);
        }
        mailbox.send_batch(pool.land(80), SessionId(1), 9);
        assert_eq!((mailbox.waiting(), consumer.len()), (10, 0), "nothing goes before it is told");
        assert_eq!((mailbox.flush(), consumer.len()), (10, 4));
        let mut got = Vec::new();
        take(&mut consumer, usize::MAX, &mut got);
        assert!(got.iter().map(|it| it.2).eq(0..10));
    }
}
