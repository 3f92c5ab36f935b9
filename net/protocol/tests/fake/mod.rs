//! A server for the tests of clients: the real control session, and documents as plain lists.
//!
//! It keeps the protocol's promises and nothing else: no limits of memory, no threads, no speed.

use std::collections::HashMap;

use deltaworks_image::{DocumentId, Image, Kind, Limits, Stamp, check_batch, check_info, stamp};
use deltaworks_protocol::error_code::ErrorCode;
use deltaworks_protocol::framing::Framing;
use deltaworks_protocol::message::{
    Ack, Closed, Control, Credit, ErrorMessage, Gap, OpenOptions, Opened, Start,
};
use deltaworks_protocol::server::{Config, Request, Session};

/// A delta that the server refuses.
pub const BAD: &[u8] = b"bad";

/// What a document remembers of a writer.
#[derive(Default)]
pub struct Producer {
    last: u64,
    sequences: HashMap<u64, u64>,
    origin: u32,
    writer: Option<(usize, u32)>,
}

/// A document: its stream as a list.
pub struct Document {
    id: DocumentId,
    epoch: u64,
    next_sequence: u64,
    images: Vec<Vec<u8>>,
    /// Images before this one are gone.
    pub window: usize,
    producers: HashMap<u64, Producer>,
    info: Option<Vec<u8>>,
}

/// What a session has open.
pub struct Handle {
    name: String,
    pub options: OpenOptions,
    balance: i64,
    is_open: bool,
}

/// One client's connection.
pub struct Connection {
    pub session: Session,
    framing: Framing,
    pub handles: Vec<Handle>,
    pub out: Vec<u8>,
}

/// The server and its connections.
pub struct FakeServer {
    pub config: Config,
    pub credit_bytes: u64,
    /// Acks are owed until `release_acks`, when set.
    pub holds_acks: bool,
    /// Acks carry no credit, when set.
    pub holds_credit: bool,
    pub documents: HashMap<String, Document>,
    pub connections: Vec<Connection>,
    pub held: Vec<(usize, Ack)>,
    epochs: u64,
}

impl FakeServer {
    pub fn new() -> FakeServer {
        FakeServer {
            config: Config::default(),
            credit_bytes: 4_096,
            holds_acks: false,
            holds_credit: false,
            documents: HashMap::new(),
            connections: Vec::new(),
            held: Vec::new(),
            epochs: 100,
        }
    }

    /// A new connection's number.
    pub fn connect(&mut self) -> usize {
        self.connections.push(Connection {
            session: Session::new(0),
            framing: Framing::new(Limits::DEFAULT),
            handles: Vec::new(),
            out: Vec::new(),
        });
        self.connections.len() - 1
    }

    /// Loses every document, as a restart does.
    pub fn forget_documents(&mut self) {
        self.documents.clear();
    }

    /// The deltas of a document in order.
    pub fn deltas(&self, name: &str) -> Vec<Vec<u8>> {
        let images = self.documents.get(name).map_or(&[][..], |document| &document.images);
        let views = images.iter().map(|image| Image::parse(image).unwrap());
        views.flat_map(|view| view.deltas().map(<[u8]>::to_vec).collect::<Vec<_>>()).collect()
    }

    /// What goes out to a connection.
    pub fn output(&mut self, connection: usize) -> Vec<u8> {
        core::mem::take(&mut self.connections[connection].out)
    }

    /// Whether the server has ended the connection's session.
    pub fn is_ended(&self, connection: usize) -> bool {
        self.connections[connection].session.is_ended()
    }

    /// Grants credit on a connection's first handle.
    pub fn grant(&mut self, connection: usize, bytes: u64) {
        let connection = &mut self.connections[connection];
        connection.handles[0].balance += bytes as i64;
        Credit { handle: 0, bytes }.encode_to(&mut connection.out);
    }

    /// Ends a session with an error.
    pub fn end(&mut self, connection: usize, code: ErrorCode) {
        let connection = &mut self.connections[connection];
        connection.session.handle_fault(code);
        connection.session.poll_transmit(&self.config, &mut connection.out);
    }

