//! Prelude and frames: a byte stream that is cut at any places gives the messages of the whole one.
//!
//! Input: how often the stream is cut, where (two bytes each), then the stream. The stream is framed
//! piece by piece, and once more by a plain walk over it; both must tell the same messages, the same
//! fault at the same place, and keep no byte more than the one unfinished message has.

use deltaworks_image::{ImageError, Limits, PRELUDE_BYTES, check_prelude};
use deltaworks_protocol::framing::Framing;

/// How often a stream is cut at most.
const CUTS_MAX: u8 = 16;

/// What came of framing a stream.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Framed {
    /// The whole messages, in order.
    pub messages: Vec<Vec<u8>>,
    /// Why there is no next message.
    pub fault: Option<ImageError>,
    /// Bytes that wait for more.
    pub pending_bytes: usize,
}

/// The project's framing, fed with pieces.
pub fn framing(pieces: &[&[u8]], limits: &Limits) -> Framed {
    let mut framing = Framing::new(*limits);
    let mut framed = Framed::default();
    for piece in pieces {
        framing.handle_input(piece);
        loop {
            match framing.poll_message() {
                Ok(Some(message)) => framed.messages.push(message.to_vec()),
                Ok(None) => break,
                Err(fault) => {
                    assert_eq!(framing.poll_message(), Err(fault), "a fault stays");
                    framed.fault = Some(fault);
                    return framed;
                }
            }
        }
        framed.pending_bytes = framing.pending_bytes();
        assert!(framed.pending_bytes < longest_bytes(limits), "no more than a message is kept");
    }
    framed
}

/// Frames the stream with the project's framing.
pub fn run(data: &[u8]) {
    body(framing, data);
}

/// Frames the stream with `framer`.
///
/// # Panics
/// If `framer` tells something else than a walk over the uncut stream.
pub fn body(framer: impl Fn(&[&[u8]], &Limits) -> Framed, data: &[u8]) {
    let Some((pieces, stream)) = cut(data) else { return };
    for limits in [Limits::DEFAULT, Limits::HARD] {
        let expected = walk(stream, &limits);
        let told = framer(&pieces, &limits);
        assert_eq!(told.messages, expected.messages);
        assert_eq!(told.fault, expected.fault);
        if expected.fault.is_none() {
            assert_eq!(told.pending_bytes, expected.pending_bytes);
            let given: usize = told.messages.iter().map(Vec::len).sum();
            assert_eq!(given + told.pending_bytes, stream.len(), "no byte is lost");
        }
    }
}

/// The pieces of the stream that stands in `data`, and the stream.
fn cut(data: &[u8]) -> Option<(Vec<&[u8]>, &[u8])> {
    let (&count, rest) = data.split_first()?;
    let cuts = usize::from(count % CUTS_MAX);
    let (places, stream) = rest.split_at_checked(2 * cuts)?;
    let mut places: Vec<usize> = places
        .as_chunks::<2>()
        .0
        .iter()
        .map(|place| usize::from(u16::from_le_bytes(*place)) % (stream.len() + 1))
        .collect();
    places.sort_unstable();
    places.push(stream.len());
    let mut from = 0;
    let pieces = places.iter().map(|&to| &stream[core::mem::replace(&mut from, to)..to]).collect();
    Some((pieces, stream))
}

fn longest_bytes(limits: &Limits) -> usize {
    let info = limits.info_bytes_max + 64;
    limits.image_bytes_max.max(limits.control_bytes_max).max(info) as usize
}

/// The messages of the uncut stream, in the plainest way.
fn walk(stream: &[u8], limits: &Limits) -> Framed {
    let mut framed = Framed::default();
    let mut rest = stream;
    while let Some(prelude) = rest.first_chunk::<PRELUDE_BYTES>() {
        let bytes = match check_prelude(prelude, limits) {
            Ok(prelude) => {
                assert!(prelude.bytes as usize <= longest_bytes(limits));
                assert_eq!(prelude.to_bytes(), *rest.first_chunk().expect("as above"));
                prelude.bytes as usize
            }
            Err(fault) => {
                framed.fault = Some(fault);
                return framed;
            }
        };
        assert!(bytes >= PRELUDE_BYTES, "each message takes the walk further");
        let Some((message, behind)) = rest.split_at_checked(bytes) else { break };
        framed.messages.push(message.to_vec());
        rest = behind;
    }
    framed.pending_bytes = rest.len();
    framed
}
