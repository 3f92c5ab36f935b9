//! A session's socket: one task that reads into chunks, and waits until a full socket takes more.
//!
//! Belongs to the core that the connection was handed to, for the connection's whole life.
//! Sending is the stages' business; the task sends only to a socket that was full, because the
//! executor tells readiness only by trying, and what is left when the session has ended.
//! It never waits with the station in its hand; what a socket does not take stays where it is.
//! Closing a socket with unread bytes resets it, and a reset takes along what has not reached the
//! peer; so whoever has been told its end is listened to for a while, and what it says thrown away.

use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use deltaworks_pipeline::message::SessionId;
use deltaworks_pipeline::quota::SharedUse;
use deltaworks_protocol::ErrorCode;
use deltaworks_runtime::clock::Clock;
use deltaworks_runtime::core::LocalCore;
use deltaworks_runtime::sync::Arc;
use glommio::net::TcpStream;
use tracing::debug;

use crate::attendance::Attendant;
use crate::connection::{Connection, Outgoing, Socket, is_passing};
use crate::mutant::{Mutant, is_planted};
use crate::outlet::SocketSession;
use crate::peer::Peer;
use crate::station::{SocketStation, Station};

/// What a peer that has ended says and is thrown away, before the loop turns: so many reads.
const THROWS_PER_WAKE: usize = 4;

/// How long a session that has ended may take to take why: as long as a message that is begun may
/// take by default. The end of the server gives less.
const LAST_WORDS: Duration = Duration::from_secs(10);
/// How long it may then take to close.
const LINGER: Duration = Duration::from_secs(2);
/// The same when the server ends, and waits for all of them.
const LINGER_AT_THE_END: Duration = Duration::from_millis(500);
/// What it may still say: the default credit, several times over.
const LINGER_BYTES_MAX: usize = 1 << 20;
/// What is thrown away at a time.
const THROWN_BYTES: usize = 4 << 10;

/// Serves one connection until it ends.
pub(crate) async fn serve(
    stream: TcpStream,
    peer: Peer,
    address: Arc<SharedUse>,
    attendant: Attendant,
    station: Rc<RefCell<SocketStation>>,
    core: LocalCore,
) {
    let socket = Socket::new(stream);
    let outgoing = socket.outgoing();
    let mut driver =
        Driver::begin(socket, outgoing, (peer, address), attendant, &mut station.borrow_mut());
    poll_fn(|context| driver.poll_serve(&station, || core.wake(), context)).await;
    driver.end(&mut station.borrow_mut());
    core.wake();
    let is_told = within(LAST_WORDS, poll_fn(|context| driver.poll_say(context))).await;
    // While the server serves, who does not read why it was ended has only itself to blame.
    driver.settle(is_told || station.borrow().is_serving());
    if is_told {
        within(driver.linger(), poll_fn(|context| driver.poll_linger(context))).await;
    }
}

/// Waits for `done`, but not longer than `patience`; whether it came.
async fn within(patience: Duration, done: impl Future<Output = ()>) -> bool {
    let in_time = async {
        done.await;
        true
    };
    let too_late = async {
        glommio::timer::sleep(patience).await;
        false
    };
    futures_lite::future::or(in_time, too_late).await
}

/// What a connection's task does: **`poll_serve` until it is ready, `end`, `poll_say` until it is
/// ready or the time is up, `settle`, and if all was said `poll_linger` in the same way**.
pub(crate) struct Driver<C, O> {
    connection: C,
    session: Rc<RefCell<SocketSession<O>>>,
    /// None if it was refused.
    id: Option<SessionId>,
    /// What is left to say when the session has ended, and how much of it has gone.
    words: Vec<u8>,
    said: usize,
    /// What was thrown away since.
    thrown_bytes: usize,
}

