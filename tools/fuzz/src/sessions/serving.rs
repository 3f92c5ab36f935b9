//! A server's session: hello first and once, pings in time, the end last and once.

use arbitrary::{Arbitrary, Unstructured};
use deltaworks_image::{Kind, Limits};
use deltaworks_protocol::ErrorCode;
use deltaworks_protocol::framing::Framing;
use deltaworks_protocol::message::{
    ClientHello, Close, Control, Drop, Open, Ping, Pong, ServerMessage, split_control,
};
use deltaworks_protocol::server::{Config, Request, Session};

use super::Writer;

/// What happens to the session.
#[derive(Arbitrary, Debug)]
enum Action<'a> {
    Hello { version_min: u8, version_max: u8, client: &'a str },
    Open { request: u8, name: &'a str, access: u8, from: u8, policy: u8, producer: u8 },
    Ping(u8),
    Pong(u8),
    Close(Option<u8>),
    Drop(u8),
    Raw { kind: u8, body: &'a [u8] },
    Activity,
    Time { ms: u16 },
    Due,
    Fault(u8),
    Transmit,
}

/// The session, and what is known of it from outside.
struct World<'w, W> {
    writer: &'w W,
    config: Config,
    session: Session,
    now_ns: u64,
    hellos: u32,
    is_closed: bool,
    /// The newest ping's token, while no pong was sent.
    asked: Option<u64>,
}

/// Runs the actions.
pub fn story(writer: &impl Writer, mut actions: Unstructured<'_>) {
    let mut world = World {
        writer,
        config: Config::default(),
        session: Session::new(7),
        now_ns: 7,
        hellos: 0,
        is_closed: false,
        asked: None,
    };
    while let Ok(action) = actions.arbitrary::<Action<'_>>() {
        world.act(&action);
        if actions.is_empty() {
            break;
        }
    }
    world.transmit();
    assert_eq!(world.is_closed, world.session.is_ended(), "an end is told, and nothing else is");
}

impl<W: Writer> World<'_, W> {
    fn act(&mut self, action: &Action<'_>) {
        match action {
            Action::Hello { version_min, version_max, client } => self.say(&ClientHello {
                version_min: u16::from(*version_min) % 3,
                version_max: u16::from(*version_max) % 3,
                client,
                token: None,
            }),
            Action::Open { request, name, access, from, policy, producer } => self.say(&Open {
                request: u32::from(*request),
                name,
                access: access % 5,
                from: from % 4,
                sequence: 0,
                epoch: 0,
                policy: Some(policy % 6),
                producer: u64::from(*producer),
                echo: true,
            }),
            Action::Ping(token) => {
                if self.session.is_running() {
                    self.asked = Some(u64::from(*token));
                }
                self.say(&Ping { token: u64::from(*token) });
            }
            Action::Pong(token) => self.say(&Pong { token: u64::from(*token) }),
            Action::Close(handle) => self.say(&Close { handle: handle.map(u32::from) }),
            Action::Drop(handle) => self.say(&Drop { handle: u32::from(*handle) }),
            Action::Raw { kind, body } => {
                if let Some(kind) = Kind::from_number(*kind) {
                    self.asked = None;
                    self.message(kind, body);
                }
            }
            Action::Activity => self.session.handle_activity(self.now_ns),
            Action::Time { ms } => {
                self.now_ns += u64::from(*ms) * 1_000_000;
                self.time();
            }
            Action::Due => {
                if let Some(due_ns) = self.session.poll_timeout(&self.config) {
                    self.now_ns = self.now_ns.max(due_ns);
                    self.time();
                    assert!(
                        self.session.has_transmit() || self.session.is_ended(),
                        "what is due is done"
                    );
                }
            }
            Action::Fault(number) => {
                let code = ErrorCode::ALL[usize::from(*number) % ErrorCode::ALL.len()];
                self.session.handle_fault(code);
            }
            Action::Transmit => self.transmit(),
        }
    }

    fn say(&mut self, message: &impl Control) {
        let mut bytes = Vec::new();
        message.encode_to(&mut bytes);
        let (kind, body) = split_control(&bytes, &Limits::HARD).expect("what was encoded");
        self.message(kind, body);
    }

    fn message(&mut self, kind: Kind, body: &[u8]) {
        let was_ended = self.session.is_ended();
        let was_greeting = self.session.is_greeting();
        let request = self.session.handle_message(&self.config, self.now_ns, kind, body);
        if was_ended {
            assert_eq!(request, Request::None, "nothing is asked behind the end");
        }
        if was_greeting && kind != Kind::Hello {
            assert_eq!(self.session.ended_by(), Some(ErrorCode::HelloExpected));
        }
        match request {
            Request::Open { name, options, .. } => {
                assert!((1..=self.config.name_bytes_max as usize).contains(&name.len()));
                assert!(!options.access.writes() || options.producer != 0);
            }
            Request::End => assert!(self.session.is_ended()),
            _ => assert_eq!(self.session.is_ended(), was_ended),
        }
    }

    fn time(&mut self) {
        let due_ns = self.session.poll_timeout(&self.config);
        let had_transmit = self.session.has_transmit();
        let request = self.session.handle_timeout(&self.config, self.now_ns);
        if due_ns.is_none_or(|due_ns| self.now_ns < due_ns) {
            assert_eq!(request, Request::None, "nothing is done before its time");
            assert_eq!(self.session.has_transmit(), had_transmit);
        }
        if let Some(next_ns) = self.session.poll_timeout(&self.config) {
            assert!(next_ns > self.now_ns, "what was done is not due again at once");
        }
    }

    /// Takes what the session has to send, and reads it as a client does.
    fn transmit(&mut self) {
        let has_transmit = self.session.has_transmit();
        let mut out = Vec::new();
        self.writer.server(&mut self.session, &self.config, &mut out);
        assert_eq!(!out.is_empty(), has_transmit, "as was told");
        assert!(!self.session.has_transmit());
        let mut framing = Framing::new(Limits::HARD);
        framing.handle_input(&out);
        let mut messages = 0;
        while let Some(message) = framing.poll_message().expect("whole messages") {
            assert!(!self.is_closed, "closed is the last word");
            messages += 1;
            let (kind, body) = split_control(message, &Limits::HARD).expect("a control message");
            match ServerMessage::decode(kind, body).expect("a server's message") {
                ServerMessage::Hello(_) => self.hellos += 1,
                ServerMessage::Pong(pong) => {
                    if let Some(token) = self.asked.take() {
                        assert_eq!(pong.token, token, "the newest ping is answered");
                    }
                }
                ServerMessage::Ping(_) => {}
                ServerMessage::Error(error) => {
                    let code = self.session.ended_by().expect("only an end is told so");
                    assert_eq!(error.code, code.number());
                }
                ServerMessage::Closed(closed) => {
                    assert_eq!(closed.handle, None);
                    self.is_closed = true;
                }
                other => panic!("{other:?} is the pipeline's to say"),
            }
            let is_end = matches!(kind, Kind::Error | Kind::Closed);
            assert!(self.hellos == 1 || (self.hellos == 0 && is_end), "hello is first, and once");
        }
        assert_eq!(framing.pending_bytes(), 0, "nothing is cut off");
        assert!(messages <= 5, "a session queues nothing");
    }
}
