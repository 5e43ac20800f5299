//! The links of a simulated vehicle: datagrams, connections, a pseudo-terminal that is as slow as a serial line. Signed where
//! there is a key, by the mavlink crate: the node has its own code for that.

use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context;
use mavlink::dialects::ardupilotmega::MavMessage;
use mavlink::error::MessageReadError;
use mavlink::{MavHeader, MavlinkReader, SigningConfig, SigningData, write_v2_msg_signed};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{OptionalActions, tcgetattr, tcsetattr};
use serde::Deserialize;

/// Pause before a connection is tried again.
const PAUSE: Duration = Duration::from_millis(200);
/// Bytes that a serial line takes at a time.
const PIECE: usize = 16;
/// Bits of a byte on a serial line.
const BITS: u32 = 10;

/// Where one link goes.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub enum Url {
    /// Datagrams to an address, from an ephemeral port. An address alone means this.
    UdpOut(SocketAddr),
    /// A connection.
    TcpOut(SocketAddr),
    /// Waits for a connection.
    TcpIn(SocketAddr),
    /// A pseudo-terminal under this name, at this speed in baud.
    Serial(PathBuf, u32),
}

impl TryFrom<String> for Url {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        let wrong =
            || format!("expected ADDRESS:PORT, udpout:…, tcpout:…, tcpin:… or serial:PATH:BAUD, found {text:?}");
        let (kind, rest) = text.split_once(':').ok_or_else(wrong)?;
        let address = || rest.parse().map_err(|_| wrong());
        match kind {
            "udpout" => address().map(Self::UdpOut),
            "tcpout" => address().map(Self::TcpOut),
            "tcpin" => address().map(Self::TcpIn),
            "serial" => {
                let (path, baud) = rest.rsplit_once(':').ok_or_else(wrong)?;
                let baud = baud.parse().ok().filter(|baud| *baud > 0).ok_or_else(wrong)?;
                Ok(Self::Serial(path.into(), baud))
            }
            _ => text.parse().map(Self::UdpOut).map_err(|_| wrong()),
        }
    }
}

/// Something a link brought, and the link's number.
pub type Came = (usize, MavHeader, MavMessage);

type Outlet = Arc<Mutex<Option<Box<dyn Write + Send>>>>;

/// The links of a vehicle.
pub struct Wires {
    outlets: Vec<Outlet>,
    came: Receiver<Came>,
    signing: Option<Arc<SigningData>>,
    sysid: u8,
    sequence: u8,
}

impl Wires {
    /// Opens them; those that are not there yet are tried again for ever.
    ///
    /// # Errors
    /// When a socket or pseudo-terminal cannot be made.
    pub fn open(urls: &[Url], key: Option<[u8; 32]>, sysid: u8) -> anyhow::Result<Self> {
        // One link id is enough: the vehicle is one sender.
        let signing = key.map(|key| Arc::new(SigningData::from_config(SigningConfig::new(key, 0, true, false))));
        let (heard, came) = channel();
        let mut outlets = Vec::new();
        for (link, url) in urls.iter().enumerate() {
            let outlet = Outlet::default();
            let end = End { link, outlet: outlet.clone(), heard: heard.clone(), signing: signing.clone() };
            end.open(url)?;
            outlets.push(outlet);
        }
        Ok(Self { outlets, came, signing, sysid, sequence: 0 })
    }

    /// The next message, if one comes in this time.
    pub fn next(&self, wait: Duration) -> Option<Came> {
        self.came.recv_timeout(wait).ok()
    }

    /// Sends on one link, or on all.
    pub fn send(&mut self, message: &MavMessage, link: Option<usize>) {
        for (_, outlet) in self.outlets.iter().enumerate().filter(|(n, _)| link.is_none_or(|link| link == *n)) {
            let header = MavHeader { sequence: self.sequence, system_id: u32::from(self.sysid), component_id: 1 };
            let mut packet = Vec::with_capacity(300);
            if write_v2_msg_signed(&mut packet, header, message, self.signing.as_deref()).is_err() {
                continue;
            }
            self.sequence = self.sequence.wrapping_add(1);
            let mut outlet = outlet.lock().unwrap_or_else(PoisonError::into_inner);
            // Nobody listens yet, or any more: a radio does not care, and a connection's reader sees it.
            let _ = outlet.as_mut().map(|outlet| outlet.write_all(&packet));
        }
    }
}

struct Datagrams(Arc<UdpSocket>);

