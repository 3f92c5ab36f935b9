//! One session as its client knows it, and what all readers of a document must agree on.
//!
//! A peer keeps the rules as far as its actions let it: it numbers its batches, keeps to its credit,
//! and closes what it has open. What it was told is held against that. One that broke a rule is
//! `rude`, and may be ended for it.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::sync::Arc;

use deltaworks_image::{Image, Kind};
use deltaworks_pipeline::inline::{Event, Inline, Peer as PeerId};
use deltaworks_pipeline::message::{Access, CloseReason, Opened};
use deltaworks_pipeline::port::SessionFault;

/// What all readers must agree on.
#[derive(Debug, Default)]
pub struct Streams {
    /// The payload CRC and the count of the batch at a sequence of a document.
    batches: HashMap<(u64, u64), (u32, u32)>,
    /// Payload CRCs of what was sent by peers of ours.
    sent: HashSet<u32>,
    /// Raw bytes were sent, and may be images.
    pub has_strangers: bool,
    epochs: HashMap<Arc<str>, u64>,
}

impl Streams {
    /// Notes an image that is about to be sent.
    pub fn sent(&mut self, image: &[u8]) {
        self.sent.insert(Image::checked_before(image).expect("an image").payload_crc());
    }

    /// The epoch of `name` that was told last, or one that no document has.
    pub fn newest_epoch(&self, name: &str) -> u64 {
        self.epochs.get(name).copied().unwrap_or(1)
    }

    /// A batch at the same sequence is the same for everybody, and somebody has sent it.
    fn received(&mut self, image: &Image<'_>) {
        assert!(
            self.has_strangers || self.sent.contains(&image.payload_crc()),
            "the bytes are the writer's"
        );
        if image.kind() == Kind::Batch {
            let place = (image.document().to_bits(), image.first_sequence());
            let batch = (image.payload_crc(), image.count());
            let known = *self.batches.entry(place).or_insert(batch);
            assert_eq!(known, batch, "all readers get the same");
        }
    }
}

#[derive(Debug)]
struct Handle {
    access: Access,
    /// It is the one that the document's images are for.
    reads: bool,
    document: u64,
    /// The number of the next batch, the highest that was sent, and the highest that was answered.
    next_number: u64,
    sent: u64,
    answered: u64,
    balance_bytes: i64,
    /// The sequence that must come next, and whether a batch may begin before it.
    next: u64,
    is_at_start: bool,
    is_closing: bool,
}

/// One session.
#[derive(Debug)]
pub struct Peer {
    /// Its identity in the pipeline.
    pub id: PeerId,
    /// It broke a rule, or may have.
    pub is_rude: bool,
    /// Its session was ended.
    pub is_ended: bool,
    /// It took its time over a message.
    is_slow: bool,
    /// The names that it asked for, by the number of the request.
    requests: Vec<Arc<str>>,
    handles: BTreeMap<u32, Handle>,
    /// Closed by the server, and not yet by the client.
    dead: VecDeque<u32>,
    /// Closed by both, which the client has not been told yet, or may be told once more.
    freeing: VecDeque<u32>,
    /// What is left of a message that was sent in part.
    rest: Vec<u8>,
}

impl Peer {
    /// A session that has nothing open.
    pub fn new(id: PeerId) -> Peer {
        Peer {
            id,
            is_rude: false,
            is_ended: false,
            is_slow: false,
            requests: Vec::new(),
            handles: BTreeMap::new(),
            dead: VecDeque::new(),
            freeing: VecDeque::new(),
            rest: Vec::new(),
        }
    }

    /// The number of a request to open `name`.
    pub fn request(&mut self, name: &Arc<str>) -> u32 {
        self.requests.push(name.clone());
        self.requests.len() as u32 - 1
    }

    /// Sends an image, or its beginning; the rest is sent before anything else is.
    pub fn send(&mut self, inline: &mut Inline, mut image: Vec<u8>, cut: u8) {
        if cut >= 128 {
            self.rest = image.split_off(image.len() * usize::from(cut - 128) / 128);
            self.is_slow = true;
        }
        inline.send(self.id, &image);
    }

    /// Ends a message that was begun.
    pub fn finish(&mut self, inline: &mut Inline) {
        if !self.rest.is_empty() {
            inline.send(self.id, &core::mem::take(&mut self.rest));
        }
    }

    /// A handle that is open for writing, and the number of the batch to send through it.
    pub fn next_number(&mut self, choice: u8, skip: u8) -> Option<(u32, u64)> {
        let number = self.handle_of(choice, true)?;
        let handle = self.handles.get_mut(&number)?;
        let next = handle.next_number;
        Some(match skip {
            // A resend, and a jump, which is refused and consumes nothing.
            240..248 if next > 1 => (number, next - 1),
            248.. => (number, next + 1),
            _ => {
                handle.next_number += 1;
                (number, next)
            }
        })
    }

    /// Whether the handle's credit allows another image; takes it off.
    pub fn may_send(&mut self, handle: u32, bytes: usize, number: u64) -> bool {
        let Some(handle) = self.handles.get_mut(&handle) else { return false };
        if handle.balance_bytes <= 0 {
            // What was not sent leaves no hole.
            handle.next_number = handle.next_number.min(number);
            return false;
        }
        handle.balance_bytes -= bytes as i64;
        if number < handle.next_number {
            handle.sent = handle.sent.max(number);
        }
        true
    }

    /// One of the handles that are open, for writing if need be; a rare choice names any number, which
    /// is rude.
    fn handle_of(&mut self, choice: u8, writes: bool) -> Option<u32> {
        if choice >= 250 {
            self.is_rude = true;
            return Some(u32::from(choice - 250));
        }
        let open: Vec<u32> = self
            .handles
            .iter()
            .filter(|(_, handle)| !handle.is_closing && (handle.access.write || !writes))
            .map(|(number, _)| *number)
            .collect();
        open.get(usize::from(choice) % open.len().max(1)).copied()
    }

