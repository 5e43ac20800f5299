//! A TCP proxy between node and relay that can withhold the relay's answer: the moment between "stored centrally" and
//! "the node knows".

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU16, AtomicU64, Ordering};

use anyhow::Context;

/// A running proxy on loopback; its threads end with the process.
#[derive(Debug, Clone)]
pub struct Proxy {
    port: u16,
    target: Arc<AtomicU16>,
    withhold: Arc<AtomicBool>,
    withheld: Arc<AtomicU64>,
}

impl Proxy {
    /// Starts a proxy to a port on loopback.
    ///
    /// # Errors
    /// When it cannot listen.
    pub fn start(target: u16) -> anyhow::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").context("bind the proxy")?;
        let port = listener.local_addr().context("bind the proxy")?.port();
        let (withhold, withheld) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let made = Self { port, target: Arc::new(AtomicU16::new(target)), withhold, withheld };
        let proxy = made.clone();
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let proxy = proxy.clone();
                std::thread::spawn(move || proxy.serve(client));
            }
        });
        Ok(made)
    }

    /// Its port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// From now on answers are swallowed; counts from zero.
    pub fn withhold(&self, on: bool) {
        self.withheld.store(0, Ordering::SeqCst);
        self.withhold.store(on, Ordering::SeqCst);
    }

    /// Answers swallowed since.
    pub fn withheld(&self) -> u64 {
        self.withheld.load(Ordering::SeqCst)
    }

    fn serve(&self, client: TcpStream) {
        let Ok(server) = TcpStream::connect(("127.0.0.1", self.target.load(Ordering::SeqCst))) else { return };
        let (Ok(from_client), Ok(to_server)) = (client.try_clone(), server.try_clone()) else { return };
        std::thread::spawn(move || pump(from_client, to_server, |_| true));
        pump(server, client, |_| {
            let swallow = self.withhold.load(Ordering::SeqCst);
            if swallow {
                self.withheld.fetch_add(1, Ordering::SeqCst);
            }
            !swallow
        });
    }
}

fn pump(mut from: TcpStream, mut to: TcpStream, pass: impl Fn(&[u8]) -> bool) {
    let mut buffer = vec![0; 64 * 1024];
    while let Ok(len @ 1..) = from.read(&mut buffer) {
        let bytes = buffer.get(..len).unwrap_or_default();
        if pass(bytes) && to.write_all(bytes).is_err() {
            break;
        }
    }
    // The other side may have closed first.
    let _ = to.shutdown(Shutdown::Both);
}
