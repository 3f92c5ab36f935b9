//! Limits reached: documents, handles, producers, sessions, unfinished messages, unread answers,
//! time. Each is told by its number, and what was taken is given back.

use std::time::Duration;

use deltaworks_protocol::message::{Open, Ping, Policy, Start};

use crate::daemon::{Daemon, Folder, eventually};
use crate::wire::{Peer, Refusal, Stream, Told, batch, encoded, reading, writing};
use crate::witness::Witness;

/// An open without a name: refused at some length.
pub(crate) const ASK: [u8; 16] = [16, 0, 0, 0, 17, 1, 1, 0, 0xa3, 0, 9, 1, 0x60, 2, 1, 0];
/// As many as a session may leave unanswered: 256 KiB, and 64 bytes for each.
pub(crate) const ASKS_MAX: usize = (256 << 10) / 64 - 1;

fn refusal(told: Told, of: u32) -> Refusal {
    match told {
        Told::Error(refusal) if refusal.request == Some(of) => refusal,
        told => panic!("not refused: {told:?}"),
    }
}

/// The document limit refuses what is one too many, and a dropped document makes room.
#[test]
fn documents_beyond_the_limit_are_refused() {
    let daemon = Daemon::start_in(
        Folder::new(),
        &["--budget-mib", "12", "--chunk-bytes", "65536", "--documents", "20", "--cores", "1"],
    );
    let witness = Witness::start(&daemon);
    let mut peer = Peer::tcp(&daemon);
    let mut handles = Vec::new();
    let refused = loop {
        let name = format!("d{}", handles.len());
        let request = peer.ask(&name, writing(1));
        match peer.next() {
            Told::Opened(opened) => handles.push(opened.handle),
            told => break refusal(told, request),
        }
        assert!(handles.len() < 100, "there is a limit");
    };
    assert_eq!(refused.code, 306);
    assert!((19..=22).contains(&handles.len()), "{} and the witness's", handles.len());
    // Those that exist are still had, and written.
    for handle in &handles {
        assert!(peer.publish(*handle, 1, &[b"x"]));
    }
    peer.is_alive();
    let name = |round: u32| format!("new{round}");
    for round in 0..5 {
        let handle = handles.pop().expect("a handle");
        peer.drop_document(handle);
        while peer.next() != (Told::Closed { handle: Some(handle), code: 501 }) {}
        peer.close(handle);
        assert_eq!(peer.next(), Told::Closed { handle: Some(handle), code: 500 });
        let mut opened = None;
        eventually("a dropped document makes room", || {
            let request = peer.ask(&name(round), writing(1));
            match peer.next() {
                Told::Opened(it) => opened = Some(it.handle),
                told => assert_eq!(refusal(told, request).code, 306),
            }
            opened.is_some()
        });
        handles.extend(opened);
    }
    witness.finish();
    daemon.stop();
}

/// A session has 1,024 handles at most; closing one makes room.
#[test]
fn handles_beyond_the_limit_are_refused() {
    let daemon = Daemon::start(&["--cores", "2"]);
    let witness = Witness::start(&daemon);
    let mut peer = Peer::tcp(&daemon);
    let live = reading(Start::Live, Policy::Gap);
    let mut asked = Vec::new();
    for number in 0..1024_u32 {
        asked.extend(encoded(&Open::new(number, &format!("d{number}"), live)));
    }
    assert!(peer.send(&asked));
    let mut handles: Vec<u32> = (0..1024)
        .map(|_| match peer.next() {
            Told::Opened(opened) => opened.handle,
            told => panic!("{told:?}"),
        })
        .collect();
    let first = handles[0];
    let request = peer.ask("one-more", live);
    assert_eq!(refusal(peer.next(), request).code, 307);
    peer.close(first);
    assert_eq!(peer.next(), Told::Closed { handle: Some(first), code: 500 });
    assert_eq!(peer.open("one-more", live).handle, first);
    handles.sort_unstable();
    assert!(handles.iter().copied().eq(0..1024));
    witness.finish();
    daemon.stop();
}

/// A document has 64 connected producers at most; one that lets go makes room.
#[test]
fn producers_beyond_the_limit_are_refused() {
    let daemon = Daemon::start(&["--cores", "2"]);
    let witness = Witness::start(&daemon);
    let mut peer = Peer::tcp(&daemon);
    let handles: Vec<u32> = (1..=64).map(|producer| peer.write("d", producer).handle).collect();
    assert!(peer.publish(handles[0], 1, &[b"first"]));
    peer.until_acked(handles[0], 1);
    let request = peer.ask("d", writing(65));
    assert_eq!(refusal(peer.next(), request).code, 308);
    peer.close(handles[0]);
    assert_eq!(peer.next(), Told::Closed { handle: Some(handles[0]), code: 500 });
    let newest = peer.write("d", 65);
    // Producer 1 was forgotten for it; its number may have been applied, so nobody begins below.
    assert_eq!(newest.producer_sequence, 1);
    assert!(peer.publish(newest.handle, 1, &[b"a number that may have been applied"]));
    let Told::Error(error) = peer.next() else { panic!("refused") };
    assert_eq!((error.code, error.number), (403, Some(1)));
    witness.finish();
    daemon.stop();
}

