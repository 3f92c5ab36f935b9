//! The client library against a fake server over in-memory streams.

mod server;

use std::time::Duration;

use deltaworks_client::{
    Client, ClientOptions, ConnectError, Document, ErrorCode, Event, Fault, Healing, OpenError,
    OpenOptions, Outcome, PublishError, Subscription, UnknownReason,
};
use server::Host;
use server::fake::BAD;
use tokio::time::timeout;

const BATCH: u8 = 1;

fn options() -> ClientOptions {
    let ms = Duration::from_millis;
    ClientOptions { backoff_min: ms(1), backoff_max: ms(20), ..ClientOptions::default() }
}

async fn connect(host: &Host) -> Client {
    Client::connect_with(host.clone(), options()).await.unwrap()
}

async fn connect_frail(host: &Host) -> Client {
    let options = ClientOptions { healing: Healing::Off, ..options() };
    Client::connect_with(host.clone(), options).await.unwrap()
}

/// Reads until `count` deltas have come, and demands their sequences to be without a gap.
async fn read(subscription: &mut Subscription, count: usize) -> Vec<Vec<u8>> {
    let mut deltas = Vec::new();
    let mut next = None;
    while deltas.len() < count {
        match timeout(Duration::from_secs(20), subscription.next()).await {
            Ok(Some(Event::Batch(batch))) => {
                let first = batch.first_sequence();
                assert_eq!(first, next.unwrap_or(first));
                next = Some(first + u64::from(batch.count()));
                deltas.extend(batch.deltas().map(<[u8]>::to_vec));
            }
            other => panic!("{other:?} after {} deltas", deltas.len()),
        }
    }
    deltas
}

async fn publish(document: &Document, delta: &[u8]) -> Outcome {
    document.publish(&[delta]).await.unwrap().await
}

