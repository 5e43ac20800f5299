//! Addresses of links, as other MAVLink programs write them.

use std::net::SocketAddr;
use std::path::PathBuf;

use serde::Deserialize;

/// Where a link is.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub enum LinkUrl {
    /// Listens for datagrams; answers each sender at its address.
    UdpIn(SocketAddr),
    /// Sends datagrams to one address, and takes them from there.
    UdpOut(SocketAddr),
    /// Listens for connections.
    TcpIn(SocketAddr),
    /// Connects, again and again.
    TcpOut(SocketAddr),
    /// A serial port and its speed in baud.
    Serial(PathBuf, u32),
}

/// Speeds of serial ports.
const BAUD: std::ops::RangeInclusive<u32> = 1200..=4_000_000;

impl LinkUrl {
    /// Where it listens or connects to; a serial port has none.
    pub const fn address(&self) -> Option<SocketAddr> {
        match self {
            Self::UdpIn(address) | Self::UdpOut(address) | Self::TcpIn(address) | Self::TcpOut(address) => {
                Some(*address)
            }
            Self::Serial(..) => None,
        }
    }
}

impl TryFrom<String> for LinkUrl {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        let wrong = || {
            let kinds = "udpin:ADDRESS:PORT, udpout:…, tcpin:…, tcpout:… or serial:/dev/NAME:BAUD";
            format!("expected {kinds}, found {text:?}")
        };
        let (kind, rest) = text.split_once(':').ok_or_else(wrong)?;
        if kind == "serial" {
            let (path, baud) = rest.rsplit_once(':').ok_or_else(wrong)?;
            let baud = baud.parse().ok().filter(|baud| BAUD.contains(baud)).ok_or_else(wrong)?;
            return path.starts_with('/').then(|| Self::Serial(path.into(), baud)).ok_or_else(wrong);
        }
        let address: SocketAddr = rest.parse().map_err(|_| wrong())?;
        match kind {
            "udpin" => Ok(Self::UdpIn(address)),
            "udpout" => Ok(Self::UdpOut(address)),
            "tcpin" => Ok(Self::TcpIn(address)),
            "tcpout" => Ok(Self::TcpOut(address)),
            _ => Err(wrong()),
        }
    }
}
