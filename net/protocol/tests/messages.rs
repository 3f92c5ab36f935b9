//! Control messages: what is encoded is decoded, what is not one is told, and nothing panics.

use deltaworks_image::{ImageError, Kind, Limits};
use deltaworks_protocol::error_code::{Effect, ErrorCode};
use deltaworks_protocol::framing::Framing;
use deltaworks_protocol::message::{
    Access, Ack, ClientHello, ClientMessage, Close, Closed, Control, Credit, Drop, ErrorMessage,
    Gap, Open, OpenOptions, Opened, PATH_BYTES_MAX, Ping, Policy, Pong, ServerHello, ServerMessage,
    Start, TEXT_BYTES_MAX, split_control,
};
use proptest::prelude::*;

const LIMITS: Limits = Limits::DEFAULT;

fn encoded(message: &impl Control) -> Vec<u8> {
    let mut out = b"before".to_vec();
    message.encode_to(&mut out);
    let message_bytes = out.split_off(6);
    assert_eq!(message_bytes.len() % 8, 0);
    let mut buffer = vec![0xff; message_bytes.len()];
    assert_eq!(message.encode_into(&mut buffer), Some(message_bytes.len()));
    assert_eq!(buffer, message_bytes);
    for len in 0..buffer.len() {
        assert_eq!(message.encode_into(&mut buffer[..len]), None);
    }
    message_bytes
}

fn from_client(bytes: &[u8]) -> ClientMessage<'_> {
    let (kind, body) = split_control(bytes, &LIMITS).unwrap();
    ClientMessage::decode(kind, body).unwrap()
}

fn from_server(bytes: &[u8]) -> ServerMessage<'_> {
    let (kind, body) = split_control(bytes, &LIMITS).unwrap();
    ServerMessage::decode(kind, body).unwrap()
}

#[test]
fn every_client_message_comes_back() {
    let hello = ClientHello { version_min: 1, version_max: 2, client: "c", token: Some(&[7; 9]) };
    assert_eq!(from_client(&encoded(&hello)), ClientMessage::Hello(hello));
    let hello = ClientHello { token: None, ..hello };
    assert_eq!(from_client(&encoded(&hello)), ClientMessage::Hello(hello));
    for handle in [None, Some(0), Some(u32::MAX)] {
        let close = Close { handle };
        assert_eq!(from_client(&encoded(&close)), ClientMessage::Close(close));
    }
    let drop = Drop { handle: 4 };
    assert_eq!(from_client(&encoded(&drop)), ClientMessage::Drop(drop));
    let (ping, pong) = (Ping { token: u64::MAX }, Pong { token: 0 });
    assert_eq!(from_client(&encoded(&ping)), ClientMessage::Ping(ping));
    assert_eq!(from_client(&encoded(&pong)), ClientMessage::Pong(pong));
}

