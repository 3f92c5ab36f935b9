//! The control messages: a prelude, one CBOR map with small integer keys, up to seven zero bytes.
//!
//! Decoding borrows from the message and passes over keys that it does not know, so that fields can
//! be added. Encoding appends to a buffer of the caller's. Texts that a server makes up are cut to
//! their bounds; no message that this file encodes is longer than [`CONTROL_BYTES_MAX`], given an
//! info within its default limit.

use deltaworks_image::{ImageError, Kind, Limits, PRELUDE_BYTES, Prelude, check_prelude};
use minicbor::{Decode, Encode};

use crate::error_code::ErrorCode;

/// The longest control message that a server reads or, with default limits, sends.
pub const CONTROL_BYTES_MAX: u32 = Limits::DEFAULT.control_bytes_max;
/// The longest name of a client or server program, in bytes.
pub const PROGRAM_BYTES_MAX: usize = 64;
/// The longest document name by default, in bytes.
pub const NAME_BYTES_MAX: usize = 256;
/// The longest text of an error, in bytes.
pub const TEXT_BYTES_MAX: usize = 512;
/// The longest path in an error, in bytes; a longer one is cut.
pub const PATH_BYTES_MAX: usize = 1_024;

const _: () = assert!(TEXT_BYTES_MAX + 2 * PATH_BYTES_MAX + 128 <= CONTROL_BYTES_MAX as usize);

/// What a client says first. Key order is the protocol's, also below.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct ClientHello<'a> {
    /// The lowest version that the client speaks.
    #[n(0)]
    pub version_min: u16,
    /// The highest version that the client speaks.
    #[n(1)]
    pub version_max: u16,
    /// The client's program, at most 64 bytes.
    #[b(2)]
    pub client: &'a str,
    /// Reserved for tokens; servers pass over it today.
    #[cbor(b(3), with = "minicbor::bytes")]
    pub token: Option<&'a [u8]>,
}

/// What a server answers to [`ClientHello`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct ServerHello<'a> {
    /// The version of this session.
    #[n(0)]
    pub version: u16,
    /// The server's program, at most 64 bytes.
    #[b(1)]
    pub server: &'a str,
    /// The longest image, in bytes.
    #[n(2)]
    pub batch_bytes_max: u32,
    /// The most deltas in a batch.
    #[n(3)]
    pub deltas_per_batch_max: u32,
    /// The most handles of a session.
    #[n(4)]
    pub documents_per_session_max: u32,
    /// How long a session may be silent before the server pings it.
    #[n(5)]
    pub ping_interval_ms: u32,
    /// How long it may be silent before the server ends it.
    #[n(6)]
    pub ping_timeout_ms: u32,
    /// The longest document name, in bytes.
    #[n(7)]
    pub name_bytes_max: u32,
    /// What an acknowledgement promises: `memory` is ordered and in memory.
    #[b(8)]
    pub durability: &'a str,
}

/// The durability of a server that keeps documents in its memory only.
pub const DURABILITY_MEMORY: &str = "memory";

/// Asks for a document.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Open<'a> {
    /// The client's number for this request; the answer carries it.
    #[n(0)]
    pub request: u32,
    /// `collection/rest`, or a name without slash in the default collection.
    #[b(1)]
    pub name: &'a str,
    /// [`Access`] as a number.
    #[n(2)]
    pub access: u8,
    /// [`Start`] as a number.
    #[n(3)]
    #[cbor(default)]
    pub from: u8,
    /// The next sequence wanted, if `from` is 2.
    #[n(4)]
    #[cbor(default)]
    pub sequence: u64,
    /// The epoch that `sequence` counts in.
    #[n(5)]
    #[cbor(default)]
    pub epoch: u64,
    /// [`Policy`] as a number; none: the collection's.
    #[n(6)]
    pub policy: Option<u8>,
    /// The writer's identity; not 0 when writing.
    #[n(7)]
    #[cbor(default)]
    pub producer: u64,
    /// Whether the client wants its own batches back; the server sends them in any case.
    #[n(8)]
    #[cbor(default)]
    pub echo: bool,
}

/// What a session does with a document.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Access {
    /// Subscribes; 1 on the wire.
    Read,
    /// Publishes; 2 on the wire.
    Write,
    /// Both; 3 on the wire.
    Both,
}

