//! Control messages: what was decoded and encoded again decodes to the same, for every kind.
//!
//! Input: the kind's number, then the body. The body is decoded as a client's and as a server's. A
//! body that was accepted is refused once a byte follows it that is not zero, or eight bytes do; its
//! two encoders write the same bytes, and the shorter buffer is refused.

use deltaworks_image::{Kind, Limits};
use deltaworks_protocol::ErrorCode;
use deltaworks_protocol::message::{ClientMessage, Control, ServerMessage, bounded, split_control};

/// What reads control messages.
pub trait Decoder {
    /// A client's message.
    ///
    /// # Errors
    /// Why it is none.
    fn client<'a>(&self, kind: Kind, body: &'a [u8]) -> Result<ClientMessage<'a>, ErrorCode>;
    /// A server's message.
    ///
    /// # Errors
    /// Why it is none.
    fn server<'a>(&self, kind: Kind, body: &'a [u8]) -> Result<ServerMessage<'a>, ErrorCode>;
}

/// The project's decoder.
#[derive(Debug)]
pub struct Real;

impl Decoder for Real {
    fn client<'a>(&self, kind: Kind, body: &'a [u8]) -> Result<ClientMessage<'a>, ErrorCode> {
        ClientMessage::decode(kind, body)
    }

    fn server<'a>(&self, kind: Kind, body: &'a [u8]) -> Result<ServerMessage<'a>, ErrorCode> {
        ServerMessage::decode(kind, body)
    }
}

/// Decodes with the project's decoder.
pub fn run(data: &[u8]) {
    body(&Real, data);
}

/// Decodes with `decoder`.
///
/// # Panics
/// If a message that was accepted has another meaning once it is encoded again, or one that is none
/// is accepted.
pub fn body(decoder: &impl Decoder, data: &[u8]) {
    let Some((&number, body)) = data.split_first() else { return };
    let Some(kind) = Kind::from_number(number) else { return };
    match decoder.client(kind, body) {
        Ok(message) => {
            assert_ends(body, |longer| decoder.client(kind, longer).is_err());
            check_text(&message);
            let again = encoded_client(&message);
            let (kind, body) = split_control(&again, &Limits::HARD).expect("what was encoded");
            assert_eq!(decoder.client(kind, body), Ok(message));
        }
        Err(code) => assert!(is_about_messages(code), "{code:?}"),
    }
    match decoder.server(kind, body) {
        Ok(message) => {
            assert_ends(body, |longer| decoder.server(kind, longer).is_err());
            let again = encoded_server(&message);
            let (kind, body) = split_control(&again, &Limits::HARD).expect("what was encoded");
            assert_eq!(decoder.server(kind, body), Ok(message));
        }
        Err(code) => assert!(is_about_messages(code), "{code:?}"),
    }
}

fn is_about_messages(code: ErrorCode) -> bool {
    let codes = [ErrorCode::KindOutOfPlace, ErrorCode::ControlMalformed, ErrorCode::PaddingNotZero];
    codes.contains(&code)
}

/// A message ends where it ends: nothing but padding may follow.
fn assert_ends(body: &[u8], is_refused: impl Fn(&[u8]) -> bool) {
    let with = |more: &[u8]| [body, more].concat();
    assert!(is_refused(&with(&[1])), "a byte that is not zero followed");
    assert!(is_refused(&with(&[0; 8])), "eight bytes followed");
}

fn check_text(message: &ClientMessage<'_>) {
    if let ClientMessage::Open(open) = message {
        let cut = bounded(open.name, 5);
        assert!(cut.len() <= 5 && open.name.starts_with(cut));
        assert!(cut.len() + 4 > open.name.len().min(5), "no more is cut than one character");
        // Options that are known come back as the message that asks for them.
        if let Ok(options) = open.options() {
            let asked = deltaworks_protocol::message::Open::new(open.request, open.name, options);
            assert_eq!(asked.options(), Ok(options));
        }
    }
}

fn encoded_client(message: &ClientMessage<'_>) -> Vec<u8> {
    match message {
        ClientMessage::Hello(message) => encoded(message),
        ClientMessage::Open(message) => encoded(message),
        ClientMessage::Ping(message) => encoded(message),
        ClientMessage::Pong(message) => encoded(message),
        ClientMessage::Close(message) => encoded(message),
        ClientMessage::Drop(message) => encoded(message),
    }
}

fn encoded_server(message: &ServerMessage<'_>) -> Vec<u8> {
    match message {
        ServerMessage::Hello(message) => encoded(message),
        ServerMessage::Opened(message) => encoded(message),
        ServerMessage::Ack(message) => encoded(message),
        ServerMessage::Error(message) => encoded(message),
        ServerMessage::Gap(message) => encoded(message),
        ServerMessage::Credit(message) => encoded(message),
        ServerMessage::Ping(message) => encoded(message),
        ServerMessage::Pong(message) => encoded(message),
        ServerMessage::Closed(message) => encoded(message),
    }
}

/// The whole message, as both encoders write it.
fn encoded(message: &impl Control) -> Vec<u8> {
    let mut appended = vec![0xee; 3];
    message.encode_to(&mut appended);
    let appended = appended.split_off(3);
    let mut buffer = vec![0xee; appended.len()];
    assert_eq!(message.encode_into(&mut buffer), Some(appended.len()));
    assert_eq!(buffer, appended);
    assert_eq!(message.encode_into(&mut buffer[1..]), None, "a buffer that is too short");
    appended
}
