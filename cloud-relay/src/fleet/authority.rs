//! The relay's own certificate authorities: they sign the nodes'
//! certificates and the relay's own, the time, messages to nodes, and nothing else.
//!
//! Layout: `NNNN.pem` (certificate), `NNNN.key` (PKCS#8, only its owner reads it), `NNNN.cross.pem` (the same key and
//! name, signed by the authority before it). The highest number signs; all are trusted until they are retired. The
//! relay shows its certificate with every cross certificate behind it, so that a node which was away during a rotation,
//! and trusts only the old authority, still finds a way from it. All authorities have the first one's `notBefore`, and
//! so have all leaves: a box whose clock stands at its last known time must not find them "not yet valid".
//! Durable steps: key file, then certificate, each written, synced and renamed. A key without a certificate is nothing.

use std::fs::File;
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Context;
use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, PublicKeyData, SanType,
    SerialNumber, SigningKey,
};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use shared::identity::{Identity, Signature, TimeAnswer, time_statement};
use shared::ids::Digest;
use uuid::Uuid;
use x509_parser::prelude::{FromDer, X509Certificate};

/// Clocks differ.
const SKEW: Duration = Duration::from_secs(300);
/// How long an authority lives: longer than a box.
const AUTHORITY_LIFE: Duration = Duration::from_secs(20 * 365 * 86_400);
/// How long the relay's own certificate lives at least; it is made anew at every start and every tenth of this.
pub const OWN_LIFE: Duration = Duration::from_secs(90 * 86_400);

/// One authority.
struct Authority {
    number: u32,
    certificate: CertificateDer<'static>,
    pem: String,
    issuer: Issuer<'static, KeyPair>,
    cross: Option<CertificateDer<'static>>,
}

/// All of them, oldest first; there is at least one.
pub struct Authorities {
    folder: PathBuf,
    all: Vec<Authority>,
}

/// A signed certificate of a node.
pub struct Issued {
    /// PEM.
    pub certificate: String,
    /// Its serial number.
    pub serial: Vec<u8>,
    /// The node's public key, an uncompressed point on P-256.
    pub public_key: Vec<u8>,
    /// Until when.
    pub not_after: SystemTime,
}

/// The relay's own certificate with its chain, and its key.
pub struct Own {
    /// Leaf first, then what leads from each authority to it.
    pub chain: Vec<CertificateDer<'static>>,
    /// Key of the leaf.
    pub key: PrivateKeyDer<'static>,
}

impl Authorities {
    /// The authorities as they are in the folder now. If there is none, the first is made where `first` permits it: an
    /// empty folder beside nodes that were enrolled is a folder that was lost, and no node would trust a new authority.
    ///
    /// # Errors
    /// A folder that cannot be used or has none, or a key that others can read.
    pub fn open(folder: &Path, now: SystemTime, first: bool) -> anyhow::Result<Self> {
        let _lock = lock(folder)?;
        let mut opened = Self { folder: folder.to_owned(), all: read(folder)? };
        if opened.all.is_empty() {
            anyhow::ensure!(
                first,
                "read {}: no authority is in it; restore it from its backup, or make one with `cloud-relay authority \
                 rotate` and enrol every node again",
                folder.display()
            );
            opened.add(now)?;
        }
        Ok(opened)
    }

    /// Adds an authority that signs from now on; the others stay trusted.
    ///
    /// # Errors
    /// A folder that cannot be written.
    pub fn rotate(folder: &Path, now: SystemTime) -> anyhow::Result<Self> {
        let _lock = lock(folder)?;
        let mut opened = Self { folder: folder.to_owned(), all: read(folder)? };
        opened.add(now)?;
        Ok(opened)
    }

    /// Trusts the oldest authority no longer. Nodes that know only this one must be enrolled again. Only the oldest: a
    /// node that was away finds its way from one authority to the next.
    ///
    /// # Errors
    /// The number of none, of the one that signs, or of one behind the oldest.
    pub fn retire(folder: &Path, number: u32) -> anyhow::Result<Self> {
        let _lock = lock(folder)?;
        let mut all = read(folder)?;
        let at = all.iter().position(|authority| authority.number == number);
        let at = at.with_context(|| format!("retire authority {number}: there is none"))?;
        anyhow::ensure!(at + 1 < all.len(), "retire authority {number}: it is the one that signs; rotate first");
        anyhow::ensure!(
            at == 0,
            "retire authority {number}: the oldest goes first, {}",
            all.first().map_or(0, |a| a.number)
        );
        for name in [certificate_name(number), key_name(number), cross_name(number)] {
            if let Err(error) = std::fs::remove_file(folder.join(&name)) {
                anyhow::ensure!(error.kind() == std::io::ErrorKind::NotFound, "remove {name}: {error}");
            }
        }
        File::open(folder)?.sync_all().with_context(|| format!("write {}", folder.display()))?;
        all.remove(at);
        Ok(Self { folder: folder.to_owned(), all })
    }

