//! The relay: raw glommio TCP that passes every publisher's messages on to every subscriber.
//!
//! What a server on this executor costs if it checks, orders, keeps and answers nothing: the
//! figure that ours is read against. One core; a slow subscriber stops all, and nobody is told.

use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::mpsc::channel;

use deltaworks_image::PRELUDE_BYTES;
use futures_lite::{AsyncReadExt, AsyncWriteExt};
use glommio::channels::local_channel;
use glommio::net::{TcpListener, TcpStream};
use glommio::{ExecutorJoinHandle, LocalExecutorBuilder, Placement};

/// What a connection says first.
pub const PUBLISHER: u8 = b'p';
/// What a connection says first.
pub const SUBSCRIBER: u8 = b's';

/// Bytes of one read.
const READ_BYTES: usize = 256 << 10;
/// Reads that wait for the subscribers at most.
const WAITING: usize = 8;

/// A running relay.
pub struct Relay {
    /// Where it listens.
    pub address: SocketAddr,
    thread: ExecutorJoinHandle<io::Result<()>>,
}

impl Relay {
    /// A relay on `cpu` that accepts so many connections of each sort and no more.
    ///
    /// # Errors
    /// If the system gives no thread, ring or address.
    pub fn start(cpu: usize, publishers: usize, subscribers: usize) -> io::Result<Self> {
        let (told, tells) = channel();
        let work = move || async move {
            let listener = TcpListener::bind("127.0.0.1:0").map_err(io::Error::from)?;
            let _ = told.send(listener.local_addr().map_err(io::Error::from)?);
            serve(listener, publishers, subscribers).await
        };
        let builder = LocalExecutorBuilder::new(Placement::Fixed(cpu)).name("relay");
        let thread = builder.spawn(work).map_err(io::Error::from)?;
        let address = tells.recv().map_err(|_| io::Error::other("the relay has no address"))?;
        Ok(Self { address, thread })
    }

    /// Waits until all publishers have left and what they said is passed on.
    ///
    /// # Errors
    /// If a connection broke before.
    pub fn join(self) -> io::Result<()> {
        self.thread.join().map_err(io::Error::from)?
    }
}

async fn serve(listener: TcpListener, publishers: usize, subscribers: usize) -> io::Result<()> {
    let (mut writers, mut readers) = (Vec::new(), Vec::new());
    while writers.len() < publishers || readers.len() < subscribers {
        let mut stream = listener.accept().await.map_err(io::Error::from)?;
        stream.set_nodelay(true).map_err(io::Error::from)?;
        let mut role = [0];
        stream.read_exact(&mut role).await?;
        match role {
            [PUBLISHER] => writers.push(stream),
            [SUBSCRIBER] => readers.push(stream),
            _ => return Err(io::Error::other("neither publisher nor subscriber")),
        }
    }
    let (sender, receiver) = local_channel::new_bounded::<Vec<u8>>(WAITING);
    let sender = Rc::new(sender);
    let tasks: Vec<_> = writers
        .into_iter()
        .map(|stream| glommio::spawn_local(take(stream, sender.clone())).detach())
        .collect();
    drop(sender);
    while let Some(messages) = receiver.recv().await {
        for reader in &mut readers {
            reader.write_all(&messages).await?;
        }
    }
    for task in tasks {
        task.await.unwrap_or_else(|| Err(io::Error::other("a publisher's task ended")))?;
    }
    Ok(())
}

/// Passes on what a publisher sends, in whole messages.
async fn take(
    mut stream: TcpStream,
    to: Rc<local_channel::LocalSender<Vec<u8>>>,
) -> io::Result<()> {
    let mut buffer = vec![0; READ_BYTES];
    let mut filled = 0;
    loop {
        let count = stream.read(&mut buffer[filled..]).await?;
        if count == 0 {
            return Ok(());
        }
        filled += count;
        let whole = whole_messages(&buffer[..filled]);
        if whole > 0 {
            let messages = buffer[..whole].to_vec();
            to.send(messages).await.map_err(|_| io::Error::other("the subscribers are gone"))?;
            buffer.copy_within(whole..filled, 0);
            filled -= whole;
        }
    }
}

/// Bytes of the whole messages that stand at the start of `bytes`.
pub(crate) fn whole_messages(bytes: &[u8]) -> usize {
    let mut at = 0;
    while let Some(prelude) = bytes[at..].first_chunk::<PRELUDE_BYTES>() {
        let length = u32::from_le_bytes([prelude[0], prelude[1], prelude[2], prelude[3]]) as usize;
        if length == 0 || bytes.len() - at < length {
            break;
        }
        at += length;
    }
    at
}