impl Access {
    /// Whether it subscribes.
    pub const fn reads(self) -> bool {
        matches!(self, Access::Read | Access::Both)
    }

    /// Whether it publishes.
    pub const fn writes(self) -> bool {
        matches!(self, Access::Write | Access::Both)
    }

    const fn number(self) -> u8 {
        match self {
            Access::Read => 1,
            Access::Write => 2,
            Access::Both => 3,
        }
    }
}

/// Where a subscription begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Start {
    /// With the next batch; 0 on the wire.
    Live,
    /// With the oldest batch in memory; 1 on the wire.
    Window,
    /// With a sequence of an epoch; 2 on the wire.
    Sequence {
        /// The next sequence wanted.
        sequence: u64,
        /// The epoch it counts in.
        epoch: u64,
    },
}

/// What happens to a subscription that falls behind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Policy {
    /// What the document's collection says; nothing on the wire.
    #[default]
    OfCollection,
    /// It moves to the window's start and is told; 0 on the wire.
    Gap,
    /// The document's writers get no credit until it has read; 1 on the wire.
    Wait,
    /// It moves to the newest image and is told; 2 on the wire.
    Skip,
    /// It gets no image each of whose values a later one replaces; 3 on the wire.
    Conflate,
    /// It is told what it misses, and its handle closes; 4 on the wire.
    Close,
}

/// The number of the policy that is to come and that nobody can ask for yet, `catch-up`.
const CATCH_UP: u8 = 5;

impl Policy {
    /// Every policy that can be named, with its name.
    pub const NAMED: [(Policy, &'static str); 5] = [
        (Policy::Gap, "gap"),
        (Policy::Wait, "wait"),
        (Policy::Skip, "skip"),
        (Policy::Conflate, "conflate"),
        (Policy::Close, "close"),
    ];

    /// Its name.
    pub fn name(self) -> Option<&'static str> {
        Policy::NAMED.iter().find(|(policy, _)| *policy == self).map(|(_, name)| *name)
    }

    /// Its number on the wire; none if the collection's is meant.
    pub const fn number(self) -> Option<u8> {
        match self {
            Policy::OfCollection => None,
            Policy::Gap => Some(0),
            Policy::Wait => Some(1),
            Policy::Skip => Some(2),
            Policy::Conflate => Some(3),
            Policy::Close => Some(4),
        }
    }

    /// The policy of a number that this version knows.
    pub fn from_number(number: u8) -> Option<Policy> {
        let named = Policy::NAMED.iter().map(|(policy, _)| *policy);
        named.into_iter().find(|policy| policy.number() == Some(number))
    }
}

/// The checked options of an [`Open`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct OpenOptions {
    /// Reading, writing, or both.
    pub access: Access,
    /// Where a subscription begins.
    pub start: Start,
    /// What happens when it falls behind.
    pub policy: Policy,
    /// The writer's identity.
    pub producer: u64,
    /// Whether the client wants its own batches back.
    pub echo: bool,
}

