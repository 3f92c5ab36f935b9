//! A session's socket: one task that reads into chunks, and waits until a full socket takes more.
//!
//! Belongs to the core that the connection was handed to, for the connection's whole life.
//! Sending is the stages' business; the task sends only to a socket that was full, because the
//! executor tells readiness only by trying, and what is left when the session has ended.

use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::os::fd::AsRawFd;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use deltaworks_pipeline::message::SessionId;
use deltaworks_protocol::ErrorCode;
use deltaworks_runtime::core::LocalCore;
use futures_lite::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use glommio::net::TcpStream;
use tracing::debug;

use crate::outlet::SocketSession;
use crate::peer::Peer;
use crate::station::Station;

/// Reads of one session before the loop turns.
const READS_PER_WAKE: usize = 4;

/// How long a session that has ended may take to read why.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// Serves one connection until it ends.
pub(crate) async fn serve(
    mut connection: TcpStream,
    peer: Peer,
    station: Rc<RefCell<Station>>,
    core: LocalCore,
) {
    let now = station.borrow_mut().now();
    let fd = connection.as_raw_fd();
    let session = Rc::new(RefCell::new(station.borrow().session(fd, peer, now)));
    let begun = station.borrow_mut().begin(Rc::clone(&session));
    let id = match begun {
        Ok(id) => id,
        Err(code) => {
            debug!(number = code.number(), %peer, "session refused: {}", code.name());
            let mut refused = station.borrow().session(fd, peer, now);
            refused.protocol.handle_fault(code);
            refused.encode_owed();
            say(&mut connection, refused.unsent()).await;
            return;
        }
    };
    debug!(session = id.0, transport = peer.transport(), %peer, "session begins");
    let served = poll_fn(|context| step(&mut connection, id, &session, &station, &core, context));
    served.await;
    station.borrow_mut().end_own(id, &session);
    core.wake();
    let words = {
        let mut session = session.borrow_mut();
        session.encode_owed();
        session.unsent().to_vec()
    };
    // None: the peer closed, or the connection broke.
    let number = session.borrow().protocol.ended_by().map(ErrorCode::number);
    debug!(session = id.0, peer = %session.borrow().peer, number, "session ended");
    let is_broken = session.borrow().is_broken;
    let is_told = is_broken || say(&mut connection, &words).await;
    let session = session.borrow();
    if is_told { session.attendant.is_told() } else { session.attendant.is_cut() }
}

/// Sends `words` and closes; whether the peer took them in time, or is gone.
async fn say(connection: &mut TcpStream, words: &[u8]) -> bool {
    let said = async {
        // What cannot be said to a peer that is gone is left unsaid.
        let _ = async {
            connection.write_all(words).await?;
            connection.close().await
        }
        .await;
        true
    };
    let too_late = async {
        glommio::timer::sleep(LAST_WORDS).await;
        false
    };
    futures_lite::future::or(said, too_late).await
}

fn step(
    connection: &mut TcpStream,
    id: SessionId,
    session: &Rc<RefCell<SocketSession>>,
    station: &RefCell<Station>,
    core: &LocalCore,
    context: &mut Context<'_>,
) -> Poll<()> {
    session.borrow_mut().waker = Some(context.waker().clone());
    if session.borrow().protocol.is_ended() || session.borrow().is_broken {
        return Poll::Ready(());
    }
    let mut station = station.borrow_mut();
    if session.borrow().is_blocked {
        match write(connection, id, session, &mut station, context) {
            Ok(true) => core.wake(),
            Ok(false) => {}
            Err(_) => {
                session.borrow_mut().is_broken = true;
                return Poll::Ready(());
            }
        }
    }
    for _ in 0..READS_PER_WAKE {
        let Some(room) = station.stages.read_room(id) else {
            return if session.borrow().protocol.is_ended() {
                Poll::Ready(())
            } else {
                Poll::Pending // resumed by the outlet's wake
            };
        };
        match Pin::new(&mut *connection).poll_read(context, room) {
            Poll::Ready(Ok(count)) if count > 0 => {
                station.received(id, count);
                core.wake();
                if session.borrow().protocol.is_ended() {
                    return Poll::Ready(());
                }
            }
            Poll::Ready(_) => {
                session.borrow_mut().is_broken = true;
                return Poll::Ready(());
            }
            Poll::Pending => return Poll::Pending,
        }
    }
    context.waker().wake_by_ref();
    Poll::Pending
}

/// Offers a full socket what comes next; whether it took some.
fn write(
    connection: &mut TcpStream,
    id: SessionId,
    session: &RefCell<SocketSession>,
    station: &mut Station,
    context: &mut Context<'_>,
) -> io::Result<bool> {
    let control_first = session.borrow().is_in_control();
    let offered = if control_first { &[][..] } else { station.stages.offer(id) };
    let is_image = !offered.is_empty();
    let polled = if is_image {
        Pin::new(&mut *connection).poll_write(context, offered)
    } else {
        let session = session.borrow();
        if session.unsent().is_empty() {
            Poll::Ready(Ok(0))
        } else {
            Pin::new(&mut *connection).poll_write(context, session.unsent())
        }
    };
    let Poll::Ready(count) = polled else { return Ok(false) };
    let count = count?;
    if is_image {
        station.stages.took(id, count);
        session.borrow_mut().delivered_bytes += count as u64;
    } else {
        session.borrow_mut().control_took(count);
    }
    session.borrow_mut().is_blocked = false;
    station.stages.writable(id);
    Ok(true)
}
