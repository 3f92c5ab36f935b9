//! Images: how deltaworksd is spoken to, and the relay, which is given the same bytes.
//!
//! The writer's fields are laid out here byte by byte, so that a publisher costs what a lean client
//! would; control goes through the protocol's own crate.

use std::io::{Read, Write};
use std::net::TcpStream;

use deltaworks_image::crc::crc32c;
use deltaworks_image::{HEADER_BYTES, Kind, Limits};
use deltaworks_protocol::message::{
    Access, ClientHello, Open, OpenOptions, Policy, Pong, Start, split_control,
};
use deltaworks_protocol::{Control, ServerMessage};

use super::Part;

const BATCH: u8 = 1;
const PAYLOAD_CRC: usize = 40;
const COVERED: usize = 44;

/// Bytes of an image of `deltas` deltas.
pub fn bytes(deltas: usize, delta_bytes: usize) -> usize {
    (HEADER_BYTES + deltas * (2 + delta_bytes)).next_multiple_of(8)
}

/// Appends an image of `deltas` equally long deltas; its bytes.
#[inline]
pub fn append(
    to: &mut Vec<u8>,
    handle: u32,
    number: u64,
    deltas: usize,
    payloads: impl FnOnce(&mut Vec<u8>),
) -> usize {
    let start = to.len();
    to.extend_from_slice(&[0; HEADER_BYTES]);
    to.resize(start + HEADER_BYTES + 2 * deltas, 0);
    let first = to.len();
    payloads(to);
    let delta_bytes = (to.len() - first) / deltas;
    let length = ((delta_bytes - 1) as u16).to_le_bytes();
    to[start + HEADER_BYTES..first].as_chunks_mut::<2>().0.fill(length);
    let whole = (to.len() - start).next_multiple_of(8);
    let padding = start + whole - to.len();
    to.resize(start + whole, 0);
    let image = &mut to[start..];
    image[..4].copy_from_slice(&(whole as u32).to_le_bytes());
    image[4..8].copy_from_slice(&[BATCH, padding as u8, 1, 0]);
    image[8..12].copy_from_slice(&handle.to_le_bytes());
    image[44..48].copy_from_slice(&(deltas as u32).to_le_bytes());
    image[48..56].copy_from_slice(&number.to_le_bytes());
    let crc = crc32c(&image[COVERED..]);
    image[PAYLOAD_CRC..COVERED].copy_from_slice(&crc.to_le_bytes());
    whole
}

/// Bytes of the message at the beginning, if its prelude is there.
pub fn whole(bytes: &[u8]) -> Option<usize> {
    bytes.first_chunk().map(|length| u32::from_le_bytes(*length) as usize)
}

fn number_at<const BYTES: usize>(bytes: &[u8], at: usize) -> u64 {
    let mut word = [0; 8];
    word[..BYTES].copy_from_slice(&bytes[at..at + BYTES]);
    u64::from_le_bytes(word)
}

/// What stands at the beginning; an image must have the next sequence, unless a relay passed it on.
#[inline]
pub fn part(
    bytes: &[u8],
    delta_bytes: usize,
    is_relay: bool,
    sequence: &mut u64,
) -> Result<Part, String> {
    let Some(whole) = whole(bytes).filter(|whole| *whole <= bytes.len()) else {
        return Ok(Part::Partial);
    };
    if bytes[4] != BATCH {
        return Ok(Part::Control(whole));
    }
    let deltas = number_at::<4>(bytes, COVERED) as usize;
    if whole != self::bytes(deltas, delta_bytes) {
        return Err(format!("an image of {deltas} deltas has {whole} bytes"));
    }
    if !is_relay {
        let came = number_at::<8>(bytes, 16);
        if came != *sequence {
            return Err(format!("an image has sequence {came}, not {sequence}"));
        }
        *sequence += deltas as u64;
    }
    let length = ((delta_bytes - 1) as u16).to_le_bytes();
    let (lengths, _) = bytes[HEADER_BYTES..HEADER_BYTES + 2 * deltas].as_chunks::<2>();
    if lengths.iter().any(|told| *told != length) {
        return Err("a delta has another length".to_owned());
    }
    Ok(Part::Delivery { at: HEADER_BYTES + 2 * deltas, payloads: deltas, bytes: whole })
}

/// The message of control that these bytes are.
pub fn control(message: &[u8]) -> Result<ServerMessage<'_>, String> {
    let (kind, body): (Kind, _) =
        split_control(message, &Limits::DEFAULT).map_err(|error| format!("{error:?}"))?;
    ServerMessage::decode(kind, body).map_err(|code| format!("{code:?}"))
}

/// The credit that a message of control brings; a ping is answered.
pub fn hear(message: &[u8], answers: &mut Vec<u8>) -> Result<i64, String> {
    match control(message)? {
        ServerMessage::Ack(ack) => Ok(ack.credit as i64),
        ServerMessage::Credit(credit) => Ok(credit.bytes as i64),
        ServerMessage::Ping(ping) => {
            Pong { token: ping.token }.encode_to(answers);
            Ok(0)
        }
        other => Err(format!("the server said {other:?}")),
    }
}

/// Says hello and opens the document, to write if there is a producer, else to read; its handle,
/// credit and first sequence.
pub fn greet(stream: &mut TcpStream, producer: u64) -> Result<(u32, u64, u64), String> {
    let mut out = Vec::new();
    ClientHello { version_min: 1, version_max: 1, client: "peers", token: None }
        .encode_to(&mut out);
    let access = if producer == 0 { Access::Read } else { Access::Write };
    let options =
        OpenOptions { access, start: Start::Live, policy: Policy::Gap, producer, echo: true };
    Open::new(0, "d", options).encode_to(&mut out);
    stream.write_all(&out).map_err(|error| error.to_string())?;
    let mut heard = Vec::new();
    let mut some = [0; 4096];
    loop {
        while let Some(length) = whole(&heard).filter(|length| *length <= heard.len()) {
            match control(&heard[..length])? {
                ServerMessage::Hello(_) => {}
                ServerMessage::Opened(it) => {
                    return Ok((it.handle, it.credit, it.start_sequence));
                }
                other => return Err(format!("an open was answered by {other:?}")),
            }
            heard.drain(..length);
        }
        let count = stream.read(&mut some).map_err(|error| error.to_string())?;
        if count == 0 {
            return Err("the connection was closed".to_owned());
        }
        heard.extend_from_slice(&some[..count]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use deltaworks_image::Image;

    #[test]
    fn an_image_is_one_of_the_project() {
        let mut bytes = Vec::new();
        let whole = append(&mut bytes, 3, 7, 2, |to| to.extend_from_slice(&[9; 48]));
        assert_eq!((whole, bytes.len()), (112, 112));
        let image = Image::parse(&bytes).expect("well-formed");
        assert_eq!((image.handle(), image.producer_sequence(), image.count()), (3, 7, 2));
        assert_eq!(image.payload_crc(), crc32c(&bytes[COVERED..]));
        assert!(image.deltas().all(|delta| delta == [9; 24]));
    }
}
