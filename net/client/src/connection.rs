//! The task that moves bytes: reads, cuts, verifies, sends, and reconnects.
//!
//! One task per client. It reads into a buffer that subscribers then share slices of, verifies
//! outside the lock, and writes what is ready in one go. It stops reading while a document's queue is
//! full, and then pings, so that the server knows it is alive.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use deltaworks_image::{Image, Kind, Limits};
use deltaworks_protocol::client::Fault;
use deltaworks_protocol::framing::message_bytes;
use deltaworks_protocol::message::split_control;
use tokio::io::{AsyncReadExt, AsyncWriteExt, ReadHalf, WriteHalf, split};
use tokio::time::{Instant, sleep, sleep_until, timeout};

use crate::backoff::Backoff;
use crate::endpoint::{BoxedStream, Connector};
use crate::state::Shared;

/// Room that each read finds at least half of.
const READ_BYTES: usize = 128 << 10;
/// Written at once at most.
const WRITE_BYTES: usize = 256 << 10;
/// Time-outs are looked at this often while reading is stopped.
const STALL_LOOK: Duration = Duration::from_secs(1);
/// How long a goodbye may take.
const GOODBYE: Duration = Duration::from_millis(500);

pub(crate) struct Connection {
    pub(crate) shared: Arc<Shared>,
    pub(crate) connector: Box<dyn Connector>,
    pub(crate) backoff: Backoff,
    /// A connection that lived this long counts as a success.
    pub(crate) settled_after: Duration,
    pub(crate) answer_timeout: Duration,
    pub(crate) reconnects_max: Option<u32>,
}

/// Why a connection's loop ended.
enum End {
    Quit,
    Fault(Fault),
}

impl Connection {
    /// Serves `stream`, and those after it, until the client is dropped or has failed.
    pub(crate) async fn run(mut self, stream: BoxedStream) {
        let mut stream = Some(stream);
        let mut failures = 0;
        loop {
            let began = Instant::now();
            let end = match stream.take() {
                Some(stream) => self.serve(stream).await,
                None => match self.connect().await {
                    Ok(next) => {
                        stream = Some(next);
                        continue;
                    }
                    Err(end) => end,
                },
            };
            let fault = match end {
                End::Quit => return self.shared.fail(Fault::Disconnected("closed".into())),
                End::Fault(fault) => fault,
            };
            if began.elapsed() >= self.settled_after {
                failures = 0;
                self.backoff.reset();
            }
            failures += 1;
            let goes_on = {
                let mut state = self.shared.lock();
                let mut goes_on = state.session.handle_disconnected(fault.clone());
                if goes_on && self.reconnects_max.is_some_and(|max| failures > max) {
                    state.session.fail(fault);
                    goes_on = false;
                }
                self.shared.deliver(&mut state);
                goes_on
            };
            if !goes_on {
                self.shared.change.notify_waiters();
                return;
            }
            if self.pause().await {
                return self.shared.fail(Fault::Disconnected("closed".into()));
            }
        }
    }

    async fn connect(&mut self) -> Result<BoxedStream, End> {
        let error = match timeout(self.answer_timeout, self.connector.connect()).await {
            Ok(Ok(stream)) => return Ok(stream),
            Ok(Err(error)) => error,
            Err(_) => io::ErrorKind::TimedOut.into(),
        };
        Err(End::Fault(disconnected(&error)))
    }

    /// Waits before the next connection; `true` if the client was dropped meanwhile.
    async fn pause(&mut self) -> bool {
        let pause = sleep(self.backoff.pause());
        tokio::pin!(pause);
        loop {
            if self.shared.lock().is_quitting {
                return true;
            }
            tokio::select! {
                () = &mut pause => return false,
                () = self.shared.work.notified() => {}
            }
        }
    }

    async fn serve(&self, stream: BoxedStream) -> End {
        let (mut reader, mut writer) = split(stream);
        self.shared.lock().session.handle_connected(self.shared.now_ns());
        match self.talk(&mut reader, &mut writer).await {
            Ok(()) => {
                let mut out = Vec::new();
                {
                    let mut state = self.shared.lock();
                    state.session.say_goodbye();
                    state.session.poll_transmit(self.shared.now_ns(), &mut out, 0);
                }
                let goodbye = async {
                    writer.write_all(&out).await?;
                    writer.shutdown().await
                };
                // The client is being dropped: a goodbye that does not arrive is no one's loss.
                let _ = timeout(GOODBYE, goodbye).await;
                End::Quit
            }
            Err(fault) => End::Fault(fault),
        }
    }

