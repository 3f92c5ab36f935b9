//! Many names on one connection: documents, subjects, channels, topics that are opened or subscribed
//! to, a thousand at a time. Synchronous and untimed.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

use deltaworks_protocol::message::{Access, ClientHello, Open, OpenOptions, Policy, Start};
use deltaworks_protocol::{Control as _, ServerMessage};

use super::{Codec, Wire, connect, image};

/// Bytes of a delta that is written to each document.
const DELTA_BYTES: usize = 64;

/// Names `d0`, `d1` and so on: `count` of them from `first` on.
#[derive(Clone, Copy, Debug)]
pub struct Names {
    /// The first one's number.
    pub first: usize,
    /// How many.
    pub count: usize,
}

impl Names {
    fn all(self) -> impl Iterator<Item = String> {
        (self.first..self.first + self.count).map(|number| format!("d{number}"))
    }

    /// A session that has opened all of them to write, and its handles.
    ///
    /// # Errors
    /// If one is not opened.
    pub fn open_to_write(self, to: SocketAddr) -> Result<(TcpStream, Vec<u32>), String> {
        self.open(to, Access::Write, self.first as u64 + 1)
    }

    /// A session that has subscribed to all of them.
    ///
    /// # Errors
    /// If one is refused.
    pub fn subscribe(self, wire: Wire, to: SocketAddr) -> Result<TcpStream, String> {
        if matches!(wire, Wire::Image { .. }) {
            return self.open(to, Access::Read, 0).map(|(stream, _)| stream);
        }
        let mut stream = connect(to)?;
        Codec::new(wire, DELTA_BYTES).greet(&mut stream, &format!("n{}", self.first))?;
        let (mut out, mut ends) = (Vec::new(), Vec::new());
        for (number, name) in (1_u16..).zip(self.all()) {
            match wire {
                Wire::Nats => out.extend(format!("SUB {name} {number}\r\n").bytes()),
                Wire::Redis => {
                    let length = name.len();
                    let told = format!("*2\r\n$9\r\nSUBSCRIBE\r\n${length}\r\n{name}\r\n");
                    out.extend(told.bytes());
                }
                _ => {
                    let (length, [high, low]) = (name.len() as u8, number.to_be_bytes());
                    out.extend([0x82, 5 + length, high, low, 0, length]);
                    out.extend(name.bytes());
                    out.push(0);
                }
            }
        }
        match wire {
            Wire::Nats => {
                out.extend_from_slice(b"PING\r\n");
                ends.extend_from_slice(b"PONG\r\n");
            }
            Wire::Redis => ends.extend(format!(":{}\r\n", self.count).bytes()),
            _ => {
                let [high, low] = (self.count as u16).to_be_bytes();
                ends.extend([0x90, 3, high, low, 0]);
            }
        }
        // Answers are read meanwhile, or both ends wait for room.
        let mut writing = stream.try_clone().map_err(|error| error.to_string())?;
        let written = std::thread::spawn(move || writing.write_all(&out));
        let mut heard = Vec::new();
        let mut some = [0; 1 << 16];
        while !heard.ends_with(&ends) {
            let count = stream.read(&mut some).map_err(|error| error.to_string())?;
            if count == 0 || heard.windows(4).any(|it| it == b"-ERR") {
                return Err(format!("answered with {:?}", String::from_utf8_lossy(&heard)));
            }
            heard.extend_from_slice(&some[..count]);
        }
        written.join().map_err(|_| "a thread panicked")?.map_err(|error| error.to_string())?;
        Ok(stream)
    }