impl<'a> Open<'a> {
    /// The message that asks for `name` with these options.
    pub fn new(request: u32, name: &'a str, options: OpenOptions) -> Open<'a> {
        let (from, sequence, epoch) = match options.start {
            Start::Live => (0, 0, 0),
            Start::Window => (1, 0, 0),
            Start::Sequence { sequence, epoch } => (2, sequence, epoch),
        };
        Open {
            request,
            name,
            access: options.access.number(),
            from,
            sequence,
            epoch,
            policy: options.policy.number(),
            producer: options.producer,
            echo: options.echo,
        }
    }

    /// The options, typed.
    ///
    /// # Errors
    /// `OptionUnknown` for a number without a meaning, `PolicyReserved` for the policy to come,
    /// `AccessInvalid` for a writer without producer.
    pub fn options(&self) -> Result<OpenOptions, ErrorCode> {
        let access = match self.access {
            1 => Access::Read,
            2 => Access::Write,
            3 => Access::Both,
            _ => return Err(ErrorCode::OptionUnknown),
        };
        let start = match self.from {
            0 => Start::Live,
            1 => Start::Window,
            2 => Start::Sequence { sequence: self.sequence, epoch: self.epoch },
            _ => return Err(ErrorCode::OptionUnknown),
        };
        let policy = match self.policy {
            None => Policy::OfCollection,
            Some(CATCH_UP) => return Err(ErrorCode::PolicyReserved),
            Some(number) => Policy::from_number(number).ok_or(ErrorCode::OptionUnknown)?,
        };
        if access.writes() && self.producer == 0 {
            return Err(ErrorCode::AccessInvalid);
        }
        Ok(OpenOptions { access, start, policy, producer: self.producer, echo: self.echo })
    }
}

/// Answers an [`Open`] that was accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Opened<'a> {
    /// The client's number for the request.
    #[n(0)]
    pub request: u32,
    /// The session's handle for the document.
    #[n(1)]
    pub handle: u32,
    /// The document: slot in the low half, generation in the high half.
    #[n(2)]
    pub document: u64,
    /// The epoch; another one means that the document's history was lost.
    #[n(3)]
    pub epoch: u64,
    /// The first sequence still in memory.
    #[n(4)]
    pub window_start: u64,
    /// The next sequence to be given.
    #[n(5)]
    pub next_sequence: u64,
    /// Where this subscription begins.
    #[n(6)]
    pub start_sequence: u64,
    /// Bytes granted.
    #[n(7)]
    pub credit: u64,
    /// The number by which the client knows its own batches; 0 if it does not write.
    #[n(8)]
    pub origin: u32,
    /// The producer's last answered number; 0 if there is none.
    #[n(9)]
    pub producer_sequence: u64,
    /// The newest info, a CBOR map.
    #[cbor(b(10), with = "minicbor::bytes")]
    pub info: Option<&'a [u8]>,
    /// The collection's kind, such as `opaque` or `cbor`.
    #[b(11)]
    pub kind: &'a str,
    /// The number of the subscription's [`Policy`]; none if it does not read.
    #[n(12)]
    pub policy: Option<u8>,
}

/// Answers a writer's batches, cumulatively.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Ack {
    /// The handle.
    #[n(0)]
    pub handle: u32,
    /// All numbers up to this one are answered: accepted, duplicate or refused.
    #[n(1)]
    pub producer_sequence: u64,
    /// First sequence of that last batch; 0 if refused, or no longer known.
    #[n(2)]
    pub sequence: u64,
    /// Bytes granted now, on top of the balance.
    #[n(3)]
    pub credit: u64,
    /// How many of the newly answered were resends.
    #[n(4)]
    pub duplicates: u32,
}

/// A numbered error, with its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct ErrorMessage<'a> {
    /// The number; see [`ErrorCode`].
    #[n(0)]
    pub code: u16,
    /// What happened, for a person.
    #[b(1)]
    pub text: &'a str,
    /// The handle it concerns.
    #[n(2)]
    pub handle: Option<u32>,
    /// The `open` it answers.
    #[n(3)]
    pub request: Option<u32>,
    /// The batch it refuses.
    #[n(4)]
    pub producer_sequence: Option<u64>,
    /// The delta's index in that batch.
    #[n(5)]
    pub delta: Option<u32>,
    /// Where in the delta (RFC 6901).
    #[b(6)]
    pub instance_path: Option<&'a str>,
    /// Where in the schema (RFC 6901).
    #[b(7)]
    pub schema_path: Option<&'a str>,
    /// At which byte of the delta.
    #[n(8)]
    pub offset: Option<u32>,
}

impl<'a> ErrorMessage<'a> {
    /// The error with a text; the places are `None`.
    pub fn new(code: ErrorCode, text: &'a str) -> ErrorMessage<'a> {
        ErrorMessage {
            code: code.number(),
            text: bounded(text, TEXT_BYTES_MAX),
            handle: None,
            request: None,
            producer_sequence: None,
            delta: None,
            instance_path: None,
            schema_path: None,
            offset: None,
        }
    }

    /// Adds the two paths, each cut to [`PATH_BYTES_MAX`].
    #[must_use]
    pub fn at(mut self, instance_path: &'a str, schema_path: &'a str) -> ErrorMessage<'a> {
        self.instance_path = Some(bounded(instance_path, PATH_BYTES_MAX));
        self.schema_path = Some(bounded(schema_path, PATH_BYTES_MAX));
        self
    }
}

/// Sequences `from..to` of a subscription will not come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Gap {
    /// The handle.
    #[n(0)]
    pub handle: u32,
    /// The first missing sequence.
    #[n(1)]
    pub from: u64,
    /// The first sequence that follows.
    #[n(2)]
    pub to: u64,
    /// The number of the [`Policy`] that left them out.
    #[n(3)]
    #[cbor(default)]
    pub policy: u8,
    /// How far behind the newest image the subscription was, in bytes of images.
    #[n(4)]
    #[cbor(default)]
    pub behind_bytes: u64,
}

