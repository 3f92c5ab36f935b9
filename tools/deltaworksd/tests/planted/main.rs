//! What the daemon does when something goes wrong inside of it: faults are planted in the real
//! program, built with `planted_faults`, and others must go on. Without that feature one test is
//! left: that the program has no fault to plant.

#[cfg(feature = "planted_faults")]
#[path = "../attack/daemon.rs"]
#[expect(dead_code, reason = "the attacks use the rest")]
mod daemon;
#[cfg(feature = "planted_faults")]
mod ending;
#[cfg(feature = "planted_faults")]
#[path = "../attack/flow.rs"]
mod flow;
#[cfg(feature = "planted_faults")]
#[path = "../service/notify_socket.rs"]
mod notify_socket;
#[cfg(feature = "planted_faults")]
mod panic;
#[cfg(feature = "planted_faults")]
mod planting;
mod released;
#[cfg(feature = "planted_faults")]
mod watchdog;
#[cfg(feature = "planted_faults")]
mod wedge;
#[cfg(feature = "planted_faults")]
#[path = "../attack/wire.rs"]
#[expect(dead_code, reason = "the attacks use the rest")]
mod wire;
#[cfg(feature = "planted_faults")]
#[path = "../attack/witness.rs"]
#[expect(dead_code, reason = "the attacks use the rest")]
mod witness;
