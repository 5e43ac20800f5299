//! Links that are streams of bytes: connections and serial ports. A reader puts packets together; one writer, preferred by
//! the scheduler, sends demands first, and other packets only while next to nothing waits in the kernel, so that a demand
//! never stands behind a queue. A stream that breaks is opened again for ever.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::Context;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use serialport::{SerialPort, TTYPort};
use shared::units::Uptime;
use tracing::{info, warn};

use super::codec::Deframer;
use super::ears::{Ears, WAIT};
use super::way::{Outbox, Way, queues};
use crate::clock;
use crate::realtime::prefer_this_thread;

/// Other packets are written only while fewer bytes than this wait in the kernel (INTERLOCKS, "Links").
const QUEUED: usize = 64;
/// A writer looks this often whether there is room.
const LOOK: Duration = Duration::from_millis(2);
/// Longest time in which one write may make no progress.
const STUCK: Duration = Duration::from_secs(1);
/// A connection that says nothing for this long has gone: its heartbeats come once a second.
const SILENT: Duration = Duration::from_secs(10);
/// Pause before a stream is opened again, and what it grows to.
const PAUSE: Duration = Duration::from_millis(500);
const PAUSE_MAX: Duration = Duration::from_secs(5);
/// Connections of one listening link.
const CONNECTIONS: usize = 8;
/// Bits of a byte on a serial line: start, eight, stop.
const BITS: u32 = 10;

/// What a writer writes to.
trait Outlet: Write + Send + 'static {
    /// Whether an ordinary packet of this length may be written now.
    fn has_room(&mut self, len: usize) -> bool;
}

struct Connection(TcpStream);

impl Write for Connection {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.write(bytes)
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Outlet for Connection {
    fn has_room(&mut self, _: usize) -> bool {
        // Writable means, by TCP_NOTSENT_LOWAT, that fewer bytes than QUEUED were not sent yet.
        let mut fds = [PollFd::new(&self.0, PollFlags::OUT)];
        poll(&mut fds, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })).is_ok_and(|ready| ready > 0)
    }
}

/// A serial port. Adapters and pseudo-terminals have queues that the kernel does not tell of, so what must still be on its
/// way at the line's speed counts too.
struct Line {
    port: TTYPort,
    baud: u32,
    /// When the last byte written will have left, at the line's speed.
    idle_at: Uptime,
}

impl Line {
    fn takes(&self, len: usize) -> Duration {
        let bits = u64::try_from(len).unwrap_or(u64::MAX).saturating_mul(u64::from(BITS));
        // A twentieth more: on a line that is always full a queue would otherwise stay for ever, however it came.
        Duration::from_micros(bits.saturating_mul(1_050_000).div_ceil(u64::from(self.baud.max(1))))
    }
}

