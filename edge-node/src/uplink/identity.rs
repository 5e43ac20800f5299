//! The node's key and certificate on disk.
//!
//! Layout of `identity/` in the data folder, its owner's alone: `node.pem` (a line `renew-after: MICROSECONDS`, then the
//! key and its certificate, one file so that they change together), `trust.pem` (the relay's authorities), `next.key`
//! (a key that a certificate was asked for: kept, so that a lost answer can be asked for again), `floor`, `lock` (held from
//! asking to keeping: a node that renews and an operator who enrols it must not mix their keys).

use std::path::{Path, PathBuf};

use anyhow::Context;
use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair, PKCS_ECDSA_P256_SHA256, SigningKey};
use ring::signature::{ECDSA_P256_SHA256_ASN1, UnparsedPublicKey};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use shared::identity::{Enrolled, Identity, Signature, head_statement};
use shared::ids::{Digest, Lane, Name};
use shared::units::UtcMicros;
use tracing::error;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::durable::{self, Locked};
use crate::journal::block::Head;
use crate::journal::signed::{Signed, Signer};
use crate::tls;

const NODE: &str = "node.pem";
const TRUST: &str = "trust.pem";
const NEXT: &str = "next.key";
const LOCK: &str = "lock";
const RENEW: &str = "renew-after: ";

/// The folder.
#[derive(Debug, Clone)]
pub struct Files {
    folder: PathBuf,
}

/// A key and its certificate.
pub struct Held {
    /// Who this is.
    pub identity: Identity,
    /// The certificate (PEM).
    pub certificate: String,
    /// The relay's authorities (PEM).
    pub trust: String,
    /// When to renew.
    pub renew_after: UtcMicros,
    /// Until when it is good.
    pub not_after: UtcMicros,
    key: KeyPair,
}

/// A request for a certificate, with the key that it is for. While it lives no other is made.
pub struct Asked {
    /// PEM.
    pub csr: String,
    /// What was held when it was made.
    pub held: Option<Held>,
    key: KeyPair,
    _lock: Locked,
}

impl Asked {
    /// SHA-256 of the public key, as the relay's operator sees it.
    pub fn fingerprint(&self) -> Digest {
        tls::fingerprint(self.key.public_key_raw())
    }
}

impl Held {
    /// The key (PEM).
    pub fn key_pem(&self) -> String {
        self.key.serialize_pem()
    }

    /// Its public key, an uncompressed point on P-256.
    pub fn public_key(&self) -> &[u8] {
        self.key.public_key_raw()
    }

    /// Signs a lane's head with the node's key.
    ///
    /// # Errors
    /// When there is no randomness.
    pub fn sign_head(&self, lane: Lane, head: &Head) -> anyhow::Result<Signature> {
        self.sign(&head_statement(&self.identity.node, lane, head.epoch, head.seq, head.chain))
    }

    /// Whether one of the relay's authorities has signed a statement.
    pub fn vouched(&self, statement: &[u8], signatures: &[Signature]) -> bool {
        vouched(&self.trust, statement, signatures)
    }

    /// Signs a statement with the node's key.
    ///
    /// # Errors
    /// When there is no randomness.
    pub fn sign(&self, statement: &[u8]) -> anyhow::Result<Signature> {
        Ok(Signature(self.key.sign(statement).context("sign")?))
    }
}

impl Files {
    /// The folder of a data folder.
    pub fn of(data: &Path) -> Self {
        Self { folder: data.join("identity") }
    }