/// Connections beyond the limit of sessions are told so and closed; ended ones make room, and
/// no descriptor stays behind.
#[test]
fn sessions_beyond_the_limit_are_told_and_no_descriptor_leaks() {
    let daemon = Daemon::start_in(
        Folder::new(),
        &["--budget-mib", "12", "--chunk-bytes", "65536", "--documents", "200", "--cores", "2"],
    );
    let witness = Witness::start(&daemon);
    let before = daemon.descriptors();
    let mut sessions = Vec::new();
    let mut refused = loop {
        let mut peer = Peer::silent(Stream::unix(&daemon));
        peer.say(&crate::wire::HELLO);
        match peer.next() {
            Told::Hello { .. } => sessions.push(peer),
            Told::Error(error) => {
                assert_eq!(error.code, 207);
                break peer;
            }
            told => panic!("{told:?}"),
        }
        assert!(sessions.len() < 1000, "there is a limit");
    };
    assert_eq!(refused.rest(), [Told::Closed { handle: None, code: 207 }]);
    assert!(sessions.len() > 100, "{}", sessions.len());
    sessions.iter_mut().for_each(|peer| assert_eq!(peer.is_alive(), []));
    drop(sessions);
    eventually("ended sessions make room", || {
        let mut peer = Peer::silent(Stream::unix(&daemon));
        peer.say(&crate::wire::HELLO);
        matches!(peer.next(), Told::Hello { .. })
    });
    // Many more than the limit, opened and closed at every stage of their lives.
    for round in 0..400 {
        let connect = if round % 2 == 0 { Stream::unix } else { Stream::tcp };
        let mut peer = Peer::silent(connect(&daemon));
        if round % 4 > 0 {
            peer.say(&crate::wire::HELLO);
        }
        if round % 4 > 1 {
            let told = peer.next();
            let is_full = matches!(&told, Told::Error(error) if error.code == 207);
            assert!(is_full || matches!(told, Told::Hello { .. }), "{told:?}");
        }
        if round % 4 > 2 {
            peer.say(&Open::new(1, "d", writing(round + 1)));
        }
    }
    eventually("all descriptors are given back", || daemon.descriptors() <= before);
    witness.finish();
    daemon.stop();
}

/// What sessions leave unfinished is bounded: beyond it some are told so, the others are whole.
#[test]
fn unfinished_messages_beyond_the_limit_end_their_sessions() {
    let daemon = Daemon::start_in(
        Folder::new(),
        &["--budget-mib", "12", "--chunk-bytes", "65536", "--documents", "200", "--cores", "2"],
    );
    let witness = Witness::start(&daemon);
    let mut sessions: Vec<(Peer, Vec<u8>)> = (0..40)
        .map(|place| {
            let mut peer = Peer::tcp(&daemon);
            let opened = peer.write(&format!("d{place}"), 1);
            let image = batch(opened.handle, 1, &[&[place as u8; 15_000]]);
            assert!(peer.send(&image[..14_000]));
            (peer, image)
        })
        .collect();
    let (mut whole, mut ended) = (0, 0);
    for (peer, image) in &mut sessions {
        peer.send(&image[14_000..]);
        match peer.next() {
            Told::Ack { number: 1, sequence: 1, .. } => whole += 1,
            Told::Error(error) => {
                assert_eq!(error.code, 212);
                assert_eq!(peer.rest(), [Told::Closed { handle: None, code: 212 }]);
                ended += 1;
            }
            told => panic!("{told:?}"),
        }
    }
    assert!(whole > 3 && ended > 3, "{whole} whole, {ended} ended");
    // All of it was given back.
    for round in 0..40 {
        let mut peer = Peer::tcp(&daemon);
        let opened = peer.write("again", round + 1);
        let image = batch(opened.handle, opened.producer_sequence + 1, &[&[1; 15_000]]);
        assert!(peer.send(&image[..14_000]));
        assert_eq!(peer.is_alive_behind(&image[14_000..]), 1);
    }
    witness.finish();
    daemon.stop();
}

