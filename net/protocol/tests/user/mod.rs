//! A client session as its user drives it, and the ways that its messages may take.

use crate::fake::FakeServer;
use deltaworks_image::{BatchBuilder, Image, Kind, Limits};
use deltaworks_protocol::client::{
    Config, DocumentKey, Event, Fault, Healing, Outcome, Received, Session,
};
use deltaworks_protocol::framing::Framing;
use deltaworks_protocol::message::{Access, Control, OpenOptions, Policy, Start};
pub(crate) const MS: u64 = 1_000_000;

/// A message on its way; the tests change, drop or repeat it.
pub(crate) type Way = Box<dyn FnMut(Vec<u8>) -> Vec<Vec<u8>>>;

pub(crate) fn untouched() -> Way {
    Box::new(|message| vec![message])
}

pub(crate) struct User {
    pub(crate) session: Session,
    pub(crate) connection: Option<usize>,
    pub(crate) framing: Framing,
    pub(crate) up: Way,
    pub(crate) down: Way,
    pub(crate) now_ns: u64,
    pub(crate) events: Vec<Event>,
    /// What was read: the document, the first wanted sequence, the deltas.
    pub(crate) read: Vec<(DocumentKey, u64, Vec<Vec<u8>>)>,
    pub(crate) infos: Vec<Vec<u8>>,
    pub(crate) faults: Vec<Fault>,
}

impl User {
    pub(crate) fn new(healing: Healing) -> User {
        User {
            session: Session::new(Config { healing, ..Config::default() }),
            connection: None,
            framing: Framing::new(Limits::HARD),
            up: untouched(),
            down: untouched(),
            now_ns: 1,
            events: Vec::new(),
            read: Vec::new(),
            infos: Vec::new(),
            faults: Vec::new(),
        }
    }

    pub(crate) fn connect(&mut self, server: &mut FakeServer) {
        self.connection = Some(server.connect());
        self.framing = Framing::new(Limits::HARD);
        self.session.handle_connected(self.now_ns);
    }

    pub(crate) fn fault(&mut self, fault: Fault) {
        self.faults.push(fault.clone());
        self.connection = None;
        self.session.handle_disconnected(fault);
        while let Some(event) = self.session.poll_event() {
            self.events.push(event);
        }
    }

    /// Moves bytes both ways until nothing moves; reconnects after faults if `heals`.
    pub(crate) fn run(&mut self, server: &mut FakeServer) {
        for _ in 0..200 {
            if self.connection.is_none() && !self.session.is_failed() {
                self.connect(server);
            }
            if !self.step(server) {
                return;
            }
        }
        panic!("the talk never ends");
    }

    pub(crate) fn step(&mut self, server: &mut FakeServer) -> bool {
        let Some(connection) = self.connection else { return false };
        let mut out = Vec::new();
        self.session.poll_transmit(self.now_ns, &mut out, 1 << 20);
        let mut framing = Framing::new(Limits::HARD);
        framing.handle_input(&out);
        while let Some(message) = framing.poll_message().unwrap() {
            for message in (self.up)(message.to_vec()) {
                server.input(connection, &message);
            }
        }
        let input = server.output(connection);
        self.framing.handle_input(&input);
        loop {
            let message = match self.framing.poll_message() {
                Ok(Some(message)) => message.to_vec(),
                Ok(None) => break,
                Err(error) => {
                    self.fault(Fault::Image(error));
                    return true;
                }
            };
            for message in (self.down)(message) {
                match self.session.handle_message(self.now_ns, &message) {
                    Ok(Received::Nothing) => {}
                    Ok(Received::Batch { document, skip }) => {
                        let view = Image::parse(&message).unwrap();
                        let deltas = view.deltas().skip(skip as usize).map(<[u8]>::to_vec);
                        let first = view.first_sequence() + u64::from(skip);
                        self.read.push((document, first, deltas.collect()));
                    }
                    Ok(Received::Info { .. }) => {
                        let view = Image::parse(&message).unwrap();
                        self.infos.push(view.info_map().to_vec());
                    }
                    Err(fault) => {
                        self.fault(fault);
                        return true;
                    }
                }
                while let Some(event) = self.session.poll_event() {
                    self.events.push(event);
                }
            }
        }
        while let Some(event) = self.session.poll_event() {
            self.events.push(event);
        }
        !(out.is_empty() && input.is_empty())
    }

    pub(crate) fn open(&mut self, name: &str, access: Access, start: Start) -> DocumentKey {
        let producer = if access.writes() { 7 } else { 0 };
        let options = OpenOptions { access, start, policy: Policy::Gap, producer, echo: true };
        self.session.open(self.now_ns, name, options).unwrap()
    }

    pub(crate) fn publish(&mut self, key: DocumentKey, deltas: &[&[u8]]) -> u64 {
        let mut batch = BatchBuilder::new(Limits::DEFAULT);
        deltas.iter().for_each(|delta| batch.append(delta).unwrap());
        self.session.publish(key, &mut batch).unwrap()
    }

    pub(crate) fn outcomes(&self) -> Vec<(u64, Outcome)> {
        let answered = self.events.iter().filter_map(|event| match event {
            Event::Answered { ticket, outcome, .. } => Some((*ticket, outcome.clone())),
            _ => None,
        });
        answered.collect()
    }

    pub(crate) fn deltas(&self) -> Vec<Vec<u8>> {
        self.read.iter().flat_map(|(_, _, deltas)| deltas.clone()).collect()
    }
}

/// Moves a document's window so that its first `count` images are gone.
pub(crate) fn move_window(server: &mut FakeServer, name: &str, count: usize) {
    server.documents.get_mut(name).unwrap().window = count;
}

/// Sends the acks that were held.
pub(crate) fn release_acks(server: &mut FakeServer) {
    server.holds_acks = false;
    for (connection, ack) in std::mem::take(&mut server.held) {
        ack.encode_to(&mut server.connections[connection].out);
    }
}

/// Tells the server that the first connection was silent until now.
pub(crate) fn time_out(server: &mut FakeServer, now_ms: u64) {
    let there = &mut server.connections[0];
    there.session.handle_timeout(&server.config, now_ms * MS);
    there.session.poll_transmit(&server.config, &mut there.out);
}

/// The policy that a connection asked for with its first open.
pub(crate) fn policy(server: &FakeServer, connection: usize) -> Policy {
    server.connections[connection].handles[0].options.policy
}

pub(crate) fn accepted(sequence: u64) -> Outcome {
    Outcome::Accepted { sequence: Some(sequence) }
}

/// Drops the `nth` batch, or sends it twice, or changes a byte; counts from 0.
pub(crate) fn at_batch(nth: usize, change: fn(Vec<u8>) -> Vec<Vec<u8>>) -> Way {
    let mut seen = 0;
    Box::new(move |message| {
        if message[4] != Kind::Batch.number() {
            return vec![message];
        }
        seen += 1;
        if seen == nth + 1 { change(message) } else { vec![message] }
    })
}

pub(crate) fn swapped_at(nth: usize) -> Way {
    let mut seen = 0;
    let mut held = None;
    Box::new(move |message| {
        if message[4] != Kind::Batch.number() {
            return vec![message];
        }
        seen += 1;
        if seen == nth + 1 {
            held = Some(message);
            return vec![];
        }
        [Some(message), held.take()].into_iter().flatten().collect()
    })
}
