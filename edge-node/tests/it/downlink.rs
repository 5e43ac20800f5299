//! Which messages a node honours: only those that an authority it trusts has signed, for it, in time, of a known kind.

use edge_node::uplink::downlink::{Judged, judge};
use edge_node::uplink::identity::{Files, Held};
use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, IsCa, Issuer, KeyPair, SanType, SigningKey,
};
use shared::downlink::{Content, Message};
use shared::identity::{Enrolled, Identity, Signature};
use shared::units::UtcMicros;
use tempfile::TempDir;

const NOW: UtcMicros = UtcMicros(1_000_000);

struct Authority {
    pem: String,
    issuer: Issuer<'static, KeyPair>,
}

fn authority() -> Authority {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let own = params.self_signed(&key).unwrap();
    Authority { pem: own.pem(), issuer: Issuer::from_ca_cert_der(own.der(), key).unwrap() }
}

/// A node enrolled with an authority.
fn held(folder: &TempDir, authority: &Authority) -> Held {
    let files = Files::of(folder.path());
    let node = "gate-1".parse().unwrap();
    let asked = files.ask(&node).unwrap();
    let mut request = CertificateSigningRequestParams::from_pem(&asked.csr).unwrap();
    let urn = identity("gate-1").to_string();
    request.params.subject_alt_names = vec![SanType::URI(urn.try_into().unwrap())];
    let certificate = request.signed_by(&authority.issuer).unwrap().pem();
    files.keep(&node, &asked, &Enrolled { certificate, trust: authority.pem.clone(), renew_after_us: 0 }).unwrap()
}

fn identity(node: &str) -> Identity {
    Identity { tenant: "acme".parse().unwrap(), site: "yard".parse().unwrap(), node: node.parse().unwrap() }
}

fn signed(by: &Authority, to: &str, content: &str, expires_us: i64) -> Message {
    let mut message = Message { seq: 5, expires_us, content: content.into(), signatures: Vec::new() };
    let signature = by.issuer.key().sign(&message.statement(&identity(to))).unwrap();
    message.signatures = vec![Signature(vec![0; 70]), Signature(signature)];
    message
}

#[test]
fn only_what_a_trusted_authority_has_signed_for_this_node_in_time_is_honoured() {
    let (folder, ours, other) = (TempDir::new().unwrap(), authority(), authority());
    let held = held(&folder, &ours);
    let press = r#"{"kind":"estop.press","by":"ann"}"#;
    let good = signed(&ours, "gate-1", press, 2_000_000);
    assert_eq!(judge(&good, &held, NOW), Judged::Good(Content::PressEstop { by: "ann".into() }));
    assert_eq!(judge(&good, &held, UtcMicros(2_000_000)), Judged::Expired);
    assert_eq!(judge(&signed(&other, "gate-1", press, 2_000_000), &held, NOW), Judged::Unsigned);
    assert_eq!(judge(&signed(&ours, "gate-2", press, 2_000_000), &held, NOW), Judged::Unsigned);
    for changed in [
        Message { seq: 6, ..good.clone() },
        Message { expires_us: 3_000_000, ..good.clone() },
        Message { content: press.replace("ann", "eve"), ..good.clone() },
        Message { signatures: Vec::new(), ..good.clone() },
    ] {
        assert_eq!(judge(&changed, &held, NOW), Judged::Unsigned, "{changed:?}");
    }
    for content in [r#"{"kind":"estop.reset","by":"ann"}"#, r#"{"kind":"estop.press"}"#, "", "[", r#"{"by":"ann"}"#] {
        let unknown = signed(&ours, "gate-1", content, 2_000_000);
        assert_eq!(judge(&unknown, &held, NOW), Judged::Unknown, "{content}");
    }
    assert_eq!(signed(&ours, "gate-1", r#"{"kind":"estop.reset"}"#, 0).kind(), "estop.reset");
}
