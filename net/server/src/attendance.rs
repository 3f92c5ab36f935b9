//! Who is still connected when the server ends, and who was cut.
//!
//! Belongs to the connections of one core, from their being handed to it; whoever stops the server
//! reads the counts. It never decides: a connection is told, or cut, by its core. Two words a core and one flag a connection;
//! nothing grows.

use std::cell::Cell;
use std::sync::Arc;

use deltaworks_runtime::count_pair::CountPair;
use deltaworks_runtime::sync::atomic::{AtomicUsize, Ordering};

/// The counts of one core.
///
/// | word | written by | read by |
/// |---|---|---|
/// | connections | the doorkeeper up; its core down | who stops the server |
/// | owing, cut: one word | the doorkeeper, owing up; its core | who stops the server: connections neither told nor cut, and those cut |
///
/// Both are Relaxed: each is a figure of its own. Owing and cut are one word, so that a connection
/// that is just being cut is never missed.
#[derive(Debug, Default)]
pub(crate) struct Attendance {
    connections: AtomicUsize,
    owing_and_cut: CountPair,
}

impl Attendance {
    /// Connections that are open.
    pub fn connections(&self) -> usize {
        // Relaxed: a figure of its own; so are the changes of it below.
        self.connections.load(Ordering::Relaxed)
    }

    /// Connections that were cut: those counted so, and those that nothing has been told yet.
    pub fn cut(&self) -> usize {
        let (owing, cut) = self.owing_and_cut.get();
        owing as usize + cut as usize
    }
}

/// One connection in the counts, from its beginning to its end.
#[derive(Debug)]
pub(crate) struct Attendant {
    attendance: Arc<Attendance>,
    is_settled: Cell<bool>,
}

impl Attendant {
    pub fn new(attendance: &Arc<Attendance>) -> Self {
        attendance.owing_and_cut.add(1, 0);
        Self { attendance: Arc::clone(attendance), is_settled: Cell::new(false) }
    }

    /// Something that was appended or answered for it does not reach it; safe to repeat.
    pub fn is_cut(&self) {
        if !self.is_settled.replace(true) {
            self.attendance.owing_and_cut.add(-1, 1);
        }
    }

    /// Everything reached it, or it is gone by itself.
    pub fn is_told(&self) {
        if !self.is_settled.replace(true) {
            self.attendance.owing_and_cut.add(-1, 0);
        }
    }
}

impl Drop for Attendant {
    fn drop(&mut self) {
        self.is_told();
    }
}

/// One open connection: held on its way to the core and then by its task, however that ends.
#[derive(Debug)]
pub(crate) struct Connected(Arc<Attendance>);

impl Connected {
    pub fn new(attendance: &Arc<Attendance>) -> Self {
        // Relaxed: see `Attendance::connections`.
        attendance.connections.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(attendance))
    }
}

impl Drop for Connected {
    fn drop(&mut self) {
        // Relaxed: see `Attendance::connections`.
        self.0.connections.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_connection_is_counted_once() {
        let attendance = Arc::new(Attendance::default());
        let all: Vec<_> = (0..4).map(|_| Attendant::new(&attendance)).collect();
        assert_eq!(attendance.cut(), 4, "nobody has been told anything");
        all[0].is_told();
        all[0].is_cut();
        all[1].is_cut();
        all[1].is_cut();
        all[1].is_told();
        assert_eq!(attendance.cut(), 3);
        drop(all);
        assert_eq!(attendance.cut(), 1, "the others went by themselves");
        let connected = Connected::new(&attendance);
        assert_eq!(attendance.connections(), 1);
        drop(connected);
        assert_eq!(attendance.connections(), 0);
    }
}
