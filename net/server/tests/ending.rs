//! An end without time for everything: what was received and not appended is refused by its
//! number, before the session is told of the end. A server in this process, with deltas whose
//! check takes longer than anybody waits.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use deltaworks_image::{BatchBuilder, Kind, Limits};
use deltaworks_pipeline::collection::{
    Collection, CollectionLimits, Collections, Overload, Schema,
};
use deltaworks_pipeline::stages::CoreRole;
use deltaworks_protocol::framing::Framing;
use deltaworks_protocol::message::{
    Access, ClientHello, Open, OpenOptions, Policy, Start, split_control,
};
use deltaworks_protocol::server::Config as ProtocolConfig;
use deltaworks_protocol::{Control, ServerMessage};
use deltaworks_runtime::idle::IdleBudget;
use deltaworks_server::report::Phase;
use deltaworks_server::sizing::{SizingRequest, WORKER_QUEUE_MESSAGES, size};
use deltaworks_server::{AccessConfig, CorePlacement, Server, ServerConfig, Stopped};

/// How long anything may take before it counts as a hang.
const PATIENCE: Duration = Duration::from_secs(30);

fn server(cores: u32) -> Server {
    let role = CoreRole { serves_sessions: true, owns_documents: true, is_elastic: false };
    let chunk_bytes = 64 << 10;
    let sizing = size(SizingRequest {
        budget_bytes: Some(24 << 20),
        cores,
        session_cores: cores,
        workers: cores,
        elastic_cores: 0,
        guests_per_worker: 256,
        documents: Some(100),
        sessions: None,
        worker_queue_messages: WORKER_QUEUE_MESSAGES,
        ring_capacity: None,
        chunk_bytes,
        kept_bytes: 0,
    });
    let sizing = sizing.expect("a budget that is large enough");
    let collection = |name: &str, schema| Collection {
        name: name.into(),
        schema,
        overload: Overload::default(),
        limits: CollectionLimits::default(),
    };
    let config = ServerConfig {
        cores: vec![CorePlacement { cpu: None, numa_node: None, role }; cores as usize],
        tcp: vec!["127.0.0.1:0".parse().expect("an address")],
        unix: vec![],
        access: AccessConfig::default(),
        collections: Collections::new(vec![
            collection("", Schema::Opaque),
            collection("endless", Schema::Busy { steps_per_delta: 1 << 50 }),
        ]),
        limits: sizing.limits.clone(),
        chunks_per_core: sizing.chunks_per_core,
        kept_chunks_per_home: sizing.kept_chunks_per_home,
        chunk_bytes: chunk_bytes as usize,
        node_blocks: sizing.node_blocks,
        ring_capacity: sizing.ring_capacity,
        control_bytes_per_core_max: sizing.control_bytes_per_core_max,
        idle: IdleBudget { spin_ns: 0, yield_ns: 0 },
        protocol: ProtocolConfig::default(),
        epoch_seed: 1,
        budget_bytes: sizing.budget_bytes,
        measures_latency: false,
    };
    Server::start(config).expect("a server")
}

/// What a writer was told: (number of the error or 0 for an ack, handle, number of the batch).
type Told = (u16, u32, u64);

struct Writer {
    stream: TcpStream,
    framing: Framing,
}

impl Writer {
    fn connect(server: &Server) -> Writer {
        let stream = TcpStream::connect(server.tcp()[0]).expect("a connection");
        stream.set_read_timeout(Some(PATIENCE)).expect("a time-out");
        let mut writer = Writer { stream, framing: Framing::new(Limits::HARD) };
        writer.say(&ClientHello { version_min: 1, version_max: 1, client: "ending", token: None });
        writer.next(|message| matches!(message, ServerMessage::Hello(_)).then_some(()));
        writer
    }

    fn say(&mut self, message: &impl Control) {
        let mut bytes = Vec::new();
        message.encode_to(&mut bytes);
        self.stream.write_all(&bytes).expect("the server takes it");
    }

    fn open(&mut self, name: &str) -> u32 {
        let options = OpenOptions {
            access: Access::Write,
            start: Start::Live,
            policy: Policy::Gap,
            producer: 1,
            echo: true,
        };
        self.say(&Open::new(1, name, options));
        self.next(|message| match message {
            ServerMessage::Opened(opened) => Some(opened.handle),
            _ => None,
        })
    }

