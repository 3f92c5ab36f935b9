//! Prints a document's deltas, from the oldest that is in memory, until it ends.
//!
//! `cargo run -p deltaworks-client --example subscribe -- tcp:127.0.0.1:7710 notes`

use std::error::Error;

use deltaworks_client::{Client, Endpoint, Event, OpenOptions, Start};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let (Some(endpoint), Some(name)) = (arguments.next(), arguments.next()) else {
        return Err("usage: subscribe tcp:HOST:PORT|unix:PATH DOCUMENT".into());
    };
    let client = Client::connect(endpoint.parse::<Endpoint>()?).await?;
    let options = OpenOptions::read().from(Start::Window);
    let (_, mut subscription) = client.open(&name, options).await?.split();
    while let Some(event) = subscription.next().await {
        match event {
            Event::Batch(batch) => {
                for (sequence, delta) in (batch.first_sequence()..).zip(batch.deltas()) {
                    println!("{sequence} {}", String::from_utf8_lossy(delta));
                }
            }
            Event::Info(info) => println!("# info of {} bytes", info.map().len()),
            Event::Gap { from, to, .. } => println!("# {from}..{to} were missed"),
            Event::EpochChanged { epoch, .. } => println!("# history lost; epoch {epoch}"),
            Event::Closed { code } => println!("# closed ({code})"),
            Event::Failed(fault) => return Err(fault.into()),
        }
    }
    Ok(())
}