    /// Moves bytes both ways; `Ok` when the client is to end.
    async fn talk(
        &self,
        reader: &mut ReadHalf<BoxedStream>,
        writer: &mut WriteHalf<BoxedStream>,
    ) -> Result<(), Fault> {
        let shared = &*self.shared;
        let mut input = BytesMut::with_capacity(READ_BYTES);
        let mut output: Vec<u8> = Vec::new();
        let mut written = 0;
        let timer = sleep_until(Instant::now());
        tokio::pin!(timer);
        loop {
            let is_stopped;
            {
                let mut state = shared.lock();
                if written == output.len() {
                    output.clear();
                    written = 0;
                    state.session.poll_transmit(shared.now_ns(), &mut output, WRITE_BYTES);
                }
                if state.is_quitting && output.is_empty() {
                    return Ok(());
                }
                is_stopped = state.full > 0;
                if !is_stopped && let Some(due_ns) = state.session.poll_timeout() {
                    let due = shared.instant(due_ns);
                    if timer.deadline() != due {
                        timer.as_mut().reset(due);
                    }
                }
            }
            if is_stopped && timer.is_elapsed() {
                timer.as_mut().reset(Instant::now() + STALL_LOOK);
            }
            if input.capacity() - input.len() < READ_BYTES / 2 {
                input.reserve(READ_BYTES);
            }
            tokio::select! {
                read = reader.read_buf(&mut input), if !is_stopped => {
                    match read {
                        Ok(0) => return Err(Fault::Disconnected("by the server".into())),
                        Ok(_) => self.take_messages(&mut input)?,
                        Err(error) => return Err(disconnected(&error)),
                    }
                }
                sent = writer.write(&output[written..]), if written < output.len() => {
                    match sent {
                        Ok(0) => return Err(Fault::Disconnected("nothing is taken".into())),
                        Ok(bytes) => written += bytes,
                        Err(error) => return Err(disconnected(&error)),
                    }
                }
                () = shared.work.notified(), if written == output.len() => {}
                () = shared.room.notified(), if is_stopped => {
                    shared.lock().session.handle_stall(shared.now_ns());
                }
                () = &mut timer => {
                    let mut state = shared.lock();
                    if state.full > 0 {
                        state.session.handle_stall(shared.now_ns());
                    } else {
                        state.session.handle_timeout(shared.now_ns())?;
                    }
                }
            }
        }
    }

    /// Gives every whole message in `input` to the session.
    fn take_messages(&self, input: &mut BytesMut) -> Result<(), Fault> {
        let mut lengths = Vec::new();
        let mut whole = 0;
        let torn = loop {
            match message_bytes(&input[whole..], &Limits::HARD) {
                Ok(Some(bytes)) if input.len() - whole >= bytes => {
                    lengths.push(bytes);
                    whole += bytes;
                }
                Ok(Some(bytes)) => {
                    // Room for the rest at once, so that a large image is not copied again and again.
                    let missing = whole + bytes - input.len();
                    break (missing > READ_BYTES).then_some(Ok(bytes));
                }
                Ok(None) => break None,
                Err(error) => break Some(Err(Fault::Image(error))),
            }
        };
        let mut run = input.split_to(whole).freeze();
        if let Some(Ok(bytes)) = torn {
            input.reserve(bytes - input.len());
        }
        let messages: Vec<Bytes> = lengths
            .iter()
            .map(|&bytes| {
                let message = run.slice(..bytes);
                run.advance(bytes);
                message
            })
            .collect();
        self.take_run(&messages)?;
        match torn {
            Some(Err(fault)) => Err(fault),
            _ => Ok(()),
        }
    }

    fn take_run(&self, messages: &[Bytes]) -> Result<(), Fault> {
        let verified: Vec<_> = messages.iter().map(|message| verified(message)).collect();
        let shared = &*self.shared;
        let now_ns = shared.now_ns();
        let mut state = shared.lock();
        for (message, image) in messages.iter().zip(verified) {
            let result = match image {
                Some(image) => state.session.handle_image(now_ns, image),
                None => split_control(message, &Limits::HARD).map_err(Fault::Image).and_then(
                    |(kind, body)| {
                        state.session.handle_control(now_ns, kind, body)?;
                        Ok(deltaworks_protocol::client::Received::Nothing)
                    },
                ),
            };
            match result {
                Ok(received) => shared.receive(&mut state, received, message.clone()),
                Err(fault) => {
                    shared.deliver(&mut state);
                    return Err(fault);
                }
            }
            shared.deliver(&mut state);
        }
        Ok(())
    }
}

/// The image in a message, verified, or `None` for control.
fn verified(message: &[u8]) -> Option<Result<Image<'_>, deltaworks_image::ImageError>> {
    let kind = message.get(4).and_then(|&kind| Kind::from_number(kind));
    kind.filter(|kind| kind.is_image())?;
    Some(Image::parse(message).and_then(|image| image.verify().map(|()| image)))
}

fn disconnected(error: &io::Error) -> Fault {
    Fault::Disconnected(error.to_string())
}
