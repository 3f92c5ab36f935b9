//! The relay: what moving the same bytes costs if nothing is checked, ordered, kept or answered.
//!
//! One thread, reads of 64 KiB (or as much as is said), one vectored write per subscriber and wake. A slow subscriber stops
//! all. With several publishers it looks for the ends of messages, so that none is torn. It runs
//! as a process of its own, as every server here does, and ends when its standard input does.

use std::io::{ErrorKind, IoSlice, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsRawFd;

use crate::system::{Readiness, wait_writable};
use crate::wire;

/// How it reads.
#[derive(Clone, Copy, Debug, clap::Args)]
pub struct Ways {
    /// KiB of a read.
    #[arg(long, default_value_t = 64)]
    read_kib: usize,
}

struct Publisher {
    read_bytes: usize,
    stream: TcpStream,
    buffer: Vec<u8>,
    filled: usize,
    /// Bytes that are passed on in this wake.
    whole: usize,
    is_over: bool,
}

enum Connection {
    Unknown(TcpStream),
    Subscriber(TcpStream),
    Publisher(Publisher),
}

/// Serves until nobody holds the standard input any more.
///
/// # Errors
/// If the system refuses what it needs.
pub fn serve(ways: Ways) -> Result<(), String> {
    turn_forever(ways.read_kib << 10).map_err(|error| error.to_string())
}

fn turn_forever(read_bytes: usize) -> std::io::Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    listener.set_nonblocking(true)?;
    println!("{}", listener.local_addr()?);
    std::io::stdout().flush()?;
    let mut readiness = Readiness::new(1024)?;
    readiness.watch(&listener, 0)?;
    readiness.watch(&std::io::stdin(), 1)?;
    // The first two places are not connections.
    let mut connections: Vec<Option<Connection>> = vec![None, None];
    loop {
        let count = readiness.wait(-1);
        for place in 0..count {
            match readiness.number(place) {
                0 => {
                    while let Ok((stream, _)) = listener.accept() {
                        stream.set_nodelay(true)?;
                        stream.set_nonblocking(true)?;
                        readiness.watch(&stream, connections.len())?;
                        connections.push(Some(Connection::Unknown(stream)));
                    }
                }
                1 => return Ok(()),
                number => hear(&mut connections[number], read_bytes),
            }
        }
        pass_on(&mut connections);
    }
}

fn hear(slot: &mut Option<Connection>, read_bytes: usize) {
    let connection = slot.take();
    *slot = match connection {
        Some(Connection::Unknown(mut stream)) => {
            let mut role = [0];
            match stream.read(&mut role) {
                Ok(1) if stream.write_all(b"k").is_ok() => Some(match role {
                    [b's'] => Connection::Subscriber(stream),
                    _ => Connection::Publisher(Publisher {
                        read_bytes,
                        stream,
                        buffer: vec![0; 2 * read_bytes],
                        filled: 0,
                        whole: 0,
                        is_over: false,
                    }),
                }),
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    Some(Connection::Unknown(stream))
                }
                _ => None,
            }
        }
        Some(Connection::Publisher(mut publisher)) => {
            publisher.read();
            Some(Connection::Publisher(publisher))
        }
        // A subscriber has nothing to say: it has left.
        Some(Connection::Subscriber(_)) | None => None,
    };
}

impl Publisher {
    fn read(&mut self) {
        let room = self.filled..self.filled + self.read_bytes;
        let end = room.end.max(wire::message_bytes(&self.buffer[..self.filled]));
        if self.buffer.len() < end {
            self.buffer.resize(end, 0);
        }
        match self.stream.read(&mut self.buffer[room]) {
            Ok(0) => self.is_over = true,
            Ok(count) => self.filled += count,
            Err(error) => self.is_over |= error.kind() != ErrorKind::WouldBlock,
        }
    }
}

fn pass_on(connections: &mut [Option<Connection>]) {
    let mut publishers = 0;
    for connection in connections.iter_mut().flatten() {
        if let Connection::Publisher(publisher) = connection {
            publishers += 1;
            publisher.whole = publisher.filled;
        }
    }
    if publishers > 1 {
        for connection in connections.iter_mut().flatten() {
            if let Connection::Publisher(publisher) = connection {
                publisher.whole = wire::whole_messages(&publisher.buffer[..publisher.filled]);
            }
        }
    }
    let pieces: Vec<&[u8]> = connections
        .iter()
        .flatten()
        .filter_map(|connection| match connection {
            Connection::Publisher(it) if it.whole > 0 => Some(&it.buffer[..it.whole]),
            _ => None,
        })
        .collect();
    let mut slices = Vec::with_capacity(pieces.len());
    if !pieces.is_empty() {
        for connection in connections.iter().flatten() {
            if let Connection::Subscriber(stream) = connection {
                slices.clear();
                slices.extend(pieces.iter().map(|piece| IoSlice::new(piece)));
                write_all(stream, &mut slices);
            }
        }
    }
    for slot in connections.iter_mut() {
        if let Some(Connection::Publisher(publisher)) = slot {
            publisher.buffer.copy_within(publisher.whole..publisher.filled, 0);
            publisher.filled -= publisher.whole;
            if publisher.is_over {
                *slot = None;
            }
        }
    }
}

fn write_all(mut stream: &TcpStream, mut slices: &mut [IoSlice<'_>]) {
    while !slices.is_empty() {
        match stream.write_vectored(slices) {
            Ok(count) => IoSlice::advance_slices(&mut slices, count),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                wait_writable(stream.as_raw_fd());
            }
            // It has left, and its end is heard with the next wake.
            Err(_) => return,
        }
    }
}