/// Grants bytes outside of an acknowledgement.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Credit {
    /// The handle.
    #[n(0)]
    pub handle: u32,
    /// Bytes granted now, on top of the balance.
    #[n(1)]
    pub bytes: u64,
}

/// Asks for a [`Pong`] with the same token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Ping {
    /// Any number.
    #[n(0)]
    pub token: u64,
}

/// Answers the newest [`Ping`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Pong {
    /// The ping's number.
    #[n(0)]
    pub token: u64,
}

/// Ends a handle, or the session if there is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Close {
    /// The handle.
    #[n(0)]
    pub handle: Option<u32>,
}

/// Tells that a handle has ended, or the session if there is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Closed<'a> {
    /// The handle.
    #[n(0)]
    pub handle: Option<u32>,
    /// Why; see [`ErrorCode`].
    #[n(1)]
    pub code: u16,
    /// Why, for a person.
    #[b(2)]
    pub text: &'a str,
}

impl<'a> Closed<'a> {
    /// The message; the text is cut to [`TEXT_BYTES_MAX`].
    pub fn new(handle: Option<u32>, code: ErrorCode, text: &'a str) -> Closed<'a> {
        Closed { handle, code: code.number(), text: bounded(text, TEXT_BYTES_MAX) }
    }
}

/// Asks that a document be dropped; the handle must be a writer's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Drop {
    /// The handle.
    #[n(0)]
    pub handle: u32,
}

/// A message with a CBOR body.
pub trait Control: Encode<()> {
    /// The kind in the prelude.
    const KIND: Kind;

    /// Appends the whole message to `out`.
    fn encode_to(&self, out: &mut Vec<u8>) {
        let start = out.len();
        out.extend_from_slice(&[0; PRELUDE_BYTES]);
        if minicbor::encode(self, &mut *out).is_err() {
            unreachable!("a Vec takes every byte")
        }
        let prelude = Prelude::for_unpadded(Self::KIND, (out.len() - start) as u32);
        out.resize(start + prelude.bytes as usize, 0);
        out[start..start + PRELUDE_BYTES].copy_from_slice(&prelude.to_bytes());
    }

    /// Writes the whole message to the start of `buffer` and returns its bytes, or `None` if the
    /// buffer is too short; allocates nothing.
    fn encode_into(&self, buffer: &mut [u8]) -> Option<usize> {
        let (head, body) = buffer.split_first_chunk_mut::<PRELUDE_BYTES>()?;
        let mut cursor = minicbor::encode::write::Cursor::new(&mut *body);
        minicbor::encode(self, &mut cursor).ok()?;
        let body_bytes = cursor.position();
        let prelude = Prelude::for_unpadded(Self::KIND, (PRELUDE_BYTES + body_bytes) as u32);
        let padded = prelude.bytes as usize - PRELUDE_BYTES;
        body.get_mut(body_bytes..padded)?.fill(0);
        *head = prelude.to_bytes();
        Some(prelude.bytes as usize)
    }
}

macro_rules! control {
    ($($message:ty => $kind:ident),* $(,)?) => {
        $(impl Control for $message {
            const KIND: Kind = Kind::$kind;
        })*
    };
}

control! {
    ClientHello<'_> => Hello,
    ServerHello<'_> => Hello,
    Open<'_> => Open,
    Opened<'_> => Opened,
    Ack => Ack,
    ErrorMessage<'_> => Error,
    Gap => Gap,
    Credit => Credit,
    Ping => Ping,
    Pong => Pong,
    Close => Close,
    Closed<'_> => Closed,
    Drop => Drop,
}