    /// Takes bytes of a connection.
    pub fn input(&mut self, connection: usize, bytes: &[u8]) {
        self.connections[connection].framing.handle_input(bytes);
        loop {
            let message = match self.connections[connection].framing.poll_message() {
                Ok(Some(message)) => message.to_vec(),
                Ok(None) => return,
                Err(error) => return self.end(connection, error.into()),
            };
            self.message(connection, message);
            if self.is_ended(connection) {
                return;
            }
        }
    }

    fn message(&mut self, connection: usize, message: Vec<u8>) {
        let kind = Kind::from_number(message[4]).unwrap();
        if kind.is_image() {
            return self.image(connection, kind, message);
        }
        let there = &mut self.connections[connection];
        let padding = usize::from(message[5]);
        let body = &message[8..message.len() - padding];
        let request = there.session.handle_message(&self.config, 0, kind, body);
        there.session.poll_transmit(&self.config, &mut there.out);
        match request {
            Request::None | Request::End => {}
            Request::Open { request, name, options } => {
                let name = name.to_string();
                self.open(connection, request, name, options);
            }
            Request::RefuseOpen { request, code } => self.refuse_open(connection, request, code),
            Request::Close { handle } => self.close(connection, handle, ErrorCode::Closed),
            Request::Drop { handle } => {
                let name = self.connections[connection].handles[handle as usize].name.clone();
                self.documents.remove(&name);
                for other in 0..self.connections.len() {
                    for handle in 0..self.connections[other].handles.len() {
                        if self.connections[other].handles[handle].name == name {
                            self.close(other, handle as u32, ErrorCode::ClosedByDrop);
                        }
                    }
                }
            }
        }
    }

    fn refuse_open(&mut self, connection: usize, request: u32, code: ErrorCode) {
        let mut error = ErrorMessage::new(code, code.advice());
        error.request = Some(request);
        error.encode_to(&mut self.connections[connection].out);
    }

    fn close(&mut self, connection: usize, handle: u32, code: ErrorCode) {
        let connection = &mut self.connections[connection];
        if core::mem::take(&mut connection.handles[handle as usize].is_open) {
            Closed::new(Some(handle), code, "").encode_to(&mut connection.out);
        }
    }

    fn open(&mut self, connection: usize, request: u32, name: String, options: OpenOptions) {
        if name.starts_with("nowhere/") {
            return self.refuse_open(connection, request, ErrorCode::CollectionUnknown);
        }
        let slot = self.documents.len() as u32;
        self.epochs += 1;
        let document = self.documents.entry(name.clone()).or_insert_with(|| Document {
            id: DocumentId { slot, generation: 1 },
            epoch: self.epochs,
            next_sequence: 1,
            images: Vec::new(),
            window: 0,
            producers: HashMap::new(),
            info: None,
        });
        let handle = self.connections[connection].handles.len() as u32;
        let window_start = document
            .images
            .get(document.window)
            .map_or(document.next_sequence, |image| Image::parse(image).unwrap().first_sequence());
        let (mut start_sequence, mut gap_from) = (window_start, None);
        match options.start {
            Start::Live => start_sequence = document.next_sequence,
            Start::Sequence { sequence, epoch } if epoch == document.epoch => {
                if sequence.max(1) < window_start {
                    gap_from = Some(sequence.max(1));
                } else {
                    start_sequence = sequence.max(1);
                }
            }
            _ => {}
        }
        let (mut origin, mut producer_sequence, mut fenced) = (0, 0, None);
        if options.access.writes() {
            let next_origin = document.producers.len() as u32 + 1;
            let producer = document
                .producers
                .entry(options.producer)
                .or_insert_with(|| Producer { origin: next_origin, ..Producer::default() });
            fenced = producer.writer.replace((connection, handle));
            (origin, producer_sequence) = (producer.origin, producer.last);
        }
        let there = &mut self.connections[connection];
        Opened {
            request,
            handle,
            document: document.id.to_bits(),
            epoch: document.epoch,
            window_start,
            next_sequence: document.next_sequence,
            start_sequence,
            credit: if options.access.writes() { self.credit_bytes } else { 0 },
            origin,
            producer_sequence,
            info: document.info.as_deref(),
            kind: "opaque",
            policy: options.policy.number(),
        }
        .encode_to(&mut there.out);
        if let Some(from) = gap_from {
            let gap = Gap { handle, from, to: start_sequence, policy: 0, behind_bytes: 0 };
            gap.encode_to(&mut there.out);
        }
        if options.access.reads() {
            for image in &document.images[document.window..] {
                let view = Image::parse(image).unwrap();
                if view.first_sequence() + u64::from(view.count()) > start_sequence {
                    there.out.extend_from_slice(image);
                }
            }
        }
        let balance = self.credit_bytes as i64;
        there.handles.push(Handle { name, options, balance, is_open: true });
        if let Some((older, handle)) = fenced {
            self.close(older, handle, ErrorCode::ClosedByFence);
        }
    }

