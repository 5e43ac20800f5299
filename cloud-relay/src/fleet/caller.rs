//! Who calls: every request of a node passes here, and its tenant, site and node are taken from the certificate alone.

use std::time::{Duration, UNIX_EPOCH};

use axum::extract::{ConnectInfo, Path, Request, State};
use axum::http::StatusCode;
use axum::middleware::Next;
use axum::response::Response;
use serde::Deserialize;
use shared::identity::Identity;
use shared::ids::Name;
use tracing::{error, warn};
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};

use super::Fleet;
use super::listener::Peer;
use super::register::Shown;
use crate::clock;
use crate::problem::problem;

/// The node that a request comes from.
#[derive(Debug, Clone)]
pub struct Caller {
    /// Whose events these are; never taken from the payload.
    pub identity: Identity,
    /// Its certificate, whose key its lane heads are signed with; `None` over plain loopback.
    pub certificate: Option<Shown>,
}

/// What a node is told whose certificate no longer counts.
pub const REVOKED: &str = "the certificate is revoked";

/// What a certificate says of its holder.
///
/// # Errors
/// What is missing in it.
pub fn shown(certificate: &X509Certificate<'_>) -> Result<Shown, String> {
    let names = certificate.subject_alternative_name().map_err(|error| error.to_string())?;
    let names = names.map(|names| names.value.general_names.as_slice()).unwrap_or_default();
    let [GeneralName::URI(urn)] = names else { return Err("the certificate does not name one node".into()) };
    let seconds = u64::try_from(certificate.validity().not_after.timestamp()).unwrap_or(0);
    Ok(Shown {
        identity: urn.parse()?,
        serial: certificate.serial.to_bytes_be(),
        public_key: certificate.public_key().subject_public_key.data.to_vec(),
        not_after: UNIX_EPOCH + Duration::from_secs(seconds),
    })
}

/// The node that a route's address names.
#[derive(Debug, Deserialize)]
pub struct Addressed {
    node: String,
}

/// Lets a request of an enrolled node through.
pub async fn identify(
    State(fleet): State<Fleet>,
    ConnectInfo(peer): ConnectInfo<Peer>,
    Path(Addressed { node }): Path<Addressed>,
    mut request: Request,
    next: Next,
) -> Response {
    let Some(certificate) = peer.0 else {
        return problem(StatusCode::UNAUTHORIZED, "a node's certificate is needed: enrol first".into());
    };
    let authorities = fleet.authorities.borrow().clone();
    let parsed = X509Certificate::from_der(&certificate).map_err(|error| error.to_string());
    let shown = match parsed.and_then(|(_, certificate)| Ok((shown(&certificate)?, authorities.signed(&certificate)))) {
        Ok((shown, true)) => shown,
        // The connection is older than the end of that authority.
        Ok((_, false)) => return problem(StatusCode::FORBIDDEN, "the certificate's authority is retired".into()),
        Err(detail) => return problem(StatusCode::FORBIDDEN, detail),
    };
    if node != shown.identity.node.as_str() {
        warn!(identity = %shown.identity, node, "certificate is of another node");
        return problem(StatusCode::FORBIDDEN, format!("the certificate is of node {}", shown.identity.node));
    }
    // The handshake looked at the time, but a connection may last.
    if shown.not_after <= clock::now() {
        return problem(StatusCode::FORBIDDEN, "the certificate has expired".into());
    }
    match fleet.register.is_good(&shown).await {
        Ok(true) => {}
        Ok(false) => {
            warn!(identity = %shown.identity, "certificate is revoked");
            return problem(StatusCode::FORBIDDEN, REVOKED.into());
        }
        Err(error) => {
            error!("failed to {error:#}");
            return problem(StatusCode::SERVICE_UNAVAILABLE, "the register is not available, send again".into());
        }
    }
    request.extensions_mut().insert(Caller { identity: shown.identity.clone(), certificate: Some(shown) });
    next.run(request).await
}

/// Tenant and site of every request over plain loopback.
#[derive(Debug, Clone)]
pub struct Place {
    /// Tenant.
    pub tenant: Name,
    /// Site.
    pub site: Name,
}

/// Takes the address's word for the node: plain HTTP on loopback, for development and tests.
pub async fn believe(
    State(place): State<Place>,
    Path(Addressed { node }): Path<Addressed>,
    mut request: Request,
    next: Next,
) -> Response {
    let Ok(node) = node.parse::<Name>() else {
        return problem(StatusCode::BAD_REQUEST, format!("{node:?} is not a node name"));
    };
    let Place { tenant, site } = place;
    request.extensions_mut().insert(Caller { identity: Identity { tenant, site, node }, certificate: None });
    next.run(request).await
}
