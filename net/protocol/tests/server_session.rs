//! One server session's control, driven by hand: bytes and time in, requests and bytes out.

use deltaworks_image::{Kind, Limits, PRELUDE_BYTES};
use deltaworks_protocol::error_code::ErrorCode;
use deltaworks_protocol::framing::Framing;
use deltaworks_protocol::message::{
    Access, ClientHello, Close, Control, Drop, Open, OpenOptions, Ping, Policy, Pong,
    ServerMessage, Start, split_control,
};
use deltaworks_protocol::server::{Config, Request, Session};

const MS: u64 = 1_000_000;

struct Talk {
    session: Session,
    config: Config,
    now_ns: u64,
    scratch: Vec<u8>,
}

impl Talk {
    fn new() -> Talk {
        let now_ns = 7 * MS;
        Talk { session: Session::new(now_ns), config: Config::default(), now_ns, scratch: vec![] }
    }

    fn greeted() -> Talk {
        let mut talk = Talk::new();
        assert_eq!(talk.say(&hello(1, 1)), Request::None);
        assert_eq!(talk.hear(), ["hello 1"]);
        talk
    }

    fn say(&mut self, message: &impl Control) -> Request<'_> {
        self.scratch.clear();
        message.encode_to(&mut self.scratch);
        let kind = Kind::from_number(self.scratch[4]).unwrap();
        let body = &self.scratch[PRELUDE_BYTES..];
        self.session.handle_message(&self.config, self.now_ns, kind, body)
    }

    fn wait(&mut self, ms: u32) -> Request<'static> {
        self.now_ns += u64::from(ms) * MS;
        self.session.handle_timeout(&self.config, self.now_ns)
    }

    fn hear(&mut self) -> Vec<String> {
        let mut out = Vec::new();
        self.session.poll_transmit(&self.config, &mut out);
        assert!(!self.session.has_transmit());
        let mut framing = Framing::new(Limits::DEFAULT);
        framing.handle_input(&out);
        let mut heard = Vec::new();
        while let Some(message) = framing.poll_message().unwrap() {
            let (kind, body) = split_control(message, &Limits::DEFAULT).unwrap();
            heard.push(match ServerMessage::decode(kind, body).unwrap() {
                ServerMessage::Hello(hello) => format!("hello {}", hello.version),
                ServerMessage::Error(error) => format!("error {}", error.code),
                ServerMessage::Closed(closed) => format!("closed {}", closed.code),
                ServerMessage::Ping(ping) => format!("ping {}", ping.token),
                ServerMessage::Pong(pong) => format!("pong {}", pong.token),
                other => panic!("{other:?} is not the session's to say"),
            });
        }
        heard
    }

    fn ends_with(&mut self, code: ErrorCode) {
        assert_eq!(self.session.ended_by(), Some(code));
        assert!(self.session.is_ended() && !self.session.is_running());
        let number = code.number();
        assert_eq!(self.hear(), [format!("error {number}"), format!("closed {number}")]);
        assert_eq!(self.hear(), [""; 0]);
        assert_eq!(self.session.poll_timeout(&self.config), None);
        assert_eq!(self.say(&Ping { token: 1 }), Request::None);
        assert_eq!(self.hear(), [""; 0], "a session that ended is silent");
    }
}

fn hello(version_min: u16, version_max: u16) -> ClientHello<'static> {
    ClientHello { version_min, version_max, client: "test", token: None }
}

const OPTIONS: OpenOptions = OpenOptions {
    access: Access::Both,
    start: Start::Live,
    policy: Policy::Wait,
    producer: 9,
    echo: true,
};

#[test]
fn hello_comes_first_and_once() {
    let mut talk = Talk::new();
    assert!(!talk.session.is_running());
    assert_eq!(talk.say(&Ping { token: 1 }), Request::End);
    talk.ends_with(ErrorCode::HelloExpected);
    let mut talk = Talk::greeted();
    assert!(talk.session.is_running());
    assert_eq!(talk.say(&hello(1, 1)), Request::End);
    talk.ends_with(ErrorCode::HelloRepeated);
}

#[test]
fn versions_are_settled_or_refused() {
    for (min, max) in [(0, 1), (1, 9), (1, 1)] {
        let mut talk = Talk::new();
        assert_eq!(talk.say(&hello(min, max)), Request::None);
        assert_eq!(talk.hear(), ["hello 1"]);
    }
    for (min, max) in [(2, 9), (0, 0), (9, 1)] {
        let mut talk = Talk::new();
        assert_eq!(talk.say(&hello(min, max)), Request::End);
        talk.ends_with(ErrorCode::VersionNotSupported);
    }
}

