//! What each server is told and says, reduced to what the load needs.
//!
//! One layout for all: a delivery is a head, payloads back to back, and a tail. Whatever is no
//! delivery is control, which is rare. Greeting is synchronous and untimed; publishing and reading
//! allocate nothing once their buffers have grown.

mod image;

mod names;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

pub use self::names::Names;
use crate::payload::Payloads;

/// How long a greeting may take.
const PATIENCE: Duration = Duration::from_secs(20);

/// A protocol.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Wire {
    /// Images, with this many deltas at most in each.
    Image {
        /// Deltas.
        batch: usize,
        /// Whether a relay is at the other end, which greets and answers nothing.
        is_relay: bool,
    },
    /// NATS' text protocol.
    Nats,
    /// RESP 2.
    Redis,
    /// MQTT 3.1.1, quality of service 0.
    Mqtt,
}

/// What a publisher may and must know between two writes.
#[derive(Clone, Copy, Debug)]
pub struct Writer {
    /// Bytes that it may still send; below one it must wait.
    pub credit_bytes: i64,
    /// Its number at the server.
    handle: u32,
    /// The number of its last batch.
    batches: u64,
}

impl Writer {
    /// One that may send whatever it likes.
    const UNBOUNDED: Self = Self { credit_bytes: i64::MAX / 2, handle: 0, batches: 0 };
}

impl Writer {
    /// Of somebody who only reads.
    pub fn idle() -> Self {
        Self::UNBOUNDED
    }
}

/// What stands at the beginning of what has come.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Part {
    /// Not a whole message.
    Partial,
    /// Payloads, and where the message ends.
    Delivery {
        /// Where the first payload begins.
        at: usize,
        /// How many there are, back to back.
        payloads: usize,
        /// Bytes of the message.
        bytes: usize,
    },
    /// Something else of so many bytes.
    Control(usize),
}

/// A protocol with payloads of one length.
#[derive(Clone, Debug)]
pub struct Codec {
    wire: Wire,
    payloads: Payloads,
    published: Vec<u8>,
    delivered: Vec<u8>,
    tail: &'static [u8],
}

impl Codec {
    /// For payloads of this length.
    pub fn new(wire: Wire, payload_bytes: usize) -> Self {
        let text = |text: String| text.into_bytes();
        let (published, delivered, tail): (_, _, &[u8]) = match wire {
            Wire::Image { .. } => (Vec::new(), Vec::new(), b""),
            Wire::Nats => (
                text(format!("PUB d {payload_bytes}\r\n")),
                text(format!("MSG d 1 {payload_bytes}\r\n")),
                b"\r\n",
            ),
            Wire::Redis => (
                text(format!("*3\r\n$7\r\nPUBLISH\r\n$1\r\nd\r\n${payload_bytes}\r\n")),
                text(format!("*3\r\n$7\r\nmessage\r\n$1\r\nd\r\n${payload_bytes}\r\n")),
                b"\r\n",
            ),
            Wire::Mqtt => (mqtt_head(payload_bytes), mqtt_head(payload_bytes), b""),
        };
        Self { wire, payloads: Payloads::new(payload_bytes), published, delivered, tail }
    }

    /// What is published.
    #[inline]
    pub fn payloads(&self) -> &Payloads {
        &self.payloads
    }

    /// The longest message that is delivered.
    pub fn message_bytes_max(&self) -> usize {
        match self.wire {
            Wire::Image { batch, .. } => image::bytes(batch, self.payloads.payload_bytes()),
            _ => self.delivered.len() + self.payloads.payload_bytes() + self.tail.len(),
        }
    }

