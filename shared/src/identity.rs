//! Who a node is, as its certificate says it; the words of enrolment; and the texts that are signed.
//!
//! The certificate's only subject alternative name is the identity's URN. Keys are ECDSA P-256, signatures are over
//! SHA-256 in ASN.1 DER (FIPS 186-5, RFC 3279). Every signed text begins with what it is, so that a signature given for
//! one purpose serves no other.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::ids::{Digest, Epoch, Lane, Name, Seq};

/// Largest body of an enrolment request or answer, in bytes.
pub const BODY_MAX: usize = 64 * 1024;
/// Longest signature: two 33-byte integers and their ASN.1 frame.
const SIGNATURE_MAX: usize = 80;
const URN: &str = "urn:picket:";
const TOKEN: &str = "picket1";

/// A node, bound to its site and tenant.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Identity {
    /// Whose events these are.
    pub tenant: Name,
    /// Site.
    pub site: Name,
    /// Node.
    pub node: Name,
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{URN}{}:{}:{}", self.tenant, self.site, self.node)
    }
}

impl FromStr for Identity {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("expected {URN}TENANT:SITE:NODE, found {text:?}");
        let mut names = text.strip_prefix(URN).ok_or_else(wrong)?.split(':').map(|name| name.parse::<Name>());
        match (names.next(), names.next(), names.next(), names.next()) {
            (Some(Ok(tenant)), Some(Ok(site)), Some(Ok(node)), None) => Ok(Self { tenant, site, node }),
            _ => Err(wrong()),
        }
    }
}

/// What an operator carries to a box: good once, for one node. It names the relay's authority by the SHA-256 of its
/// certificate, so that the box knows whom it gives the secret to.
#[derive(Clone, PartialEq, Eq)]
pub struct Token {
    /// 128 random bits and more.
    pub secret: Digest,
    /// SHA-256 of the authority's certificate (DER).
    pub authority: Digest,
}

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{TOKEN}.{}.{}", self.secret, self.authority)
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{TOKEN}.(secret).{}", self.authority)
    }
}

impl FromStr for Token {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        // The text is secret: the error must not repeat it.
        let wrong = || format!("expected a token as `cloud-relay token create` prints it, {TOKEN}.….…");
        let mut parts = text.trim().split('.');
        let (head, secret, authority) = (parts.next(), parts.next(), parts.next());
        let digest = |part: Option<&str>| part.and_then(|part| part.parse().ok()).ok_or_else(wrong);
        if head != Some(TOKEN) || parts.next().is_some() {
            return Err(wrong());
        }
        Ok(Self { secret: digest(secret)?, authority: digest(authority)? })
    }
}

/// A signature; hexadecimal in JSON.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Signature(pub Vec<u8>);

impl From<Signature> for String {
    fn from(signature: Signature) -> Self {
        signature.0.iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

impl TryFrom<String> for Signature {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        let wrong = || "expected a signature in hexadecimal".to_owned();
        if text.len() > SIGNATURE_MAX * 2 || !text.len().is_multiple_of(2) || !text.is_ascii() {
            return Err(wrong());
        }
        let byte = |at: usize| u8::from_str_radix(text.get(at..at + 2)?, 16).ok();
        (0..text.len()).step_by(2).map(byte).collect::<Option<_>>().map(Self).ok_or_else(wrong)
    }
}

/// `POST /v1/enrol`, without a certificate: a token and a certificate signing request (PEM). Repeated with the same key
/// it is answered again.
#[derive(Debug, Serialize, Deserialize)]
pub struct EnrolRequest {
    /// The token's secret.
    pub secret: String,
    /// The node that the box believes to be.
    pub node: Name,
    /// Of the new key; only its public key is used.
    pub csr: String,
}

/// `POST /v1/nodes/{node}/certificate`, with the certificate that is to be followed.
#[derive(Debug, Serialize, Deserialize)]
pub struct RenewRequest {
    /// Of the new key.
    pub csr: String,
}

/// `POST /v1/reapply`, without a certificate: the old one has expired. Waits for an operator's approval.
#[derive(Debug, Serialize, Deserialize)]
pub struct ReapplyRequest {
    /// Of the new key.
    pub csr: String,
    /// The expired certificate (PEM).
    pub certificate: String,
    /// [`renewal_statement`] signed with its key.
    pub proof: Signature,
}

/// The answer to each of them.
#[derive(Debug, Serialize, Deserialize)]
pub struct Enrolled {
    /// The node's certificate (PEM).
    pub certificate: String,
    /// The authorities to trust from now on (PEM, one or more).
    pub trust: String,
    /// When to ask for the next one, UTC microseconds.
    pub renew_after_us: i64,
}

/// `GET /v1/time?nonce=…`: the relay's clock, signed by each of its authorities.
#[derive(Debug, Serialize, Deserialize)]
pub struct TimeAnswer {
    /// UTC, microseconds.
    pub utc_us: i64,
    /// [`time_statement`], once for each authority.
    pub signatures: Vec<Signature>,
}

/// What an authority signs to tell the time.
pub fn time_statement(nonce: &str, utc_us: i64) -> Vec<u8> {
    format!("picket time v1\n{nonce}\n{utc_us}").into_bytes()
}

/// What the old key signs to be followed by the new one.
pub fn renewal_statement(csr: &str) -> Vec<u8> {
    format!("picket renewal v1\n{csr}").into_bytes()
}

/// What a node signs of a lane's head: everything up to this place is as I wrote it.
pub fn head_statement(node: &Name, lane: Lane, epoch: Epoch, seq: Seq, chain: Digest) -> Vec<u8> {
    format!("picket head v1\n{node}\n{lane}\n{epoch}\n{seq}\n{chain}").into_bytes()
}
