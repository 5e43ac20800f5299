//! Nodes and their certificates: enrolment by token, renewal before and after expiry, revocation, and the relay's own
//! authorities. `authority` holds the keys, `register` what Postgres knows, `listener` the TLS side, `caller` who a
//! request comes from; this file is the HTTP side.

pub mod authority;
pub mod register;
pub mod listener;
pub mod caller;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use axum::extract::{DefaultBodyLimit, Extension, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router, middleware};
use ring::signature::{ECDSA_P256_SHA256_ASN1, UnparsedPublicKey};
use rustls::ServerConfig;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use serde::Deserialize;
use shared::identity::{BODY_MAX, EnrolRequest, Enrolled, ReapplyRequest, RenewRequest, Signature, renewal_statement};
use tokio::sync::{Semaphore, watch};
use tracing::{error, info, warn};
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::clock;
use crate::config::FleetConfig;
use crate::problem::problem;
use authority::{Authorities, Issued, OWN_LIFE, fingerprint, public_key};
use caller::{Caller, shown};
use register::{Application, Register, signer};

/// How often the folder of authorities is looked at: a rotation takes effect within this time.
const LOOK: Duration = Duration::from_secs(10);
/// See [`Fleet::strangers`].
pub const STRANGERS: usize = 2;
const CLOSED: &str = "the relay ends, ask again";
/// Longest nonce that is signed.
const NONCE_MAX: usize = 128;

/// What the handlers need.
#[derive(Clone)]
pub struct Fleet {
    /// Tokens and certificates.
    pub register: Register,
    /// The authorities as they are now.
    pub authorities: watch::Receiver<Arc<Authorities>>,
    /// How long a node's certificate lives.
    pub certificate_life: Duration,
    /// How many requests without a certificate may hold a connection to Postgres: nodes come first.
    pub strangers: Arc<Semaphore>,
}

/// The routes of enrolment. `with_certificate` are routes for enrolled nodes alone, each with the parameter `node`.
pub fn router(fleet: Fleet, with_certificate: Router) -> Router {
    let renewal = Router::new().route("/v1/nodes/{node}/certificate", post(renew)).with_state(fleet.clone());
    let known = renewal
        .layer(DefaultBodyLimit::max(BODY_MAX))
        .merge(with_certificate)
        .route_layer(middleware::from_fn_with_state(fleet.clone(), caller::identify));
    Router::new()
        .route("/v1/enrol", post(enrol))
        .route("/v1/reapply", post(reapply))
        .route("/v1/time", get(time))
        .layer(DefaultBodyLimit::max(BODY_MAX))
        .with_state(fleet)
        .merge(known)
}

/// Whether a signature is this key's.
pub fn verifies(public_key: &[u8], statement: &[u8], signature: &[u8]) -> bool {
    UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, public_key).verify(statement, signature).is_ok()
}

fn enrolled(fleet: &Fleet, issued: Issued) -> Response {
    let trust = fleet.authorities.borrow().trust();
    // Two thirds of its life: time enough for a long outage.
    let life = i64::try_from(fleet.certificate_life.as_micros()).unwrap_or(i64::MAX);
    let renew_after_us = clock::utc_us().saturating_add(life / 3 * 2);
    Json(Enrolled { certificate: issued.certificate, trust, renew_after_us }).into_response()
}

fn unavailable(error: &anyhow::Error) -> Response {
    error!("failed to {error:#}");
    problem(StatusCode::SERVICE_UNAVAILABLE, "the register is not available, ask again".into())
}

async fn enrol(State(fleet): State<Fleet>, Json(asked): Json<EnrolRequest>) -> Response {
    let key = match public_key(&asked.csr) {
        Ok(key) => key,
        Err(error) => return problem(StatusCode::BAD_REQUEST, format!("{error:#}")),
    };
    let Ok(_turn) = fleet.strangers.acquire().await else {
        return problem(StatusCode::SERVICE_UNAVAILABLE, CLOSED.into());
    };
    let authorities = fleet.authorities.borrow().clone();
    let hash = fingerprint(asked.secret.as_bytes());
    let sign = signer(&authorities, &asked.csr, clock::now(), fleet.certificate_life);
    match fleet.register.redeem((&hash.0, &asked.node, &key), sign).await {
        Ok(Some((identity, issued))) => {
            info!(%identity, "node is enrolled");
            enrolled(&fleet, issued)
        }
        Ok(None) => {
            warn!(node = %asked.node, "token is refused");
            let detail = "the token is unknown, expired, used by another box, or for another node";
            problem(StatusCode::FORBIDDEN, detail.into())
        }
        Err(error) => unavailable(&error),
    }
}

async fn renew(
    State(fleet): State<Fleet>,
    Extension(caller): Extension<Caller>,
    Json(asked): Json<RenewRequest>,
) -> Response {
    if let Err(error) = public_key(&asked.csr) {
        return problem(StatusCode::BAD_REQUEST, format!("{error:#}"));
    }
    let Some(certificate) = &caller.certificate else {
        return problem(StatusCode::UNAUTHORIZED, "a node's certificate is needed: enrol first".into());
    };
    let authorities = fleet.authorities.borrow().clone();
    let sign = signer(&authorities, &asked.csr, clock::now(), fleet.certificate_life);
    match fleet.register.renew((&caller.identity, &certificate.serial), sign).await {
        Ok(Some(issued)) => {
            info!(identity = %caller.identity, "certificate is renewed");
            enrolled(&fleet, issued)
        }
        Ok(None) => problem(StatusCode::FORBIDDEN, caller::REVOKED.into()),
        Err(error) => unavailable(&error),
    }
}

