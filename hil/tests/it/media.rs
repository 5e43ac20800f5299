//! Pictures and clips from a site to the centre, on the real binaries.

use std::path::PathBuf;
use std::time::Duration;

use hil::servers::Addresses;
use hil::site::{Plan, Ports, Site};
use hil::wait::eventually;
use hil::witness;
use serde_json::Value;
use sim::link::{Link, Weather};
use sim::random::Random;

const LONG: Duration = Duration::from_secs(60);

/// Bytes that do not compress.
fn noise(seed: u64, bytes: usize) -> Vec<u8> {
    let random = Random::new(seed);
    (0..bytes).map(|_| random.draw(256) as u8).collect()
}

async fn post(site: &Site, query: &str, media_type: &str, body: Vec<u8>) -> (u16, Value) {
    let request = hil::http::client(LONG).unwrap().post(format!("{}/api/v1/media{query}", site.console()));
    let answer = request.header("content-type", media_type).body(body).send().await.unwrap();
    (answer.status().as_u16(), answer.json().await.unwrap())
}

/// What the relay serves under a name.
async fn served(site: &Site, hash: &str) -> (u16, Vec<u8>) {
    let url = format!("http://127.0.0.1:{}/api/v1/media/{hash}", site.ports.relay);
    let answer = hil::http::client(LONG).unwrap().get(url).send().await.unwrap();
    (answer.status().as_u16(), answer.bytes().await.unwrap().to_vec())
}

fn partial(site: &Site, hash: &str) -> PathBuf {
    site.folder().join(format!("media/partial/acme.gate-1.{hash}"))
}

