//! What Node sees: how many scenarios, their names, and running one of them.
//!
//! Strings go out as pointer and length into this instance's memory. A scenario that panics leaves
//! its message behind and traps; Node reads the message from the trapped instance.
#![expect(unsafe_code, reason = "exported names carry an unsafe attribute; no code here is unsafe")]

use std::sync::Mutex;

use crate::scenarios::SCENARIOS;

/// The message of the panic that ended this instance.
static MESSAGE: Mutex<String> = Mutex::new(String::new());

/// How many scenarios there are.
// SAFETY: no other crate of this module exports a symbol of this name.
#[unsafe(no_mangle)]
extern "C" fn scenario_count() -> u32 {
    SCENARIOS.len() as u32
}

/// Where the name of scenario `index` starts.
// SAFETY: no other crate of this module exports a symbol of this name.
#[unsafe(no_mangle)]
extern "C" fn scenario_name(index: u32) -> *const u8 {
    SCENARIOS[index as usize].0.as_ptr()
}

/// How many bytes the name of scenario `index` has.
// SAFETY: no other crate of this module exports a symbol of this name.
#[unsafe(no_mangle)]
extern "C" fn scenario_name_bytes(index: u32) -> usize {
    SCENARIOS[index as usize].0.len()
}

/// Runs scenario `index`; traps if it panics.
// SAFETY: no other crate of this module exports a symbol of this name.
#[unsafe(no_mangle)]
extern "C" fn scenario_run(index: u32) {
    keep_panic_message();
    SCENARIOS[index as usize].1();
}

/// Fails as a scenario would, so that Node can show that it notices.
// SAFETY: no other crate of this module exports a symbol of this name.
#[unsafe(no_mangle)]
extern "C" fn planted_failure() {
    keep_panic_message();
    assert_eq!(SCENARIOS.len(), usize::MAX, "planted failure");
}

/// Where the message of the panic starts.
// SAFETY: no other crate of this module exports a symbol of this name.
#[unsafe(no_mangle)]
extern "C" fn panic_message() -> *const u8 {
    MESSAGE.lock().map_or(std::ptr::null(), |message| message.as_ptr())
}

/// How many bytes the message of the panic has; 0 if nothing panicked.
// SAFETY: no other crate of this module exports a symbol of this name.
#[unsafe(no_mangle)]
extern "C" fn panic_message_bytes() -> usize {
    MESSAGE.lock().map_or(0, |message| message.len())
}

fn keep_panic_message() {
    std::panic::set_hook(Box::new(|info| {
        if let Ok(mut message) = MESSAGE.lock() {
            *message = info.to_string();
        }
    }));
}
