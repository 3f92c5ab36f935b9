//! The tasks that run beside a core's loop: known, so that none outlives its core.
//!
//! The executor aborts the process if it is dropped with a task that still waits, or if a panic
//! leaves one. So every task runs in a wrapper: a panic in it is noted and ends the core in order,
//! and when the core closes, all that wait are woken and dropped. Belongs to one core; holds one
//! entry for each live task.

use super::failure::panic_message;
use std::cell::{Cell, RefCell};
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

/// The live tasks of one core.
#[derive(Default)]
pub(super) struct Tasks {
    wakers: RefCell<Vec<Option<Waker>>>,
    free: RefCell<Vec<usize>>,
    live: Cell<usize>,
    closing: Cell<bool>,
    panicked: RefCell<Option<String>>,
    on_panic: RefCell<Option<Box<dyn Fn()>>>,
}

impl Tasks {
    /// What is to happen when a task panics.
    pub(super) fn on_panic(&self, act: impl Fn() + 'static) {
        *self.on_panic.borrow_mut() = Some(Box::new(act));
    }

    /// `task` as one of these tasks, to be given to the executor.
    pub(super) fn adopt(self: &Rc<Self>, task: impl Future<Output = ()> + 'static) -> Adopted {
        let entry = self.free.borrow_mut().pop().unwrap_or_else(|| {
            let mut wakers = self.wakers.borrow_mut();
            wakers.push(None);
            wakers.len() - 1
        });
        self.live.set(self.live.get() + 1);
        Adopted { tasks: self.clone(), entry, task: Some(Box::pin(task)) }
    }

    /// Makes every task end at its next poll, and wakes all of them.
    pub(super) fn close(&self) {
        self.closing.set(true);
        let waiting: Vec<Waker> =
            self.wakers.borrow_mut().iter_mut().flatten().map(|waker| waker.clone()).collect();
        waiting.into_iter().for_each(Waker::wake);
    }

    /// How many tasks have not ended.
    pub(super) fn live(&self) -> usize {
        self.live.get()
    }

    /// The message of the first panic, if there was one.
    pub(super) fn panic_message(&self) -> Option<String> {
        self.panicked.borrow_mut().take()
    }

    fn note_panic(&self, panic: Box<dyn std::any::Any + Send>) {
        self.panicked.borrow_mut().get_or_insert_with(|| panic_message(panic));
        if let Some(act) = &*self.on_panic.borrow() {
            act();
        }
    }
}

/// A task in its wrapper.
pub(super) struct Adopted {
    tasks: Rc<Tasks>,
    entry: usize,
    task: Option<Pin<Box<dyn Future<Output = ()>>>>,
}

impl Future for Adopted {
    type Output = ();
    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        if self.tasks.closing.get() {
            self.end();
        }
        let Some(task) = &mut self.task else { return Poll::Ready(()) };
        match std::panic::catch_unwind(AssertUnwindSafe(|| task.as_mut().poll(context))) {
            Ok(Poll::Pending) => {
                let mut wakers = self.tasks.wakers.borrow_mut();
                let waker = &mut wakers[self.entry];
                if !waker.as_ref().is_some_and(|waker| waker.will_wake(context.waker())) {
                    *waker = Some(context.waker().clone());
                }
                Poll::Pending
            }
            Ok(Poll::Ready(())) => {
                self.end();
                Poll::Ready(())
            }
            Err(panic) => {
                self.end();
                self.tasks.note_panic(panic);
                Poll::Ready(())
            }
        }
    }
}

impl Adopted {
    fn end(&mut self) {
        let Some(task) = self.task.take() else { return };
        if let Err(panic) = std::panic::catch_unwind(AssertUnwindSafe(|| drop(task))) {
            self.tasks.note_panic(panic);
        }
        self.tasks.wakers.borrow_mut()[self.entry] = None;
        self.tasks.free.borrow_mut().push(self.entry);
        self.tasks.live.set(self.tasks.live.get() - 1);
    }
}

impl Drop for Adopted {
    fn drop(&mut self) {
        self.end();
    }
}