impl Write for Line {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let written = self.port.write(bytes)?;
        self.idle_at = self.idle_at.max(clock::uptime()).plus(self.takes(written));
        Ok(written)
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Outlet for Line {
    fn has_room(&mut self, len: usize) -> bool {
        let waits = self.port.bytes_to_write().map_or(0, |bytes| usize::try_from(bytes).unwrap_or(usize::MAX));
        let leaving = self.idle_at.since(clock::uptime());
        waits < QUEUED && (leaving.is_zero() || leaving + self.takes(len) <= self.takes(QUEUED))
    }
}

/// Connects to an address, again and again.
pub fn connect(ears: &Ears, address: SocketAddr) {
    reopen(ears, || {
        let stream = TcpStream::connect_timeout(&address, STUCK).context("connect")?;
        Ok(Box::new(move |ears: &Ears| converse(ears, stream)))
    });
}

/// Opens a serial port, again and again.
pub fn open(ears: &Ears, path: &Path, baud: u32) {
    reopen(ears, || {
        let builder = serialport::new(path.to_string_lossy(), baud).timeout(WAIT);
        let port = builder.open_native().context("open the serial port")?;
        Ok(Box::new(move |ears: &Ears| {
            let mut sending = port.try_clone_native().context("open the serial port twice")?;
            sending.set_timeout(STUCK).context("set the write timeout")?;
            let line = Line { port: sending, baud, idle_at: Uptime(0) };
            talk(ears, port, line, None)
        }))
    });
}

type Talk = Box<dyn FnOnce(&Ears) -> anyhow::Result<()>>;

fn reopen(ears: &Ears, mut open: impl FnMut() -> anyhow::Result<Talk>) {
    let (mut pause, mut failed) = (PAUSE, false);
    while !ears.stopped() {
        let opened = open();
        let ended = match opened {
            Ok(talk) => {
                info!(link = %ears.name(), "link is open");
                (pause, failed) = (PAUSE, false);
                talk(ears)
            }
            Err(error) => Err(error),
        };
        if let Err(error) = ended.as_ref().map_err(|error| format!("{error:#}"))
            && !std::mem::replace(&mut failed, true)
        {
            // Once: it is tried for ever.
            warn!(link = %ears.name(), error, "link is down; trying again");
        }
        ears.rest(pause);
        pause = (pause * 2).min(PAUSE_MAX);
    }
}

/// Takes connections.
pub fn accept(ears: &Ears, listener: &TcpListener) {
    let open = Arc::new(AtomicUsize::new(0));
    while !ears.stopped() {
        let mut fds = [PollFd::new(listener, PollFlags::IN)];
        let wait = Timespec { tv_sec: 0, tv_nsec: i64::from(WAIT.subsec_nanos()) };
        if !poll(&mut fds, Some(&wait)).is_ok_and(|ready| ready > 0) {
            continue;
        }
        let Ok((stream, from)) = listener.accept() else {
            // Out of descriptors, say: they may come back.
            ears.rest(PAUSE);
            continue;
        };
        if open.load(Ordering::Relaxed) >= CONNECTIONS {
            warn!(link = %ears.name(), %from, most = CONNECTIONS, "connection refused: too many");
            continue;
        }
        open.fetch_add(1, Ordering::Relaxed);
        let (count, heard) = (open.clone(), ears.clone());
        let talk = move || {
            info!(link = %heard.name(), %from, "link is open");
            if let Err(error) = converse(&heard, stream) {
                info!(link = %heard.name(), %from, error = format!("{error:#}"), "connection has ended");
            }
            count.fetch_sub(1, Ordering::Relaxed);
        };
        if std::thread::Builder::new().name("link-peer".into()).spawn(talk).is_err() {
            open.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

fn converse(ears: &Ears, stream: TcpStream) -> anyhow::Result<()> {
    stream.set_nonblocking(false).context("set up a connection")?;
    stream.set_nodelay(true).context("set up a connection")?;
    stream.set_read_timeout(Some(WAIT)).context("set up a connection")?;
    stream.set_write_timeout(Some(STUCK)).context("set up a connection")?;
    let queued = u32::try_from(QUEUED).unwrap_or(u32::MAX);
    socket2::SockRef::from(&stream).set_tcp_notsent_lowat(queued).context("set up a connection")?;
    let sending = stream.try_clone().context("share a connection")?;
    let ended = talk(ears, &stream, Connection(sending), Some(SILENT));
    if !ears.stopped() {
        // What could not be sent must not arrive later, when the vehicle was told something else.
        let _ = socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO));
    }
    ended
}

/// Reads a stream until it breaks, the node stops, or it was silent for too long; its writer ends with it.
fn talk(ears: &Ears, mut reading: impl Read, outlet: impl Outlet, silent: Option<Duration>) -> anyhow::Result<()> {
    let open = Arc::new(AtomicBool::new(true));
    let (stream, outbox) = queues(open.clone());
    let writer = std::thread::Builder::new().name("link-writer".into()).spawn(move || write(outlet, &outbox));
    let writer = writer.context("start a writer")?;
    let way = Way::Stream(stream(writer.thread().clone()));
    ears.opened(way.clone());
    let (mut deframer, mut bytes) = (Deframer::default(), [0; 4096]);
    let mut heard = clock::uptime();
    let ended = loop {
        if ears.stopped() || !open.load(Ordering::Relaxed) {
            break Ok(());
        }
        let now = clock::uptime();
        match reading.read(&mut bytes) {
            Ok(0) => break Err(anyhow::anyhow!("the other side has closed it")),
            Ok(len) => {
                let parsed = deframer.feed(bytes.get(..len).unwrap_or_default());
                if !parsed.packets.is_empty() {
                    heard = now;
                }
                ears.hear(parsed, &way);
            }
            Err(error) if is_pause(error.kind()) => {
                if silent.is_some_and(|silent| now.since(heard) > silent) {
                    break Err(anyhow::anyhow!("nothing came for {} s", SILENT.as_secs()));
                }
            }
            Err(error) => break Err(error.into()),
        }
    };
    open.store(false, Ordering::Relaxed);
    ears.closed(way);
    writer.thread().unpark();
    // It ends at its next look, or when its write times out.
    let _ = writer.join();
    ended
}

fn is_pause(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::TimedOut | ErrorKind::WouldBlock | ErrorKind::Interrupted)
}

fn write(mut outlet: impl Outlet, outbox: &Outbox) {
    prefer_this_thread("a link's writer");
    let mut waiting = None;
    while outbox.open.load(Ordering::Relaxed) {
        let next = match outbox.urgent.try_recv() {
            Ok(frame) => Some(frame),
            Err(_) => {
                waiting = waiting.or_else(|| outbox.ordinary.try_recv().ok());
                waiting.filter(|frame| outlet.has_room(frame.bytes().len())).inspect(|_| waiting = None)
            }
        };
        match next {
            Some(frame) if outlet.write_all(frame.bytes()).is_err() => outbox.open.store(false, Ordering::Relaxed),
            Some(_) => {}
            None => std::thread::park_timeout(if waiting.is_some() { LOOK } else { WAIT }),
        }
    }
    // Before a node ends it holds what moves.
    for frame in outbox.urgent.try_iter() {
        let _ = outlet.write_all(frame.bytes());
    }
}