/// The old certificate and its key are proof of who asks; that it has expired is why a person must agree.
async fn reapply(State(fleet): State<Fleet>, Json(asked): Json<ReapplyRequest>) -> Response {
    let authorities = fleet.authorities.borrow().clone();
    let proved = || -> anyhow::Result<_> {
        let der = CertificateDer::from_pem_slice(asked.certificate.as_bytes()).context("read the certificate")?;
        let (_, old) = X509Certificate::from_der(&der).context("read the certificate")?;
        anyhow::ensure!(authorities.signed(&old), "check the certificate: no authority of this relay signed it");
        let old = shown(&old).map_err(anyhow::Error::msg)?;
        let Signature(proof) = &asked.proof;
        let proved = verifies(&old.public_key, &renewal_statement(&asked.csr), proof);
        anyhow::ensure!(proved, "check the proof: it is not signed with the certificate's key");
        Ok((old, public_key(&asked.csr)?))
    };
    let (old, key) = match proved() {
        Ok(proved) => proved,
        Err(error) => return problem(StatusCode::FORBIDDEN, format!("{error:#}")),
    };
    let Ok(_turn) = fleet.strangers.acquire().await else {
        return problem(StatusCode::SERVICE_UNAVAILABLE, CLOSED.into());
    };
    let sign = signer(&authorities, &asked.csr, clock::now(), fleet.certificate_life);
    match fleet.register.apply(&old, &key, sign).await {
        Ok(Application::Approved(issued)) => {
            info!(identity = %old.identity, "certificate is renewed after its expiry");
            enrolled(&fleet, issued)
        }
        Ok(Application::Waits) => {
            let key = fingerprint(&key);
            warn!(identity = %old.identity, %key, "certificate has expired: `cloud-relay node approve` renews it");
            let detail = "waits for an operator's approval";
            (StatusCode::ACCEPTED, Json(serde_json::json!({ "detail": detail }))).into_response()
        }
        Ok(Application::Revoked) => problem(StatusCode::FORBIDDEN, caller::REVOKED.into()),
        Ok(Application::TooMany) => {
            problem(StatusCode::TOO_MANY_REQUESTS, "too many boxes ask in this node's name: enrol it anew".into())
        }
        Err(error) => unavailable(&error),
    }
}

#[derive(Debug, Deserialize)]
struct Nonce {
    nonce: String,
}

async fn time(State(fleet): State<Fleet>, Query(Nonce { nonce }): Query<Nonce>) -> Response {
    if nonce.len() > NONCE_MAX {
        return problem(StatusCode::BAD_REQUEST, format!("expected a nonce of at most {NONCE_MAX} characters"));
    }
    match fleet.authorities.borrow().time(&nonce, clock::utc_us()) {
        Ok(answer) => Json(answer).into_response(),
        Err(error) => unavailable(&error),
    }
}

/// The authorities and the TLS side, opened at the start and kept up to date by [`Keeper::run`].
pub struct Keeper {
    folder: PathBuf,
    names: Vec<String>,
    life: Duration,
    authorities: watch::Sender<Arc<Authorities>>,
    tls: watch::Sender<Arc<ServerConfig>>,
}

impl Keeper {
    /// Opens the authorities, making the first one if there is none and `first` says that no node has a certificate yet.
    ///
    /// # Errors
    /// A folder or names that cannot be used.
    pub fn open(config: &FleetConfig, first: bool) -> anyhow::Result<Self> {
        let authorities = Authorities::open(&config.authority, clock::now(), first).context("open the authorities")?;
        let own = authorities.own(&config.names, clock::now(), config.certificate_life)?;
        let tls = watch::Sender::new(Arc::new(listener::server_config(&authorities, own)?));
        let authorities = watch::Sender::new(Arc::new(authorities));
        let (folder, names, life) = (config.authority.clone(), config.names.clone(), config.certificate_life);
        Ok(Self { folder, names, life, authorities, tls })
    }

    /// The authorities, now and later.
    pub fn authorities(&self) -> watch::Receiver<Arc<Authorities>> {
        self.authorities.subscribe()
    }

    /// The TLS configuration, now and later.
    pub fn tls(&self) -> watch::Receiver<Arc<ServerConfig>> {
        self.tls.subscribe()
    }

    /// Follows changes of the folder and renews the relay's own certificate, for ever.
    ///
    /// # Errors
    /// Never; what cannot be read is named and what was there before stays.
    pub async fn run(self) -> anyhow::Result<()> {
        let mut made = clock::since_epoch();
        loop {
            tokio::time::sleep(LOOK).await;
            let due = clock::since_epoch().saturating_sub(made) > OWN_LIFE / 10;
            // Locks and reads files.
            let looked = tokio::task::block_in_place(|| self.look(due));
            match looked {
                Ok(true) => made = clock::since_epoch(),
                Ok(false) => {}
                Err(error) => error!("failed to {error:#}"),
            }
        }
    }

    fn look(&self, due: bool) -> anyhow::Result<bool> {
        let authorities = Authorities::open(&self.folder, clock::now(), false).context("open the authorities again")?;
        if !due && authorities.fingerprints().eq(self.authorities.borrow().fingerprints()) {
            return Ok(false);
        }
        let own = authorities.own(&self.names, clock::now(), self.life)?;
        self.tls.send_replace(Arc::new(listener::server_config(&authorities, own)?));
        self.authorities.send_replace(Arc::new(authorities));
        info!("authorities and the relay's certificate are up to date");
        Ok(true)
    }
}
