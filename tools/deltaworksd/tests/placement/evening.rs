//! Uneven workers: what would be moved is told and nothing is done, until it is asked for. A daemon in
//! this process, whose workers may differ by less than those of a real one.

use std::collections::BTreeMap;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::thread::{sleep, spawn};
use std::time::Duration;

use deltaworks_server::{Server, Stopped};
use deltaworksd::arrangement::Arrangement;
use deltaworksd::housekeeping::{Housekeeping, HousekeepingConfig};
use deltaworksd::options::Options;
use serde_json::Value;

use crate::daemon::{Folder, SMALL, eventually};
use crate::http::admin_at;
use crate::wire::{Peer, Stream, Told, batch};

/// Documents that are written to: all of one worker.
const BUSY: usize = 6;

fn get(socket: &Path, path: &str) -> Value {
    let answer = admin_at(socket, "GET", path);
    assert_eq!(answer.status, 200, "{path}: {answer:?}");
    answer.json()
}

/// Each document's owner.
fn owners(socket: &Path) -> BTreeMap<String, u64> {
    let told = get(socket, "/v1/documents?limit=1000&sample_ms=0");
    let rows = told["documents"].as_array().expect("rows");
    let of = |row: &Value| {
        let name = row["name"].as_str().expect("a name").to_owned();
        (name, row["worker"].as_u64().expect("a worker"))
    };
    rows.iter().map(of).collect()
}

/// The distance of the workers' loads, before and after what is rehearsed.
fn distances(rehearsal: &Value) -> (f64, f64) {
    let workers = rehearsal["workers"].as_array().expect("workers");
    let distance = |of: &str| {
        let loads = workers.iter().map(|worker| worker[of].as_f64().expect("a load"));
        let (most, least) = loads.fold((0.0_f64, f64::INFINITY), |(most, least), load| {
            (most.max(load), least.min(load))
        });
        most - least
    };
    (distance("load_before_ratio"), distance("load_after_ratio"))
}

/// The loads of all workers together.
fn all(rehearsal: &Value) -> f64 {
    let workers = rehearsal["workers"].as_array().expect("workers");
    workers.iter().map(|worker| worker["load_before_ratio"].as_f64().expect("a load")).sum()
}

#[test]
fn a_dry_run_moves_nothing_and_a_rebalance_evens() {
    let folder = Folder::new();
    let paths = [folder.join("socket"), folder.join("admin.sock")];
    let [unix, admin] = paths.each_ref().map(|path| path.to_str().expect("UTF-8"));
    let own = ["--cores", "2", "--moves-per-second", "0", "--promotion-threshold", "0"];
    let places = ["--unix", unix, "--admin-socket", admin, "--http", "", "--tcp", "127.0.0.1:0"];
    let words = [&["deltaworksd"], &SMALL[..], &own, &places].concat();
    let options = Options::parse(words).expect("options");
    let effective = options.layers().expect("layers").combine().expect("a configuration");
    let arrangement = Arrangement::new(&effective.config).expect("an arrangement");
    let housekeeping = HousekeepingConfig::new(&effective, &arrangement);
    let housekeeping = Housekeeping::start(housekeeping).expect("an admin socket");
    let mut config = arrangement.into_server_config(&effective.config, vec![]);
    config.limits.placement.balance_floor_ppm = 1;
    let server = Server::start(config).expect("a server");
    housekeeping.serve(server.observer());
    let admin = Path::new(admin);

    let connect = || Peer::over(Stream::over_unix(UnixStream::connect(unix).expect("a server")));
    let mut peer = connect();
    for number in 0..40 {
        peer.write(&format!("d{number}"), 1);
    }
    let before = owners(admin);
    let busy: Vec<String> =
        before.iter().filter(|(_, worker)| **worker == 0).map(|(name, _)| name.clone()).collect();
    let busy: Vec<String> = busy.into_iter().take(BUSY).collect();
    assert_eq!(busy.len(), BUSY);
    let stop = Arc::new(AtomicBool::new(false));
    let writing = spawn({
        let (stop, busy, mut peer) = (Arc::clone(&stop), busy.clone(), connect());
        move || {
            let handles: Vec<u32> = busy.iter().map(|name| peer.write(name, 2).handle).collect();
            let deltas = vec![&b"x"[..]; 400];
            for number in 1.. {
                for handle in &handles {
                    assert!(peer.send(&batch(*handle, number, &deltas)));
                    let told = peer.until_acked(*handle, number);
                    let is_fine =
                        |told: &Told| matches!(told, Told::Ack { .. } | Told::Credit { .. });
                    assert!(told.iter().all(is_fine), "{told:?}");
                }
                if stop.load(SeqCst) {
                    return;
                }
                sleep(Duration::from_millis(1));
            }
        }
    });
    let rehearsal = || get(admin, "/v1/rehearsal");
    eventually("the workers are uneven", || {
        let told = rehearsal();
        let placements = told["placements"].as_array().expect("placements");
        placements.len() > 1
            && placements.iter().all(|it| {
                (&it["from"], &it["to"], &it["reason"]) == (&0.into(), &1.into(), &"evening".into())
                    && busy.iter().any(|name| it["document"] == name.as_str())
            })
    });
    // It is told again and again, and nothing is done.
    for _ in 0..20 {
        let told = rehearsal();
        let (now, then) = distances(&told);
        assert!(then <= now, "{told}");
        sleep(Duration::from_millis(20));
    }
    assert_eq!(owners(admin), before, "a dry run moves nothing");
    assert_eq!(get(admin, "/v1/status")["moves"]["begun"], 0);
    assert_eq!(admin_at(admin, "GET", "/v1/relocation").status, 404);

    let told = rehearsal();
    assert!(distances(&told).0 > all(&told) * 0.9, "one worker does it all: {told}");
    let begun = admin_at(admin, "POST", "/v1/rebalance");
    assert_eq!(begun.status, 200, "{begun:?}");
    let again = admin_at(admin, "POST", "/v1/rebalance");
    assert_eq!(again.status, 409, "one list at a time: {again:?}");
    let total = begun.json()["total"].as_u64().expect("a count");
    let mut ended = Value::Null;
    eventually("the list has ended", || {
        ended = get(admin, "/v1/relocation");
        ended["is_done"] == true
    });
    assert_eq!((&ended["moved"], &ended["failed"]), (&total.into(), &0.into()), "{ended}");
    let after = owners(admin);
    let moved = after.iter().filter(|(name, worker)| before[*name] != **worker);
    assert_eq!(moved.count() as u64, total);
    let at_other = busy.iter().filter(|name| after[*name] == 1).count();
    assert!((1..BUSY).contains(&at_other), "{at_other} of {BUSY} went");
    // Of all that is done, not in itself: how much is done is the machine's. What was moved is what was dear when it was
    // asked for, and a busy machine makes any document dear for a while: so it is asked for again.
    eventually("the workers are nearer to each other", || {
        let told = rehearsal();
        let is_near = distances(&told).0 < all(&told) / 2.0;
        if !is_near {
            let asked = admin_at(admin, "POST", "/v1/rebalance").status;
            assert!(asked == 200 || asked == 409, "{asked}");
        }
        is_near
    });
    stop.store(true, SeqCst);
    writing.join().expect("the writer saw no fault");
    drop(peer);
    assert_eq!(server.stop(Duration::from_secs(20), || false), Stopped::Complete);
    drop(housekeeping);
}