proptest! {
    #[test]
    fn every_option_of_an_open_comes_back(
        name in "\\PC{1,60}", request: u32, sequence: u64, epoch: u64, producer in 1u64..,
        access in prop::sample::select(vec![Access::Read, Access::Write, Access::Both]),
        from in 0usize..3, policy in 0usize..6, echo: bool,
    ) {
        let start = [Start::Live, Start::Window, Start::Sequence { sequence, epoch }][from];
        let named = Policy::NAMED.map(|(policy, _)| policy);
        let policy = named.get(policy).copied().unwrap_or_default();
        let options = OpenOptions { access, start, policy, producer, echo };
        let open = Open::new(request, &name, options);
        let bytes = encoded(&open);
        assert_eq!(from_client(&bytes), ClientMessage::Open(open));
        prop_assert_eq!(open.options(), Ok(options));
    }

    #[test]
    fn every_server_message_comes_back(
        a: u32, b: u64, c: u64, d: u32, text in "\\PC{0,200}", flag: bool, code: u16,
        info in prop::option::of(prop::collection::vec(any::<u8>(), 0..300)),
    ) {
        let opened = Opened {
            request: a, handle: d, document: b, epoch: c, window_start: b, next_sequence: c,
            start_sequence: b, credit: c, origin: d, producer_sequence: b,
            info: info.as_deref(), kind: &text, policy: flag.then_some(2),
        };
        assert_eq!(from_server(&encoded(&opened)), ServerMessage::Opened(opened));
        let ack = Ack { handle: a, producer_sequence: b, sequence: c, credit: b, duplicates: d };
        assert_eq!(from_server(&encoded(&ack)), ServerMessage::Ack(ack));
        let gap = Gap { handle: a, from: b, to: c, policy: 4, behind_bytes: b };
        assert_eq!(from_server(&encoded(&gap)), ServerMessage::Gap(gap));
        let credit = Credit { handle: a, bytes: b };
        assert_eq!(from_server(&encoded(&credit)), ServerMessage::Credit(credit));
        let closed = Closed { handle: flag.then_some(a), code, text: &text };
        assert_eq!(from_server(&encoded(&closed)), ServerMessage::Closed(closed));
        let error = ErrorMessage {
            code, text: &text, handle: flag.then_some(a), request: flag.then_some(d),
            producer_sequence: flag.then_some(b), delta: (!flag).then_some(d),
            instance_path: flag.then_some("/a"), schema_path: None, offset: Some(d),
        };
        assert_eq!(from_server(&encoded(&error)), ServerMessage::Error(error));
        let hello = ServerHello {
            version: code, server: &text, batch_bytes_max: a, deltas_per_batch_max: d,
            documents_per_session_max: a, ping_interval_ms: d, ping_timeout_ms: a,
            name_bytes_max: d, durability: "memory",
        };
        assert_eq!(from_server(&encoded(&hello)), ServerMessage::Hello(hello));
    }

    #[test]
    fn random_bodies_never_panic(body in prop::collection::vec(any::<u8>(), 0..300), shaped: bool) {
        let mut body = body;
        if shaped && !body.is_empty() {
            body[0] = 0xa0 | body[0] & 15;
        }
        for kind in Kind::ALL {
            let _ = ClientMessage::decode(kind, &body);
            let _ = ServerMessage::decode(kind, &body);
        }
    }

    #[test]
    fn random_streams_never_panic_and_keep_little(
        pieces in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..100), 0..40),
    ) {
        let mut framing = Framing::new(LIMITS);
        for piece in &pieces {
            framing.handle_input(piece);
            loop {
                match framing.poll_message() {
                    Ok(Some(message)) => prop_assert!(message.len() >= 8),
                    Ok(None) => break,
                    Err(_) => return Ok(()),
                }
            }
            let bound = LIMITS.image_bytes_max as usize + piece.len();
            prop_assert!(framing.pending_bytes() <= bound);
        }
    }
}

#[test]
fn a_stream_is_cut_alike_wherever_it_is_torn() {
    let mut stream = Vec::new();
    Ping { token: 1 }.encode_to(&mut stream);
    Open::new(
        1,
        "a/b",
        OpenOptions {
            access: Access::Read,
            start: Start::Live,
            policy: Policy::Gap,
            producer: 0,
            echo: true,
        },
    )
    .encode_to(&mut stream);
    Close { handle: None }.encode_to(&mut stream);
    for piece_bytes in 1..=stream.len() {
        let mut framing = Framing::new(LIMITS);
        let mut messages = Vec::new();
        for piece in stream.chunks(piece_bytes) {
            framing.handle_input(piece);
            while let Some(message) = framing.poll_message().unwrap() {
                messages.push(message.to_vec());
            }
        }
        assert_eq!(messages.len(), 3);
        assert_eq!(messages.concat(), stream);
        assert_eq!(framing.pending_bytes(), 0);
    }
}

#[test]
fn unknown_keys_are_passed_over() {
    // {0: 7, 99: {"x": [1, 2]}, "text": null} as a ping.
    let body = [
        0xa3, 0x00, 0x07, 0x18, 0x63, 0xa1, 0x61, 0x78, 0x82, 0x01, 0x02, 0x64, 0x74, 0x65, 0x78,
        0x74, 0xf6,
    ];
    let told = ClientMessage::decode(Kind::Ping, &body[..11]);
    assert_eq!(told, Err(ErrorCode::ControlMalformed), "the map announces a third entry");
    let mut two = body[..11].to_vec();
    two[0] = 0xa2;
    assert_eq!(ClientMessage::decode(Kind::Ping, &two), Ok(ClientMessage::Ping(Ping { token: 7 })));
}