async fn until_partial(site: &Site, hash: &str, least: u64) -> u64 {
    let path = partial(site, hash);
    let look = async || {
        let here = std::fs::metadata(&path).map_or(0, |file| file.len());
        if here >= least { Ok(here) } else { Err(format!("{here} bytes")) }
    };
    eventually("a part of it to be at the relay", LONG, look).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clip_reaches_the_centre_whole_and_is_not_begun_again_when_node_or_relay_are() {
    let place = Addresses::find().unwrap().place("media").await.unwrap();
    let ports = Ports::free().unwrap();
    let link = Link::start(ports.fleet, 3).unwrap();
    let mut site = Site::prepare(place, ports, &Plan { media: true, ..Plan::default() }, Some(link.port())).unwrap();
    site.start_relay().unwrap();
    site.start_node().unwrap();
    link.set(Weather::Slow { bytes_per_second: 400_000, delay: Duration::from_millis(5) });
    let clip = noise(1, 3_000_000);
    let (status, answer) = post(&site, "?subject=camera/gate", "video/mp4", clip.clone()).await;
    assert_eq!(status, 201, "{answer}");
    let hash = answer["hash"].as_str().unwrap();
    assert_eq!(served(&site, hash).await.0, 404, "a part is served to nobody");
    until_partial(&site, hash, 500_000).await;
    drop(site.relay.take());
    site.start_relay().unwrap();
    let before = until_partial(&site, hash, 1_500_000).await;
    drop(site.node.take());
    site.start_node().unwrap();
    let whole = async || match served(&site, hash).await {
        (200, found) if found == clip => Ok(()),
        (status, found) => Err(format!("{status}, {} bytes", found.len())),
    };
    eventually("the clip to be served as it was", LONG, whole).await.unwrap();
    // What the node has sent since its start is what was missing, and at most a piece more.
    let metrics = site.metrics().await.unwrap();
    let sent = metrics.lines().find_map(|line| line.strip_prefix("picket_media_sent_bytes_total "));
    let sent: u64 = sent.unwrap().parse().unwrap();
    assert!(sent <= clip.len() as u64 - before + 600_000, "{sent} bytes, {before} were there");
    assert!(!partial(&site, hash).exists());
    // The relay serves it a moment before the node has its answer.
    let kept = async || match site.data().join(format!("media/sent/{hash}")).exists() {
        true => Ok(()),
        false => Err("it still waits".to_owned()),
    };
    eventually("the node to know that it is there", LONG, kept).await.unwrap();
    // The event that refers to it.
    let db = witness::sql(&site.place.postgres).await.unwrap();
    let sql = "SELECT count(*) FROM event_store WHERE event_type = 'media.stored' AND aggregate_id = 'camera/gate'
        AND payload->>'hash' = $1 AND payload->>'bytes' = '3000000' AND payload->>'media_type' = 'video/mp4'";
    let named = async || match db.query_one(sql, &[&hash]).await.map(|row| row.get::<_, i64>(0)) {
        Ok(1) => Ok(()),
        other => Err(format!("{other:?}")),
    };
    eventually("its event to be central", LONG, named).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn media_that_is_wrong_too_large_or_damaged_is_refused_or_named() {
    let place = Addresses::find().unwrap().place("badmedia").await.unwrap();
    let plan = Plan { node: "[media]\nquota_mib = 2\nlargest_mib = 1\n".into(), media: true, ..Plan::default() };
    let mut site = Site::prepare(place, Ports::free().unwrap(), &plan, None).unwrap();
    site.start_relay().unwrap();
    site.start_node().unwrap();
    for (expected, query, media_type, bytes) in [
        (400, "", "image/jpeg", 10),
        (400, "?subject=", "image/jpeg", 10),
        (400, "?subject=camera/gate", "jpeg", 10),
        (413, "?subject=camera/gate", "image/jpeg", 1_100_000),
    ] {
        let url = format!("{}/api/v1/media{query}", site.console());
        let request = hil::http::client(LONG).unwrap().post(url).header("content-type", media_type);
        let answer = request.body(noise(1, bytes)).send().await.unwrap();
        assert_eq!(answer.status().as_u16(), expected, "{query} {media_type}");
    }
    assert_eq!(std::fs::read_dir(site.data().join("media/new")).unwrap().count(), 0, "nothing is left of them");
    site.until_central(&site.read_many(1).await.unwrap(), LONG).await.unwrap();
    // At the relay: with a node's certificate, and nothing of it right.
    let node = hil::http::as_node(&site.data(), LONG).unwrap();
    let put = async |hash: &str, offset: &str, length: &str, body: Vec<u8>| {
        let url = format!("https://127.0.0.1:{}/v1/nodes/gate-1/media/{hash}", site.ports.fleet);
        let request = node.put(url).header("upload-offset", offset).header("upload-length", length).body(body);
        request.send().await.unwrap().status().as_u16()
    };
    let hash = "ab".repeat(32);
    assert_eq!(put("nonsense", "0", "4", noise(1, 4)).await, 400);
    assert_eq!(put(&"../".repeat(20).replace('/', "%2F"), "0", "4", noise(1, 4)).await, 400);
    assert_eq!(put(&hash, "-1", "4", noise(1, 4)).await, 400);
    assert_eq!(put(&hash, "4", "8", noise(1, 4)).await, 409, "not where the relay is");
    assert_eq!(put(&hash, "0", "2", noise(1, 4)).await, 413, "longer than it says");
    assert_eq!(put(&hash, "0", "9000000", noise(1, 4)).await, 413, "longer than one may be");
    assert_eq!(put(&hash, "0", "8", noise(1, 4)).await, 200);
    assert_eq!(put(&hash, "0", "8", noise(1, 4)).await, 409, "the piece came twice");
    assert_eq!(put(&hash, "4", "8", noise(1, 4)).await, 422, "not what its name says");
    assert!(!partial(&site, &hash).exists());
    let cut = site.folder().join("media/whole/acme").join(&hash);
    assert!(!cut.exists());
    // Without a relay the oldest goes for the newest, by name; what rots on the disk is found when it is sent.
    site.relay.take().unwrap().stop(LONG).unwrap();
    let mut hashes = Vec::new();
    for seed in 10..13 {
        let (status, answer) = post(&site, "?subject=camera/gate", "image/jpeg", noise(seed, 900_000)).await;
        assert_eq!(status, 201, "{answer}");
        hashes.push(answer["hash"].as_str().unwrap().to_owned());
    }
    let rotten = site.data().join("media/waiting").join(&hashes[1]);
    let mut bytes = std::fs::read(&rotten).unwrap();
    bytes[450_000] ^= 1;
    std::fs::write(&rotten, bytes).unwrap();
    site.start_relay().unwrap();
    let whole = async || match served(&site, &hashes[2]).await {
        (200, found) if found == noise(12, 900_000) => Ok(()),
        (status, _) => Err(status.to_string()),
    };
    eventually("the third to be central", LONG, whole).await.unwrap();
    let db = witness::sql(&site.place.postgres).await.unwrap();
    let sql = "SELECT payload->>'hash', payload->>'reason' FROM event_store WHERE event_type = 'media.dropped'
        ORDER BY epoch, seq";
    let expected = [(&hashes[0], "quota"), (&hashes[1], "damaged")].map(|(h, r)| (h.clone(), r.to_owned()));
    let named = async || {
        let rows = db.query(sql, &[]).await.map_err(|error| error.to_string())?;
        let found: Vec<(String, String)> = rows.iter().map(|row| (row.get(0), row.get(1))).collect();
        if found == expected { Ok(()) } else { Err(format!("{found:?}")) }
    };
    eventually("both losses to be named", LONG, named).await.unwrap();
    assert_eq!(served(&site, &hashes[1]).await.0, 404);
}