#[test]
fn a_connection_without_hello_ends_at_its_deadline_whatever_it_sends() {
    let mut talk = Talk::new();
    assert_eq!(talk.session.poll_timeout(&talk.config), Some(5_007 * MS));
    assert_eq!(talk.wait(4_000), Request::None);
    talk.session.handle_activity(talk.now_ns);
    assert_eq!(talk.wait(999), Request::None);
    assert_eq!(talk.wait(1), Request::End);
    talk.ends_with(ErrorCode::HelloDeadline);
}

#[test]
fn a_silent_session_is_pinged_and_then_ended() {
    let mut talk = Talk::greeted();
    assert_eq!(talk.wait(29_999), Request::None);
    assert_eq!(talk.hear(), [""; 0]);
    assert_eq!(talk.wait(1), Request::None);
    assert_eq!(talk.hear(), ["ping 1"]);
    assert_eq!(talk.wait(10_000), Request::None);
    assert_eq!(talk.hear(), [""; 0], "one ping a silence");
    assert_eq!(talk.say(&Pong { token: 1 }), Request::None);
    assert_eq!(talk.wait(30_000), Request::None);
    assert_eq!(talk.hear(), ["ping 2"]);
    talk.session.handle_activity(talk.now_ns);
    assert_eq!(talk.wait(74_999), Request::None);
    assert_eq!(talk.hear(), ["ping 3"]);
    assert_eq!(talk.wait(1), Request::End);
    talk.ends_with(ErrorCode::PingTimeout);
}

#[test]
fn timeouts_are_announced_before_they_are_due() {
    let mut talk = Talk::greeted();
    for _ in 0..5 {
        let due_ns = talk.session.poll_timeout(&talk.config).unwrap();
        assert!(due_ns > talk.now_ns, "a due time-out is dealt with by one call");
        talk.now_ns = due_ns;
        if talk.session.handle_timeout(&talk.config, due_ns) == Request::End {
            return;
        }
    }
    panic!("the session never ended");
}

#[test]
fn a_flood_of_pings_is_answered_once() {
    let mut talk = Talk::greeted();
    for token in 0..10_000 {
        assert_eq!(talk.say(&Ping { token }), Request::None);
    }
    assert_eq!(talk.hear(), ["pong 9999"]);
}

#[test]
fn requests_reach_the_pipeline() {
    let mut talk = Talk::greeted();
    let asked = talk.say(&Open::new(3, "trades/EURUSD", OPTIONS));
    assert_eq!(asked, Request::Open { request: 3, name: "trades/EURUSD", options: OPTIONS });
    assert_eq!(talk.say(&Close { handle: Some(4) }), Request::Close { handle: 4 });
    assert_eq!(talk.say(&Drop { handle: 5 }), Request::Drop { handle: 5 });
    assert_eq!(talk.hear(), [""; 0]);
}

#[test]
fn a_bad_open_is_refused_and_the_session_goes_on() {
    let mut talk = Talk::greeted();
    let long = "n".repeat(257);
    for name in ["", &long] {
        let refused = talk.say(&Open::new(3, name, OPTIONS));
        assert_eq!(refused, Request::RefuseOpen { request: 3, code: ErrorCode::NameInvalid });
    }
    let nobody = OpenOptions { producer: 0, ..OPTIONS };
    let refused = talk.say(&Open::new(4, "n", nobody));
    assert_eq!(refused, Request::RefuseOpen { request: 4, code: ErrorCode::AccessInvalid });
    assert!(talk.session.is_running());
}

#[test]
fn malformed_control_ends_the_session() {
    let mut talk = Talk::greeted();
    let asked = talk.session.handle_message(&talk.config, talk.now_ns, Kind::Open, &[0xff; 40]);
    assert_eq!(asked, Request::End);
    talk.ends_with(ErrorCode::ControlMalformed);
    let mut talk = Talk::greeted();
    let asked = talk.session.handle_message(&talk.config, talk.now_ns, Kind::Ack, &[0xa0]);
    assert_eq!(asked, Request::End);
    talk.ends_with(ErrorCode::KindOutOfPlace);
}

#[test]
fn close_is_answered_and_a_first_fault_stays() {
    let mut talk = Talk::greeted();
    assert_eq!(talk.say(&Close { handle: None }), Request::End);
    talk.session.handle_fault(ErrorCode::Internal);
    assert_eq!(talk.session.ended_by(), None);
    assert_eq!(talk.hear(), ["closed 500"]);
    let mut talk = Talk::greeted();
    talk.session.handle_fault(ErrorCode::CrcMismatch);
    talk.session.handle_fault(ErrorCode::Internal);
    talk.ends_with(ErrorCode::CrcMismatch);
}
