//! Whom a TLS client of ours believes. Never the system's certificate store: either the relay's own authorities, as
//! they were pinned at enrolment, or nobody.

use std::sync::Arc;

use anyhow::Context;
use ring::digest::{SHA256, digest};
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::time_provider::TimeProvider;
use rustls::{ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};
use shared::ids::Digest;
use x509_parser::prelude::{FromDer, X509Certificate};

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

/// Believes nobody: for clients of plain HTTP.
///
/// # Errors
/// Never, with this build's TLS versions.
pub fn nobody() -> anyhow::Result<ClientConfig> {
    let config = ClientConfig::builder_with_provider(provider()).with_safe_default_protocol_versions();
    let config = config.context("choose TLS versions")?;
    Ok(config.with_root_certificates(RootCertStore::empty()).with_no_client_auth())
}

/// Believes these authorities (PEM) at the times that `clock` tells, and shows a certificate (PEM) if there is one.
///
/// # Errors
/// Certificates or a key that cannot be read.
pub fn pinned(trust: &str, clock: Arc<dyn TimeProvider>, own: Option<(&str, &str)>) -> anyhow::Result<ClientConfig> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(trust.as_bytes()) {
        roots.add(certificate.context("read the relay's authorities")?).context("trust the relay's authorities")?;
    }
    let config = ClientConfig::builder_with_details(provider(), clock).with_safe_default_protocol_versions();
    let config = config.context("choose TLS versions")?.with_root_certificates(roots);
    let Some((certificate, key)) = own else { return Ok(config.with_no_client_auth()) };
    let certificate = CertificateDer::from_pem_slice(certificate.as_bytes()).context("read the node's certificate")?;
    let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).context("read the node's key")?;
    config.with_client_auth_cert(vec![certificate], key).context("use the node's certificate")
}

/// SHA-256 of a certificate or a public key, as the relay's commands print it.
pub fn fingerprint(bytes: &[u8]) -> Digest {
    Digest(digest(&SHA256, bytes).as_ref().try_into().unwrap_or_default())
}

/// Believes the one authority with this fingerprint, which the relay shows along with its own certificate.
///
/// # Errors
/// Never, with this build's TLS versions.
pub fn by_fingerprint(authority: Digest) -> anyhow::Result<ClientConfig> {
    let config = ClientConfig::builder_with_provider(provider()).with_safe_default_protocol_versions();
    let verifier = Arc::new(ByFingerprint { authority, provider: provider() });
    let config = config.context("choose TLS versions")?.dangerous().with_custom_certificate_verifier(verifier);
    Ok(config.with_no_client_auth())
}

/// Of each authority (PEM) the time before which it is not valid, seconds since 1970.
///
/// # Errors
/// What cannot be read.
pub fn not_before(trust: &str) -> anyhow::Result<Vec<i64>> {
    let read = |certificate: Result<CertificateDer<'_>, _>| {
        let certificate = certificate.context("read the relay's authorities")?;
        let (_, certificate) = X509Certificate::from_der(&certificate).context("read the relay's authorities")?;
        Ok(certificate.validity().not_before.timestamp())
    };
    CertificateDer::pem_slice_iter(trust.as_bytes()).map(read).collect()
}

/// Finds the pinned authority in what the server shows, then checks the server's certificate against it alone, as ever.
#[derive(Debug)]
struct ByFingerprint {
    authority: Digest,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for ByFingerprint {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        shown: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let is_pinned = |certificate: &&CertificateDer<'_>| fingerprint(certificate) == self.authority;
        let pinned = shown.iter().find(is_pinned).ok_or_else(|| {
            Error::General("the relay is not the one that made the token: it does not show that authority".into())
        })?;
        let mut roots = RootCertStore::empty();
        roots.add(pinned.clone().into_owned())?;
        // A box whose clock stands in the past believes the authority's age before its own.
        let made =
            X509Certificate::from_der(pinned).map_or(0, |(_, authority)| authority.validity().not_before.timestamp());
        let made = u64::try_from(made).unwrap_or(0);
        let now = UnixTime::since_unix_epoch(std::time::Duration::from_secs(now.as_secs().max(made)));
        let inner = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), self.provider.clone()).build();
        let inner = inner.map_err(|error| Error::General(error.to_string()))?;
        inner.verify_server_cert(leaf, shown, name, ocsp, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signed, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signed, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