/// A session that asks and reads no answers is ended before they take the memory of others.
#[test]
fn answers_that_nobody_reads_end_the_session() {
    let daemon = Daemon::start(&["--cores", "2"]);
    let witness = Witness::start(&daemon);
    // More answers than the session's share and the socket hold, asked before any is read: opens
    // without a name, which are short, and answered at length.
    let mut peer = Peer::unix(&daemon);
    assert!(peer.send(&ASK.repeat(12_000)));
    // Whoever reads while it is answered is not ended; its last words are kept for two seconds.
    std::thread::sleep(Duration::from_secs(1));
    let told = peer.expect_end(214);
    assert!(told.iter().all(|told| matches!(told, Told::Error(it) if it.code == 300)), "{told:?}");
    // What had not gone out is given up.
    assert!(told.len() < 12_000, "{}", told.len());
    // Asked again and again without end, whatever is read of it: the daemon's memory is not its own.
    let mut peer = Peer::unix(&daemon);
    let many = ASK.repeat(100);
    let mut asked = 0;
    while peer.send(&many) {
        asked += 100;
        assert!(asked < 100_000, "it is ended at last");
    }
    assert!(peer.rest().len() < asked);
    // Pings are another matter: only the newest of a read is answered, so they may be many.
    let mut peer = Peer::unix(&daemon);
    let count = 200_000;
    let pings: Vec<u8> = (0..count).flat_map(|token| encoded(&Ping { token })).collect();
    assert!(peer.send(&pings));
    let (mut last, mut pongs) = (None, 0);
    while last != Some(count - 1) {
        let Told::Pong(token) = peer.next() else { panic!("only pongs") };
        assert!(last < Some(token));
        last = Some(token);
        pongs += 1;
    }
    assert!(pongs < count / 4, "{pongs} of {count} were answered");
    witness.finish();
    daemon.stop();
}

/// Answers that nobody reads fill the core's room for them: those who leave them unread are ended,
/// and somebody who reads is not, however full it is.
#[test]
fn unread_answers_of_many_cost_only_those_who_leave_them() {
    let daemon = Daemon::start_in(
        Folder::new(),
        &["--budget-mib", "12", "--chunk-bytes", "65536", "--documents", "200", "--cores", "1"],
    );
    let witness = Witness::start(&daemon);
    let many = 40;
    let mut deaf: Vec<Peer> = (0..many).map(|_| Peer::unix(&daemon)).collect();
    // Less than a session's share each, whether the socket has taken some of it or none yet; and
    // beyond what the socket holds by so much that all together leave more unread than the core
    // has room for.
    for peer in &mut deaf {
        peer.send(&ASK.repeat(ASKS_MAX));
    }
    witness.finish();
    let mut ended = 0;
    for peer in &mut deaf {
        // Whole messages come up to the end, and the end tells why; the others were answered.
        peer.send(&encoded(&Ping { token: 1 }));
        let mut answers = 0;
        let told = loop {
            match peer.next() {
                Told::Error(error) if error.code == 300 => answers += 1,
                Told::Error(error) => assert_eq!(error.code, 214),
                told => break told,
            }
        };
        match told {
            Told::Pong(1) => assert_eq!(answers, ASKS_MAX),
            told => {
                assert_eq!(told, Told::Closed { handle: None, code: 214 }, "after {answers}");
                ended += 1;
            }
        }
    }
    assert!((1..many).contains(&ended), "{ended} of {many}");
    daemon.stop();
}

/// A message that is begun and not finished in time ends its session, short or long; so does a
/// connection that says nothing.
#[test]
fn time_runs_out_for_those_who_do_not_finish() {
    // Not less: a machine with much to do keeps messages waiting that were sent in one go.
    let daemon = Daemon::start(&["--cores", "2", "--message-deadline-seconds", "4"]);
    let witness = Witness::start(&daemon);
    let mut mute = Peer::silent(Stream::tcp(&daemon));
    let mut begun: Vec<Peer> = [1, 7, 8, 56, 1000, 14_000]
        .into_iter()
        .map(|bytes| {
            let mut peer = Peer::tcp(&daemon);
            let opened = peer.write("d", 1 + bytes as u64);
            let image = batch(opened.handle, 1, &[&[1; 15_000]]);
            assert!(peer.send(&image[..bytes]));
            peer
        })
        .collect();
    let mut halting = Peer::silent(Stream::unix(&daemon));
    assert!(halting.send(&encoded(&crate::wire::HELLO)[..11]));
    let mut idle = Peer::tcp(&daemon);
    for peer in &mut begun {
        assert_eq!(peer.expect_end(206), []);
    }
    assert_eq!(halting.expect_end(206), []);
    // Five seconds from the connection on.
    assert_eq!(mute.expect_end(204), []);
    std::thread::sleep(Duration::from_millis(100));
    assert_eq!(idle.is_alive(), [], "whoever owes nothing has time");
    witness.finish();
    daemon.stop();
}
