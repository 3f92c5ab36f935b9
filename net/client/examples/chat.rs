//! A chat: what is typed goes to everybody in the room, and what others type is shown.
//!
//! `cargo run -p deltaworks-client --example chat -- tcp:127.0.0.1:7710 room ada`
//!
//! One's own lines are not shown twice, because echo is off.

use std::error::Error;

use deltaworks_client::{Client, Endpoint, Event, OpenOptions, Outcome};
use tokio::io::{AsyncBufReadExt, BufReader, stdin};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [endpoint, room, nick] = &arguments[..] else {
        return Err("usage: chat tcp:HOST:PORT|unix:PATH ROOM NAME".into());
    };
    let client = Client::connect(endpoint.parse::<Endpoint>()?).await?;
    let options = OpenOptions::read_write(std::process::id().into()).without_echo();
    let (publisher, mut subscription) = client.open(room, options).await?.split();
    let mut lines = BufReader::new(stdin()).lines();
    loop {
        tokio::select! {
            line = lines.next_line() => {
                let Some(line) = line? else { break };
                let ticket = publisher.publish(&[format!("{nick}: {line}").as_bytes()]).await?;
                if let Outcome::Refused(refusal) = ticket.await {
                    println!("# {refusal}");
                }
            }
            event = subscription.next() => match event {
                Some(Event::Batch(batch)) => {
                    batch.deltas().for_each(|line| println!("{}", String::from_utf8_lossy(line)));
                }
                Some(Event::Gap { from, to, .. }) => println!("# {} lines were missed", to - from),
                Some(Event::Failed(fault)) => return Err(fault.into()),
                Some(Event::Closed { code }) => println!("# the room was closed ({code})"),
                Some(Event::Info(_) | Event::EpochChanged { .. }) => {}
                None => break,
            },
        }
    }
    publisher.close().await;
    Ok(())
}
