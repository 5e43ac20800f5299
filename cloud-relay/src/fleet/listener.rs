//! The nodes' TLS listener. Handshakes run beside each other, few of them from one address, so that one that stalls
//! holds up nobody else. Who comes without a certificate (to enrol) has little time and shares few connections; whoever
//! is silent for long is let go. What each route asks for is decided by `caller`.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context as Task, Poll};
use std::time::Duration;

use anyhow::Context;
use axum::extract::connect_info::Connected;
use axum::serve::{IncomingStream, Listener};
use rustls::pki_types::CertificateDer;
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::{RootCertStore, ServerConfig};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, Sleep, sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tracing::{debug, warn};

use super::authority::{Authorities, Own};

/// Most handshakes at once; full means that further connections wait in the kernel's queue.
const HANDSHAKES: usize = 256;
/// Most of them from one address, behind which many nodes may be; further ones are closed.
const HANDSHAKES_OF_ONE: usize = 32;
/// Most connections of nodes, and of clients without a certificate; further ones are closed.
const NODES: usize = 4096;
const STRANGERS: usize = 64;
/// Most of them from one address, and with one certificate: a revoked one is refused with each request, not before.
const STRANGERS_OF_ONE: usize = 16;
const NODES_OF_ONE: usize = 8;
/// How long a client without a certificate may stay.
const VISIT: Duration = Duration::from_secs(30);
/// How long a connection may stay without a byte in either direction.
const SILENCE: Duration = Duration::from_secs(120);
/// Longest handshake.
const HANDSHAKE: Duration = Duration::from_secs(10);

/// What the relay shows, and whom it believes.
///
/// # Errors
/// Certificates that do not go together.
pub fn server_config(authorities: &Authorities, own: Own) -> anyhow::Result<ServerConfig> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut roots = RootCertStore::empty();
    for certificate in authorities.certificates() {
        roots.add(certificate).context("trust an authority")?;
    }
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone());
    let verifier = verifier.allow_unauthenticated().build().context("trust the authorities")?;
    let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let config = config.context("choose TLS versions")?.with_client_cert_verifier(verifier);
    let mut config = config.with_single_cert(own.chain, own.key).context("use the relay's certificate")?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    // No resumption: each connection shows its certificate again.
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(config)
}

/// Listens with the newest configuration.
pub struct TlsListener {
    tcp: TcpListener,
    config: watch::Receiver<Arc<ServerConfig>>,
    handshakes: JoinSet<io::Result<TlsStream<TcpStream>>>,
    from: HashMap<tokio::task::Id, SocketAddr>,
    nodes: Arc<Semaphore>,
    strangers: Arc<Semaphore>,
    crowd: Crowd,
}

/// Open connections by what tells their holders apart: an address or a certificate.
type Crowd = Arc<Mutex<HashMap<Vec<u8>, usize>>>;

/// A connection's place among those of all and of one; given back when dropped.
struct Place {
    key: Vec<u8>,
    crowd: Crowd,
    _permit: OwnedSemaphorePermit,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut crowd = self.crowd.lock().unwrap_or_else(PoisonError::into_inner);
        crowd.entry(std::mem::take(&mut self.key)).and_modify(|count| *count -= 1);
        crowd.retain(|_, count| *count > 0);
    }
}

impl TlsListener {
    /// A listener on a bound socket.
    pub fn new(tcp: TcpListener, config: watch::Receiver<Arc<ServerConfig>>) -> Self {
        let (nodes, strangers) = (Arc::new(Semaphore::new(NODES)), Arc::new(Semaphore::new(STRANGERS)));
        Self {
            tcp,
            config,
            handshakes: JoinSet::new(),
            from: HashMap::new(),
            nodes,
            strangers,
            crowd: Crowd::default(),
        }
    }

    fn begin(&mut self, tcp: TcpStream, peer: SocketAddr) {
        let ip: IpAddr = peer.ip();
        if self.from.values().filter(|from| from.ip() == ip).count() >= HANDSHAKES_OF_ONE {
            debug!(%peer, "connection is closed: too many handshakes of this address");
            return;
        }
        let acceptor = TlsAcceptor::from(self.config.borrow().clone());
        let shaking =
            async move { timeout(HANDSHAKE, acceptor.accept(tcp)).await.map_err(|_| io::ErrorKind::TimedOut)? };
        self.from.insert(self.handshakes.spawn(shaking).id(), peer);
    }

