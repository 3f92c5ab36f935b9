//! The control side of one server session: hello, pings, requests, and the end.
//!
//! Belongs to the core that owns the session. It keeps no handles and no images: those are the
//! pipeline's, so that the hot path indexes an array. Nothing queues here: hello, ping, pong and the
//! end are a flag each, so a peer that floods one of them and reads nothing grows nothing.
//!
//! ```text
//! Greeting ──hello──▶ Running ──close, fault, time-out──▶ Ended
//!     └──────────── anything else, deadline ────────────────▲
//! ```

use deltaworks_image::{Kind, Limits};

use crate::error_code::ErrorCode;
use crate::message::{
    ClientMessage, Closed, Control, ErrorMessage, OpenOptions, Ping, Pong, ServerHello,
};

/// The only version that this server speaks.
pub const VERSION: u16 = 1;

/// What a server tells its clients, and how long it waits for them. Shared by all its sessions.
#[derive(Clone, Debug)]
pub struct Config {
    /// The program, at most 64 bytes.
    pub server: String,
    /// Limits of images; told in hello.
    pub limits: Limits,
    /// The most handles of a session; told in hello.
    pub documents_per_session_max: u32,
    /// The longest document name; told in hello.
    pub name_bytes_max: u32,
    /// What an acknowledgement promises; told in hello.
    pub durability: String,
    /// A hello must come this long after the connection (5 s).
    pub hello_deadline_ms: u32,
    /// A session that is silent for this long is pinged (30 s); told in hello.
    pub ping_interval_ms: u32,
    /// A session that is silent for this long is ended (75 s): two pings unanswered; told in hello.
    pub ping_timeout_ms: u32,
}

impl Default for Config {
    fn default() -> Config {
        Config {
            server: concat!("deltaworksd/", env!("CARGO_PKG_VERSION")).into(),
            limits: Limits::DEFAULT,
            documents_per_session_max: 1_024,
            name_bytes_max: crate::message::NAME_BYTES_MAX as u32,
            durability: crate::message::DURABILITY_MEMORY.into(),
            hello_deadline_ms: 5_000,
            ping_interval_ms: 30_000,
            ping_timeout_ms: 75_000,
        }
    }
}

/// What an inbound control message asks of the pipeline.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Request<'a> {
    /// Nothing; the session has dealt with it.
    None,
    /// Open a document.
    Open {
        /// The client's number for the request.
        request: u32,
        /// The document's name; its length is checked, its content is not.
        name: &'a str,
        /// The options, checked.
        options: OpenOptions,
    },
    /// Refuse an open: the reply is an error with this request and code.
    RefuseOpen {
        /// The client's number for the request.
        request: u32,
        /// Why.
        code: ErrorCode,
    },
    /// Close a handle.
    Close {
        /// The handle.
        handle: u32,
    },
    /// Drop the document of a handle.
    Drop {
        /// The handle.
        handle: u32,
    },
    /// The session ends: send what [`Session::poll_transmit`] gives, then shut the connection.
    End,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Greeting,
    Running,
    /// The client asked, or the code tells why.
    Ended(Option<ErrorCode>),
}

const OWES_HELLO: u8 = 1;
const OWES_PING: u8 = 2;
const OWES_PONG: u8 = 4;
const OWES_END: u8 = 8;
const AWAITS_PONG: u8 = 16;

/// One session's control: **`handle_message` for each control message and `handle_activity` for
/// images; then `poll_transmit`; `handle_timeout` when `poll_timeout` is due**.
#[derive(Clone, Debug)]
pub struct Session {
    heard_ns: u64,
    pong_token: u64,
    pings: u32,
    state: State,
    flags: u8,
}

impl Session {
    /// A session whose connection was accepted at `now_ns`.
    pub fn new(now_ns: u64) -> Session {
        Session { heard_ns: now_ns, pong_token: 0, pings: 0, state: State::Greeting, flags: 0 }
    }

    /// Whether hello was said and nothing has ended the session: only then may images come.
    #[inline]
    pub fn is_running(&self) -> bool {
        self.state == State::Running
    }

    /// Whether hello has not been said yet.
    pub fn is_greeting(&self) -> bool {
        self.state == State::Greeting
    }

    /// Whether the session has ended.
    pub fn is_ended(&self) -> bool {
        matches!(self.state, State::Ended(_))
    }

    /// Why it ended, if the server ended it.
    pub fn ended_by(&self) -> Option<ErrorCode> {
        match self.state {
            State::Ended(code) => code,
            _ => None,
        }
    }

