//! A TCP link that can be impaired: a proxy on loopback between a client and a server, as bad as it is told to be.
//!
//! Bytes are never changed: TCP does not do that to its users either. What TCP cannot hide is what happens here: delay,
//! little room, cuts, silence, and a connection of which only one end is left. A connection may be there twice, as behind a
//! proxy that repeats requests.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context;

use crate::random::Random;

/// Bytes moved at a time.
const CHUNK: usize = 4096;
/// A waiting pump looks this often whether the weather has changed.
const LOOK: Duration = Duration::from_millis(50);

/// How the link is now; connections that exist follow it at once.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Weather {
    /// Everything passes.
    Clear,
    /// Everything passes, so fast and so late.
    Slow {
        /// Bytes per second of each direction of each connection.
        bytes_per_second: u32,
        /// Added to each piece.
        delay: Duration,
    },
    /// Each connection is cut after about so many bytes: mostly within a request.
    Lossy {
        /// Mean number of bytes; where each cut falls is random.
        mean_bytes: u32,
    },
    /// What the client says on a new connection reaches the server twice, over two; of the answers the first's count.
    Duplicated,
    /// What the server says is swallowed: it has done what it was asked, and nobody hears of it.
    Withheld,
    /// Connections are accepted and everything is swallowed, in both directions.
    BlackHole,
    /// The server's end is gone without a word; the client's stays open and silent.
    HalfOpen,
    /// Nobody is there: connections are closed at once.
    Down,
}

/// A running link; its threads end with the process.
#[derive(Debug, Clone)]
pub struct Link {
    port: u16,
    target: u16,
    weather: Arc<Mutex<Weather>>,
    swallowed: Arc<AtomicU64>,
    random: Arc<Random>,
}

impl Link {
    /// A clear link to a port on loopback. `seed` decides where a lossy one cuts.
    ///
    /// # Errors
    /// When it cannot listen.
    pub fn start(target: u16, seed: u64) -> anyhow::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").context("bind the link")?;
        let port = listener.local_addr().context("bind the link")?.port();
        let link = Self {
            port,
            target,
            weather: Arc::new(Mutex::new(Weather::Clear)),
            swallowed: Arc::default(),
            random: Arc::new(Random::new(seed)),
        };
        let own = link.clone();
        std::thread::Builder::new()
            .name("link".into())
            .spawn(move || {
                for client in listener.incoming().flatten() {
                    let link = own.clone();
                    std::thread::spawn(move || link.serve(client));
                }
            })
            .context("start the link")?;
        Ok(link)
    }

    /// Its port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Changes the weather; what is swallowed is counted from zero.
    pub fn set(&self, weather: Weather) {
        self.swallowed.store(0, Ordering::SeqCst);
        *self.weather.lock().unwrap_or_else(PoisonError::into_inner) = weather;
    }

    /// Pieces of the server's answers swallowed since the weather changed.
    pub fn swallowed(&self) -> u64 {
        self.swallowed.load(Ordering::SeqCst)
    }

    fn weather(&self) -> Weather {
        *self.weather.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn serve(&self, client: TcpStream) {
        if self.weather() == Weather::Down {
            return;
        }
        let Ok(server) = TcpStream::connect(("127.0.0.1", self.target)) else { return };
        // Pumps wake to follow the weather.
        for end in [&client, &server] {
            let _ = end.set_read_timeout(Some(LOOK));
            let _ = end.set_nodelay(true);
        }
        let (Ok(from_client), Ok(to_server)) = (client.try_clone(), server.try_clone()) else { return };
        // About half to one and a half of the mean: both directions count.
        let cut = Arc::new(AtomicU64::new(self.random.draw(1 << 20)));
        let (link, shared) = (self.clone(), cut.clone());
        let twin = if self.weather() == Weather::Duplicated { self.twin() } else { None };
        std::thread::spawn(move || link.pump(from_client, to_server, twin, false, &shared));
        self.pump(server, client, None, true, &cut);
    }

    /// A second connection to the server, whose answers go nowhere.
    fn twin(&self) -> Option<TcpStream> {
        let twin = TcpStream::connect(("127.0.0.1", self.target)).ok()?;
        let mut answers = twin.try_clone().ok()?;
        std::thread::spawn(move || std::io::copy(&mut answers, &mut std::io::sink()));
        Some(twin)
    }

    /// Moves bytes one way until an end closes or the weather cuts the connection. `cut` counts what passed, from a
    /// random offset on.
    fn pump(
        &self,
        mut from: TcpStream,
        mut to: TcpStream,
        mut twin: Option<TcpStream>,
        answers: bool,
        cut: &AtomicU64,
    ) {
        let (mut buffer, mut hole) = ([0; CHUNK], false);
        loop {
            let read = from.read(&mut buffer);
            let weather = self.weather();
            let half_open = weather == Weather::HalfOpen;
            if weather == Weather::Down {
                break;
            }
            let bytes = match &read {
                Ok(0) | Err(_) if half_open => {
                    // The client must not learn of it; the server's end is dropped.
                    let server = if answers { &from } else { &to };
                    let _ = server.shutdown(Shutdown::Both);
                    std::thread::sleep(LOOK);
                    continue;
                }
                Ok(0) => break,
                Ok(len) => buffer.get(..*len).unwrap_or_default(),
                Err(error) if is_timeout(error) => continue,
                Err(_) => break,
            };
            let swallow = match weather {
                Weather::BlackHole | Weather::HalfOpen => true,
                Weather::Withheld => answers,
                _ => false,
            };
            if swallow {
                self.swallowed.fetch_add(u64::from(answers), Ordering::SeqCst);
                hole = true;
                continue;
            }
            if hole {
                break;
            }
            if let Weather::Slow { bytes_per_second, delay } = weather {
                let span = Duration::from_secs_f64(bytes.len() as f64 / f64::from(bytes_per_second.max(1)));
                std::thread::sleep(delay + span);
            }
            if let Weather::Lossy { mean_bytes } = weather {
                let passed = cut.fetch_add(bytes.len() as u64, Ordering::SeqCst);
                let mean = u64::from(mean_bytes.max(1));
                let left = mean - passed % mean;
                if (bytes.len() as u64) >= left {
                    let part = bytes.get(..usize::try_from(left).unwrap_or(0)).unwrap_or_default();
                    let _ = to.write_all(part);
                    break;
                }
            }
            if to.write_all(bytes).is_err() && !half_open {
                break;
            }
            twin = twin.filter(|mut twin| twin.write_all(bytes).is_ok());
        }
        for end in [Some(from), Some(to), twin].into_iter().flatten() {
            // The other side may have closed first.
            let _ = end.shutdown(Shutdown::Both);
        }
    }
}

fn is_timeout(error: &std::io::Error) -> bool {
    matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut)
}
