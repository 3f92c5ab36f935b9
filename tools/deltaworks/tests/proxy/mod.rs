//! A proxy that knows where messages begin, and spoils one batch on its way.
//!
//! ```text
//! client ──▶ proxy ──▶ server      a thread for each direction of each connection;
//!        ◀──       ◀──             one direction is tampered with, once
//! ```

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};

use deltaworks_image::crc::crc32c;
use deltaworks_image::{Image, Kind, PRELUDE_BYTES};

/// Offset of the payload's checksum in an image; it covers what follows it.
const PAYLOAD_CRC: usize = 40;

/// What happens to the batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tamper {
    /// Nothing: a proxy alone must not be noticed.
    Nothing,
    /// It is left out.
    Drop,
    /// It is left out, and nothing follows it.
    Silence,
    /// It comes twice.
    Double,
    /// The next batch of the same document comes before it.
    Swap,
    /// One bit of its payload is another.
    Flip,
    /// One bit of its payload is another, and its checksum fits.
    FlipAndMend,
    /// The connection ends before it.
    Cut,
    /// It passes, and the connection ends before its answer.
    CutBehind,
}

/// Which way is tampered with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// From the client to the server.
    ToServer,
    /// From the server to the client.
    ToClient,
}

/// A proxy; it ends with this value.
pub struct Proxy {
    address: SocketAddr,
    saboteur: Arc<Mutex<Saboteur>>,
    is_over: Arc<AtomicBool>,
    accepting: Option<JoinHandle<()>>,
}

/// Counts batches over all connections, and acts once.
struct Saboteur {
    tamper: Tamper,
    /// Batches that still pass untouched.
    before: usize,
    has_acted: bool,
    held: Option<Vec<u8>>,
}

/// What goes on in place of a message.
enum Passed {
    Messages(Vec<Vec<u8>>),
    /// This, if there is one, then the end of the connection.
    End(Option<Vec<u8>>),
}

impl Proxy {
    /// A proxy before `server` (`tcp:HOST:PORT`) that spoils the batch behind the first `before` that go this way.
    pub fn start(server: &str, way: Way, tamper: Tamper, before: usize) -> Proxy {
        let server = server.strip_prefix("tcp:").expect("an address of TCP");
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("its address");
        let saboteur = Saboteur { tamper, before, has_acted: false, held: None };
        let saboteur = Arc::new(Mutex::new(saboteur));
        let is_over = Arc::new(AtomicBool::new(false));
        let (server, shared, over) =
            (server.to_owned(), Arc::clone(&saboteur), Arc::clone(&is_over));
        let accepting = thread::spawn(move || {
            for client in listener.incoming() {
                // Relaxed: the connection that wakes this thread comes after the store.
                if over.load(Relaxed) {
                    return;
                }
                let connected =
                    client.and_then(|client| Ok((client, TcpStream::connect(&server)?)));
                if let Ok((client, server)) = connected {
                    serve(&client, &server, way, &shared);
                }
            }
        });
        Proxy { address, saboteur, is_over, accepting: Some(accepting) }
    }

    /// The address as the command line takes it.
    pub fn address(&self) -> String {
        format!("tcp:{}", self.address)
    }

    /// Whether a batch was spoilt.
    pub fn has_acted(&self) -> bool {
        self.saboteur.lock().expect("no panic while it was held").has_acted
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.is_over.store(true, Relaxed);
        // Wakes the accepting thread; connections end with their peers.
        let _ = TcpStream::connect(self.address);
        if let Some(accepting) = self.accepting.take() {
            let _ = accepting.join();
        }
    }
}

fn serve(client: &TcpStream, server: &TcpStream, way: Way, saboteur: &Arc<Mutex<Saboteur>>) {
    for stream in [client, server] {
        let _ = stream.set_nodelay(true);
    }
    for (from, to, tampered) in
        [(client, server, way == Way::ToServer), (server, client, way == Way::ToClient)]
    {
        let (Ok(from), Ok(to)) = (from.try_clone(), to.try_clone()) else { return };
        let saboteur = tampered.then(|| Arc::clone(saboteur));
        thread::spawn(move || {
            // Whatever ends one direction ends both.
            let _ = pump(&from, &to, saboteur.as_deref());
            let _ = from.shutdown(Shutdown::Both);
            let _ = to.shutdown(Shutdown::Both);
        });
    }
}

