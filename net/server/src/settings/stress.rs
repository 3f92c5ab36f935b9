//! Settings under stress: always of one change, never an older one, and the last is seen.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use deltaworks_pipeline::placement::PlacementTuning;
use deltaworks_stress_tests::{Random, rounds};

use super::*;

fn settings(number: u32) -> Settings {
    let long = u64::from(number);
    let tuning = Tuning {
        credit_bytes: number,
        message_deadline_ns: long << 32 | long,
        idle_unload_ns: long,
        quotas: Default::default(),
        placement: PlacementTuning {
            promotion: long,
            demotion: long,
            quiet_ns: long << 32 | long,
            balance_percent: number,
            moves_per_second: number,
        },
    };
    Settings {
        hello_deadline_ms: number,
        ping_interval_ms: number,
        ping_timeout_ms: number,
        sessions_per_address_max: number as usize,
        tuning,
    }
}

#[test]
fn every_reader_sees_whole_settings_and_the_last() {
    let changes = rounds(3_000) as u32;
    let published = Arc::new(Published::new(settings(0)));
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                let mut reader = SettingsReader::new(&published);
                let mut last = 0;
                loop {
                    let nothing_follows = is_over.load(Ordering::Acquire);
                    if let Some(news) = reader.news() {
                        let number = news.hello_deadline_ms;
                        assert_eq!(news, settings(number), "of two changes");
                        assert!(number >= last, "an older one");
                        last = number;
                    } else if nothing_follows {
                        return assert_eq!(last, changes, "the last is not seen");
                    }
                }
            });
        }
        let mut random = Random::new(1);
        for number in 1..=changes {
            published.publish(settings(number));
            random.pause_one_in(100);
        }
        is_over.store(true, Ordering::Release);
    });
}