    /// Takes a whole control message without its prelude; its padding may be there.
    pub fn handle_message<'a>(
        &mut self,
        config: &Config,
        now_ns: u64,
        kind: Kind,
        body: &'a [u8],
    ) -> Request<'a> {
        if self.is_ended() {
            return Request::None;
        }
        if self.state == State::Greeting && kind != Kind::Hello {
            return self.end(ErrorCode::HelloExpected);
        }
        if self.state == State::Running {
            self.handle_activity(now_ns);
        }
        let message = match ClientMessage::decode(kind, body) {
            Ok(message) => message,
            Err(code) => return self.end(code),
        };
        match message {
            ClientMessage::Hello(_) if self.state == State::Running => {
                return self.end(ErrorCode::HelloRepeated);
            }
            ClientMessage::Hello(hello) => {
                if !(hello.version_min..=hello.version_max).contains(&VERSION) {
                    return self.end(ErrorCode::VersionNotSupported);
                }
                self.state = State::Running;
                self.heard_ns = now_ns;
                self.flags |= OWES_HELLO;
            }
            ClientMessage::Open(open) => {
                let request = open.request;
                if open.name.is_empty() || open.name.len() > config.name_bytes_max as usize {
                    return Request::RefuseOpen { request, code: ErrorCode::NameInvalid };
                }
                return match open.options() {
                    Ok(options) => Request::Open { request, name: open.name, options },
                    Err(code) => Request::RefuseOpen { request, code },
                };
            }
            ClientMessage::Ping(ping) => {
                self.pong_token = ping.token;
                self.flags |= OWES_PONG;
            }
            ClientMessage::Pong(_) => {}
            ClientMessage::Close(close) => match close.handle {
                Some(handle) => return Request::Close { handle },
                None => {
                    self.state = State::Ended(None);
                    self.flags |= OWES_END;
                    return Request::End;
                }
            },
            ClientMessage::Drop(drop) => return Request::Drop { handle: drop.handle },
        }
        Request::None
    }

    /// Notes that bytes came, so that a busy session is not pinged.
    ///
    /// Before hello only the deadline counts, so bytes do not prolong it.
    #[inline]
    pub fn handle_activity(&mut self, now_ns: u64) {
        if self.state == State::Running {
            self.heard_ns = now_ns;
            self.flags &= !AWAITS_PONG;
        }
    }

    /// Ends the session for a reason that somebody else found; the first reason stays. Pongs and
    /// pings that were not said never will be: hello may have been given up before them.
    pub fn handle_fault(&mut self, code: ErrorCode) {
        if !self.is_ended() {
            self.flags &= !(OWES_PONG | OWES_PING);
            self.end(code);
        }
    }

    /// When [`handle_timeout`](Self::handle_timeout) must be called at the latest; `None` when the
    /// session has ended.
    pub fn poll_timeout(&self, config: &Config) -> Option<u64> {
        let wait_ms = match self.state {
            State::Greeting => config.hello_deadline_ms,
            State::Running if self.flags & AWAITS_PONG != 0 => config.ping_timeout_ms,
            State::Running => config.ping_interval_ms.min(config.ping_timeout_ms),
            State::Ended(_) => return None,
        };
        Some(self.heard_ns.saturating_add(u64::from(wait_ms) * 1_000_000))
    }

    /// Pings a silent session, ends one that stayed silent; `End` in the latter case.
    pub fn handle_timeout(&mut self, config: &Config, now_ns: u64) -> Request<'static> {
        let silent_ms = now_ns.saturating_sub(self.heard_ns) / 1_000_000;
        match self.state {
            State::Greeting if silent_ms >= u64::from(config.hello_deadline_ms) => {
                self.end(ErrorCode::HelloDeadline)
            }
            State::Running if silent_ms >= u64::from(config.ping_timeout_ms) => {
                self.end(ErrorCode::PingTimeout)
            }
            State::Running
                if silent_ms >= u64::from(config.ping_interval_ms)
                    && self.flags & AWAITS_PONG == 0 =>
            {
                self.pings = self.pings.wrapping_add(1);
                self.flags |= OWES_PING | AWAITS_PONG;
                Request::None
            }
            _ => Request::None,
        }
    }

    /// Whether [`poll_transmit`](Self::poll_transmit) has something to say.
    #[inline]
    pub fn has_transmit(&self) -> bool {
        self.flags & (OWES_HELLO | OWES_PING | OWES_PONG | OWES_END) != 0
    }

    /// Appends what the session itself has to say: hello, pong, ping, at the end error and closed.
    pub fn poll_transmit(&mut self, config: &Config, out: &mut Vec<u8>) {
        if self.flags & OWES_HELLO != 0 {
            ServerHello {
                version: VERSION,
                server: crate::message::bounded(&config.server, crate::message::PROGRAM_BYTES_MAX),
                batch_bytes_max: config.limits.image_bytes_max,
                deltas_per_batch_max: config.limits.deltas_per_batch_max,
                documents_per_session_max: config.documents_per_session_max,
                ping_interval_ms: config.ping_interval_ms,
                ping_timeout_ms: config.ping_timeout_ms,
                name_bytes_max: config.name_bytes_max,
                durability: &config.durability,
            }
            .encode_to(out);
        }
        if self.flags & OWES_PONG != 0 {
            Pong { token: self.pong_token }.encode_to(out);
        }
        if self.flags & OWES_PING != 0 {
            Ping { token: u64::from(self.pings) }.encode_to(out);
        }
        if self.flags & OWES_END != 0 {
            self.encode_end(out);
        }
        self.flags &= AWAITS_PONG;
    }

    fn encode_end(&self, out: &mut Vec<u8>) {
        match self.ended_by() {
            None => Closed::new(None, ErrorCode::Closed, "as asked").encode_to(out),
            Some(code) => {
                let versions;
                let text = if code == ErrorCode::VersionNotSupported {
                    versions = format!("this server speaks version {VERSION}");
                    &versions
                } else {
                    code.advice()
                };
                ErrorMessage::new(code, text).encode_to(out);
                Closed::new(None, code, code.meaning()).encode_to(out);
            }
        }
    }

    fn end(&mut self, code: ErrorCode) -> Request<'static> {
        self.state = State::Ended(Some(code));
        self.flags |= OWES_END;
        Request::End
    }
}

const _: () = assert!(size_of::<Session>() <= 32);