impl Write for Datagrams {
    fn write(&mut self, packet: &[u8]) -> std::io::Result<usize> {
        self.0.send(packet)
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// A serial line's reading side: bytes come no faster than its speed.
struct Slow {
    port: File,
    baud: u32,
}

impl Read for Slow {
    fn read(&mut self, bytes: &mut [u8]) -> std::io::Result<usize> {
        let most = bytes.len().min(PIECE);
        let len = self.port.read(bytes.get_mut(..most).unwrap_or_default())?;
        let bits = u32::try_from(len).unwrap_or(0) * BITS;
        std::thread::sleep(Duration::from_secs(1) * bits / self.baud);
        Ok(len)
    }
}

struct End {
    link: usize,
    outlet: Outlet,
    heard: Sender<Came>,
    signing: Option<Arc<SigningData>>,
}

impl End {
    fn open(self, url: &Url) -> anyhow::Result<()> {
        match url.clone() {
            Url::UdpOut(to) => {
                let socket = UdpSocket::bind("127.0.0.1:0").context("bind a vehicle's socket")?;
                socket.connect(to).context("connect a vehicle's socket")?;
                let socket = Arc::new(socket);
                self.plug(Datagrams(socket.clone()));
                spawn(move || self.datagrams(&socket))
            }
            Url::TcpOut(to) => spawn(move || self.again(|| TcpStream::connect(to))),
            Url::TcpIn(address) => {
                let listener = TcpListener::bind(address).context("bind a vehicle's listener")?;
                spawn(move || self.again(|| listener.accept().map(|(stream, _)| stream)))
            }
            Url::Serial(path, baud) => {
                let (port, kept) = terminal(&path)?;
                self.plug(port.try_clone().context("open a terminal twice")?);
                spawn(move || {
                    // While it is open, reading waits for whoever comes.
                    let _kept = kept;
                    self.stream(Slow { port, baud });
                })
            }
        }
    }

    fn plug(&self, outlet: impl Write + Send + 'static) {
        *self.outlet.lock().unwrap_or_else(PoisonError::into_inner) = Some(Box::new(outlet));
    }

    fn datagrams(&self, socket: &UdpSocket) {
        let mut datagram = vec![0; 65_536];
        loop {
            // An error is "unreachable": nobody listens yet.
            let len = socket.recv(&mut datagram).unwrap_or(0);
            self.stream(datagram.get(..len).unwrap_or_default());
        }
    }

    fn again(&self, connect: impl Fn() -> std::io::Result<TcpStream>) {
        loop {
            if let Ok(stream) = connect()
                && let Ok(sending) = stream.try_clone()
            {
                let _ = stream.set_nodelay(true);
                self.plug(sending);
                self.stream(stream);
                *self.outlet.lock().unwrap_or_else(PoisonError::into_inner) = None;
            }
            std::thread::sleep(PAUSE);
        }
    }

    /// Reads messages until the end, over what is none.
    fn stream(&self, from: impl Read) {
        let mut reader = MavlinkReader::new(from);
        loop {
            match reader.read_any_message_signed::<MavMessage>(self.signing.as_deref()) {
                Ok((header, message)) => {
                    if self.heard.send((self.link, header, message)).is_err() {
                        return;
                    }
                }
                Err(MessageReadError::Io(error)) if error.kind() != ErrorKind::Interrupted => return,
                Err(_) => {}
            }
        }
    }
}

fn spawn(run: impl FnOnce() + Send + 'static) -> anyhow::Result<()> {
    std::thread::Builder::new().name("wire".into()).spawn(run).context("start a link's thread").map(drop)
}

/// A pseudo-terminal that others find under `path`, and its other end, which keeps it open.
///
/// # Errors
/// When none can be made.
pub fn terminal(path: &Path) -> anyhow::Result<(File, OwnedFd)> {
    let port = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).context("make a terminal")?;
    grantpt(&port).and_then(|()| unlockpt(&port)).context("unlock a terminal")?;
    let name = ptsname(&port, Vec::new()).context("name a terminal")?;
    let name = PathBuf::from(name.into_string().context("name a terminal")?);
    let kept: OwnedFd = File::options().read(true).write(true).open(&name).context("open a terminal")?.into();
    // Bytes as they are: no echo, no lines.
    let mut mode = tcgetattr(&kept).context("set up a terminal")?;
    mode.make_raw();
    tcsetattr(&kept, OptionalActions::Now, &mode).context("set up a terminal")?;
    // Left by a run before.
    let _ = std::fs::remove_file(path);
    std::os::unix::fs::symlink(&name, path).with_context(|| format!("name a terminal {}", path.display()))?;
    Ok((File::from(port), kept))
}
