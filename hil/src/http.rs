//! The rig's own HTTP client: plain HTTP on loopback, or HTTPS with a node's certificate.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use rustls::crypto::CryptoProvider;
use rustls::crypto::ring::default_provider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};

/// A client that trusts no certificate.
///
/// # Errors
/// When it cannot be made.
pub fn client(timeout: Duration) -> anyhow::Result<reqwest::Client> {
    let config = ClientConfig::builder_with_provider(provider()).with_safe_default_protocol_versions();
    let config = config.context("choose TLS versions")?.with_root_certificates(RootCertStore::empty());
    build(config.with_no_client_auth(), timeout)
}

/// A client that trusts the authorities of a PEM file and shows no certificate.
///
/// # Errors
/// When they cannot be read.
pub fn trusting(trust: &Path, timeout: Duration) -> anyhow::Result<reqwest::Client> {
    build(
        ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots(trust)?)
            .with_no_client_auth(),
        timeout,
    )
}

/// A client with the identity of an enrolled node: of its data folder.
///
/// # Errors
/// When there is none.
pub fn as_node(data: &Path, timeout: Duration) -> anyhow::Result<reqwest::Client> {
    let folder = data.join("identity");
    let own = std::fs::read(folder.join("node.pem")).context("read node.pem")?;
    let certificate = CertificateDer::from_pem_slice(&own).context("read the node's certificate")?;
    let key = PrivateKeyDer::from_pem_slice(&own).context("read the node's key")?;
    let config = ClientConfig::builder_with_provider(provider()).with_safe_default_protocol_versions();
    let config = config.context("choose TLS versions")?.with_root_certificates(roots(&folder.join("trust.pem"))?);
    build(config.with_client_auth_cert(vec![certificate], key).context("show the node's certificate")?, timeout)
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(default_provider())
}

fn roots(file: &Path) -> anyhow::Result<RootCertStore> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(file).with_context(|| format!("read {}", file.display()))? {
        roots.add(certificate.context("read an authority")?).context("trust an authority")?;
    }
    Ok(roots)
}

fn build(config: ClientConfig, timeout: Duration) -> anyhow::Result<reqwest::Client> {
    let client = reqwest::Client::builder().tls_backend_preconfigured(config).no_proxy().timeout(timeout).build();
    client.context("make an HTTP client")
}
