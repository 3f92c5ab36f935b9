//! Publishes the lines of standard input, one delta each, and tells what became of them.
//!
//! `printf 'one\ntwo\n' | cargo run -p deltaworks-client --example publish -- tcp:127.0.0.1:7710 notes`

use std::error::Error;

use deltaworks_client::{Client, Endpoint, OpenOptions, Outcome, PublishTicket};
use tokio::io::{AsyncBufReadExt, BufReader, stdin};

/// Tickets that may wait at once; the oldest is looked at when there are more.
const TICKETS_MAX: usize = 256;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let (Some(endpoint), Some(name)) = (arguments.next(), arguments.next()) else {
        return Err("usage: publish tcp:HOST:PORT|unix:PATH DOCUMENT".into());
    };
    let client = Client::connect(endpoint.parse::<Endpoint>()?).await?;
    // A program that wants to be recognised after a restart keeps this number.
    let producer = std::process::id().into();
    let document = client.open(&name, OpenOptions::write(producer)).await?;
    let mut lines = BufReader::new(stdin()).lines();
    let mut tickets = std::collections::VecDeque::new();
    while let Some(line) = lines.next_line().await? {
        if line.is_empty() {
            continue;
        }
        tickets.push_back(document.publish(&[line.as_bytes()]).await?);
        if tickets.len() > TICKETS_MAX
            && let Some(ticket) = tickets.pop_front()
        {
            tell(ticket).await;
        }
    }
    for ticket in tickets {
        tell(ticket).await;
    }
    document.close().await;
    eprintln!("{:?}", client.counters());
    Ok(())
}

async fn tell(ticket: PublishTicket) {
    match ticket.await {
        Outcome::Accepted { sequence: Some(sequence) } => println!("accepted as {sequence}"),
        Outcome::Accepted { sequence: None } => println!("accepted"),
        other => println!("{other:?}"),
    }
}
