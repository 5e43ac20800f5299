//! Nodes and their certificates, on the real binaries: who is let in, who is not, and what a box does about it.

use std::time::Duration;

use hil::servers::Addresses;
use hil::site::{Plan, Ports, Site};
use hil::wait::eventually;
use hil::witness;
use serde_json::json;

const LONG: Duration = Duration::from_secs(30);

async fn site(name: &str, fleet: &str) -> Site {
    let place = Addresses::find().unwrap().place(name).await.unwrap();
    let plan = Plan { fleet: fleet.into(), ..Plan::default() };
    let mut site = Site::prepare(place, Ports::free().unwrap(), &plan, None).unwrap();
    site.start_relay().unwrap();
    site
}

/// Posts a reading to the node and waits until it is central.
async fn goes_through(site: &Site, value: u64) {
    site.read(value).await.unwrap();
    eventually("the reading to be central", LONG, async || stored(site, value).await).await.unwrap();
}

async fn stored(site: &Site, value: u64) -> Result<(), String> {
    let db = witness::sql(&site.place.postgres).await.map_err(|error| format!("{error:#}"))?;
    let sql = "SELECT count(*) FROM event_store WHERE event_type = 'sensor.reading' AND payload->>'value' = $1
        AND tenant = 'acme' AND site = 'yard' AND node = 'gate-1'";
    let count: i64 = db.query_one(sql, &[&format!("{value}.0")]).await.map_err(|error| error.to_string())?.get(0);
    if count == 1 { Ok(()) } else { Err(format!("{count} rows")) }
}

async fn says(site: &Site, words: &str) {
    let look = async || {
        let said = site.node.as_ref().unwrap().output();
        if said.contains(words) { Ok(()) } else { Err(said) }
    };
    eventually(words, LONG, look).await.unwrap();
}

