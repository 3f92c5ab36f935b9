//! What bare system calls on loopback TCP take: one call, and each byte of it.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::time::Instant;

use deltaworks_capacity::costs::SocketCost;

/// Bytes of a small call and of a large one.
const BYTES: (usize, usize) = (64, 32 << 10);
/// Calls of each length.
const CALLS: usize = 2_000;
/// Calls that are timed together; the fastest lot counts, as the least disturbed.
const LOT: usize = 50;

/// Times of sends and reads between two sockets of one thread; a look's time is not among them.
///
/// # Errors
/// If sockets cannot be had.
pub fn measure() -> Result<SocketCost, String> {
    let told = |error: std::io::Error| error.to_string();
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(told)?;
    let mut to = TcpStream::connect(listener.local_addr().map_err(told)?).map_err(told)?;
    let (mut from, _) = listener.accept().map_err(told)?;
    to.set_nodelay(true).map_err(told)?;
    let (send_few, read_few) = calls(&mut to, &mut from, BYTES.0).map_err(told)?;
    let (send_many, read_many) = calls(&mut to, &mut from, BYTES.1).map_err(told)?;
    let (few, many) = (BYTES.0 as f64, BYTES.1 as f64);
    let line = |at_few: f64, at_many: f64| {
        let byte_ns = ((at_many - at_few) / (many - few)).max(0.0);
        ((at_few - byte_ns * few).max(0.0), byte_ns)
    };
    let (send_ns, send_byte_ns) = line(send_few, send_many);
    let (read_ns, read_byte_ns) = line(read_few, read_many);
    Ok(SocketCost { read_ns, read_byte_ns, send_ns, send_byte_ns, ..SocketCost::default() })
}

fn calls(to: &mut TcpStream, from: &mut TcpStream, bytes: usize) -> std::io::Result<(f64, f64)> {
    let mut buffer = vec![7_u8; bytes];
    let (mut send_ns, mut read_ns) = (f64::INFINITY, f64::INFINITY);
    for _ in 0..CALLS / LOT {
        let (mut sending_ns, mut reading_ns) = (0, 0);
        for _ in 0..LOT {
            let began = Instant::now();
            to.write_all(&buffer)?;
            let sent = Instant::now();
            from.read_exact(&mut buffer)?;
            sending_ns += (sent - began).as_nanos();
            reading_ns += sent.elapsed().as_nanos();
        }
        send_ns = send_ns.min(sending_ns as f64 / LOT as f64);
        read_ns = read_ns.min(reading_ns as f64 / LOT as f64);
    }
    Ok((send_ns, read_ns))
}