fn pump(
    mut from: &TcpStream,
    mut to: &TcpStream,
    saboteur: Option<&Mutex<Saboteur>>,
) -> io::Result<()> {
    loop {
        let mut message = vec![0; PRELUDE_BYTES];
        from.read_exact(&mut message)?;
        let bytes = u32::from_le_bytes([message[0], message[1], message[2], message[3]]) as usize;
        message.resize(bytes.max(PRELUDE_BYTES), 0);
        from.read_exact(&mut message[PRELUDE_BYTES..])?;
        let passed = match saboteur {
            Some(saboteur) if message[4] == Kind::Batch.number() => {
                saboteur.lock().expect("no panic while it is held").pass(message)
            }
            _ => Passed::Messages(vec![message]),
        };
        match passed {
            Passed::Messages(messages) => {
                messages.iter().try_for_each(|message| to.write_all(message))?;
            }
            Passed::End(last) => return last.map_or(Ok(()), |last| to.write_all(&last)),
        }
    }
}

impl Saboteur {
    fn pass(&mut self, batch: Vec<u8>) -> Passed {
        if let Some(held) = self.held.take() {
            if held[8..16] == batch[8..16] {
                self.has_acted = true;
                return Passed::Messages(vec![batch, held]);
            }
            self.held = Some(held);
            return Passed::Messages(vec![batch]);
        }
        if self.before > 0 {
            self.before -= 1;
            return Passed::Messages(vec![batch]);
        }
        if self.has_acted {
            return match self.tamper {
                Tamper::Silence => Passed::Messages(vec![]),
                _ => Passed::Messages(vec![batch]),
            };
        }
        self.has_acted = true;
        match self.tamper {
            Tamper::Nothing => Passed::Messages(vec![batch]),
            Tamper::Drop | Tamper::Silence => Passed::Messages(vec![]),
            Tamper::Double => Passed::Messages(vec![batch.clone(), batch]),
            Tamper::Swap => {
                // Acted only when the two have changed places.
                self.has_acted = false;
                self.held = Some(batch);
                Passed::Messages(vec![])
            }
            Tamper::Flip => match flipped(&batch) {
                Some((flipped, _)) => Passed::Messages(vec![flipped]),
                None => self.pass_on(batch),
            },
            Tamper::FlipAndMend => match flipped(&batch) {
                Some((_, mended)) => Passed::Messages(vec![mended]),
                None => self.pass_on(batch),
            },
            Tamper::Cut => Passed::End(None),
            Tamper::CutBehind => Passed::End(Some(batch)),
        }
    }

    /// This batch has nothing to spoil; the next may have.
    fn pass_on(&mut self, batch: Vec<u8>) -> Passed {
        self.has_acted = false;
        Passed::Messages(vec![batch])
    }
}

/// The batch with one bit of a typed letter, or of a load's filling, changed, with the checksum it had and with one that fits.
fn flipped(batch: &[u8]) -> Option<(Vec<u8>, Vec<u8>)> {
    let image = Image::parse(batch).ok()?;
    // Behind lane, index, count, position, deleted and a length of 1 a delta ends with its letter.
    let is_typed = |delta: &[u8]| {
        delta.len() >= 7
            && delta.ends_with(&[1, delta[delta.len() - 1]])
            && delta[delta.len() - 1].is_ascii_lowercase()
    };
    // A delta of a load is filled up with one byte.
    let is_filled = |delta: &[u8]| {
        delta.len() >= 64 && delta[delta.len() - 32..].windows(2).all(|pair| pair[0] == pair[1])
    };
    let typed = image.deltas().find(|delta| is_typed(delta) || is_filled(delta))?;
    let start = typed.as_ptr().addr() - batch.as_ptr().addr();
    let mut flipped = batch.to_vec();
    flipped[start + typed.len() - 1] ^= 1;
    let mut mended = flipped.clone();
    let crc = crc32c(&mended[PAYLOAD_CRC + 4..]);
    mended[PAYLOAD_CRC..PAYLOAD_CRC + 4].copy_from_slice(&crc.to_le_bytes());
    Some((flipped, mended))
}
