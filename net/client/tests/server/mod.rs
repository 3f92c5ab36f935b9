//! The fake server behind in-memory streams, with a way that tests can cut, refuse and disturb.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use deltaworks_client::{BoxedStream, Connector, Limits};
use deltaworks_protocol::framing::Framing;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::sync::Notify;

#[path = "../../../protocol/tests/fake/mod.rs"]
pub mod fake;

use fake::FakeServer;

/// What becomes of a message on its way; `nth` counts messages of this direction from 0.
pub type Way = Box<dyn FnMut(usize, Vec<u8>) -> Vec<Vec<u8>> + Send>;

/// A server that clients can connect to.
#[derive(Clone)]
pub struct Host {
    inner: Arc<Inner>,
}

struct Inner {
    server: Mutex<FakeServer>,
    refuses: AtomicBool,
    connections: AtomicUsize,
    cut: Notify,
    /// Somebody may have something to send.
    moved: Notify,
    up: Mutex<Option<Way>>,
    down: Mutex<Option<Way>>,
}

impl Host {
    pub fn new() -> Host {
        let mut server = FakeServer::new();
        server.credit_bytes = 64 << 10;
        Host {
            inner: Arc::new(Inner {
                server: Mutex::new(server),
                refuses: AtomicBool::new(false),
                connections: AtomicUsize::new(0),
                cut: Notify::new(),
                moved: Notify::new(),
                up: Mutex::new(None),
                down: Mutex::new(None),
            }),
        }
    }

    /// Works on the server, and sends what comes of it.
    pub fn with<T>(&self, work: impl FnOnce(&mut FakeServer) -> T) -> T {
        let result = work(&mut self.inner.server.lock().unwrap());
        self.inner.moved.notify_waiters();
        result
    }

    /// Connections accepted so far.
    pub fn connections(&self) -> usize {
        self.inner.connections.load(Ordering::Relaxed)
    }

    /// Cuts every connection.
    pub fn cut(&self) {
        self.inner.cut.notify_waiters();
    }

    /// Refuses new connections, or no longer.
    pub fn refuse(&self, refuses: bool) {
        self.inner.refuses.store(refuses, Ordering::Relaxed);
    }

    /// Disturbs messages on their way to the server.
    pub fn disturb_up(&self, way: Way) {
        *self.inner.up.lock().unwrap() = Some(way);
    }

    /// Disturbs messages on their way to clients.
    pub fn disturb_down(&self, way: Way) {
        *self.inner.down.lock().unwrap() = Some(way);
    }
}

impl Connector for Host {
    fn connect(&self) -> Pin<Box<dyn Future<Output = io::Result<BoxedStream>> + Send + '_>> {
        Box::pin(async {
            if self.inner.refuses.load(Ordering::Relaxed) {
                return Err(io::ErrorKind::ConnectionRefused.into());
            }
            self.inner.connections.fetch_add(1, Ordering::Relaxed);
            let (ours, theirs) = duplex(16 << 10);
            tokio::spawn(serve(Arc::clone(&self.inner), theirs));
            Ok(Box::new(ours) as BoxedStream)
        })
    }
}

async fn serve(inner: Arc<Inner>, mut stream: DuplexStream) {
    let connection = inner.server.lock().unwrap().connect();
    let (mut up, mut down) = (Framing::new(Limits::HARD), Framing::new(Limits::HARD));
    let (mut ups, mut downs) = (0, 0);
    let mut buffer = vec![0; 4 << 10];
    let cut = inner.cut.notified();
    tokio::pin!(cut);
    cut.as_mut().enable();
    loop {
        let output = {
            let mut server = inner.server.lock().unwrap();
            let output = server.output(connection);
            pass(&inner.down, &mut down, &mut downs, &output)
        };
        if !output.is_empty() {
            tokio::select! {
                written = stream.write_all(&output) => if written.is_err() { return },
                () = &mut cut => return,
            }
            continue;
        }
        if inner.server.lock().unwrap().is_ended(connection) {
            return;
        }
        tokio::select! {
            read = stream.read(&mut buffer) => match read {
                Ok(bytes) if bytes > 0 => {
                    let input = pass(&inner.up, &mut up, &mut ups, &buffer[..bytes]);
                    inner.server.lock().unwrap().input(connection, &input);
                    inner.moved.notify_waiters();
                }
                _ => return,
            },
            () = inner.moved.notified() => {}
            () = tokio::time::sleep(Duration::from_millis(2)) => {}
            () = &mut cut => return,
        }
    }
}

fn pass(way: &Mutex<Option<Way>>, framing: &mut Framing, nth: &mut usize, bytes: &[u8]) -> Vec<u8> {
    let mut way = way.lock().unwrap();
    framing.handle_input(bytes);
    let mut out = Vec::new();
    while let Ok(Some(message)) = framing.poll_message() {
        let message = message.to_vec();
        match way.as_mut() {
            Some(way) => out.extend(way(*nth, message).concat()),
            None => out.extend(message),
        }
        *nth += 1;
    }
    out
}
