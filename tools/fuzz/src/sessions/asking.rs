//! A client's session against a server that says anything: answers, order, credit, numbers.

use std::collections::{HashMap, HashSet, VecDeque};

use arbitrary::{Arbitrary, Unstructured};
use deltaworks_image::builder::{info, write_batch};
use deltaworks_image::{
    BatchBuilder, DocumentId, Image, Kind, Limits, Stamp, check_batch, check_info, stamp,
};
use deltaworks_protocol::client::{
    Config, DocumentKey, Event, Fault, Healing, Outcome, Received, Session,
};
use deltaworks_protocol::framing::Framing;
use deltaworks_protocol::message::{
    Access, Ack, ClientMessage, Closed, Control, Credit, ErrorMessage, Gap, OpenOptions, Opened,
    Ping, Policy, Pong, ServerHello, Start, split_control,
};

use super::Writer;

/// Bytes of unanswered batches that a document keeps: small, so that it fills.
const BACKLOG_BYTES_MAX: usize = 4 << 10;

/// What the user, the time or the server does.
#[derive(Arbitrary, Debug)]
enum Action<'a> {
    Open { name: u8, access: u8, start: u8, sequence: u8, epoch: u8, echo: bool },
    Publish { document: u8, deltas: u8, bytes: u8 },
    PublishInfo { document: u8, bytes: u8 },
    Close { document: u8, flush: bool },
    DropDocument { document: u8 },
    Forget { document: u8 },
    Connect,
    Disconnect,
    Goodbye,
    Stall,
    Time { ms: u16 },
    Transmit { bytes_max: u16 },
    Server(Say<'a>),
}

/// What the server says; small numbers, so that they meet what is open.
#[derive(Arbitrary, Debug)]
enum Say<'a> {
    Hello { batch_bytes_max: u16, deltas_max: u8 },
    Opened { request: u8, handle: u8, document: u8, epoch: u8, start: u8, credit: u16, last: u8 },
    Ack { handle: u8, number: u8, sequence: u8, credit: u16 },
    Refuse { code: u16, handle: Option<u8>, request: Option<u8>, number: Option<u8> },
    Gap { handle: u8, from: u8, to: u8 },
    Credit { handle: u8, bytes: u64 },
    Ping(u8),
    Pong(u8),
    Closed { handle: Option<u8>, code: u16 },
    Batch { document: u8, sequence: u8, origin: u8, deltas: u8 },
    Info { document: u8, sequence: u8 },
    Raw { kind: u8, body: &'a [u8] },
    Bytes(&'a [u8]),
}

/// What is known of a document from outside.
#[derive(Default)]
struct Seen {
    /// Tickets that were not answered yet.
    tickets: VecDeque<u64>,
    /// The sequence that must come next, where that is known.
    next: Option<u64>,
    echo: bool,
}

struct World<'w, W> {
    writer: &'w W,
    session: Session,
    now_ns: u64,
    is_connected: bool,
    documents: HashMap<DocumentKey, Seen>,
    /// Balance and last number of each handle on this connection.
    handles: HashMap<u32, (i64, Option<u64>)>,
    /// The server gave one handle or document twice: its credit is nobody's.
    is_tangled: bool,
    /// Documents of this connection, as the server numbered them.
    ids: HashSet<u64>,
    said_hello: bool,
    is_failed: bool,
}

/// Runs the actions.
pub fn story(writer: &impl Writer, mut actions: Unstructured<'_>) {
    let healing = if actions.ratio(1u8, 4).unwrap_or(false) { Healing::Off } else { Healing::On };
    let config = Config { healing, backlog_bytes_max: BACKLOG_BYTES_MAX, ..Config::default() };
    let mut world = World {
        writer,
        session: Session::new(config),
        now_ns: 1,
        is_connected: false,
        documents: HashMap::new(),
        handles: HashMap::new(),
        is_tangled: false,
        ids: HashSet::new(),
        said_hello: false,
        is_failed: false,
    };
    while let Ok(action) = actions.arbitrary::<Action<'_>>() {
        world.act(&action);
        world.events();
        if actions.is_empty() {
            break;
        }
    }
    world.transmit(usize::MAX);
    world.session.fail(Fault::Stray);
    world.events();
    assert!(world.is_failed, "the end is told");
    assert!(world.documents.values().all(|seen| seen.tickets.is_empty()), "all are answered");
    assert!(!world.session.has_transmit(), "nothing is said behind the end");
}