    /// Appends `count` messages of `publisher`, the first of which has `sequence`.
    #[inline]
    pub fn publish(
        &self,
        to: &mut Vec<u8>,
        writer: &mut Writer,
        publisher: usize,
        sequence: u64,
        count: u64,
    ) {
        let end = sequence + count;
        if let Wire::Image { batch, .. } = self.wire {
            let mut first = sequence;
            while first < end {
                let deltas = (end - first).min(batch as u64);
                writer.batches += 1;
                let (handle, number) = (writer.handle, writer.batches);
                let bytes = image::append(to, handle, number, deltas as usize, |to| {
                    let of_batch = first..first + deltas;
                    of_batch.for_each(|number| self.payloads.append(to, publisher, number));
                });
                writer.credit_bytes -= bytes as i64;
                first += deltas;
            }
            return;
        }
        for number in sequence..end {
            to.extend_from_slice(&self.published);
            self.payloads.append(to, publisher, number);
            to.extend_from_slice(self.tail);
        }
    }

    /// What stands at the beginning of `bytes`, read by a subscriber whose next image must have
    /// `sequence`, where images have one.
    ///
    /// # Errors
    /// If it is a delivery with a wrong frame.
    #[inline]
    pub fn part(&self, bytes: &[u8], sequence: &mut u64) -> Result<Part, String> {
        if let Wire::Image { is_relay, .. } = self.wire {
            return image::part(bytes, self.payloads.payload_bytes(), is_relay, sequence);
        }
        let at = self.delivered.len();
        let Some(head) = bytes.get(..at) else {
            return Ok(if self.delivered.starts_with(bytes) {
                Part::Partial
            } else {
                self.control(bytes)
            });
        };
        if head != self.delivered {
            return Ok(self.control(bytes));
        }
        let end = at + self.payloads.payload_bytes();
        let whole = end + self.tail.len();
        match bytes.get(end..whole) {
            None => Ok(Part::Partial),
            Some(tail) if tail == self.tail => Ok(Part::Delivery { at, payloads: 1, bytes: whole }),
            Some(_) => Err("a message has another end".to_owned()),
        }
    }

    /// The message of control at the beginning of `bytes`.
    pub fn control(&self, bytes: &[u8]) -> Part {
        let whole = match self.wire {
            Wire::Image { .. } => image::whole(bytes),
            Wire::Nats | Wire::Redis => {
                bytes.windows(2).position(|pair| pair == b"\r\n").map(|at| at + 2)
            }
            Wire::Mqtt => bytes.get(1).map(|rest| 2 + usize::from(*rest)),
        };
        whole.filter(|whole| *whole <= bytes.len()).map_or(Part::Partial, Part::Control)
    }

    /// Takes a message of control; appends what is to be answered.
    ///
    /// # Errors
    /// If it is bad news.
    pub fn hear(
        &self,
        message: &[u8],
        writer: &mut Writer,
        answers: &mut Vec<u8>,
    ) -> Result<(), String> {
        let told = || Err(format!("the server said {:?}", String::from_utf8_lossy(message)));
        match self.wire {
            Wire::Image { .. } => {
                writer.credit_bytes += image::hear(message, answers)?;
                Ok(())
            }
            Wire::Nats if message == b"PING\r\n" => {
                answers.extend_from_slice(b"PONG\r\n");
                Ok(())
            }
            Wire::Nats if message.starts_with(b"-ERR") => told(),
            Wire::Redis if message.starts_with(b"-") => told(),
            Wire::Mqtt if message[0] != 0xd0 => told(),
            _ => Ok(()),
        }
    }

    /// Connects a publisher.
    ///
    /// # Errors
    /// If it is not greeted as it should be.
    pub fn publisher(&self, to: SocketAddr, number: usize) -> Result<(TcpStream, Writer), String> {
        let mut stream = connect(to)?;
        let writer = match self.wire {
            Wire::Image { is_relay: true, .. } => {
                say(&mut stream, b"p", |heard| heard == b"k")?;
                Writer::UNBOUNDED
            }
            Wire::Image { .. } => {
                let (handle, credit, _) = image::greet(&mut stream, number as u64 + 1)?;
                Writer { credit_bytes: credit as i64, handle, batches: 0 }
            }
            _ => {
                self.greet(&mut stream, &format!("p{number}"))?;
                Writer::UNBOUNDED
            }
        };
        stream.set_nonblocking(true).map_err(|error| error.to_string())?;
        Ok((stream, writer))
    }