#[track_caller]
fn refused(done: anyhow::Result<String>, words: &str) {
    let Err(error) = done else { panic!("it was accepted, expected: {words}") };
    let said = format!("{error:#}");
    assert!(said.contains(words), "expected {words:?} in: {said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_enrols_one_box_as_one_node_and_no_other() {
    let mut site = site("enrol", "").await;
    site.start_node().unwrap();
    goes_through(&site, 1).await;
    let proved = site.operate(&["verify", "--node", "gate-1"]).unwrap();
    assert!(proved.contains("signed by the node up to"), "{proved}");
    // What the answer to a request that came twice would be: a second box with the same token.
    let token = site.token().unwrap();
    site.enrol(&token).unwrap();
    refused(site.enrol(&token), "expired, used by another box");
    refused(site.enrol(&token.replace("picket1.", "picket1.00")), "as `cloud-relay token create` prints it");
    let (head, authority) = token.rsplit_once('.').unwrap();
    refused(site.enrol(&format!("{head}.{}", "ab".repeat(32))), "not the one that made the token");
    refused(site.enrol(&format!("picket1.{}.{authority}", "ab".repeat(32))), "the token is unknown");
    let other = site.operate(&["token", "create", "--node", "gate-2"]).unwrap();
    refused(site.enrol(other.trim()), "for another node");
    let expired = site.operate(&["token", "create", "--node", "gate-1", "--valid", "0ms"]).unwrap();
    refused(site.enrol(expired.trim()), "expired");
    // The node picks up the certificate of the second enrolment by itself; the first one was revoked by it.
    goes_through(&site, 2).await;
    let db = witness::sql(&site.place.postgres).await.unwrap();
    db.execute("UPDATE head_log SET chain = decode(repeat('00', 32), 'hex') WHERE lane = 'telemetry'", &[])
        .await
        .unwrap();
    refused(site.operate(&["verify", "--node", "gate-1"]), "cannot be proved");
    // Nothing of the secret is in any log or table.
    let secret = token.split('.').nth(1).unwrap();
    let db = witness::sql(&site.place.postgres).await.unwrap();
    let sql = "SELECT tablename FROM pg_tables WHERE schemaname = 'public'";
    let tables = db.query(sql, &[]).await.unwrap();
    assert!(tables.iter().any(|table| table.get::<_, &str>(0) == "enrol_token"));
    for table in tables {
        let table: &str = table.get(0);
        let sql = format!("SELECT count(*) FROM {table} t WHERE t::text LIKE '%' || $1 || '%'");
        assert_eq!(db.query_one(&sql, &[&secret]).await.unwrap().get::<_, i64>(0), 0, "{table}");
    }
    let logs = [site.relay.as_ref().unwrap().output(), site.node.as_ref().unwrap().output()].concat();
    assert!(!logs.contains(secret));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_is_good_for_its_own_node_alone_and_none_is_good_for_nothing() {
    let site = site("caller", "").await;
    let url = |path: &str| format!("https://127.0.0.1:{}{path}", site.ports.fleet);
    let node = hil::http::as_node(&site.data(), LONG).unwrap();
    let status = |answer: reqwest::Response| answer.status().as_u16();
    assert_eq!(status(node.get(url("/v1/nodes/gate-1/cursor")).send().await.unwrap()), 200);
    assert_eq!(status(node.get(url("/v1/nodes/gate-2/cursor")).send().await.unwrap()), 403);
    assert_eq!(status(node.post(url("/v1/nodes/gate-2/batches")).body("x").send().await.unwrap()), 403);
    let trust = site.data().join("identity/trust.pem");
    let anonymous = hil::http::trusting(&trust, LONG).unwrap();
    assert_eq!(status(anonymous.get(url("/v1/nodes/gate-1/cursor")).send().await.unwrap()), 401);
    assert_eq!(status(anonymous.post(url("/v1/nodes/gate-1/batches")).body("x").send().await.unwrap()), 401);
    // The read API has no route for nodes, and nodes no route to the read API.
    let plain = hil::http::client(LONG).unwrap();
    let on_read_api = format!("http://127.0.0.1:{}/v1/nodes/gate-1/cursor", site.ports.relay);
    assert_eq!(status(plain.get(on_read_api).send().await.unwrap()), 404);
    assert_eq!(status(node.get(url("/api/v1/events")).send().await.unwrap()), 404);
    // Bad bodies are refused with a reason.
    for (expected, path, body) in [
        (400, "/v1/enrol", "{".to_owned()),
        (400, "/v1/enrol", json!({ "secret": "x", "node": "gate-1", "csr": "no request" }).to_string()),
        (413, "/v1/enrol", "x".repeat(100_000)),
        (403, "/v1/reapply", json!({ "csr": "", "certificate": "", "proof": "00" }).to_string()),
        (405, "/v1/time", String::new()),
    ] {
        let answer = anonymous.post(url(path)).header("content-type", "application/json").body(body).send().await;
        assert_eq!(status(answer.unwrap()), expected, "{path}");
    }
    let long = url(&format!("/v1/time?nonce={}", "n".repeat(200)));
    assert_eq!(status(anonymous.get(long).send().await.unwrap()), 400);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_node_is_kept_out_and_keeps_its_events_until_it_is_enrolled_again() {
    let mut site = site("revoke", "").await;
    site.start_node().unwrap();
    goes_through(&site, 1).await;
    let said = site.operate(&["node", "revoke", "--node", "gate-1", "--by", "ann"]).unwrap();
    assert!(said.contains("1 certificates"), "{said}");
    site.read(2).await.unwrap();
    says(&site, "the certificate is revoked").await;
    assert!(stored(&site, 2).await.is_err());
    site.enrol(&site.token().unwrap()).unwrap();
    eventually("the reading to be central", LONG, async || stored(&site, 2).await).await.unwrap();
    // Postgres, restored, knows nothing of the node: it is let in, until it is revoked again.
    let db = witness::sql(&site.place.postgres).await.unwrap();
    db.execute("DELETE FROM node_certificate", &[]).await.unwrap();
    db.execute("DELETE FROM node_revocation", &[]).await.unwrap();
    goes_through(&site, 3).await;
    site.node.take().unwrap().stop(LONG).unwrap();
    db.execute("DELETE FROM node_certificate", &[]).await.unwrap();
    db.execute("DELETE FROM enrol_token", &[]).await.unwrap();
    let said = site.operate(&["node", "revoke", "--node", "gate-1", "--by", "ann"]).unwrap();
    assert!(said.contains("nothing of gate-1 is known here"), "{said}");
    let node = hil::http::as_node(&site.data(), LONG).unwrap();
    let cursor = format!("https://127.0.0.1:{}/v1/nodes/gate-1/cursor", site.ports.fleet);
    assert_eq!(node.get(cursor).send().await.unwrap().status(), 403);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_is_renewed_in_time_and_the_node_goes_on() {
    let mut site = site("renew", "certificate_life = \"6s\"\n").await;
    site.start_node().unwrap();
    goes_through(&site, 1).await;
    says(&site, "certificate is renewed").await;
    goes_through(&site, 2).await;
    let db = witness::sql(&site.place.postgres).await.unwrap();
    let sql = "SELECT count(DISTINCT public_key) FROM node_certificate WHERE why IN ('token', 'renewal')";
    let keys: i64 = db.query_one(sql, &[]).await.unwrap().get(0);
    assert!(keys >= 2, "each certificate has a key of its own: {keys}");
}

#[tokio::test(flavor = "multi_thread")]
async fn after_expiry_an_operator_lets_the_node_in_again() {
    let mut site = site("expired", "certificate_life = \"1s\"\n").await;
    let until = async || {
        let db = witness::sql(&site.place.postgres).await.map_err(|error| format!("{error:#}"))?;
        let sql = "SELECT count(*) FROM node_certificate WHERE not_after < now()";
        let gone: i64 = db.query_one(sql, &[]).await.map_err(|error| error.to_string())?.get(0);
        if gone == 1 { Ok(()) } else { Err("it is good".into()) }
    };
    eventually("the certificate to expire", LONG, until).await.unwrap();
    refused(site.operate(&["node", "approve", "--node", "gate-1", "--by", "ann"]), "it has not asked");
    // From now on certificates last; the relay reads its configuration at the start.
    site.relay.take().unwrap().stop(LONG).unwrap();
    let config = site.folder().join("relay.toml");
    let text = std::fs::read_to_string(&config).unwrap().replace("\"1s\"", "\"1h\"");
    std::fs::write(&config, text).unwrap();
    site.start_relay().unwrap();
    site.start_node().unwrap();
    says(&site, "waits for an operator's approval").await;
    let listed = site.operate(&["node", "list"]).unwrap();
    assert!(listed.contains("expired: gate-1 asks for a certificate"), "{listed}");
    // Somebody else with a copy of the old key asks, too: then the operator must say which.
    let db = witness::sql(&site.place.postgres).await.unwrap();
    let copy = "INSERT INTO renewal_request(tenant, site, node, public_key, old_serial)
        SELECT tenant, site, node, decode('04', 'hex'), old_serial FROM renewal_request";
    db.execute(copy, &[]).await.unwrap();
    refused(site.operate(&["node", "approve", "--node", "gate-1", "--by", "ann"]), "2 keys fit");
    let said = site.node.as_ref().unwrap().output();
    let (_, key) = said.split_once("approval at the relay, key ").unwrap();
    let key: String = key.chars().take_while(char::is_ascii_hexdigit).collect();
    let approved = site.operate(&["node", "approve", "--node", "gate-1", "--by", "ann", "--key", &key]).unwrap();
    assert!(approved.contains("approved: gate-1"), "{approved}");
    // A start asks at once; a node that runs asks every minute.
    site.node.take().unwrap().stop(LONG).unwrap();
    site.start_node().unwrap();
    goes_through(&site, 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn authorities_change_while_a_node_is_away_and_the_old_one_can_be_retired() {
    let mut site = site("rotate", "").await;
    site.start_node().unwrap();
    goes_through(&site, 1).await;
    site.node.take().unwrap().stop(LONG).unwrap();
    for _ in 0..2 {
        site.operate(&["authority", "rotate"]).unwrap();
    }
    // The running relay shows them by itself.
    let shown = async || {
        let said = site.relay.as_ref().unwrap().output();
        if said.contains("authorities and the relay's certificate are up to date") { Ok(()) } else { Err(said) }
    };
    eventually("the relay to show the new authority", LONG, shown).await.unwrap();
    // The node knows the first one alone.
    site.start_node().unwrap();
    goes_through(&site, 2).await;
    refused(site.operate(&["authority", "retire", "--number", "3"]), "it is the one that signs");
    refused(site.operate(&["authority", "retire", "--number", "9"]), "there is none");
    refused(site.operate(&["authority", "retire", "--number", "2"]), "the oldest goes first");
    // A connection with a certificate of the first one, opened before that is retired.
    let old = hil::http::as_node(&site.data(), LONG).unwrap();
    let cursor = format!("https://127.0.0.1:{}/v1/nodes/gate-1/cursor", site.ports.fleet);
    assert_eq!(old.get(&cursor).send().await.unwrap().status(), 200);
    // Enrolled anew the node knows all three, and the first two can go.
    site.enrol(&site.token().unwrap()).unwrap();
    let db = witness::sql(&site.place.postgres).await.unwrap();
    db.execute("UPDATE node_certificate SET revoked_at = NULL", &[]).await.unwrap();
    for number in ["1", "2"] {
        site.operate(&["authority", "retire", "--number", number]).unwrap();
    }
    let out = async || {
        let answer = old.get(&cursor).send().await.map_err(|error| error.to_string())?;
        let said = answer.text().await.map_err(|error| error.to_string())?;
        if said.contains("the certificate's authority is retired") { Ok(()) } else { Err(said) }
    };
    eventually("the open connection to be refused", LONG, out).await.unwrap();
    goes_through(&site, 3).await;
    // A lost folder is not made anew in silence.
    site.relay.take().unwrap().stop(LONG).unwrap();
    std::fs::rename(site.folder().join("authority"), site.folder().join("lost")).unwrap();
    refused(site.operate(&["token", "create", "--node", "gate-1"]), "no authority is in it");
    refused(site.start_relay().map(|()| String::new()), "no authority is in it");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_token_of_a_box_that_was_replaced_is_used_up_and_so_is_its_certificate() {
    let site = site("replaced", "").await;
    // The box that start_relay enrolled is replaced: same configuration, another data folder.
    let first = site.folder().join("data-of-the-first-box");
    let token = site.token().unwrap();
    site.enrol(&token).unwrap();
    std::fs::rename(site.data(), &first).unwrap();
    site.enrol(&site.token().unwrap()).unwrap();
    let cursor = format!("https://127.0.0.1:{}/v1/nodes/gate-1/cursor", site.ports.fleet);
    let status = async |data: &std::path::Path| {
        hil::http::as_node(data, LONG).unwrap().get(&cursor).send().await.unwrap().status().as_u16()
    };
    assert_eq!((status(&first).await, status(&site.data()).await), (403, 200));
    // The first box comes back as if the answer to its enrolment had been lost: with the token and the key that it used.
    let own = std::fs::read_to_string(first.join("identity/node.pem")).unwrap();
    let (begin, end) = (own.find("-----BEGIN PRIVATE").unwrap(), own.find("-----BEGIN CERT").unwrap());
    std::fs::write(first.join("identity/next.key"), &own[begin..end]).unwrap();
    std::fs::rename(first.join("identity/node.pem"), first.join("identity/replaced.pem")).unwrap();
    let second = site.folder().join("data-of-the-second-box");
    std::fs::rename(site.data(), &second).unwrap();
    std::fs::rename(&first, site.data()).unwrap();
    refused(site.enrol(&token), "expired, used by another box");
    assert_eq!(status(&second).await, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_began_before_the_revocation_is_refused_at_its_end() {
    let site = site("overtaken", "").await;
    let node = hil::http::as_node(&site.data(), LONG).unwrap();
    let (mut sender, body) = http_body_util::channel::Channel::<bytes::Bytes, std::io::Error>::new(1);
    let url = format!("https://127.0.0.1:{}/v1/nodes/gate-1/certificate", site.ports.fleet);
    let request = node.post(url).header("content-type", "application/json").body(reqwest::Body::wrap(body));
    let answer = tokio::spawn(request.send());
    let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
    let csr = rcgen::CertificateParams::default().serialize_request(&key).unwrap().pem().unwrap();
    let text = json!({ "csr": csr }).to_string();
    let (head, tail) = text.split_at(20);
    sender.send_data(head.to_owned().into()).await.unwrap();
    // The second chunk is taken once the first is on its way, and with it the request's head.
    sender.send_data("".into()).await.unwrap();
    site.operate(&["node", "revoke", "--node", "gate-1", "--by", "ann"]).unwrap();
    sender.send_data(tail.to_owned().into()).await.unwrap();
    drop(sender);
    let answer = answer.await.unwrap().unwrap();
    assert_eq!((answer.status().as_u16(), answer.text().await.unwrap().contains("revoked")), (403, true));
    let db = witness::sql(&site.place.postgres).await.unwrap();
    let sql = "SELECT count(*) FROM node_certificate WHERE why = 'renewal'";
    assert_eq!(db.query_one(sql, &[]).await.unwrap().get::<_, i64>(0), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn strangers_that_say_nothing_keep_no_node_out() {
    let mut site = site("strangers", "").await;
    let mut silent = Vec::new();
    // More than there are handshakes at a time, fewer than the kernel keeps besides.
    for _ in 0..300 {
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.2:0".parse().unwrap()).unwrap();
        silent.push(socket.connect(([127, 0, 0, 1], site.ports.fleet).into()).await.unwrap());
    }
    let begun = hil::wait::now();
    site.start_node().unwrap();
    goes_through(&site, 1).await;
    // Sooner than the handshakes' own limit.
    assert!(begun.elapsed() < Duration::from_secs(8), "{:?}", begun.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn one_certificate_takes_few_connections_and_gives_them_back() {
    let site = site("crowd", "").await;
    let cursor = format!("https://127.0.0.1:{}/v1/nodes/gate-1/cursor", site.ports.fleet);
    let another = || hil::http::as_node(&site.data(), LONG).unwrap();
    let mut open = Vec::new();
    for _ in 0..8 {
        let client = another();
        assert_eq!(client.get(&cursor).send().await.unwrap().status(), 200);
        open.push(client);
    }
    assert!(another().get(&cursor).send().await.is_err(), "the ninth is closed");
    assert_eq!(open[0].get(&cursor).send().await.unwrap().status(), 200, "those before it go on");
    drop(open);
    let again = async || another().get(&cursor).send().await.map(drop).map_err(|error| error.to_string());
    eventually("a place to be free", LONG, again).await.unwrap();
}
