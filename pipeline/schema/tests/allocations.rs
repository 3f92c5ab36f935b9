//! Allocations: a check makes none, by whichever way, valid or not; only an error's words do.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use deltaworks_schema::samples::{ALL, bent};
use deltaworks_schema::{Machine, Progress, adversarial};

struct Counting;

thread_local! {
    static COUNT: Cell<u64> = const { Cell::new(0) };
}

// SAFETY: everything is the system's; the count is a number of the thread's own, without a destructor.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        COUNT.set(COUNT.get() + 1);
        // SAFETY: the caller's promise is passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, place: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise is passed on.
        unsafe { System.dealloc(place, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// How many allocations `body` makes.
fn allocations(body: impl FnOnce()) -> u64 {
    let before = COUNT.get();
    body();
    COUNT.get() - before
}

#[test]
fn a_check_makes_none() {
    let mut machine = Machine::new();
    let mut verdicts = [0, 0];
    for sample in ALL {
        let schema = sample.schema();
        for delta in sample.deltas {
            for other in bent(delta) {
                let made = allocations(|| {
                    // The second one may meet what the first one has drawn.
                    for delta in [delta, &other[..], delta] {
                        let progress = machine.check(&schema, delta, &mut 10_000);
                        verdicts[usize::from(progress == Progress::Valid)] += 1;
                    }
                });
                assert_eq!(made, 0, "{other:02x?}");
            }
        }
    }
    assert!(verdicts.iter().all(|&count| count > 1_000), "{verdicts:?}");
    for adversary in adversarial::all(8_192) {
        let made = allocations(|| {
            let progress = machine.check(&adversary.schema, &adversary.delta, &mut { u32::MAX });
            assert_eq!(progress == Progress::Valid, adversary.is_valid);
        });
        assert_eq!(made, 0, "{}", adversary.name);
    }
}

#[test]
fn an_errors_words_are_counted() {
    let schema = ALL[0].schema();
    let mut machine = Machine::new();
    assert_eq!(machine.check(&schema, b"\xa1\x61x\0", &mut 10_000), Progress::Invalid);
    assert!(allocations(|| drop(machine.error(&schema, b"\xa1\x61x\0"))) > 0);
}
