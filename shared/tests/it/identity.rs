//! Identities, tokens and signatures as text: what is written is read back, anything else is refused.

use shared::identity::{Identity, Signature, Token};

#[track_caller]
fn refused<T: std::str::FromStr<Err = String>>(text: &str, word: &str) {
    let Err(error) = text.parse::<T>() else { panic!("{text:?} was accepted") };
    assert!(error.contains(word), "{error}");
}

#[test]
fn an_identity_is_read_as_it_was_written_and_nothing_else_is() {
    let identity: Identity = "urn:picket:acme:yard:gate-1".parse().unwrap();
    assert_eq!(identity.to_string(), "urn:picket:acme:yard:gate-1");
    for wrong in
        ["", "acme:yard:gate-1", "urn:picket:acme:yard", "urn:picket:acme:yard:gate-1:x", "urn:picket:acme::gate-1"]
    {
        refused::<Identity>(wrong, "urn:picket:TENANT:SITE:NODE");
    }
}

#[test]
fn a_token_is_read_as_it_was_written_and_never_shown_in_an_error() {
    let (secret, authority) = ("ab".repeat(32), "cd".repeat(32));
    let text = format!("picket1.{secret}.{authority}");
    let token: Token = text.parse().unwrap();
    assert_eq!(token.to_string(), text);
    assert!(!format!("{token:?}").contains(&secret));
    for wrong in ["", "picket1", &text[1..], &format!("{text}.x"), &format!("picket1.{secret}.short")] {
        refused::<Token>(wrong, "cloud-relay token create");
        assert!(!wrong.parse::<Token>().unwrap_err().contains(&secret));
    }
}

#[test]
fn a_signature_is_hexadecimal_and_short() {
    let read = |text: &str| serde_json::from_value::<Signature>(text.into());
    assert_eq!(read("00ff").unwrap().0, [0, 255]);
    assert_eq!(serde_json::to_value(Signature(vec![0, 255])).unwrap(), "00ff");
    for wrong in ["0", "0g", "é0é0", &"00".repeat(81)] {
        assert!(read(wrong).is_err(), "{wrong}");
    }
}