    /// Connects a subscriber; the sequence of its first image as well.
    ///
    /// # Errors
    /// If it is not greeted as it should be.
    pub fn subscriber(&self, to: SocketAddr, number: usize) -> Result<(TcpStream, u64), String> {
        let mut stream = connect(to)?;
        let mut sequence = 0;
        match self.wire {
            Wire::Image { is_relay: true, .. } => say(&mut stream, b"s", |heard| heard == b"k")?,
            Wire::Image { .. } => sequence = image::greet(&mut stream, 0)?.2,
            _ => self.greet(&mut stream, &format!("s{number}"))?,
        }
        match self.wire {
            Wire::Image { .. } => {}
            Wire::Nats => {
                say(&mut stream, b"SUB d 1\r\nPING\r\n", has_pong)?;
            }
            Wire::Redis => {
                let subscribe = b"*2\r\n$9\r\nSUBSCRIBE\r\n$1\r\nd\r\n";
                say(&mut stream, subscribe, |heard| heard.ends_with(b":1\r\n"))?;
            }
            Wire::Mqtt => {
                let subscribe = [0x82, 6, 0, 1, 0, 1, b'd', 0];
                say(&mut stream, &subscribe, |heard| heard == [0x90, 3, 0, 1, 0])?;
            }
        }
        stream.set_nonblocking(true).map_err(|error| error.to_string())?;
        Ok((stream, sequence))
    }

    fn greet(&self, stream: &mut TcpStream, name: &str) -> Result<(), String> {
        match self.wire {
            Wire::Nats => {
                say(stream, b"", |heard| heard.ends_with(b"\r\n"))?;
                let connect = b"CONNECT {\"verbose\":false,\"pedantic\":false,\"lang\":\"rust\",\
                    \"version\":\"1\",\"protocol\":1}\r\nPING\r\n";
                say(stream, connect, has_pong)
            }
            Wire::Mqtt => {
                // Clean session, kept alive for 60 s.
                let mut packet = vec![0x10, 12 + name.len() as u8];
                packet.extend_from_slice(b"\0\x04MQTT\x04\x02\0\x3c\0");
                packet.push(name.len() as u8);
                packet.extend_from_slice(name.as_bytes());
                say(stream, &packet, |heard| heard == [0x20, 2, 0, 0])
            }
            Wire::Redis | Wire::Image { .. } => Ok(()),
        }
    }
}

/// Bytes of the message at the beginning of `bytes`, 0 if its prelude is not there.
pub fn message_bytes(bytes: &[u8]) -> usize {
    image::whole(bytes).unwrap_or(0)
}

/// Bytes of the whole messages at the beginning of `bytes`.
pub fn whole_messages(bytes: &[u8]) -> usize {
    let mut at = 0;
    while let Some(whole) = image::whole(&bytes[at..]) {
        if whole == 0 || bytes.len() - at < whole {
            break;
        }
        at += whole;
    }
    at
}

fn connect(to: SocketAddr) -> Result<TcpStream, String> {
    let connected = TcpStream::connect_timeout(&to, PATIENCE).and_then(|stream| {
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        Ok(stream)
    });
    connected.map_err(|error| error.to_string())
}

/// Says something, and reads until what has come is what is wanted.
fn say(
    stream: &mut TcpStream,
    what: &[u8],
    is_answer: impl Fn(&[u8]) -> bool,
) -> Result<(), String> {
    stream.write_all(what).map_err(|error| error.to_string())?;
    let mut heard = Vec::new();
    let mut some = [0; 4096];
    while !is_answer(&heard) {
        let count = stream.read(&mut some).map_err(|error| error.to_string())?;
        if count == 0 || heard.len() > 1 << 16 {
            return Err(format!("greeted with {:?}", String::from_utf8_lossy(&heard)));
        }
        heard.extend_from_slice(&some[..count]);
    }
    Ok(())
}