    fn admit(&self, tls: TlsStream<TcpStream>, peer: SocketAddr) -> Option<Guarded> {
        let certificate = tls.get_ref().1.peer_certificates().and_then(<[_]>::first);
        let stranger = certificate.is_none();
        let (places, of_one) = if stranger { (&self.strangers, STRANGERS_OF_ONE) } else { (&self.nodes, NODES_OF_ONE) };
        let key = certificate.map_or_else(|| peer.ip().to_string().into_bytes(), |certificate| certificate.to_vec());
        let permit = places.clone().try_acquire_owned();
        let permit = permit.inspect_err(|_| warn!(%peer, stranger, "connection is closed: too many")).ok()?;
        let mut crowd = self.crowd.lock().unwrap_or_else(PoisonError::into_inner);
        let count = crowd.entry(key.clone()).or_insert(0);
        if *count >= of_one {
            warn!(%peer, stranger, "connection is closed: too many of one");
            return None;
        }
        *count += 1;
        drop(crowd);
        let place = Place { key, crowd: self.crowd.clone(), _permit: permit };
        let until = stranger.then(|| Box::pin(sleep(VISIT)));
        Some(Guarded { tls, silence: Box::pin(sleep(SILENCE)), until, _place: place })
    }
}

impl Listener for TlsListener {
    type Io = Guarded;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        loop {
            tokio::select! {
                Some(done) = self.handshakes.join_next_with_id() => {
                    let id = match &done { Ok((id, _)) => *id, Err(error) => error.id() };
                    let peer = self.from.remove(&id);
                    match (done, peer) {
                        (Ok((_, Ok(tls))), Some(peer)) => {
                            if let Some(guarded) = self.admit(tls, peer) {
                                return (guarded, peer);
                            }
                        }
                        (Ok((_, Err(error))), _) => debug!(%error, "TLS handshake is refused"),
                        (Err(error), _) => warn!(%error, "TLS handshake did not end"),
                        (Ok(_), None) => {}
                    }
                },
                // axum's own accept: it retries, and waits where files run out.
                (tcp, peer) = Listener::accept(&mut self.tcp), if self.handshakes.len() < HANDSHAKES => {
                    self.begin(tcp, peer);
                }
            }
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.tcp.local_addr()
    }
}

/// A connection that ends when nothing moves on it, or when its time is over.
pub struct Guarded {
    tls: TlsStream<TcpStream>,
    silence: Pin<Box<Sleep>>,
    until: Option<Pin<Box<Sleep>>>,
    _place: Place,
}

impl Guarded {
    /// Passes on what came of a read or write; a wait ends with the connection's time.
    fn guard<T>(&mut self, done: Poll<io::Result<T>>, task: &mut Task<'_>) -> Poll<io::Result<T>> {
        if done.is_ready() {
            self.silence.as_mut().reset(Instant::now() + SILENCE);
            return done;
        }
        let over = self.until.as_mut().is_some_and(|until| until.as_mut().poll(task).is_ready());
        if over || self.silence.as_mut().poll(task).is_ready() {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        done
    }
}

impl AsyncRead for Guarded {
    fn poll_read(mut self: Pin<&mut Self>, task: &mut Task<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let done = Pin::new(&mut self.tls).poll_read(task, into);
        self.guard(done, task)
    }
}

impl AsyncWrite for Guarded {
    fn poll_write(mut self: Pin<&mut Self>, task: &mut Task<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let done = Pin::new(&mut self.tls).poll_write(task, bytes);
        self.guard(done, task)
    }

    fn poll_flush(mut self: Pin<&mut Self>, task: &mut Task<'_>) -> Poll<io::Result<()>> {
        let done = Pin::new(&mut self.tls).poll_flush(task);
        self.guard(done, task)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, task: &mut Task<'_>) -> Poll<io::Result<()>> {
        let done = Pin::new(&mut self.tls).poll_shutdown(task);
        self.guard(done, task)
    }
}

/// The certificate that a connection came with; its chain and times were checked in the handshake.
#[derive(Debug, Clone)]
pub struct Peer(pub Option<CertificateDer<'static>>);

impl Connected<IncomingStream<'_, TlsListener>> for Peer {
    fn connect_info(stream: IncomingStream<'_, TlsListener>) -> Self {
        let (_, tls) = stream.io().tls.get_ref();
        Self(tls.peer_certificates().and_then(<[_]>::first).map(|certificate| certificate.clone().into_owned()))
    }
}
