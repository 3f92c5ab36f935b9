//! Faults of the driver that tests plant, to show that the seeds find them.
//!
//! Asked where each fault would stand. Outside of the crate's own tests the answer is a constant
//! no, so nothing of it is left in the program.

/// A fault of the driver.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mutant {
    /// A byte is lost when a socket takes control in part.
    ByteLost,
    /// A session whose full socket takes bytes again is not sent to.
    NotResumed,
    /// Control goes out in the middle of an image.
    ControlInImage,
    /// An image goes out before control that stands in front of it.
    ImageBeforeControl,
    /// A later acknowledgement overtakes those that merged.
    AcksOvertake,
    /// A lack of buffers counts as the end of the connection.
    LackIsFatal,
    /// A connection whose session has ended is closed with what the peer says unread.
    NotLingering,
}

#[cfg(test)]
thread_local! {
    static PLANTED: std::cell::Cell<Option<Mutant>> = const { std::cell::Cell::new(None) };
}

/// Whether the fault is planted on this thread.
#[cfg(test)]
pub(crate) fn is_planted(mutant: Mutant) -> bool {
    PLANTED.get() == Some(mutant)
}

/// Whether the fault is planted: never.
#[cfg(not(test))]
#[inline(always)]
pub(crate) fn is_planted(_: Mutant) -> bool {
    false
}

/// Runs `act` with a fault planted, or with none.
#[cfg(test)]
pub(crate) fn with(mutant: Option<Mutant>, act: impl FnOnce()) {
    struct Restore;
    impl Drop for Restore {
        fn drop(&mut self) {
            PLANTED.set(None);
        }
    }
    let _restore = Restore;
    PLANTED.set(mutant);
    act();
}