#[test]
fn nesting_is_passed_over_without_a_stack() {
    let mut body = vec![0xa2, 0x00, 0x07, 0x18, 0x63];
    body.extend([0x81; 4_000]);
    body.push(0);
    let told = ClientMessage::decode(Kind::Ping, &body);
    assert_eq!(told, Ok(ClientMessage::Ping(Ping { token: 7 })));
}

#[test]
fn what_is_not_the_message_is_told() {
    let malformed = Err(ErrorCode::ControlMalformed);
    assert_eq!(ClientMessage::decode(Kind::Ping, &[]), malformed);
    assert_eq!(ClientMessage::decode(Kind::Ping, &[0xa0]), malformed, "the token is missing");
    assert_eq!(ClientMessage::decode(Kind::Ping, &[0x01]), malformed, "no map");
    assert_eq!(ClientMessage::decode(Kind::Ping, &[0xa1, 0x00, 0x61, 0x78]), malformed);
    let padded = |padding: &[u8]| {
        let body = [&[0xa1, 0x00, 0x07], padding].concat();
        ClientMessage::decode(Kind::Ping, &body).err()
    };
    assert_eq!(padded(&[0; 5]), None);
    assert_eq!(padded(&[0; 8]), Some(ErrorCode::ControlMalformed));
    assert_eq!(padded(&[0, 1]), Some(ErrorCode::PaddingNotZero));
    let out_of_place = Some(ErrorCode::KindOutOfPlace);
    assert_eq!(ClientMessage::decode(Kind::Ack, &[0xa0]).err(), out_of_place);
    assert_eq!(ServerMessage::decode(Kind::Open, &[0xa0]).err(), out_of_place);
    let mut ping = encoded(&Ping { token: 1 });
    *ping.last_mut().unwrap() = 1;
    assert_eq!(split_control(&ping, &LIMITS), Err(ImageError::Padding));
    ping.extend([0; 8]);
    assert!(matches!(split_control(&ping, &LIMITS), Err(ImageError::Truncated { .. })));
}

#[test]
fn options_without_a_meaning_are_told() {
    let open = Open {
        request: 1,
        name: "n",
        access: 3,
        from: 0,
        sequence: 0,
        epoch: 0,
        policy: Some(0),
        producer: 1,
        echo: false,
    };
    assert!(open.options().is_ok());
    for bad in [
        Open { access: 0, ..open },
        Open { access: 4, ..open },
        Open { from: 3, ..open },
        Open { policy: Some(6), ..open },
    ] {
        assert_eq!(bad.options(), Err(ErrorCode::OptionUnknown));
    }
    let reserved = Open { policy: Some(5), ..open };
    assert_eq!(reserved.options(), Err(ErrorCode::PolicyReserved));
    assert_eq!(Open { producer: 0, ..open }.options(), Err(ErrorCode::AccessInvalid));
    assert!(Open { producer: 0, access: 1, ..open }.options().is_ok());
}

#[test]
fn the_longest_error_is_within_the_limit() {
    let long = "é".repeat(5_000);
    let mut error = ErrorMessage::new(ErrorCode::DeltaInvalid, &long).at(&long, &long);
    error.handle = Some(u32::MAX);
    error.request = Some(u32::MAX);
    error.producer_sequence = Some(u64::MAX);
    error.delta = Some(u32::MAX);
    error.offset = Some(u32::MAX);
    assert_eq!(error.text.len(), TEXT_BYTES_MAX);
    assert_eq!(error.instance_path.unwrap().len(), PATH_BYTES_MAX);
    let bytes = encoded(&error);
    assert!(bytes.len() <= LIMITS.control_bytes_max as usize);
    assert_eq!(from_server(&bytes), ServerMessage::Error(error));
}

#[test]
fn hundreds_tell_what_ends() {
    assert_eq!(ErrorCode::CrcMismatch.effect(), Effect::EndsSession);
    assert_eq!(ErrorCode::Internal.effect(), Effect::EndsSession);
    assert_eq!(ErrorCode::NameInvalid.effect(), Effect::RefusesOpen);
    assert_eq!(ErrorCode::DeltaInvalid.effect(), Effect::RefusesBatch);
    assert_eq!(ErrorCode::ClosedByDrop.effect(), Effect::EndsHandle);
    assert_eq!(Effect::of_number(9_999), Effect::EndsSession);
}