    fn publish(&mut self, handle: u32, number: u64) {
        let mut builder = BatchBuilder::new(Limits::HARD);
        builder.append(b"delta").expect("a delta");
        let image = builder.finish(handle, number).expect("a batch");
        self.stream.write_all(&image).expect("the server takes it");
    }

    /// The first message that `pick` wants.
    fn next<T>(&mut self, mut pick: impl FnMut(ServerMessage<'_>) -> Option<T>) -> T {
        let began = Instant::now();
        loop {
            while let Some(message) = self.framing.poll_message().expect("a message") {
                let (kind, body) = split_control(message, &Limits::HARD).expect("control");
                assert_ne!(kind, Kind::Batch);
                let message = ServerMessage::decode(kind, body).expect("a server's message");
                if let Some(picked) = pick(message) {
                    return picked;
                }
            }
            assert!(began.elapsed() < PATIENCE, "it does not come");
            let mut piece = [0; 4096];
            let count = self.stream.read(&mut piece).expect("the server says something");
            assert_ne!(count, 0, "the connection ended before");
            self.framing.handle_input(&piece[..count]);
        }
    }

    fn until_acked(&mut self, of: u32, up_to: u64) {
        self.next(|message| match message {
            ServerMessage::Ack(ack) if ack.handle == of && ack.producer_sequence == up_to => {
                Some(())
            }
            _ => None,
        });
    }

    /// All that it is told up to the session's end.
    fn rest(&mut self) -> Vec<Told> {
        let mut all = Vec::new();
        self.next(|message| {
            match message {
                ServerMessage::Error(error) => {
                    let number = error.producer_sequence.unwrap_or(0);
                    all.push((error.code, error.handle.unwrap_or(u32::MAX), number));
                }
                ServerMessage::Ack(ack) => all.push((0, ack.handle, ack.producer_sequence)),
                ServerMessage::Closed(closed) => {
                    all.push((closed.code, u32::MAX, 0));
                    return Some(());
                }
                _ => {}
            }
            None
        });
        all
    }
}

#[test]
fn what_there_is_no_time_for_is_refused_before_the_end_is_told() {
    for cores in [1, 2] {
        let server = server(cores);
        // Documents of both cores, from sessions on both.
        let mut writers: Vec<(Writer, u32)> = (0..4)
            .map(|place| {
                let mut writer = Writer::connect(&server);
                let slow = writer.open(&format!("endless/{place}"));
                let quick = writer.open(&format!("quick{place}"));
                for number in 1..=3 {
                    writer.publish(slow, number);
                }
                writer.publish(quick, 1);
                // The slow ones stand before it in the same stream of bytes.
                writer.until_acked(quick, 1);
                (writer, slow)
            })
            .collect();
        let observer = server.observer();
        assert_eq!(observer.phase(), Phase::Serving);
        let stopped = server.stop(Duration::from_millis(200), || false);
        // Nobody was cut: each was told everything. But it was not complete.
        assert_eq!(stopped, Stopped::Cut { sessions: 0 });
        assert_eq!(observer.phase(), Phase::Draining);
        for (writer, slow) in &mut writers {
            let told = writer.rest();
            let refused: Vec<&Told> = told.iter().filter(|it| it.0 == 408).collect();
            let expected: Vec<Told> = (1..=3).map(|number| (408, *slow, number)).collect();
            assert_eq!(refused, expected.iter().collect::<Vec<_>>(), "{told:?}");
            let end = &told[told.len() - 2..];
            assert_eq!(end, [(200, u32::MAX, 0), (200, u32::MAX, 0)], "{told:?}");
        }
    }
}

#[test]
fn an_end_with_nothing_left_to_do_is_complete() {
    let server = server(2);
    let mut writer = Writer::connect(&server);
    let quick = writer.open("quick");
    writer.publish(quick, 1);
    writer.until_acked(quick, 1);
    assert_eq!(server.stop(PATIENCE, || false), Stopped::Complete);
    assert_eq!(writer.rest(), [(200, u32::MAX, 0), (200, u32::MAX, 0)]);
}