    /// The handle to drop the document of.
    pub fn dropping(&mut self, choice: u8) -> Option<u32> {
        self.handle_of(choice, true)
    }

    /// The handle to close: one that is open, or that the server has closed before.
    pub fn closing(&mut self, choice: u8) -> Option<u32> {
        if choice.is_multiple_of(2)
            && let Some(dead) = self.dead.pop_front()
        {
            self.freeing.push_back(dead);
            return Some(dead);
        }
        let number = self.handle_of(choice, false)?;
        if let Some(handle) = self.handles.get_mut(&number) {
            handle.is_closing = true;
        }
        Some(number)
    }

    /// Holds what the session was told against what is known of it.
    pub fn hear(&mut self, event: &Event, streams: &mut Streams) {
        assert!(!self.is_ended, "{event:?} behind the end");
        match event {
            Event::Opened(opened, credit) => self.opened(opened, *credit, streams),
            Event::OpenRefused(..) => {}
            Event::Ack(ack) => {
                let handle = self.told(ack.handle);
                assert!(ack.producer_sequence >= handle.answered, "acks are cumulative");
                handle.answered = ack.producer_sequence;
                handle.balance_bytes += i64::from(ack.credit_bytes);
            }
            // An ack follows if the number is consumed.
            Event::Refused(refusal) => {
                self.told(refusal.handle);
            }
            Event::Gap { handle, from, to, .. } => {
                let handle = self.told(*handle);
                assert!(from < to && handle.access.read);
                // At its start it may stand inside of a batch, with which the gap begins then.
                let is_before = handle.is_at_start && *from < handle.next;
                assert!(*from == handle.next || is_before, "told where it stood");
                assert!(*to > handle.next, "what was read is not missing");
                handle.next = *to;
            }
            Event::Credit(handle, bytes) => {
                self.told(*handle).balance_bytes += *bytes as i64;
            }
            Event::Closed(handle, CloseReason::Asked)
                if self.freeing.contains(handle) && !self.handles.contains_key(handle) =>
            {
                self.freeing.retain(|freeing| freeing != handle);
            }
            Event::Closed(handle, reason) => {
                let closed = self.handles.remove(handle).expect("it was open");
                if !closed.is_closing {
                    self.dead.push_back(*handle);
                } else if *reason != CloseReason::Asked {
                    // Both closed it. If the client's word is still on its way, it is answered, too.
                    self.freeing.push_back(*handle);
                }
            }
            Event::Fault(fault) => {
                let is_fair = match fault {
                    SessionFault::CarryLimit | SessionFault::SpillLimit => true,
                    SessionFault::MessageDeadline => self.is_slow,
                    _ => false,
                };
                assert!(is_fair || self.is_rude, "{fault:?} for one that kept the rules");
                self.is_ended = true;
            }
            Event::Image(bytes) => self.received(bytes, streams),
        }
    }

    fn told(&mut self, handle: u32) -> &mut Handle {
        self.handles.get_mut(&handle).expect("told of a handle that is open")
    }

    fn opened(&mut self, opened: &Opened, credit: u64, streams: &mut Streams) {
        let document = u64::from(opened.slot) | u64::from(opened.generation) << 32;
        let name = self.requests[opened.request as usize].clone();
        streams.epochs.insert(name, opened.epoch);
        for older in self.handles.values_mut().filter(|older| older.document == document) {
            if older.reads && opened.access.read {
                // Its end is on its way: it was fenced off, dropped, or closed. What is read from now
                // on is the newer's.
                older.reads = false;
            }
        }
        let handle = Handle {
            access: opened.access,
            reads: opened.access.read,
            document,
            next_number: opened.producer_sequence + 1,
            sent: 0,
            answered: opened.producer_sequence,
            balance_bytes: credit as i64,
            next: opened.gap_from.unwrap_or(opened.start_sequence),
            is_at_start: true,
            is_closing: false,
        };
        let known = self.handles.insert(opened.handle, handle);
        assert!(known.is_none(), "a handle is given once");
        assert!(!self.dead.contains(&opened.handle), "and again only when the client closed it");
    }

    fn received(&mut self, bytes: &[u8], streams: &mut Streams) {
        let image = Image::parse(bytes).expect("a whole image");
        assert_eq!(image.verify(), Ok(()));
        streams.received(&image);
        let document = image.document().to_bits();
        let reads = |handle: &&mut Handle| handle.reads && handle.document == document;
        let handle = self.handles.values_mut().find(reads).expect("a document that it reads");
        let (first, count) = (image.first_sequence(), u64::from(image.count()));
        let end = first + count;
        if handle.is_at_start && image.kind() == Kind::Batch {
            assert!(first <= handle.next && handle.next < end, "the start lies in the first batch");
            handle.is_at_start = false;
        } else if handle.is_at_start {
            assert!(first <= handle.next, "an info before the start");
            return;
        } else {
            assert_eq!(first, handle.next, "nothing is missing silently, nothing comes twice");
        }
        handle.next = end;
    }

    /// All that went through handles which are open still has been answered, and those that another
    /// one has replaced have been closed: a session reads a document once.
    pub fn assert_answered(&self) {
        let replaced = |handle: &&Handle| handle.access.read && !handle.reads;
        assert_eq!(self.handles.values().filter(replaced).count(), 0, "told of their end");
        if self.is_rude {
            return;
        }
        for (number, handle) in self.handles.iter().filter(|(_, handle)| !handle.is_closing) {
            assert!(handle.answered >= handle.sent, "handle {number}: {handle:?}");
        }
    }
}
