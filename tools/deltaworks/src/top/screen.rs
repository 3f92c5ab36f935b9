//! A terminal under keys and time: it shows a view until it is told to quit.
//!
//! The terminal is put back when this ends in whatever way: by a key, SIGTERM, an error or a panic, for which the
//! library's hook stands. Keys are read by a thread of their own, which ends with the program.

use std::io;
use std::time::Duration;

use ratatui::DefaultTerminal;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEventKind, KeyModifiers};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};

use super::sample::Sample;
use super::view::View;
use crate::admin::{Admin, AdminError};

/// Keys that wait to be looked at, at most; more are lost.
const KEYS_MAX: usize = 64;

/// Shows the daemon until a key ends it.
///
/// # Errors
/// What the terminal says.
pub async fn show(admin: Admin, interval: Duration, view: View) -> io::Result<()> {
    let mut terminal = ratatui::try_init()?;
    let shown = run(&mut terminal, admin, interval, view).await;
    ratatui::try_restore()?;
    shown
}

async fn run(
    terminal: &mut DefaultTerminal,
    admin: Admin,
    interval: Duration,
    mut view: View,
) -> io::Result<()> {
    let (sender, mut keys) = mpsc::channel(KEYS_MAX);
    std::thread::spawn(move || {
        while let Ok(event) = event::read() {
            if sender.blocking_send(event).is_err() {
                return;
            }
        }
    });
    let mut terminated = signal(SignalKind::terminate())?;
    let (samples, mut taken) = mpsc::channel::<Result<Sample, AdminError>>(1);
    let mut is_asked = false;
    let mut next = Instant::now();
    loop {
        terminal.draw(|frame| view.draw(frame))?;
        tokio::select! {
            event = keys.recv() => match event {
                Some(event) if handle(&mut view, &event) => return Ok(()),
                // Another order is asked for at once.
                Some(_) => next = next.min(Instant::now() + interval),
                None => return Err(io::Error::other("the terminal gives no keys")),
            },
            _ = terminated.recv() => return Ok(()),
            Some(sample) = taken.recv() => {
                is_asked = false;
                match sample {
                    Ok(sample) if !view.is_paused => view.take(sample),
                    Ok(_) => {}
                    Err(error) => view.trouble = Some(format!("{error}; looking for it again")),
                }
            }
            () = sleep_until(next), if !is_asked && !view.is_paused => {
                is_asked = true;
                next = Instant::now() + interval;
                let (admin, sorting, samples) = (admin.clone(), view.sorting, samples.clone());
                tokio::spawn(async move {
                    // Nobody waits for it any more once the screen is gone.
                    let _ = samples.send(Sample::take(&admin, sorting, interval).await).await;
                });
            }
        }
    }
}

/// Does what a key says; true ends it. A change of size needs nothing: the next drawing sees it.
fn handle(view: &mut View, event: &Event) -> bool {
    let Event::Key(key) = event else { return false };
    if key.kind != KeyEventKind::Press {
        return false;
    }
    match key.code {
        KeyCode::Char('c') if key.modifiers.contains(KeyModifiers::CONTROL) => return true,
        KeyCode::Char('q') => return true,
        KeyCode::Esc if view.shows_help => view.shows_help = false,
        KeyCode::Esc => return true,
        KeyCode::Char('s') => view.sorting.documents = view.sorting.documents.next(),
        KeyCode::Char('S') => view.sorting.sessions = view.sorting.sessions.next(),
        KeyCode::Char('p' | ' ') => view.is_paused = !view.is_paused,
        KeyCode::Char('?' | 'h') => view.shows_help = !view.shows_help,
        _ => {}
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::documents::DocumentSort;
    use ratatui::crossterm::event::KeyEvent;

    #[test]
    fn keys_sort_pause_explain_and_quit() {
        let mut view = View::default();
        let mut press = |key| {
            let event = Event::Key(KeyEvent::new(key, KeyModifiers::NONE));
            let quits = handle(&mut view, &event);
            (quits, view.clone())
        };
        assert_eq!(press(KeyCode::Char('s')).1.sorting.documents, DocumentSort::Last);
        assert!(press(KeyCode::Char('p')).1.is_paused);
        assert!(!press(KeyCode::Char('p')).1.is_paused);
        assert!(press(KeyCode::Char('?')).1.shows_help);
        let (quits, view) = press(KeyCode::Esc);
        assert!(!quits && !view.shows_help, "Esc closes the help first");
        let mut view = View::default();
        for key in [KeyCode::Esc, KeyCode::Char('q')] {
            assert!(handle(&mut view, &Event::Key(KeyEvent::new(key, KeyModifiers::NONE))));
        }
        let interrupt = KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL);
        assert!(handle(&mut view, &Event::Key(interrupt)));
        assert!(!handle(&mut view, &Event::Resize(10, 3)));
    }
}
