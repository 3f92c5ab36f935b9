//! Hostile requests: whoever dawdles, shouts or lies is cut off, and nobody else notices.

use std::io::{Read, Write};
use std::time::Instant;

use crate::daemon::eventually;
use crate::http::{connect, exchange, get, start};
use crate::wire::PATIENCE;
use crate::witness::Witness;

fn first_line(told: &[u8]) -> String {
    String::from_utf8_lossy(told).lines().next().unwrap_or("").to_owned()
}

/// Garbage, headers without end, too many headers, bodies, other methods: each is answered with its
/// number or cut off, and the next request is answered as ever.
#[test]
fn bad_requests_are_refused_and_good_ones_answered() {
    let daemon = start(&[]);
    let witness = Witness::start(&daemon);
    let many = "x: y\r\n".repeat(200);
    let long = "x".repeat(200_000);
    for (request, expected) in [
        ("\x16\x03\x01 this is no HTTP \r\n\r\n".to_owned(), "400"),
        ("GET / HTTP/9.9\r\n\r\n".to_owned(), "400"),
        (format!("GET /metrics HTTP/1.1\r\nHost: x\r\n{many}\r\n"), "431"),
        (format!("GET /metrics HTTP/1.1\r\nHost: x\r\nlong: {long}\r\n\r\n"), "431"),
        (format!("GET /{long} HTTP/1.1\r\nHost: x\r\n\r\n"), "4"),
        ("GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello".to_owned(), "413"),
        (
            "GET / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"
                .to_owned(),
            "413",
        ),
        ("GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999999\r\n\r\n".to_owned(), "413"),
        ("POST /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n".to_owned(), "405"),
        ("DELETE / HTTP/1.1\r\nHost: x\r\n\r\n".to_owned(), "405"),
        ("GET /v1/status HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".to_owned(), "404"),
    ] {
        let told = first_line(&exchange(connect(&daemon), request.as_bytes()));
        let start: String = request.chars().take(60).collect();
        let status = told.split(' ').nth(1).unwrap_or("");
        // A peer that still sends when it is cut off may lose the answer to a reset.
        let is_told = status.starts_with(expected) || (told.is_empty() && request.len() > 10_000);
        assert!(is_told, "{start:?} was told {told:?}");
        assert_eq!(get(&daemon, "/readyz").status, 200);
    }
    witness.finish();
    daemon.stop();
}

/// More connections than are answered at once, all silent or slow: each is cut off in time, the rest
/// wait in the kernel, and then requests are answered again. The data path does not notice.
#[test]
fn silent_connections_are_cut_off_and_do_not_starve_the_others() {
    let daemon = start(&[]);
    let before = daemon.descriptors();
    let witness = Witness::start(&daemon);
    let mut silent: Vec<_> = (0..100).map(|_| connect(&daemon)).collect();
    for (place, stream) in silent.iter_mut().enumerate() {
        if place % 2 == 0 {
            stream.write_all(b"GET / HTTP/1.1\r\nHos").expect("the beginning of a request");
        }
    }
    let began = Instant::now();
    assert_eq!(get(&daemon, "/readyz").status, 200, "answered when the silent ones are gone");
    assert!(daemon.descriptors() <= before + 64 + 8, "no more than 64 are held at once");
    for mut stream in silent {
        let mut rest = Vec::new();
        // An end or a reset: it is cut off either way.
        let _ = stream.read_to_end(&mut rest);
    }
    assert!(began.elapsed() < 2 * PATIENCE);
    eventually("their descriptors are given back", || daemon.descriptors() <= before + 4);
    witness.finish();
    daemon.stop();
}
