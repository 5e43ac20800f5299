//! The nodes' TLS listener. Handshakes run beside each other: one that stalls holds up nobody.
//!
//! A client may come without a certificate (to enrol); what each route asks for is decided by `caller`.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use axum::extract::connect_info::Connected;
use axum::serve::{IncomingStream, Listener};
use rustls::pki_types::CertificateDer;
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::{RootCertStore, ServerConfig};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tracing::{debug, warn};

use super::authority::{Authorities, Own};

/// Most handshakes at once; full means that further connections wait in the kernel's queue.
const HANDSHAKES: usize = 256;
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
    handshakes: JoinSet<io::Result<(TlsStream<TcpStream>, SocketAddr)>>,
}

impl TlsListener {
    /// A listener on a bound socket.
    pub fn new(tcp: TcpListener, config: watch::Receiver<Arc<ServerConfig>>) -> Self {
        Self { tcp, config, handshakes: JoinSet::new() }
    }
}

impl Listener for TlsListener {
    type Io = TlsStream<TcpStream>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        loop {
            tokio::select! {
                Some(done) = self.handshakes.join_next() => match done {
                    Ok(Ok(ready)) => return ready,
                    Ok(Err(error)) => debug!(%error, "TLS handshake is refused"),
                    Err(error) => warn!(%error, "TLS handshake did not end"),
                },
                // axum's own accept: it retries, and waits where files run out.
                (tcp, peer) = Listener::accept(&mut self.tcp), if self.handshakes.len() < HANDSHAKES => {
                    let acceptor = TlsAcceptor::from(self.config.borrow().clone());
                    self.handshakes.spawn(async move {
                        let tls = timeout(HANDSHAKE, acceptor.accept(tcp)).await.map_err(|_| io::ErrorKind::TimedOut)?;
                        Ok((tls?, peer))
                    });
                }
            }
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.tcp.local_addr()
    }
}

/// The certificate that a connection came with; its chain and times were checked in the handshake.
#[derive(Debug, Clone)]
pub struct Peer(pub Option<CertificateDer<'static>>);

impl Connected<IncomingStream<'_, TlsListener>> for Peer {
    fn connect_info(stream: IncomingStream<'_, TlsListener>) -> Self {
        let (_, tls) = stream.io().get_ref();
        Self(tls.peer_certificates().and_then(<[_]>::first).map(|certificate| certificate.clone().into_owned()))
    }
}