    fn add(&mut self, now: SystemTime) -> anyhow::Result<()> {
        let number = self.all.last().map_or(1, |last| last.number + 1);
        let not_before = match self.all.first() {
            Some(first) => not_before(&first.certificate)?,
            None => now - SKEW,
        };
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).context("make a key")?;
        let mut params = CertificateParams::default();
        // The number alone would make two relays' authorities look alike.
        params.distinguished_name = named(&format!("picket authority {number} {}", Uuid::new_v4().simple()));
        params.not_before = not_before.into();
        params.not_after = (now + AUTHORITY_LIFE).into();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages =
            vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign, KeyUsagePurpose::DigitalSignature];
        params.serial_number = Some(serial());
        let certificate = params.self_signed(&key).context("sign an authority")?;
        let before = self.all.last();
        let cross = before.map(|before| params.signed_by(&key, &before.issuer)).transpose().context("cross-sign")?;
        write(&self.folder, &key_name(number), &key.serialize_pem(), 0o600)?;
        if let Some(cross) = &cross {
            write(&self.folder, &cross_name(number), &cross.pem(), 0o644)?;
        }
        write(&self.folder, &certificate_name(number), &certificate.pem(), 0o644)?;
        let issuer = Issuer::from_ca_cert_der(certificate.der(), key).context("read an authority")?;
        let cross = cross.map(|cross| cross.der().clone());
        self.all.push(Authority {
            number,
            certificate: certificate.der().clone(),
            pem: certificate.pem(),
            issuer,
            cross,
        });
        Ok(())
    }

    fn newest(&self) -> anyhow::Result<&Authority> {
        self.all.last().context("find an authority")
    }

    /// Certificates of all authorities.
    pub fn certificates(&self) -> impl Iterator<Item = CertificateDer<'static>> {
        self.all.iter().map(|authority| authority.certificate.clone())
    }

    /// The same as PEM, for a node to keep.
    pub fn trust(&self) -> String {
        self.all.iter().map(|authority| authority.pem.as_str()).collect()
    }

    /// Number and SHA-256 fingerprint of each; the last one signs.
    pub fn fingerprints(&self) -> impl Iterator<Item = (u32, Digest)> {
        self.all.iter().map(|authority| (authority.number, fingerprint(&authority.certificate)))
    }

    /// Signs a node's certificate. Nothing is taken from the request but its public key.
    ///
    /// # Errors
    /// A request that is not signed with its own key, or a key that is not ECDSA P-256.
    pub fn sign(&self, identity: &Identity, csr: &str, now: SystemTime, life: Duration) -> anyhow::Result<Issued> {
        let public_key = public_key(csr)?;
        let csr = CertificateSigningRequestParams::from_pem(csr).context("read a certificate signing request")?;
        let (serial, not_after, newest) = (serial(), now + life, self.newest()?);
        let mut params = CertificateParams::default();
        params.distinguished_name = named(identity.node.as_str());
        params.subject_alt_names = vec![SanType::URI(identity.to_string().try_into().context("write an identity")?)];
        params.not_before = not_before(&newest.certificate)?.into();
        params.not_after = not_after.into();
        params.serial_number = Some(serial.clone());
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        params.use_authority_key_identifier_extension = true;
        let certificate = params.signed_by(&csr.public_key, &newest.issuer).context("sign a certificate")?;
        Ok(Issued { certificate: certificate.pem(), serial: serial.to_bytes(), public_key, not_after })
    }

    /// A new certificate for the relay itself.
    ///
    /// # Errors
    /// Names that cannot stand in a certificate.
    pub fn own(&self, names: &[String], now: SystemTime, node_life: Duration) -> anyhow::Result<Own> {
        let (key, newest) = (KeyPair::generate().context("make a key")?, self.newest()?);
        let mut params = CertificateParams::new(names.to_vec()).context("name the relay")?;
        params.distinguished_name = named("picket relay");
        params.not_before = not_before(&newest.certificate)?.into();
        // Longer than any node's: a node that believes its own certificate must believe this one.
        params.not_after = (now + OWN_LIFE.max(node_life.saturating_mul(5) / 4)).into();
        params.serial_number = Some(serial());
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let leaf = params.signed_by(&key, &newest.issuer).context("sign the relay's certificate")?;
        let crosses = self.all.iter().rev().filter_map(|authority| authority.cross.clone());
        // The authorities themselves too: a box that enrols knows one by its fingerprint only.
        let chain = std::iter::once(leaf.der().clone()).chain(crosses).chain(self.certificates()).collect();
        Ok(Own { chain, key: PrivateKeyDer::Pkcs8(key.serialize_der().into()) })
    }

    /// The time, bound to a nonce.
    ///
    /// # Errors
    /// A key that does not sign.
    pub fn time(&self, nonce: &str, utc_us: i64) -> anyhow::Result<TimeAnswer> {
        let signatures = self.sign_all(&time_statement(nonce, utc_us)).context("sign the time")?;
        Ok(TimeAnswer { utc_us, signatures })
    }

    /// A statement, signed by every authority: a node trusts one of them.
    ///
    /// # Errors
    /// A key that does not sign.
    pub fn sign_all(&self, statement: &[u8]) -> anyhow::Result<Vec<Signature>> {
        let sign = |authority: &Authority| authority.issuer.key().sign(statement).map(Signature);
        self.all.iter().map(sign).collect::<Result<_, _>>().context("sign")
    }

    /// Whether one of the authorities signed this certificate, expired or not.
    pub fn signed(&self, certificate: &X509Certificate<'_>) -> bool {
        let by = |authority: &Authority| {
            let parsed = X509Certificate::from_der(&authority.certificate);
            parsed.is_ok_and(|(_, parsed)| certificate.verify_signature(Some(parsed.public_key())).is_ok())
        };
        self.all.iter().any(by)
    }
}

