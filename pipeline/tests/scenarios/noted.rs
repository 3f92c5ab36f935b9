//! What an agent notes of images that are sent later: a chunk that goes takes it with it.

use super::account::Account;
use super::world::{open, reading, world, writing};
use deltaworks_pipeline::message::{From, Policy};

/// More documents than two sends have parts.
const DOCUMENTS: usize = 140;

/// A full socket leaves some of its session's images in line that no send has come to: once their chunk has gone, they are
/// told to be missing, and what lies there then is not sent in their place.
pub(crate) fn what_was_noted_of_an_image_goes_with_its_chunk() {
    let mut world = world(1, |config| {
        let turn = &mut config.limits.turn;
        (turn.sends_per_session, turn.sends_per_turn) = (1, 1);
    });
    world.poison_recycled(0xff);
    let peers = [0; 20].map(|core| world.connect(core).expect("room for a session"));
    let [publisher, reader, others @ ..] = peers;
    let busy = others.map(|other| {
        let name = format!("busy {other:?}");
        let (writer, _) = open(&mut world, publisher, writing(&name, 7));
        open(&mut world, other, reading(&name, From::Live, Policy::Gap));
        writer.handle
    });
    let mut documents: Vec<(u32, Account)> = (0..DOCUMENTS)
        .map(|number| {
            let name = number.to_string();
            let (writer, _) = open(&mut world, publisher, writing(&name, 7));
            let (opened, _) = open(&mut world, reader, reading(&name, From::Live, Policy::Gap));
            (writer.handle, Account::new(opened.handle, opened.slot, opened.start_sequence))
        })
        .collect();
    world.set_room(reader, 0);
    let mut number = 0;
    for round in 0..20 {
        // One session is sent to in a turn: the others stand in line.
        number += 1;
        for handle in busy {
            world.publish(publisher, handle, number, &[&[7; 200]]);
        }
        if round == 10 {
            for (handle, _) in &documents {
                world.publish(publisher, *handle, 1, &[b"once"]);
            }
        }
        world.turn_core(0);
    }
    let before = world.counts(0).recycled_chunks;
    while world.counts(0).recycled_chunks < before + 2 {
        number += 1;
        world.publish(publisher, busy[0], number, &[&[7; 200]]);
        world.turn_core(0);
    }
    world.set_room(reader, usize::MAX);
    world.run();
    for (handle, _) in &documents {
        world.publish(publisher, *handle, 2, &[b"again"]);
    }
    world.run();
    let events = world.events(reader);
    for (_, account) in &mut documents {
        account.take(&events);
        assert_eq!((account.delivered, account.told), (1, 1), "{account:?}");
    }
}
