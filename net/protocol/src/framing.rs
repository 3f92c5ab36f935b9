//! Cuts a byte stream into messages.
//!
//! [`message_bytes`] looks at a buffer that somebody else owns; [`Framing`] owns one, for tests and
//! for transports that hand over pieces. A length is judged as soon as its prelude is there, so a
//! stream that lies makes nobody keep more than one message and one piece of input.

use deltaworks_image::{ImageError, Limits, PRELUDE_BYTES, check_prelude};

/// Bytes of the message at the start of `buffer`, or `None` while its prelude is not there.
///
/// The message itself may not be there yet: compare with `buffer.len()`.
///
/// # Errors
/// What [`check_prelude`] tells; the stream has then no next message.
#[inline]
pub fn message_bytes(buffer: &[u8], limits: &Limits) -> Result<Option<usize>, ImageError> {
    match buffer.first_chunk::<PRELUDE_BYTES>() {
        Some(prelude) => Ok(Some(check_prelude(prelude, limits)?.bytes as usize)),
        None => Ok(None),
    }
}

/// A splitter that owns its buffer: **`handle_input`, then `poll_message` until `None`**.
#[derive(Debug)]
pub struct Framing {
    limits: Limits,
    buffer: Vec<u8>,
    start: usize,
}

impl Framing {
    /// A splitter of messages within `limits`.
    pub fn new(limits: Limits) -> Framing {
        Framing { limits, buffer: Vec::new(), start: 0 }
    }

    /// Takes the stream's next bytes.
    pub fn handle_input(&mut self, input: &[u8]) {
        self.buffer.drain(..core::mem::take(&mut self.start));
        self.buffer.extend_from_slice(input);
    }

    /// The next whole message, or `None` until more input comes.
    ///
    /// # Errors
    /// What [`check_prelude`] tells, again at each later call.
    pub fn poll_message(&mut self) -> Result<Option<&[u8]>, ImageError> {
        let rest = &self.buffer[self.start..];
        let Some(bytes) = message_bytes(rest, &self.limits)? else { return Ok(None) };
        if rest.len() < bytes {
            return Ok(None);
        }
        self.start += bytes;
        Ok(Some(&rest[..bytes]))
    }

    /// Bytes that are kept and not yet given out.
    pub fn pending_bytes(&self) -> usize {
        self.buffer.len() - self.start
    }
}