/// The public key of a certificate signing request (PEM), whose signature with that key is checked.
///
/// # Errors
/// What is wrong with the request.
pub fn public_key(csr: &str) -> anyhow::Result<Vec<u8>> {
    let csr = CertificateSigningRequestParams::from_pem(csr).context("read a certificate signing request")?;
    let key = csr.public_key.der_bytes();
    let fits = csr.public_key.algorithm() == &PKCS_ECDSA_P256_SHA256 && key.len() == 65;
    anyhow::ensure!(fits, "read a certificate signing request: expected a key on P-256");
    Ok(key.to_vec())
}

/// SHA-256 of a certificate, as `openssl x509 -fingerprint -sha256` shows it.
pub fn fingerprint(certificate: &[u8]) -> Digest {
    let digest = ring::digest::digest(&ring::digest::SHA256, certificate);
    Digest(digest.as_ref().try_into().unwrap_or_default())
}

fn named(name: &str) -> DistinguishedName {
    let mut names = DistinguishedName::new();
    names.push(DnType::CommonName, name);
    names
}

fn serial() -> SerialNumber {
    SerialNumber::from_slice(Uuid::now_v7().as_bytes())
}

fn not_before(certificate: &[u8]) -> anyhow::Result<SystemTime> {
    let (_, certificate) = X509Certificate::from_der(certificate).context("read an authority")?;
    let seconds = certificate.validity().not_before.timestamp();
    Ok(UNIX_EPOCH + Duration::from_secs(u64::try_from(seconds).context("read an authority's time")?))
}

fn certificate_name(number: u32) -> String {
    format!("{number:04}.pem")
}

fn key_name(number: u32) -> String {
    format!("{number:04}.key")
}

fn cross_name(number: u32) -> String {
    format!("{number:04}.cross.pem")
}

/// Keeps two processes from making authorities at once; made with the folder, for its owner alone.
fn lock(folder: &Path) -> anyhow::Result<File> {
    let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder);
    made.with_context(|| format!("make {}", folder.display()))?;
    let path = folder.join("lock");
    let lock = File::create(&path).with_context(|| format!("make {}", path.display()))?;
    lock.lock().with_context(|| format!("lock {}", path.display()))?;
    Ok(lock)
}

fn read(folder: &Path) -> anyhow::Result<Vec<Authority>> {
    let mut numbers = Vec::new();
    for entry in std::fs::read_dir(folder).with_context(|| format!("read {}", folder.display()))? {
        let name = entry?.file_name();
        numbers.extend(name.to_str().and_then(|name| name.strip_suffix(".pem")?.parse::<u32>().ok()));
    }
    numbers.sort_unstable();
    numbers.into_iter().map(|number| read_one(folder, number)).collect()
}

fn read_one(folder: &Path, number: u32) -> anyhow::Result<Authority> {
    let text = |name: &str| {
        let path = folder.join(name);
        std::fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))
    };
    let certificate = |name: &str| {
        CertificateDer::from_pem_slice(text(name)?.as_bytes()).with_context(|| format!("read {name}: expected PEM"))
    };
    let key = key_name(number);
    let mode = std::fs::metadata(folder.join(&key)).with_context(|| format!("read {key}"))?.permissions().mode();
    anyhow::ensure!(mode & 0o077 == 0, "read {key}: others can read this key, expected mode 0600");
    let pair = KeyPair::from_pem(&text(&key)?).with_context(|| format!("read {key}: expected a PKCS#8 key"))?;
    let own = certificate(&certificate_name(number))?;
    let pem = text(&certificate_name(number))?;
    let issuer = Issuer::from_ca_cert_der(&own, pair).context("read an authority")?;
    let crossed = folder.join(cross_name(number)).exists();
    let cross = crossed.then(|| certificate(&cross_name(number))).transpose()?;
    Ok(Authority { number, certificate: own, pem, issuer, cross })
}

fn write(folder: &Path, name: &str, text: &str, mode: u32) -> anyhow::Result<()> {
    let (made, place) = (folder.join(format!("{name}.new")), folder.join(name));
    let steps = || {
        let mut file = File::options().create(true).truncate(true).write(true).mode(mode).open(&made)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        std::fs::rename(&made, &place)?;
        File::open(folder)?.sync_all()
    };
    steps().with_context(|| format!("write {}", place.display()))
}