impl<C: Connection, O: Outgoing> Driver<C, O> {
    /// Takes a place for the session, or refuses it by number.
    pub fn begin(
        connection: C,
        outgoing: O,
        (peer, address): (Peer, Arc<SharedUse>),
        attendant: Attendant,
        station: &mut Station<O, impl Clock + Clone>,
    ) -> Self {
        let now = station.now();
        let session = Rc::new(RefCell::new(station.session(outgoing, peer, attendant, now)));
        let id = match station.begin(Rc::clone(&session), address) {
            Ok(id) => {
                debug!(session = id.0, transport = peer.transport(), %peer, "session begins");
                Some(id)
            }
            Err(code) => {
                debug!(number = code.number(), %peer, "session refused: {}", code.name());
                session.borrow_mut().protocol.handle_fault(code);
                None
            }
        };
        Self { connection, session, id, words: Vec::new(), said: 0, thrown_bytes: 0 }
    }

    /// Serves until the session has ended or its connection is gone.
    pub fn poll_serve(
        &mut self,
        station: &RefCell<Station<O, impl Clock + Clone>>,
        wake: impl Fn(),
        context: &mut Context<'_>,
    ) -> Poll<()> {
        let Some(id) = self.id else { return Poll::Ready(()) };
        self.session.borrow_mut().waker = Some(context.waker().clone());
        if self.is_over() {
            return Poll::Ready(());
        }
        let mut station = station.borrow_mut();
        if self.session.borrow().is_blocked {
            match self.write(id, &mut station, context) {
                Ok(true) => wake(),
                Ok(false) => {}
                Err(_) => return self.broken(),
            }
        }
        loop {
            let Some(room) = station.stages.read_room(id) else {
                // Resumed by the outlet's wake, behind a turn.
                wake();
                return if self.is_over() { Poll::Ready(()) } else { Poll::Pending };
            };
            match self.connection.poll_receive(room, context) {
                Poll::Ready(Ok(count)) if count > 0 => {
                    station.received(id, count);
                    wake();
                    if self.is_over() {
                        return Poll::Ready(());
                    }
                }
                Poll::Ready(Err(error)) if is_passing(&error) => {
                    self.connection.wake_soon(context);
                    return Poll::Pending;
                }
                Poll::Ready(_) => return self.broken(),
                Poll::Pending => return Poll::Pending,
            }
        }
    }

    fn is_over(&self) -> bool {
        let session = self.session.borrow();
        session.protocol.is_ended() || session.is_broken
    }

    fn broken(&mut self) -> Poll<()> {
        self.session.borrow_mut().is_broken = true;
        Poll::Ready(())
    }

    /// Offers a full socket what comes next; whether it took some.
    ///
    /// What has gone out in part is sent to its end. Then comes control, which may stand before
    /// the images behind it (`opened`, `gap`), and only then the next image.
    fn write(
        &mut self,
        id: SessionId,
        station: &mut Station<O, impl Clock + Clone>,
        context: &mut Context<'_>,
    ) -> io::Result<bool> {
        let session = &self.session;
        let is_control_next = session.borrow().is_in_control()
            || (!station.stages.has_half(id)
                && !session.borrow().unsent().is_empty()
                && !is_planted(Mutant::ImageBeforeControl));
        let offered = if is_control_next { &[][..] } else { station.offer(id) };
        let is_image = !offered.is_empty();
        let polled = if is_image {
            self.connection.poll_send(offered, context)
        } else {
            let session = session.borrow();
            if session.unsent().is_empty() {
                Poll::Ready(Ok(0))
            } else {
                self.connection.poll_send(session.unsent(), context)
            }
        };
        let count = match polled {
            Poll::Ready(Ok(count)) => count,
            Poll::Ready(Err(error)) if is_passing(&error) => {
                self.connection.wake_soon(context);
                return Ok(false);
            }
            Poll::Ready(Err(error)) => return Err(error),
            Poll::Pending => return Ok(false),
        };
        if is_image {
            station.stages.took(id, count);
            self.session.borrow_mut().delivered_bytes += count as u64;
        } else if count > 0 {
            self.session.borrow_mut().control_took(count);
        }
        self.session.borrow_mut().is_blocked = false;
        if !is_planted(Mutant::NotResumed) {
            station.stages.writable(id);
        }
        Ok(true)
    }

