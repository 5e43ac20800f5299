//! Where packets go out: a handle that both the safety thread and the vehicles' thread have, and that never waits.

use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::Thread;

use rustix::net::{SendFlags, sendto};

use super::codec::PACKET_MAX;

/// Demands waiting for a stream's writer: those of all vehicles in half a second, so full means that nothing goes out.
const URGENT: usize = 64;
/// Other packets waiting: what a slow line sends in some seconds. Full: the packet is lost, as on a radio.
const ORDINARY: usize = 64;

/// A packet by value: handing it over asks for no memory.
#[derive(Debug, Clone, Copy)]
pub struct Frame {
    len: usize,
    bytes: [u8; PACKET_MAX],
}

impl Frame {
    /// `None` for what is longer than any packet.
    pub fn new(packet: &[u8]) -> Option<Self> {
        let mut bytes = [0; PACKET_MAX];
        bytes.get_mut(..packet.len())?.copy_from_slice(packet);
        Some(Self { len: packet.len(), bytes })
    }

    /// Its bytes.
    pub fn bytes(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or_default()
    }
}

/// The way to one peer of a link.
#[derive(Debug, Clone)]
pub enum Way {
    /// Datagrams to an address.
    Datagrams(Arc<UdpSocket>, SocketAddr),
    /// A connection or a serial line, through its writer.
    Stream(Stream),
}

/// A stream's end for those who send.
#[derive(Debug, Clone)]
pub struct Stream {
    urgent: SyncSender<Frame>,
    ordinary: SyncSender<Frame>,
    writer: Thread,
    open: Arc<AtomicBool>,
}

/// A stream's end for its writer.
#[derive(Debug)]
pub struct Outbox {
    /// Looked at first.
    pub urgent: Receiver<Frame>,
    /// Then this.
    pub ordinary: Receiver<Frame>,
    /// Whether the stream is still there.
    pub open: Arc<AtomicBool>,
}

/// The two queues of a stream; `open` is cleared by whoever finds it broken.
pub fn queues(open: Arc<AtomicBool>) -> (impl FnOnce(Thread) -> Stream, Outbox) {
    let ((urgent, demands), (ordinary, others)) = (sync_channel(URGENT), sync_channel(ORDINARY));
    let kept = open.clone();
    let stream = move |writer| Stream { urgent, ordinary, writer, open: kept };
    (stream, Outbox { urgent: demands, ordinary: others, open })
}

impl Way {
    /// Sends a demand, before everything else that waits; whether it was taken.
    pub fn urgent(&self, packet: &[u8]) -> bool {
        self.send(packet, |stream| &stream.urgent)
    }

    /// Sends anything else; whether it was taken.
    pub fn ordinary(&self, packet: &[u8]) -> bool {
        self.send(packet, |stream| &stream.ordinary)
    }

    fn send(&self, packet: &[u8], queue: impl Fn(&Stream) -> &SyncSender<Frame>) -> bool {
        match self {
            // One full socket must not delay the other vehicles.
            Self::Datagrams(socket, to) => sendto(socket, packet, SendFlags::DONTWAIT, to).is_ok(),
            Self::Stream(stream) => {
                let open = stream.open.load(Ordering::Relaxed);
                let taken = open && Frame::new(packet).is_some_and(|frame| queue(stream).try_send(frame).is_ok());
                // Wakes the writer; it never holds anything that this could wait for.
                stream.writer.unpark();
                taken
            }
        }
    }
}

impl std::fmt::Display for Way {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Datagrams(_, to) => write!(f, "{to}"),
            Self::Stream(_) => f.write_str("stream"),
        }
    }
}

/// The same way, not one that looks the same.
impl PartialEq for Way {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Datagrams(a, to), Self::Datagrams(b, other)) => Arc::ptr_eq(a, b) && to == other,
            (Self::Stream(a), Self::Stream(b)) => Arc::ptr_eq(&a.open, &b.open),
            _ => false,
        }
    }
}