    /// Its path.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The identity; `None` if the node was never enrolled.
    ///
    /// # Errors
    /// Files that cannot be read, named.
    pub fn load(&self) -> anyhow::Result<Option<Held>> {
        let path = self.folder.join(NODE);
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error).with_context(|| format!("read {}", path.display())),
        };
        let trust = self.folder.join(TRUST);
        let trust = std::fs::read_to_string(&trust).with_context(|| format!("read {}", trust.display()))?;
        parse(text, trust).with_context(|| format!("read {}", path.display())).map(Some)
    }

    /// A request for the key that is kept for the next certificate, made if there is none.
    ///
    /// # Errors
    /// A folder that cannot be written, or another request that is under way.
    pub fn ask(&self, node: &Name) -> anyhow::Result<Asked> {
        durable::private_folder(&self.folder).with_context(|| format!("make {}", self.folder.display()))?;
        let lock = Locked::take(&self.folder, LOCK).with_context(|| format!("make {LOCK}"))?;
        let lock = lock.context("ask for a certificate: another process does at this moment, try again")?;
        // A held identity that cannot be read is no reason not to get another.
        let held = self.load().unwrap_or_default();
        let path = self.folder.join(NEXT);
        let kept = std::fs::read_to_string(&path).ok().and_then(|text| KeyPair::from_pem(&text).ok());
        // Power failed between keeping the certificate and forgetting its key here: each has a key of its own.
        let used = |key: &KeyPair| held.as_ref().is_some_and(|held| held.key.public_key_raw() == key.public_key_raw());
        let key = match kept.filter(|key| !used(key)) {
            Some(key) => key,
            None => {
                let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).context("make a key")?;
                let kept = durable::write(&self.folder, NEXT, key.serialize_pem().as_bytes(), 0o600);
                kept.with_context(|| format!("write {}", path.display()))?;
                key
            }
        };
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, node.as_str());
        let csr = params.serialize_request(&key).context("ask for a certificate")?.pem().context("write a request")?;
        Ok(Asked { csr, held, key, _lock: lock })
    }

    /// Keeps what the relay has answered.
    ///
    /// # Errors
    /// An answer that does not fit the request or the node, or a folder that cannot be written.
    pub fn keep(&self, node: &Name, asked: &Asked, answer: &Enrolled) -> anyhow::Result<Held> {
        let (key, certificate) = (asked.key.serialize_pem(), &answer.certificate);
        let text = format!("{RENEW}{}\n{key}{certificate}", answer.renew_after_us);
        let held = parse(text.clone(), answer.trust.clone()).context("read the relay's answer")?;
        anyhow::ensure!(
            held.identity.node == *node,
            "read the relay's answer: the certificate is of node {}, this is node {node}",
            held.identity.node
        );
        anyhow::ensure!(!tls::not_before(&answer.trust)?.is_empty(), "read the relay's answer: it names no authority");
        let write = |name, text: &str, mode| {
            let done = durable::write(&self.folder, name, text.as_bytes(), mode);
            done.with_context(|| format!("write {}", self.folder.join(name).display()))
        };
        // The authorities first: the new certificate is of use only with them, the old one goes on with both.
        write(TRUST, &answer.trust, 0o644)?;
        write(NODE, &text, 0o600)?;
        durable::remove(&self.folder, NEXT).context("forget the key that was asked for")?;
        Ok(held)
    }
}

/// Whether one of these authorities (PEM) has signed a statement; those that cannot be read have not.
pub fn vouched(trust: &str, statement: &[u8], signatures: &[Signature]) -> bool {
    let by = |authority: &CertificateDer<'_>| {
        let Ok((_, authority)) = X509Certificate::from_der(authority) else { return false };
        let key = UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, &authority.public_key().subject_public_key.data);
        signatures.iter().any(|signature| key.verify(statement, &signature.0).is_ok())
    };
    CertificateDer::pem_slice_iter(trust.as_bytes()).flatten().any(|authority| by(&authority))
}

/// Signs heads with the key on disk as it is then: it changes with each renewal.
pub fn signer(files: Files) -> Signer {
    Box::new(move |lane, head| {
        let held = files.load().inspect_err(|error| error!("failed to sign a head: {error:#}")).ok()??;
        let signature = held.sign_head(lane, head).ok()?.0;
        Some(Signed { public_key: held.public_key().to_vec(), signature })
    })
}

fn parse(text: String, trust: String) -> anyhow::Result<Held> {
    let renew = text.lines().next().and_then(|line| line.strip_prefix(RENEW)?.trim().parse().ok());
    let renew_after = UtcMicros(renew.with_context(|| format!("find {RENEW:?} in its first line"))?);
    let key = PrivatePkcs8KeyDer::from_pem_slice(text.as_bytes()).context("find a PKCS#8 key")?;
    let key = KeyPair::from_pkcs8_der_and_sign_algo(&key, &PKCS_ECDSA_P256_SHA256).context("read the key")?;
    let der = CertificateDer::from_pem_slice(text.as_bytes()).context("find a certificate")?;
    let (_, parsed) = X509Certificate::from_der(&der).context("read the certificate")?;
    let own = parsed.public_key().subject_public_key.data.as_ref() == key.public_key_raw();
    anyhow::ensure!(own, "the certificate is of another key");
    let names = parsed.subject_alternative_name().context("read the certificate's name")?;
    let names = names.map(|names| names.value.general_names.as_slice()).unwrap_or_default();
    let [GeneralName::URI(urn)] = names else { anyhow::bail!("the certificate does not name one node") };
    let identity = urn.parse().map_err(anyhow::Error::msg)?;
    let not_after = UtcMicros(parsed.validity().not_after.timestamp().saturating_mul(1_000_000));
    let at = text.find("-----BEGIN CERTIFICATE").context("find a certificate")?;
    let certificate = text.get(at..).unwrap_or_default().to_owned();
    Ok(Held { identity, certificate, trust, renew_after, not_after, key })
}
