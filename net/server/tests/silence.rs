//! How long a session may say nothing: to hello, and between pings. A server in this process, with
//! times that a test can wait for, and raw sockets.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use deltaworks_image::{Kind, Limits};
use deltaworks_pipeline::collection::{
    Collection, CollectionLimits, Collections, Overload, Schema,
};
use deltaworks_pipeline::stages::CoreRole;
use deltaworks_protocol::framing::Framing;
use deltaworks_protocol::message::{ClientHello, Ping, Pong, split_control};
use deltaworks_protocol::server::Config as ProtocolConfig;
use deltaworks_protocol::{Control, ErrorCode, ServerMessage};
use deltaworks_runtime::idle::IdleBudget;
use deltaworks_server::sizing::{SizingRequest, WORKER_QUEUE_MESSAGES, size};
use deltaworks_server::{AccessConfig, CorePlacement, Server, ServerConfig, Stopped};

/// How long anything may take before it counts as a hang.
const PATIENCE: Duration = Duration::from_secs(30);

const HELLO_MS: u32 = 700;
const PING_MS: u32 = 600;
const TIMEOUT_MS: u32 = 2_500;

fn server() -> Server {
    let role = CoreRole { serves_sessions: true, owns_documents: true, is_elastic: false };
    let chunk_bytes = 64 << 10;
    let sizing = size(SizingRequest {
        budget_bytes: Some(12 << 20),
        cores: 1,
        session_cores: 1,
        workers: 1,
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
    let collection = Collection {
        name: String::new(),
        schema: Schema::Opaque,
        overload: Overload::default(),
        limits: CollectionLimits::default(),
    };
    let config = ServerConfig {
        cores: vec![CorePlacement { cpu: None, numa_node: None, role }],
        tcp: vec!["127.0.0.1:0".parse().expect("an address")],
        unix: vec![],
        access: AccessConfig::default(),
        collections: Collections::new(vec![collection]),
        limits: sizing.limits.clone(),
        chunks_per_core: sizing.chunks_per_core,
        kept_chunks_per_home: sizing.kept_chunks_per_home,
        chunk_bytes: chunk_bytes as usize,
        node_blocks: sizing.node_blocks,
        ring_capacity: sizing.ring_capacity,
        control_bytes_per_core_max: sizing.control_bytes_per_core_max,
        idle: IdleBudget { spin_ns: 0, yield_ns: 0 },
        protocol: ProtocolConfig {
            hello_deadline_ms: HELLO_MS,
            ping_interval_ms: PING_MS,
            ping_timeout_ms: TIMEOUT_MS,
            ..ProtocolConfig::default()
        },
        epoch_seed: 1,
        budget_bytes: sizing.budget_bytes,
        measures_latency: true,
    };
    Server::start(config).expect("a server")
}

#[derive(Debug, PartialEq, Eq)]
enum Told {
    Hello,
    Ping(u64),
    Pong(u64),
    Error(u16),
    Closed(u16),
    End,
}

struct Peer {
    stream: TcpStream,
    framing: Framing,
}

impl Peer {
    fn connect(server: &Server) -> Peer {
        let stream = TcpStream::connect(server.tcp()[0]).expect("a connection");
        stream.set_nodelay(true).expect("no delay");
        stream.set_read_timeout(Some(PATIENCE)).expect("a time-out");
        Peer { stream, framing: Framing::new(Limits::HARD) }
    }

    fn say(&mut self, message: &impl Control) {
        let mut bytes = Vec::new();
        message.encode_to(&mut bytes);
        self.stream.write_all(&bytes).expect("the server takes it");
    }

    fn hello(server: &Server) -> Peer {
        let mut peer = Peer::connect(server);
        peer.say(&ClientHello { version_min: 1, version_max: 1, client: "silence", token: None });
        assert_eq!(peer.next(), Told::Hello);
        peer
    }

    fn next(&mut self) -> Told {
        loop {
            if let Some(message) = self.framing.poll_message().expect("a message") {
                let (kind, body) = split_control(message, &Limits::HARD).expect("control");
                return told(kind, body);
            }
            let mut piece = [0; 4096];
            match self.stream.read(&mut piece).expect("the server says something") {
                0 => return Told::End,
                count => self.framing.handle_input(&piece[..count]),
            }
        }
    }

    fn expect_end(&mut self, code: ErrorCode) {
        assert_eq!(self.next(), Told::Error(code.number()));
        assert_eq!(self.next(), Told::Closed(code.number()));
        assert_eq!(self.next(), Told::End);
    }
}

fn told(kind: Kind, body: &[u8]) -> Told {
    match ServerMessage::decode(kind, body).expect("a message of a server") {
        ServerMessage::Hello(hello) => {
            assert_eq!((hello.ping_interval_ms, hello.ping_timeout_ms), (PING_MS, TIMEOUT_MS));
            Told::Hello
        }
        ServerMessage::Ping(ping) => Told::Ping(ping.token),
        ServerMessage::Pong(pong) => Told::Pong(pong.token),
        ServerMessage::Error(error) => Told::Error(error.code),
        ServerMessage::Closed(closed) => Told::Closed(closed.code),
        other => panic!("not asked for: {other:?}"),
    }
}

fn end(server: Server) {
    assert_eq!(server.stop(PATIENCE, || false), Stopped::Complete);
}

/// A connection that does not say hello in time is told so, also one that trickles its hello.
#[test]
fn a_connection_without_hello_is_ended() {
    let server = server();
    let mut mute = Peer::connect(&server);
    let mut late = Peer::connect(&server);
    late.stream.write_all(&[24, 0, 0, 0, 16]).expect("five bytes of a hello");
    let began = Instant::now();
    mute.expect_end(ErrorCode::HelloDeadline);
    late.expect_end(ErrorCode::HelloDeadline);
    assert!(began.elapsed() >= Duration::from_millis(u64::from(HELLO_MS) - 100));
    end(server);
}

/// A silent session is pinged; one that answers stays, for longer than the time-out, and one that
/// does not is told and ended.
#[test]
fn a_silent_session_is_pinged_and_ends_when_it_does_not_answer() {
    let server = server();
    let mut alive = Peer::hello(&server);
    let mut dead = Peer::hello(&server);
    let began = Instant::now();
    let mut last = None;
    while began.elapsed() < Duration::from_millis(2 * u64::from(TIMEOUT_MS)) {
        let Told::Ping(token) = alive.next() else { panic!("only pings") };
        assert!(Some(token) > last, "each ping is another one");
        last = Some(token);
        alive.say(&Pong { token });
    }
    assert!(matches!(dead.next(), Told::Ping(_)));
    dead.expect_end(ErrorCode::PingTimeout);
    assert!(last >= Some(3), "{last:?}");
    // It is alive, and says so by any message.
    alive.say(&Ping { token: 77 });
    loop {
        match alive.next() {
            Told::Ping(_) => {}
            told => break assert_eq!(told, Told::Pong(77)),
        }
    }
    end(server);
}

/// Whoever talks is not pinged.
#[test]
fn a_session_that_talks_is_not_pinged() {
    let server = server();
    let mut peer = Peer::hello(&server);
    let mut said = Instant::now();
    for token in 0..20 {
        std::thread::sleep(Duration::from_millis(u64::from(PING_MS) / 6));
        peer.say(&Ping { token });
        let silent = said.elapsed();
        said = Instant::now();
        let mut told = peer.next();
        if matches!(told, Told::Ping(_)) {
            // A machine that stood still may have made it silent after all.
            assert!(silent >= Duration::from_millis(u64::from(PING_MS) - 50), "{silent:?}");
            told = peer.next();
        }
        assert_eq!(told, Told::Pong(token));
    }
    end(server);
}