#[tokio::test]
async fn published_and_read_by_two_clients() {
    let host = Host::new();
    let (one, two) = (connect(&host).await, connect(&host).await);
    let writer = one.open("a", OpenOptions::write(1)).await.unwrap();
    let (_, mut reader) = two.open("a", OpenOptions::read()).await.unwrap().split();
    let ticket = writer.publish(&[b"1", b"2"]).await.unwrap();
    assert_eq!(ticket.await, Outcome::Accepted { sequence: Some(1) });
    assert_eq!(publish(&writer, b"3").await, Outcome::Accepted { sequence: Some(3) });
    assert_eq!(read(&mut reader, 3).await, [b"1", b"2", b"3"]);
    assert_eq!(one.counters().sent, 2);
    assert_eq!(writer.opened().kind, "opaque");
    assert_eq!(one.server_limits().unwrap().batch_bytes_max, 262_144);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_batches_from_several_tasks_arrive_once_and_in_order() {
    let host = Host::new();
    let client = connect(&host).await;
    let (publisher, mut reader) =
        client.open("a", OpenOptions::read_write(1)).await.unwrap().split();
    const TASKS: u32 = 4;
    const BATCHES: u32 = 500;
    let tasks: Vec<_> = (0..TASKS)
        .map(|task| {
            let publisher = publisher.clone();
            tokio::spawn(async move {
                let mut batch = publisher.batch();
                let mut tickets = Vec::new();
                for number in 0..BATCHES {
                    batch
                        .append(&[&task.to_le_bytes()[..], &number.to_le_bytes()].concat())
                        .unwrap();
                    tickets.push(publisher.publish_batch(&mut batch).await.unwrap());
                }
                for ticket in tickets {
                    assert!(matches!(ticket.await, Outcome::Accepted { .. }));
                }
            })
        })
        .collect();
    let deltas = read(&mut reader, (TASKS * BATCHES) as usize).await;
    for task in tasks {
        task.await.unwrap();
    }
    let mut next = [0u32; TASKS as usize];
    for delta in deltas {
        let (task, number) = delta.split_at(4);
        let task = u32::from_le_bytes(task.try_into().unwrap()) as usize;
        assert_eq!(u32::from_le_bytes(number.try_into().unwrap()), next[task]);
        next[task] += 1;
    }
    assert_eq!(next, [BATCHES; TASKS as usize]);
}

#[tokio::test]
async fn a_cut_connection_is_healed_without_loss_or_double() {
    let host = Host::new();
    let client = connect(&host).await;
    let (publisher, mut reader) =
        client.open("a", OpenOptions::read_write(1)).await.unwrap().split();
    let cutter = tokio::spawn({
        let host = host.clone();
        async move {
            for _ in 0..8 {
                tokio::time::sleep(Duration::from_millis(7)).await;
                host.cut();
            }
        }
    });
    let writer = tokio::spawn(async move {
        let mut tickets = Vec::new();
        for number in 0..2_000u32 {
            tickets.push(publisher.publish(&[&number.to_le_bytes()]).await.unwrap());
            if number % 100 == 0 {
                tokio::time::sleep(Duration::from_millis(4)).await;
            }
        }
        for ticket in tickets {
            let outcome = ticket.await;
            let is_answered =
                matches!(outcome, Outcome::Accepted { .. } | Outcome::Duplicate { .. });
            assert!(is_answered, "{outcome:?}");
        }
        publisher
    });
    let deltas = read(&mut reader, 2_000).await;
    writer.await.unwrap();
    cutter.await.unwrap();
    let expected: Vec<_> = (0..2_000u32).map(|number| number.to_le_bytes().to_vec()).collect();
    assert_eq!(deltas, expected);
    assert_eq!(host.with(|server| server.deltas("a").len()), 2_000);
    assert!(client.counters().reconnects >= 1 && host.connections() >= 2);
}

#[tokio::test]
async fn drops_and_doubles_on_the_way_up_are_healed() {
    let host = Host::new();
    let mut seen = 0;
    host.disturb_up(Box::new(move |_, message| {
        seen += usize::from(message[4] == BATCH);
        match (message[4], seen % 40) {
            (BATCH, 20) => vec![],
            (BATCH, 30) => vec![message.clone(), message],
            _ => vec![message],
        }
    }));
    let client = connect(&host).await;
    let (publisher, mut reader) =
        client.open("a", OpenOptions::read_write(1)).await.unwrap().split();
    let writer = tokio::spawn(async move {
        for number in 0..200u32 {
            publisher.publish(&[&number.to_le_bytes()]).await.unwrap();
        }
        publisher
    });
    let deltas = read(&mut reader, 200).await;
    writer.await.unwrap();
    let expected: Vec<_> = (0..200u32).map(|number| number.to_le_bytes().to_vec()).collect();
    assert_eq!(deltas, expected);
    let counters = client.counters();
    assert!(counters.resent > 0 && counters.duplicates > 0, "{counters:?}");
}

#[tokio::test]
async fn without_healing_each_fault_is_told_by_name() {
    type Way = fn(usize, Vec<u8>) -> Vec<Vec<u8>>;
    let drop: Way = |nth, message| if nth == 1 { vec![] } else { vec![message] };
    let double: Way = |nth, message| match nth {
        1 => vec![message.clone(), message],
        _ => vec![message],
    };
    let corrupt: Way = |nth, mut message| {
        message[50] ^= u8::from(nth == 1);
        vec![message]
    };
    for (name, way) in [("missing", drop), ("doubled", double), ("CRC", corrupt)] {
        let host = Host::new();
        let writer_client = connect(&host).await;
        let writer = writer_client.open("a", OpenOptions::write(1)).await.unwrap();
        let client = connect_frail(&host).await;
        let (_, mut reader) = client.open("a", OpenOptions::read()).await.unwrap().split();
        let mut batches = 0;
        host.disturb_down(Box::new(move |_, message| {
            if message[4] != BATCH {
                return vec![message];
            }
            batches += 1;
            way(batches - 1, message)
        }));
        for delta in [b"1", b"2", b"3", b"4"] {
            publish(&writer, delta).await;
        }
        let mut read = 0;
        let fault = loop {
            match timeout(Duration::from_secs(5), reader.next()).await.unwrap() {
                Some(Event::Batch(batch)) => read += batch.count(),
                Some(Event::Failed(fault)) => break fault,
                other => panic!("{other:?}"),
            }
        };
        assert!(read < 4, "{name}");
        assert!(fault.to_string().contains(name), "{name}: {fault}");
        assert_eq!(client.failure(), Some(fault));
        assert!(reader.next().await.is_none());
        assert!(matches!(client.open("b", OpenOptions::read()).await, Err(OpenError::Failed(_))));
    }
}

#[tokio::test]
async fn without_healing_a_cut_is_a_fault() {
    let host = Host::new();
    let client = connect_frail(&host).await;
    let document = client.open("a", OpenOptions::read_write(1)).await.unwrap();
    host.with(|server| server.holds_acks = true);
    let ticket = document.publish(&[b"1"]).await.unwrap();
    tokio::time::sleep(Duration::from_millis(20)).await;
    host.cut();
    assert_eq!(ticket.await, Outcome::Unknown(UnknownReason::SessionFailed));
    assert!(matches!(client.failure(), Some(Fault::Disconnected(_))));
    let mut batch = document.publisher().batch();
    batch.append(b"2").unwrap();
    let told = document.publish_batch(&mut batch).await;
    assert_eq!(told.unwrap_err(), PublishError::Ended);
}

#[tokio::test]
async fn a_refusal_is_told_with_its_place() {
    let host = Host::new();
    let client = connect(&host).await;
    let document = client.open("a", OpenOptions::write(1)).await.unwrap();
    let Outcome::Refused(refusal) = publish(&document, BAD).await else { panic!("not refused") };
    assert_eq!(refusal.error_code(), Some(ErrorCode::DeltaInvalid));
    let Err(OpenError::Refused(refusal)) = client.open("nowhere/x", OpenOptions::read()).await
    else {
        panic!("not refused")
    };
    assert_eq!(refusal.error_code(), Some(ErrorCode::CollectionUnknown));
    assert_eq!(publish(&document, b"good").await, Outcome::Accepted { sequence: Some(1) });
}

#[tokio::test]
async fn publishing_waits_for_credit_and_room() {
    let host = Host::new();
    host.with(|server| {
        server.credit_bytes = 100;
        server.holds_credit = true;
    });
    let options = ClientOptions { backlog_bytes_max: 300, ..options() };
    let client = Client::connect_with(host.clone(), options).await.unwrap();
    let document = client.open("a", OpenOptions::write(1)).await.unwrap();
    let mut tickets = Vec::new();
    let patience = Duration::from_millis(50);
    // Two go with the credit and are answered; four more fill 300 bytes.
    while let Ok(ticket) = timeout(patience, document.publish(&[b"x"])).await {
        tickets.push(ticket.unwrap());
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(tickets.len(), 6);
    let mut batch = document.publisher().batch();
    batch.append(b"y").unwrap();
    let told = document.publisher().try_publish(&mut batch);
    assert_eq!(told.unwrap_err(), PublishError::Backlog);
    host.with(|server| {
        server.holds_credit = false;
        server.grant(0, 1_000);
    });
    document.publish_batch(&mut batch).await.unwrap().await;
    for ticket in tickets {
        assert!(matches!(ticket.await, Outcome::Accepted { .. }));
    }
}

#[tokio::test]
async fn a_subscriber_that_does_not_read_stops_the_socket_and_loses_nothing() {
    let host = Host::new();
    let writer_client = connect(&host).await;
    let writer = writer_client.open("a", OpenOptions::write(1)).await.unwrap();
    let options = ClientOptions { unread_bytes_max: 20_000, ..options() };
    let client = Client::connect_with(host.clone(), options).await.unwrap();
    let (_, mut reader) = client.open("a", OpenOptions::read()).await.unwrap().split();
    const COUNT: usize = 3_000;
    for number in 0..COUNT as u32 {
        let delta = [&number.to_le_bytes()[..], &[0; 200]].concat();
        writer.publish(&[&delta]).await.unwrap();
    }
    writer.publisher().clone().close().await;
    tokio::time::sleep(Duration::from_millis(50)).await;
    let mut events = Vec::new();
    let at_once = reader.take_events(&mut events, usize::MAX);
    assert!(at_once > 0 && at_once < COUNT / 2, "{at_once} of {COUNT} were kept");
    let rest = read(&mut reader, COUNT - at_once).await;
    assert_eq!(&rest.last().unwrap()[..4], (COUNT as u32 - 1).to_le_bytes());
    assert_eq!(client.counters().faults, 0);
}

#[tokio::test]
async fn a_dropped_document_is_flushed_closed_and_can_be_opened_again() {
    let host = Host::new();
    let client = connect(&host).await;
    for round in 0..5 {
        let document = client.open("a", OpenOptions::read_write(1)).await.unwrap();
        let told = client.open("a", OpenOptions::read()).await;
        assert!(matches!(told, Err(OpenError::Invalid(_))));
        let ticket = document.publish(&[b"x"]).await.unwrap();
        drop(document);
        assert_eq!(ticket.await, Outcome::Accepted { sequence: Some(round + 1) });
    }
    let document = client.open("a", OpenOptions::read_write(1)).await.unwrap();
    document.publish(&[b"y"]).await.unwrap();
    assert_eq!(document.close().await, Some(ErrorCode::Closed.number()));
    assert_eq!(host.with(|server| server.deltas("a").len()), 6);
}

#[tokio::test]
async fn a_drop_reaches_every_reader_behind_the_stream() {
    let host = Host::new();
    let (one, two) = (connect(&host).await, connect(&host).await);
    let writer = one.open("a", OpenOptions::write(1)).await.unwrap();
    let (_, mut reader) = two.open("a", OpenOptions::read()).await.unwrap().split();
    writer.publish(&[b"last"]).await.unwrap();
    writer.publisher().drop_document().unwrap();
    assert_eq!(read(&mut reader, 1).await, [b"last"]);
    let Some(Event::Closed { code }) = reader.next().await else { panic!("not closed") };
    assert_eq!(code, ErrorCode::ClosedByDrop.number());
    assert!(reader.next().await.is_none());
}

#[tokio::test]
async fn a_restarted_server_is_told_as_a_new_epoch() {
    let host = Host::new();
    let client = connect(&host).await;
    let document = client.open("a", OpenOptions::read_write(1)).await.unwrap();
    assert_eq!(publish(&document, b"1").await, Outcome::Accepted { sequence: Some(1) });
    host.with(|server| server.holds_acks = true);
    let unknown = document.publish(&[b"2"]).await.unwrap();
    tokio::time::sleep(Duration::from_millis(20)).await;
    host.with(|server| {
        server.forget_documents();
        server.holds_acks = false;
    });
    host.cut();
    assert_eq!(unknown.await, Outcome::Unknown(UnknownReason::EpochChanged));
    assert_eq!(publish(&document, b"3").await, Outcome::Accepted { sequence: Some(1) });
    let (_publisher, mut reader) = document.split();
    let mut told = Vec::new();
    while told.last().is_none_or(|event| !matches!(event, Event::EpochChanged { .. })) {
        told.push(reader.next().await.unwrap());
    }
    assert!(told.len() <= 3);
    assert_eq!(read(&mut reader, 1).await, [b"3"]);
}

#[tokio::test]
async fn no_server_is_told_at_once_and_a_lost_one_is_given_up() {
    let host = Host::new();
    host.refuse(true);
    let told = Client::connect_with(host.clone(), options()).await;
    assert!(matches!(told, Err(ConnectError::Io(_))));
    host.refuse(false);
    let limited = ClientOptions { reconnects_max: Some(3), ..options() };
    let client = Client::connect_with(host.clone(), limited).await.unwrap();
    let mut document = client.open("a", OpenOptions::read()).await.unwrap();
    host.refuse(true);
    host.cut();
    let event = timeout(Duration::from_secs(5), document.next()).await.unwrap();
    assert!(matches!(event, Some(Event::Failed(Fault::Disconnected(_)))), "{event:?}");
}

#[tokio::test(start_paused = true)]
async fn a_server_that_is_silent_is_a_fault() {
    struct Silent;
    impl deltaworks_client::Connector for Silent {
        fn connect(
            &self,
        ) -> std::pin::Pin<
            Box<dyn Future<Output = std::io::Result<deltaworks_client::BoxedStream>> + Send + '_>,
        > {
            Box::pin(async {
                let (ours, theirs) = tokio::io::duplex(1 << 10);
                tokio::spawn(async move {
                    tokio::time::sleep(Duration::from_secs(3_600)).await;
                    drop(theirs);
                });
                Ok(Box::new(ours) as deltaworks_client::BoxedStream)
            })
        }
    }
    let frail = ClientOptions { healing: Healing::Off, ..options() };
    let told = Client::connect_with(Silent, frail).await;
    assert!(matches!(told, Err(ConnectError::Fault(Fault::AnswerTimeout))), "{told:?}");
}

#[tokio::test]
async fn a_client_says_goodbye() {
    let host = Host::new();
    let client = connect(&host).await;
    let mut document = client.open("a", OpenOptions::read_write(1)).await.unwrap();
    client.close().await;
    let event = timeout(Duration::from_secs(5), document.next()).await.unwrap();
    assert!(matches!(event, Some(Event::Failed(Fault::Disconnected(_)))));
    for _ in 0..200 {
        if host.with(|server| server.is_ended(0)) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("the server never heard it");
}