    fn open(
        self,
        to: SocketAddr,
        access: Access,
        producer: u64,
    ) -> Result<(TcpStream, Vec<u32>), String> {
        let mut stream = connect(to)?;
        let mut out = Vec::new();
        ClientHello { version_min: 1, version_max: 1, client: "peers", token: None }
            .encode_to(&mut out);
        let options =
            OpenOptions { access, start: Start::Live, policy: Policy::Gap, producer, echo: true };
        for (number, name) in (0..).zip(self.all()) {
            Open::new(number, &name, options).encode_to(&mut out);
        }
        let mut writing = stream.try_clone().map_err(|error| error.to_string())?;
        let written = std::thread::spawn(move || writing.write_all(&out));
        let mut handles = Vec::with_capacity(self.count);
        read_messages(&mut stream, |message| {
            match message {
                ServerMessage::Hello(_) | ServerMessage::Ping(_) => {}
                ServerMessage::Opened(it) => handles.push(it.handle),
                other => return Err(format!("an open was answered by {other:?}")),
            }
            Ok(handles.len() == self.count)
        })?;
        written.join().map_err(|_| "a thread panicked")?.map_err(|error| error.to_string())?;
        Ok((stream, handles))
    }

    /// Writes a delta to each of the documents with these handles, and waits until all are ordered.
    ///
    /// # Errors
    /// If one is refused.
    pub fn write_one_each(stream: &mut TcpStream, handles: &[u32]) -> Result<(), String> {
        let mut out = Vec::new();
        for handle in handles {
            image::append(&mut out, *handle, 1, 1, |to| to.extend_from_slice(&[7; DELTA_BYTES]));
        }
        stream.write_all(&out).map_err(|error| error.to_string())?;
        let mut left = handles.len();
        read_messages(stream, |message| {
            match message {
                ServerMessage::Ack(_) => left -= 1,
                ServerMessage::Credit(_) | ServerMessage::Ping(_) => {}
                other => return Err(format!("a batch was answered by {other:?}")),
            }
            Ok(left == 0)
        })
    }
}

/// Reads messages of control until `hear` says that it is enough.
fn read_messages(
    stream: &mut TcpStream,
    mut hear: impl FnMut(ServerMessage<'_>) -> Result<bool, String>,
) -> Result<(), String> {
    let (mut heard, mut at) = (Vec::new(), 0);
    let mut some = vec![0; 1 << 16];
    loop {
        while let Some(length) = image::whole(&heard[at..]).filter(|it| *it <= heard.len() - at) {
            if hear(image::control(&heard[at..at + length])?)? {
                return Ok(());
            }
            at += length;
        }
        heard.drain(..at);
        at = 0;
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
    use std::net::TcpListener;

    /// What comes of subscribing to two names at a server that greets and answers like this.
    fn subscribed(wire: Wire, answers: &'static [&'static [u8]]) -> Result<(), String> {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let to = listener.local_addr().expect("it has one");
        let server = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept()?;
            for answer in answers {
                // Whatever is said to it.
                let _ = stream.read(&mut [0; 4096])?;
                stream.write_all(answer)?;
            }
            Ok::<_, std::io::Error>(())
        });
        let came = Names { first: 5, count: 2 }.subscribe(wire, to).map(drop);
        let _ = server.join();
        came
    }

    #[test]
    fn who_subscribes_to_many_names_wants_an_answer_for_each() {
        let redis: &[&[u8]] = &[b"*3\r\n$9\r\nsubscribe\r\n$2\r\nd5\r\n:1\r\n*3\r\n$9\r\nsubscribe\r\n$2\r\nd6\r\n:2\r\n"];
        assert_eq!(subscribed(Wire::Redis, redis), Ok(()));
        let fewer: &[&[u8]] = &[b"*3\r\n$9\r\nsubscribe\r\n$2\r\nd5\r\n:1\r\n"];
        assert!(subscribed(Wire::Redis, fewer).is_err(), "one is missing");
        let refused: &[&[u8]] = &[b"-ERR too many\r\n"];
        assert!(subscribed(Wire::Redis, refused).is_err_and(|told| told.contains("too many")));
        let mqtt: &[&[u8]] = &[b"\x20\x02\0\0", b"\x90\x03\0\x01\0\x90\x03\0\x02\0"];
        assert_eq!(subscribed(Wire::Mqtt, mqtt), Ok(()));
    }
}