    fn image(&mut self, connection: usize, kind: Kind, mut image: Vec<u8>) {
        let there = &mut self.connections[connection];
        if !there.session.is_running() {
            return self.end(connection, ErrorCode::HelloExpected);
        }
        let checked = match kind {
            Kind::Batch => check_batch(&image, &Limits::DEFAULT),
            _ => check_info(&image, &Limits::DEFAULT),
        };
        let inbound = match checked {
            Ok(inbound) => inbound,
            Err(error) => return self.end(connection, error.into()),
        };
        let Some(handle) = there.handles.get_mut(inbound.handle as usize) else {
            return self.end(connection, ErrorCode::HandleUnknown);
        };
        if !handle.is_open {
            return;
        }
        if handle.balance <= 0 {
            return self.end(connection, ErrorCode::CreditExceeded);
        }
        let credit = if self.holds_credit { 0 } else { image.len() as u64 };
        handle.balance += credit as i64 - image.len() as i64;
        let name = handle.name.clone();
        let producer_id = handle.options.producer;
        let document = self.documents.get_mut(&name).unwrap();
        let producer = document.producers.get_mut(&producer_id).unwrap();
        let number = inbound.producer_sequence;
        let (mut sequence, mut duplicates) = (0, 0);
        let mut refused = None;
        let mut news = None;
        if number > producer.last + 1 {
            refused = Some(ErrorCode::SequenceJump);
        } else if number <= producer.last {
            duplicates = 1;
            sequence = producer.sequences.get(&producer.last).copied().unwrap_or(0);
        } else {
            producer.last = number;
            let view = Image::parse(&image).unwrap();
            if view.deltas().any(|delta| delta == BAD) {
                refused = Some(ErrorCode::DeltaInvalid);
            } else {
                sequence = document.next_sequence;
                producer.sequences.insert(number, sequence);
                if kind == Kind::Info {
                    document.info = Some(view.info_map().to_vec());
                }
                let origin = producer.origin;
                let first_sequence = sequence;
                let fields = Stamp { document: document.id, first_sequence, time_us: 1, origin };
                stamp(&mut image, fields);
                document.next_sequence += u64::from(inbound.count);
                document.images.push(image.clone());
                news = Some(image);
            }
        }
        let ack = Ack {
            handle: inbound.handle,
            producer_sequence: producer.last,
            sequence,
            credit,
            duplicates,
        };
        if let Some(code) = refused {
            let mut error = ErrorMessage::new(code, code.advice());
            error.handle = Some(inbound.handle);
            error.producer_sequence = Some(number);
            error.delta = Some(0);
            error.encode_to(&mut self.connections[connection].out);
        }
        if self.holds_acks {
            self.held.push((connection, ack));
        } else {
            ack.encode_to(&mut self.connections[connection].out);
        }
        let Some(image) = news else { return };
        for other in &mut self.connections {
            let reads = |handle: &Handle| {
                handle.is_open && handle.name == name && handle.options.access.reads()
            };
            if !other.session.is_ended() && other.handles.iter().any(reads) {
                other.out.extend_from_slice(&image);
            }
        }
    }
}