/// A control message on its way from client to server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientMessage<'a> {
    /// Opens the session.
    Hello(ClientHello<'a>),
    /// Asks for a document.
    Open(Open<'a>),
    /// Asks for a pong.
    Ping(Ping),
    /// Answers a ping.
    Pong(Pong),
    /// Ends a handle or the session.
    Close(Close),
    /// Drops a document.
    Drop(Drop),
}

impl<'a> ClientMessage<'a> {
    /// The message of this kind with this body, which may still have its padding.
    ///
    /// # Errors
    /// `KindOutOfPlace`, `ControlMalformed`, `PaddingNotZero`.
    pub fn decode(kind: Kind, body: &'a [u8]) -> Result<ClientMessage<'a>, ErrorCode> {
        Ok(match kind {
            Kind::Hello => ClientMessage::Hello(decode_body(body)?),
            Kind::Open => ClientMessage::Open(decode_body(body)?),
            Kind::Ping => ClientMessage::Ping(decode_body(body)?),
            Kind::Pong => ClientMessage::Pong(decode_body(body)?),
            Kind::Close => ClientMessage::Close(decode_body(body)?),
            Kind::Drop => ClientMessage::Drop(decode_body(body)?),
            _ => return Err(ErrorCode::KindOutOfPlace),
        })
    }
}

/// A control message on its way from server to client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ServerMessage<'a> {
    /// Answers hello.
    Hello(ServerHello<'a>),
    /// Answers open.
    Opened(Opened<'a>),
    /// Answers batches.
    Ack(Ack),
    /// A numbered error.
    Error(ErrorMessage<'a>),
    /// Sequences that will not come.
    Gap(Gap),
    /// Grants bytes.
    Credit(Credit),
    /// Asks for a pong.
    Ping(Ping),
    /// Answers a ping.
    Pong(Pong),
    /// A handle or the session has ended.
    Closed(Closed<'a>),
}

impl<'a> ServerMessage<'a> {
    /// The message of this kind with this body, which may still have its padding.
    ///
    /// # Errors
    /// `KindOutOfPlace`, `ControlMalformed`, `PaddingNotZero`.
    pub fn decode(kind: Kind, body: &'a [u8]) -> Result<ServerMessage<'a>, ErrorCode> {
        Ok(match kind {
            Kind::Hello => ServerMessage::Hello(decode_body(body)?),
            Kind::Opened => ServerMessage::Opened(decode_body(body)?),
            Kind::Ack => ServerMessage::Ack(decode_body(body)?),
            Kind::Error => ServerMessage::Error(decode_body(body)?),
            Kind::Gap => ServerMessage::Gap(decode_body(body)?),
            Kind::Credit => ServerMessage::Credit(decode_body(body)?),
            Kind::Ping => ServerMessage::Ping(decode_body(body)?),
            Kind::Pong => ServerMessage::Pong(decode_body(body)?),
            Kind::Closed => ServerMessage::Closed(decode_body(body)?),
            _ => return Err(ErrorCode::KindOutOfPlace),
        })
    }
}

/// Kind and body of a whole control message, its padding cut off.
///
/// # Errors
/// What [`check_prelude`] tells, `WrongKind` for an image, `Truncated`, `Padding`.
pub fn split_control<'a>(
    message: &'a [u8],
    limits: &Limits,
) -> Result<(Kind, &'a [u8]), ImageError> {
    let there = message.len();
    let Some((head, body)) = message.split_first_chunk::<PRELUDE_BYTES>() else {
        return Err(ImageError::Truncated { announced: PRELUDE_BYTES as u32, there });
    };
    let prelude = check_prelude(head, limits)?;
    if prelude.kind.is_image() {
        return Err(ImageError::WrongKind(prelude.kind));
    }
    if there != prelude.bytes as usize {
        return Err(ImageError::Truncated { announced: prelude.bytes, there });
    }
    let (body, padding) = body.split_at(body.len() - usize::from(prelude.padding));
    if padding.iter().any(|&byte| byte != 0) {
        return Err(ImageError::Padding);
    }
    Ok((prelude.kind, body))
}

/// The longest beginning of `text` of at most `bytes_max` bytes that is whole characters.
pub fn bounded(text: &str, bytes_max: usize) -> &str {
    &text[..text.floor_char_boundary(bytes_max)]
}

fn decode_body<'a, T: Decode<'a, ()>>(body: &'a [u8]) -> Result<T, ErrorCode> {
    let mut decoder = minicbor::Decoder::new(body);
    let message = decoder.decode().map_err(|_| ErrorCode::ControlMalformed)?;
    let rest = body.get(decoder.position()..).unwrap_or(&[]);
    match rest {
        rest if rest.len() > 7 => Err(ErrorCode::ControlMalformed),
        rest if rest.iter().any(|&byte| byte != 0) => Err(ErrorCode::PaddingNotZero),
        _ => Ok(message),
    }
}