impl<W: Writer> World<'_, W> {
    fn act(&mut self, action: &Action<'_>) {
        match *action {
            Action::Open { name, access, start, sequence, epoch, echo } => {
                let asked = [Access::Read, Access::Write, Access::Both][usize::from(access % 3)];
                let policies = Policy::NAMED.map(|(policy, _)| policy);
                let (sequence, epoch) = (u64::from(sequence), u64::from(epoch % 4));
                let starts = [Start::Live, Start::Window, Start::Sequence { sequence, epoch }];
                let start = starts[usize::from(start % 3)];
                let policy = policies[usize::from(access / 3) % policies.len()];
                let options = OpenOptions { access: asked, start, policy, producer: 9, echo };
                let name = format!("document {}", name % 6);
                if let Ok(key) = self.session.open(self.now_ns, &name, options) {
                    self.documents.insert(key, Seen { echo, ..Seen::default() });
                }
            }
            Action::Publish { document, deltas, bytes } => self.publish(document, deltas, bytes),
            Action::PublishInfo { document, bytes } => {
                let map = vec![0xa0; usize::from(bytes)];
                let key = key(document);
                if let Ok(ticket) = self.session.publish_info(key, &map) {
                    self.documents.entry(key).or_default().tickets.push_back(ticket);
                }
            }
            Action::Close { document, flush } => self.session.close(key(document), flush),
            Action::DropDocument { document } => {
                let _ = self.session.drop_document(key(document));
            }
            Action::Forget { document } => self.session.forget(key(document)),
            Action::Connect if !self.is_connected => {
                self.session.handle_connected(self.now_ns);
                self.is_connected = !self.session.is_failed();
            }
            Action::Connect => {}
            Action::Disconnect if self.is_connected => {
                self.disconnected(Fault::Disconnected("as the story goes".into()));
            }
            Action::Disconnect => {}
            Action::Goodbye => self.session.say_goodbye(),
            Action::Stall => self.session.handle_stall(self.now_ns),
            Action::Time { ms } => {
                self.now_ns += u64::from(ms) * 1_000_000;
                if let Err(fault) = self.session.handle_timeout(self.now_ns) {
                    self.disconnected(fault);
                } else if let Some(due_ns) = self.session.poll_timeout() {
                    assert!(due_ns > self.now_ns, "what was looked at is not due again at once");
                }
            }
            Action::Transmit { bytes_max } => self.transmit(usize::from(bytes_max)),
            Action::Server(ref say) if self.is_connected => self.server(say),
            Action::Server(_) => {}
        }
    }

    fn publish(&mut self, document: u8, deltas: u8, bytes: u8) {
        let mut batch = BatchBuilder::new(Limits::DEFAULT);
        for number in 0..deltas % 16 {
            batch.append(&vec![number; 1 + usize::from(bytes)]).expect("within the limits");
        }
        let key = key(document);
        let bytes = batch.image_bytes();
        match self.session.publish(key, &mut batch) {
            Ok(ticket) => {
                assert!(batch.is_empty(), "the batch was taken");
                let tickets = &mut self.documents.entry(key).or_default().tickets;
                tickets.push_back(ticket);
                let fits = bytes <= BACKLOG_BYTES_MAX || tickets.len() == 1;
                assert!(fits, "the backlog is bounded");
            }
            Err(_) => assert_eq!(batch.image_bytes(), bytes, "the batch was left alone"),
        }
    }

    fn disconnected(&mut self, fault: Fault) {
        self.is_connected = false;
        self.said_hello = false;
        self.handles.clear();
        self.ids.clear();
        self.is_tangled = false;
        let again = self.session.handle_disconnected(fault);
        assert_eq!(again, !self.session.is_failed());
    }

    fn server(&mut self, say: &Say<'_>) {
        let mut bytes = Vec::new();
        match *say {
            Say::Hello { batch_bytes_max, deltas_max } => ServerHello {
                version: 1,
                server: "a story",
                batch_bytes_max: u32::from(batch_bytes_max),
                deltas_per_batch_max: u32::from(deltas_max),
                documents_per_session_max: 8,
                ping_interval_ms: 15_000,
                ping_timeout_ms: 45_000,
                name_bytes_max: 20,
                durability: "memory",
            }
            .encode_to(&mut bytes),
            Say::Opened { request, handle, document, epoch, start, credit, last } => Opened {
                request: u32::from(request % 8),
                handle: u32::from(handle % 8),
                document: u64::from(document % 8),
                epoch: u64::from(epoch % 4),
                window_start: 1,
                next_sequence: u64::from(start),
                start_sequence: u64::from(start),
                credit: u64::from(credit),
                origin: u32::from(last % 3),
                producer_sequence: if last == 255 { u64::MAX } else { u64::from(last % 32) },
                info: None,
                kind: "opaque",
                policy: (handle < 128).then_some(handle / 8 % 8),
            }
            .encode_to(&mut bytes),
            Say::Ack { handle, number, sequence, credit } => Ack {
                handle: u32::from(handle % 8),
                producer_sequence: u64::from(number % 64),
                sequence: u64::from(sequence),
                credit: u64::from(credit),
                duplicates: 0,
            }
            .encode_to(&mut bytes),
            Say::Refuse { code, handle, request, number } => ErrorMessage {
                code: code % 512,
                text: "as the story goes",
                handle: handle.map(|handle| u32::from(handle % 8)),
                request: request.map(|request| u32::from(request % 8)),
                producer_sequence: number.map(|number| u64::from(number % 64)),
                delta: None,
                instance_path: None,
                schema_path: None,
                offset: None,
            }
            .encode_to(&mut bytes),
            Say::Gap { handle, from, to } => {
                let policy = handle / 8 % 8;
                let (handle, from, to) = (u32::from(handle % 8), u64::from(from), u64::from(to));
                Gap { handle, from, to, policy, behind_bytes: 0 }.encode_to(&mut bytes);
            }
            Say::Credit { handle, bytes: credit } => {
                Credit { handle: u32::from(handle % 8), bytes: credit }.encode_to(&mut bytes);
            }
            Say::Ping(token) => Ping { token: u64::from(token) }.encode_to(&mut bytes),
            Say::Pong(token) => Pong { token: u64::from(token) }.encode_to(&mut bytes),
            Say::Closed { handle, code } => {
                let handle = handle.map(|handle| u32::from(handle % 8));
                Closed { handle, code: code % 512, text: "" }.encode_to(&mut bytes);
            }
            Say::Batch { document, sequence, origin, deltas } => {
                let deltas = vec![&b"delta"[..]; 1 + usize::from(deltas % 8)];
                bytes.resize(512, 0);
                let len = write_batch(&mut bytes, &Limits::DEFAULT, 0, 1, &deltas);
                bytes.truncate(len.expect("a small batch"));
                stamped(&mut bytes, document, sequence, origin);
            }
            Say::Info { document, sequence } => {
                bytes = info(&Limits::DEFAULT, 0, 1, &[0xa0]).expect("a small map");
                stamped(&mut bytes, document, sequence, 0);
            }
            Say::Raw { kind, body } => {
                let Some(kind) = Kind::from_number(kind).filter(|kind| !kind.is_image()) else {
                    return;
                };
                self.is_tangled = true;
                if let Err(fault) = self.session.handle_control(self.now_ns, kind, body) {
                    self.events();
                    self.disconnected(fault);
                }
                return;
            }
            Say::Bytes(raw) => {
                self.is_tangled = true;
                bytes.extend_from_slice(raw);
            }
        }
        self.note(say);
        match self.session.handle_message(self.now_ns, &bytes) {
            Ok(received) => self.received(&bytes, &received),
            Err(fault) => {
                self.events();
                self.disconnected(fault);
            }
        }
    }

    /// Notes credit before the session hears of it, and what it will be unable to tell apart.
    fn note(&mut self, say: &Say<'_>) {
        match *say {
            Say::Opened { handle, document, credit, .. } => {
                let handle = u32::from(handle % 8);
                let twice = self.handles.insert(handle, (i64::from(credit), None)).is_some();
                self.is_tangled |= twice | !self.ids.insert(u64::from(document % 8));
            }
            Say::Ack { handle, credit, .. } => self.granted(handle, u64::from(credit)),
            Say::Credit { handle, bytes } => self.granted(handle, bytes),
            _ => {}
        }
    }

    fn granted(&mut self, handle: u8, bytes: u64) {
        if let Some((balance, _)) = self.handles.get_mut(&u32::from(handle % 8)) {
            *balance = balance.saturating_add_unsigned(bytes);
        }
    }

    /// What the user is given follows what was given before.
    fn received(&mut self, bytes: &[u8], received: &Received) {
        let Ok(image) = Image::parse(bytes) else { return };
        let Received::Batch { document, skip } = *received else { return };
        assert!(u64::from(skip) < u64::from(image.count()), "something is new");
        let seen = self.documents.entry(document).or_default();
        let first = image.first_sequence() + u64::from(skip);
        if let Some(next) = seen.next {
            assert_eq!(first.max(1), next.max(1), "nothing is missing, nothing comes twice");
        }
        seen.next = seen.echo.then_some(image.first_sequence() + u64::from(image.count()));
    }

    fn events(&mut self) {
        while let Some(event) = self.session.poll_event() {
            assert!(!self.is_failed, "{event:?} behind the end");
            match event {
                Event::Answered { document, ticket, outcome } => {
                    let seen = self.documents.entry(document).or_default();
                    assert_eq!(seen.tickets.pop_front(), Some(ticket), "in order, none left out");
                    if let Outcome::Accepted { sequence } = outcome {
                        assert_ne!(sequence, Some(0));
                    }
                }
                Event::Opened(document, opened) => {
                    let seen = self.documents.entry(document).or_default();
                    if !opened.is_again {
                        seen.next = None;
                    }
                }
                Event::Gap { document, from, to, .. } => {
                    assert!(from < to);
                    let seen = self.documents.entry(document).or_default();
                    assert!(seen.next.is_none_or(|next| next == from), "told where it stood");
                    seen.next = seen.echo.then_some(to);
                }
                Event::EpochChanged { document, sequence, .. } => {
                    let seen = self.documents.entry(document).or_default();
                    seen.next = seen.echo.then_some(sequence);
                }
                Event::Closed { document, .. } => {
                    let seen = self.documents.remove(&document).unwrap_or_default();
                    assert!(seen.tickets.is_empty(), "all are answered before the end");
                }
                Event::Failed(_) => self.is_failed = true,
                Event::Connected(_) | Event::OpenRefused(..) => {}
            }
        }
    }

    /// Takes what the session has to send, and reads it as a server does.
    fn transmit(&mut self, bytes_max: usize) {
        let mut out = Vec::new();
        self.writer.client(&mut self.session, self.now_ns, &mut out, bytes_max);
        assert!(out.is_empty() || self.is_connected, "nothing is said to nobody");
        let mut framing = Framing::new(Limits::HARD);
        framing.handle_input(&out);
        while let Some(message) = framing.poll_message().expect("whole messages") {
            if message[4] <= 2 {
                self.sent_image(message);
                continue;
            }
            let (kind, body) = split_control(message, &Limits::HARD).expect("a control message");
            match ClientMessage::decode(kind, body).expect("a client's message") {
                ClientMessage::Hello(_) => {
                    assert!(!self.said_hello, "hello is said once a connection");
                    self.said_hello = true;
                }
                ClientMessage::Open(open) => {
                    assert!(open.options().is_ok() && !open.name.is_empty());
                }
                ClientMessage::Close(close) => {
                    close.handle.map(|handle| self.handles.remove(&handle));
                }
                ClientMessage::Ping(_) | ClientMessage::Pong(_) | ClientMessage::Drop(_) => {}
            }
            assert!(self.said_hello, "hello is said first");
        }
        assert_eq!(framing.pending_bytes(), 0, "nothing is cut off");
    }

    fn sent_image(&mut self, image: &[u8]) {
        let inbound = if image[4] == 2 {
            check_info(image, &Limits::HARD)
        } else {
            check_batch(image, &Limits::HARD)
        };
        let inbound = inbound.expect("an image that a server accepts");
        if self.is_tangled {
            return;
        }
        let known = self.handles.get_mut(&inbound.handle);
        let (balance, last) = known.expect("images go through handles that are open");
        assert!(*balance > 0, "credit is kept");
        *balance -= image.len() as i64;
        let number = inbound.producer_sequence;
        if let Some(last) = last.replace(number) {
            assert_eq!(number, last.saturating_add(1), "numbers rise by one");
        }
    }
}

/// A document's key: there are few.
fn key(document: u8) -> DocumentKey {
    DocumentKey(u32::from(document % 8))
}

fn stamped(image: &mut [u8], document: u8, sequence: u8, origin: u8) {
    let document = DocumentId { slot: u32::from(document % 8), generation: 0 };
    let first_sequence = u64::from(sequence);
    stamp(image, Stamp { document, first_sequence, time_us: 1, origin: u32::from(origin % 3) });
}
