//! Sockets: bytes a second from one core to the other, by system calls and by the executor.
//!
//! One connection, one way, writes and reads of the same length. Every byte is written from one buffer
//! and read into one; the last word of each is looked at, and all bytes are counted.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use deltaworks_runtime::pinned::PinnedThread;
use futures_lite::{AsyncReadExt, AsyncWriteExt};
use glommio::{LocalExecutorBuilder, Placement};
use serde_json::json;

use super::Measured;
use crate::system::Cpus;

/// Which sockets.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Way {
    Tcp,
    Unix,
    GlommioTcp,
    GlommioUnix,
}

/// Bytes per second in writes of `bytes`.
pub fn stream(cpus: Cpus, way: Way, bytes: usize, time: Duration) -> Measured {
    let told = |error: std::io::Error| error.to_string();
    let (sent, read, seconds) = match way {
        Way::Tcp => {
            let (from, to) = tcp_pair().map_err(told)?;
            by_system_calls(cpus, bytes, time, from, to)?
        }
        Way::Unix => {
            let (from, to) = UnixStream::pair().map_err(told)?;
            by_system_calls(cpus, bytes, time, from, to)?
        }
        Way::GlommioTcp => tcp_by_executor(cpus, bytes, time)?,
        Way::GlommioUnix => unix_by_executor(cpus, bytes, time)?,
    };
    if sent != read {
        return Err(format!("{read} of {sent} bytes came"));
    }
    Ok((
        read as f64 / seconds,
        seconds,
        json!({"writes_per_second": read as f64 / bytes as f64 / seconds}),
    ))
}

fn tcp_pair() -> std::io::Result<(TcpStream, TcpStream)> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let from = TcpStream::connect(listener.local_addr()?)?;
    from.set_nodelay(true)?;
    Ok((from, listener.accept()?.0))
}

fn by_system_calls<S: Read + Write + Send + 'static>(
    cpus: Cpus,
    bytes: usize,
    time: Duration,
    mut from: S,
    mut to: S,
) -> Result<(u64, u64, f64), String> {
    let reading = PinnedThread::spawn(cpus.load, "reading", move || {
        let mut buffer = vec![0; bytes];
        let mut read = 0;
        while let Ok(count) = to.read(&mut buffer) {
            if count == 0 {
                break;
            }
            read += count as u64;
        }
        (read, Instant::now())
    })
    .map_err(|error| error.to_string())?;
    let writing = PinnedThread::spawn(cpus.server, "writing", move || {
        let buffer = vec![7; bytes];
        let (began, mut sent) = (Instant::now(), 0);
        while began.elapsed() < time && from.write_all(&buffer).is_ok() {
            sent += bytes as u64;
        }
        (sent, began)
    })
    .map_err(|error| error.to_string())?;
    let (sent, began) = writing.join().map_err(|_| "a thread panicked")?;
    let (read, ended) = reading.join().map_err(|_| "a thread panicked")?;
    Ok((sent, read, (ended - began).as_secs_f64()))
}

async fn write_for<W: AsyncWriteExt + Unpin>(
    mut to: W,
    bytes: usize,
    time: Duration,
) -> (u64, Instant) {
    let buffer = vec![7; bytes];
    let (began, mut sent) = (Instant::now(), 0);
    while began.elapsed() < time && to.write_all(&buffer).await.is_ok() {
        sent += bytes as u64;
    }
    let _ = to.close().await;
    (sent, began)
}

async fn read_all<R: AsyncReadExt + Unpin>(mut from: R, bytes: usize) -> (u64, Instant) {
    let mut buffer = vec![0; bytes];
    let mut read = 0;
    while let Ok(count) = from.read(&mut buffer).await {
        if count == 0 {
            break;
        }
        read += count as u64;
    }
    (read, Instant::now())
}

/// What an executor's thread came to: bytes, and when it began or ended.
type Moved = glommio::ExecutorJoinHandle<std::io::Result<(u64, Instant)>>;

fn both(writing: Moved, reading: Moved) -> Result<(u64, u64, f64), String> {
    let moved = |thread: Moved| {
        let joined = thread.join().map_err(|error| error.to_string())?;
        joined.map_err(|error| error.to_string())
    };
    let (sent, began) = moved(writing)?;
    let (read, ended) = moved(reading)?;
    Ok((sent, read, (ended - began).as_secs_f64()))
}

fn tcp_by_executor(cpus: Cpus, bytes: usize, time: Duration) -> Result<(u64, u64, f64), String> {
    use glommio::net::{TcpListener, TcpStream};
    let (told, address) = std::sync::mpsc::channel::<SocketAddr>();
    let reading =
        LocalExecutorBuilder::new(Placement::Fixed(cpus.load)).spawn(move || async move {
            let listener = TcpListener::bind("127.0.0.1:0")?;
            let _ = told.send(listener.local_addr()?);
            Ok::<_, std::io::Error>(read_all(listener.accept().await?, bytes).await)
        });
    let reading = reading.map_err(|error| error.to_string())?;
    let address = address.recv().map_err(|_| "no address was told")?;
    let writing =
        LocalExecutorBuilder::new(Placement::Fixed(cpus.server)).spawn(move || async move {
            let stream = TcpStream::connect(address).await?;
            stream.set_nodelay(true)?;
            Ok::<_, std::io::Error>(write_for(stream, bytes, time).await)
        });
    both(writing.map_err(|error| error.to_string())?, reading)
}

fn unix_by_executor(cpus: Cpus, bytes: usize, time: Duration) -> Result<(u64, u64, f64), String> {
    use glommio::net::{UnixListener, UnixStream};
    let name = format!("deltaworks-peers-{}.sock", std::process::id());
    let path = std::env::temp_dir().join(name);
    let _ = std::fs::remove_file(&path);
    let (told, is_there) = std::sync::mpsc::channel::<()>();
    let at = path.clone();
    let reading =
        LocalExecutorBuilder::new(Placement::Fixed(cpus.load)).spawn(move || async move {
            let listener = UnixListener::bind(&at)?;
            let _ = told.send(());
            Ok::<_, std::io::Error>(read_all(listener.accept().await?, bytes).await)
        });
    let reading = reading.map_err(|error| error.to_string())?;
    is_there.recv().map_err(|_| "it does not listen")?;
    let at = path.clone();
    let writing =
        LocalExecutorBuilder::new(Placement::Fixed(cpus.server)).spawn(move || async move {
            Ok::<_, std::io::Error>(write_for(UnixStream::connect(&at).await?, bytes, time).await)
        });
    let done = both(writing.map_err(|error| error.to_string())?, reading);
    let _ = std::fs::remove_file(&path);
    done
}
