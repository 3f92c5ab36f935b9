//! The end of a connection that was refused: it is told why, and closed without a reset.
//!
//! Belongs to the doorkeeper's thread. Closing a socket with unread bytes resets it, and a reset
//! may overtake the words; so what the peer still says is read and thrown away until it closes,
//! for a bounded time and number of bytes. It never waits. When too many linger, the oldest is
//! closed at once, with whatever has reached it.

use std::collections::VecDeque;
use std::io::{self, Read};
use std::net::Shutdown;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use crate::socket::send_once;

/// Refused connections that are still listened to, at most; each holds a descriptor.
pub(crate) const LINGERING_MAX: usize = 64;
/// How long each may take to read why and to close.
const PATIENCE: Duration = Duration::from_secs(2);
/// What each may still say.
const BYTES_MAX: usize = 64 << 10;

/// Refused connections that have been told why.
#[derive(Debug, Default)]
pub(crate) struct Farewell {
    /// The oldest first.
    lingering: VecDeque<Lingering>,
}

#[derive(Debug)]
struct Lingering {
    /// The type names Unix, but does nothing here that a TCP socket does not do.
    socket: UnixStream,
    until: Instant,
    heard_bytes: usize,
}

impl Farewell {
    /// Says `words` and lets the connection end within bounds.
    pub fn tell(&mut self, connection: OwnedFd, words: &[u8], now: Instant) {
        if let Some(socket) = say(connection, words) {
            if self.lingering.len() >= LINGERING_MAX {
                self.lingering.pop_front();
            }
            self.lingering.push_back(Lingering { socket, until: now + PATIENCE, heard_bytes: 0 });
        }
    }

    /// Says `words` and closes: for when no descriptor can be spared.
    pub fn tell_and_close(connection: OwnedFd, words: &[u8]) {
        if let Some(socket) = say(connection, words) {
            // What has come already is read, so that it does not make a reset.
            let _ = (&socket).read(&mut [0; 4096]);
        }
    }

    /// When somebody's time is up.
    pub fn next_deadline(&self) -> Option<Instant> {
        self.lingering.front().map(|oldest| oldest.until)
    }

    /// The sockets that are listened to, in an order that holds until the next call of another
    /// method.
    pub fn sockets(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.lingering.iter().map(|it| it.socket.as_fd())
    }

    /// Hears those whose sockets `is_ready` says to have something, by their place in
    /// [`sockets`](Self::sockets), and closes whose end or time has come.
    pub fn hear(&mut self, is_ready: impl Fn(usize) -> bool, now: Instant) {
        let mut place = 0;
        self.lingering.retain_mut(|it| {
            let stays = it.until > now && (!is_ready(place) || it.hear());
            place += 1;
            stays
        });
    }
}

impl Lingering {
    /// Whether it may stay.
    fn hear(&mut self) -> bool {
        let mut bytes = [0; 4096];
        match self.socket.read(&mut bytes) {
            Ok(0) => false,
            Ok(count) => {
                self.heard_bytes += count;
                self.heard_bytes <= BYTES_MAX
            }
            Err(error) => {
                matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
            }
        }
    }
}

/// Sends the words, which a fresh socket always has room for, and shuts this direction.
fn say(connection: OwnedFd, words: &[u8]) -> Option<UnixStream> {
    let socket = UnixStream::from(connection);
    socket.set_nonblocking(true).ok()?;
    send_once(&socket, words).ok()?;
    socket.shutdown(Shutdown::Write).ok()?;
    Some(socket)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn told(farewell: &mut Farewell, now: Instant) -> UnixStream {
        let (ours, theirs) = UnixStream::pair().expect("a socket pair");
        farewell.tell(ours.into(), b"why", now);
        theirs
    }

    #[test]
    fn words_come_although_the_peer_talks_and_the_end_is_bounded() {
        let mut farewell = Farewell::default();
        let now = Instant::now();
        let mut peer = told(&mut farewell, now);
        peer.write_all(&[1; 1000]).expect("it still listens");
        farewell.hear(|_| true, now);
        assert_eq!(farewell.sockets().count(), 1, "the peer has not closed");
        let mut words = Vec::new();
        peer.read_to_end(&mut words).expect("no reset");
        assert_eq!(words, b"why");
        drop(peer);
        farewell.hear(|_| true, now);
        assert!(farewell.lingering.is_empty(), "the peer has closed");
    }

    #[test]
    fn who_does_not_go_is_closed_in_time_and_who_talks_for_ever_is_closed_too() {
        let mut farewell = Farewell::default();
        let now = Instant::now();
        let _mute = told(&mut farewell, now);
        let later = farewell.next_deadline().expect("a deadline");
        farewell.hear(|_| false, later - Duration::from_millis(1));
        assert!(!farewell.lingering.is_empty());
        farewell.hear(|_| false, later);
        assert!(farewell.lingering.is_empty());
        let mut talker = told(&mut farewell, now);
        for _ in 0..=BYTES_MAX / 1000 {
            assert!(talker.write_all(&[1; 1000]).is_ok(), "until then it is heard");
            farewell.hear(|_| true, now);
        }
        farewell.hear(|_| true, now);
        assert!(farewell.lingering.is_empty());
    }

    #[test]
    fn too_many_push_out_the_oldest_which_have_their_words_all_the_same() {
        let mut farewell = Farewell::default();
        let now = Instant::now();
        let mut peers: Vec<_> = (0..2 * LINGERING_MAX).map(|_| told(&mut farewell, now)).collect();
        assert_eq!(farewell.sockets().count(), LINGERING_MAX);
        for peer in &mut peers {
            let mut words = Vec::new();
            peer.read_to_end(&mut words).expect("no reset");
            assert_eq!(words, b"why");
        }
    }
}