    /// Ends the session, if its place is still its own; what is left to say is taken along.
    pub fn end(&mut self, station: &mut Station<O, impl Clock + Clone>) {
        if let Some(id) = self.id {
            station.end_own(id, &self.session);
        }
        let mut session = self.session.borrow_mut();
        session.encode_owed();
        if !session.is_broken {
            self.words = session.unsent().to_vec();
        }
        // None: the peer closed, or the connection broke.
        let number = session.protocol.ended_by().map(ErrorCode::number);
        debug!(session = self.id.map(|id| id.0), peer = %session.peer, number, "session ended");
    }

    /// Says what is left and that nothing more comes; what cannot be said to a peer that is gone is left unsaid.
    pub fn poll_say(&mut self, context: &mut Context<'_>) -> Poll<()> {
        if self.session.borrow().is_broken {
            return Poll::Ready(());
        }
        loop {
            let rest = &self.words[self.said..];
            if rest.is_empty() {
                return self.connection.poll_close(context).map(|_| ());
            }
            match self.connection.poll_send(rest, context) {
                Poll::Ready(Ok(count)) if count > 0 => self.said += count,
                Poll::Ready(Err(error)) if is_passing(&error) => {
                    self.connection.wake_soon(context);
                    return Poll::Pending;
                }
                Poll::Ready(_) => return Poll::Ready(()),
                Poll::Pending => return Poll::Pending,
            }
        }
    }

    /// Counts the connection as told, or as cut, and gives up what is kept for it.
    pub fn settle(&mut self, is_told: bool) {
        self.words = Vec::new();
        self.said = 0;
        let mut session = self.session.borrow_mut();
        session.forget_control();
        if is_told { session.attendant.is_told() } else { session.attendant.is_cut() }
    }

    /// How long whoever has been told may take to close.
    fn linger(&self) -> Duration {
        match self.session.borrow().protocol.ended_by() {
            Some(ErrorCode::ShuttingDown) => LINGER_AT_THE_END,
            _ => LINGER,
        }
    }

    /// Throws away what the peer still says until it closes, or has said too much.
    pub fn poll_linger(&mut self, context: &mut Context<'_>) -> Poll<()> {
        if self.session.borrow().is_broken || is_planted(Mutant::NotLingering) {
            return Poll::Ready(());
        }
        let mut thrown = [0; THROWN_BYTES];
        for _ in 0..THROWS_PER_WAKE {
            match self.connection.poll_receive(&mut thrown, context) {
                Poll::Ready(Ok(count)) if count > 0 => {
                    self.thrown_bytes += count;
                    if self.thrown_bytes > LINGER_BYTES_MAX {
                        return Poll::Ready(());
                    }
                }
                Poll::Ready(Err(error)) if is_passing(&error) => {
                    self.connection.wake_soon(context);
                    return Poll::Pending;
                }
                Poll::Ready(_) => return Poll::Ready(()),
                Poll::Pending => return Poll::Pending,
            }
        }
        // Not at once: whoever talks on must not keep others from being read.
        self.connection.wake_soon(context);
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a session's task may take: thousands of them are idle.
    const TASK_BYTES_MAX: usize = 1024;

    fn future_bytes<A, B, C, D, E, F, R>(_: impl Fn(A, B, C, D, E, F) -> R) -> usize {
        size_of::<R>()
    }

    #[test]
    fn a_sessions_task_stays_small() {
        let bytes = future_bytes(serve);
        println!("a session's task: {bytes} bytes");
        assert!(bytes <= TASK_BYTES_MAX);
        let with_a_buffer =
            future_bytes(|stream, peer, address, attendant, station, core| async move {
                let buffer = [0_u8; THROWN_BYTES];
                serve(stream, peer, address, attendant, station, core).await;
                assert_eq!(buffer[0], 0);
            });
        assert!(with_a_buffer > TASK_BYTES_MAX, "a buffer that is held shows");
    }
}
