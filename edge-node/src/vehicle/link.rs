//! A link's reading thread: bytes into packets, packets to the vehicles' thread. It decides nothing.

use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::sync::Arc;

use anyhow::Context;
use tracing::{info, warn};

use super::codec::parse;
use super::ears::{Ears, WAIT};
use super::url::LinkUrl;
use super::way::Way;
use super::{LinkConfig, stream};

/// Largest datagram.
const DATAGRAM_MAX: usize = 65_536;

/// A link whose address is taken.
pub enum Bound {
    /// Datagrams from anybody.
    UdpIn(UdpSocket),
    /// Datagrams to one address and from there.
    UdpOut(UdpSocket, SocketAddr),
    /// Connections from outside.
    TcpIn(TcpListener),
    /// It is opened when it runs, as often as it takes.
    Later,
}

/// Takes a link's address, so that a configuration that cannot work ends the start.
///
/// # Errors
/// When the address is taken.
pub fn bind(config: &LinkConfig) -> anyhow::Result<Bound> {
    let wrong = || format!("bind link {}", config.name);
    match &config.url {
        LinkUrl::UdpIn(address) => Ok(Bound::UdpIn(UdpSocket::bind(address).with_context(wrong)?)),
        LinkUrl::UdpOut(to) => {
            let any = if to.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
            // Not connected: there may be no route yet, and another address of our own tomorrow.
            Ok(Bound::UdpOut(UdpSocket::bind(any).with_context(wrong)?, *to))
        }
        LinkUrl::TcpIn(address) => {
            let listener = TcpListener::bind(address).with_context(wrong)?;
            listener.set_nonblocking(true).with_context(wrong)?;
            Ok(Bound::TcpIn(listener))
        }
        LinkUrl::TcpOut(_) | LinkUrl::Serial(..) => Ok(Bound::Later),
    }
}

/// Reads until stopped.
pub fn run(ears: &Ears, bound: Bound) {
    match (bound, &ears.config.url) {
        (Bound::UdpIn(socket), _) => datagrams(ears, &Arc::new(socket), None),
        (Bound::UdpOut(socket, to), _) => {
            let socket = Arc::new(socket);
            ears.opened(Way::Datagrams(socket.clone(), to));
            datagrams(ears, &socket, Some(to));
        }
        (Bound::TcpIn(listener), _) => stream::accept(ears, &listener),
        (Bound::Later, LinkUrl::TcpOut(address)) => stream::connect(ears, *address),
        (Bound::Later, LinkUrl::Serial(path, baud)) => stream::open(ears, path, *baud),
        (Bound::Later, _) => {}
    }
    info!(link = %ears.name(), "link has ended");
}

fn datagrams(ears: &Ears, socket: &Arc<UdpSocket>, only: Option<SocketAddr>) {
    if let Err(error) = socket.set_read_timeout(Some(WAIT)) {
        warn!(link = %ears.name(), %error, "link has no read timeout");
    }
    let mut datagram = vec![0; DATAGRAM_MAX];
    while !ears.stopped() {
        // An error is the other side's "unreachable", or the timeout.
        if let Ok((len, from)) = socket.recv_from(&mut datagram)
            && only.is_none_or(|only| only == from)
        {
            ears.hear(parse(datagram.get(..len).unwrap_or_default()), &Way::Datagrams(socket.clone(), from));
        }
    }
}