/// Whether NATS has answered the ping; it may tell about itself behind that.
fn has_pong(heard: &[u8]) -> bool {
    heard.ends_with(b"\r\n") && heard.windows(6).any(|line| line == b"PONG\r\n")
}

/// The head of a PUBLISH to the topic `d`.
fn mqtt_head(payload_bytes: usize) -> Vec<u8> {
    let mut head = vec![0x30];
    let mut rest = 3 + payload_bytes;
    while rest > 127 {
        head.push(rest as u8 & 0x7f | 0x80);
        rest >>= 7;
    }
    head.extend([rest as u8, 0, 1, b'd']);
    head
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::payload::Reader;

    const WIRES: [Wire; 5] = [
        Wire::Image { batch: 32, is_relay: true },
        Wire::Image { batch: 1, is_relay: true },
        Wire::Nats,
        Wire::Redis,
        Wire::Mqtt,
    ];

    /// What a server makes of what is published.
    fn delivered(codec: &Codec, published: &[u8], count: usize) -> Vec<u8> {
        if matches!(codec.wire, Wire::Image { .. }) {
            return published.to_vec();
        }
        let one = codec.published.len() + codec.payloads.payload_bytes() + codec.tail.len();
        assert_eq!(published.len(), one * count);
        let rest = |message: &[u8]| [&codec.delivered, &message[codec.published.len()..]].concat();
        published.chunks(one).flat_map(rest).collect()
    }

    fn read(codec: &Codec, mut bytes: &[u8]) -> Result<u64, String> {
        let mut reader = Reader::new(1);
        let mut sequence = 0;
        loop {
            match codec.part(bytes, &mut sequence)? {
                Part::Partial => return Ok(reader.read),
                Part::Control(length) => bytes = &bytes[length..],
                Part::Delivery { at, payloads, bytes: whole } => {
                    let length = codec.payloads.payload_bytes();
                    for payload in bytes[at..at + payloads * length].chunks(length) {
                        reader.take(codec.payloads(), payload)?;
                    }
                    bytes = &bytes[whole..];
                }
            }
        }
    }

    #[test]
    fn what_is_published_is_read_and_no_byte_of_a_payload_may_change() {
        for (wire, length) in WIRES.into_iter().flat_map(|wire| [(wire, 64), (wire, 256)]) {
            let codec = Codec::new(wire, length);
            let mut writer = Writer::UNBOUNDED;
            let mut out = Vec::new();
            codec.publish(&mut out, &mut writer, 0, 0, 64);
            codec.publish(&mut out, &mut writer, 0, 64, 5);
            let out = delivered(&codec, &out, 69);
            assert_eq!(read(&codec, &out), Ok(69), "{wire:?}");
            // Cut anywhere, the whole messages are read and no more.
            for cut in 0..out.len() {
                assert!(read(&codec, &out[..cut]).is_ok_and(|read| read < 69), "{wire:?} {cut}");
            }
            let mut other = out.clone();
            let place = other.len() - length / 2;
            other[place] ^= 1;
            assert!(read(&codec, &other).is_err(), "{wire:?}");
        }
    }

    #[test]
    fn a_ping_is_answered_and_bad_news_are_told() {
        let codec = Codec::new(Wire::Nats, 64);
        let mut answers = Vec::new();
        let mut sequence = 0;
        let part = codec.part(b"PING\r\nMSG", &mut sequence);
        assert_eq!(part, Ok(Part::Control(6)));
        let mut writer = Writer::UNBOUNDED;
        assert_eq!(codec.hear(b"PING\r\n", &mut writer, &mut answers), Ok(()));
        assert_eq!(answers, b"PONG\r\n");
        assert!(codec.hear(b"-ERR 'Slow Consumer'\r\n", &mut writer, &mut answers).is_err());
        let codec = Codec::new(Wire::Redis, 64);
        assert!(codec.hear(b"-ERR unknown\r\n", &mut writer, &mut answers).is_err());
        assert_eq!(codec.hear(b":8\r\n", &mut writer, &mut answers), Ok(()));
    }
}
