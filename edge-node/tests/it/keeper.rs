//! Clips and snapshots: the thread that keeps them, on a disk that fails, and what goes when the quota is full.

use std::os::unix::fs::symlink;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use edge_node::clock::Stamp;
use edge_node::footage::{self, Cause, Footage, Told};
use edge_node::health::{Metrics, Of};
use edge_node::journal::reader::Reader;
use edge_node::journal::writer;
use edge_node::media::{Media, MediaConfig, Rank};
use edge_node::sensor::frame::Picture;
use hil::wait::until;
use shared::event::{NodeStarted, Payload};
use shared::ids::{Digest, EventId, Lane};
use shared::wire::Item;

use crate::footage::{at, parameters, unit};

/// Waits until so many clips or pictures failed, and so many of a type are kept.
fn wait(metrics: &Metrics, failed: u64, media_type: &str, kept: u64) {
    let look = || {
        let now = (metrics.footage_failures.get(), metrics.footage.get_or_create(&Of::new(media_type)).get());
        if now == (failed, kept) { Ok(()) } else { Err(format!("{now:?}")) }
    };
    until("the keeper", Duration::from_secs(20), look).unwrap();
}

/// Ten pictures a second, each tenth a key frame.
fn stream(footage: &Footage, frames: std::ops::Range<u64>) {
    let of = parameters();
    for frame in frames {
        assert!(footage.tell(Told::Unit(0, unit(&of, frame))));
    }
}

#[test]
fn a_disk_that_fails_costs_what_was_being_kept_and_nothing_after_it() {
    let folder = tempfile::tempdir().unwrap();
    let limits = toml::from_str("segment_mib = 1\nbulk_mib = 2\nurgent_mib = 1\nballast_mib = 1").unwrap();
    let (journal, acks, thread) = writer::start(folder.path().to_owned(), limits, Stamp::new(), None).unwrap();
    let media = Media::open(folder.path(), MediaConfig::default()).unwrap();
    let camera = "name = \"yard\"\nsource = \"rtsp://127.0.0.1/\"\nclip = { before = \"1s\", after = \"1s\", longest = \"60s\" }";
    let (metrics, stop) = (Metrics::new(), Arc::new(AtomicBool::new(false)));
    let camera = toml::from_str(camera).unwrap();
    let (footage, keeper) = footage::new(vec![camera], media, journal.clone(), metrics.clone(), stop.clone());
    let keeper = std::thread::spawn(move || keeper.run());
    let cause = Cause {
        event: journal.event("node", Payload::NodeStarted(NodeStarted { version: "1".into() })).event_id,
        trace: None,
    };
    let drafts = folder.path().join("media/new");

    // The first file meets a full disk; the next key frame begins another, which is kept.
    symlink("/dev/full", drafts.join("0")).unwrap();
    assert!(footage.tell(Told::Occupied(0, 1, cause)));
    stream(&footage, 0..10);
    wait(&metrics, 1, "video/mp4", 0);
    stream(&footage, 10..15);
    let begun = || if drafts.join("1").exists() { Ok(()) } else { Err("none".to_owned()) };
    until("another clip", Duration::from_secs(20), begun).unwrap();
    assert!(footage.tell(Told::Cleared(0, 1, at(15))));
    stream(&footage, 15..45);
    wait(&metrics, 1, "video/mp4", 1);

    // A picture meets it; the one with boxes is kept.
    symlink("/dev/full", drafts.join("2")).unwrap();
    let picture = Arc::new(Picture::rgb(64, 48, vec![90; 64 * 48 * 3]));
    assert!(footage.tell(Told::Picture(0, picture.clone(), vec![[4.0, 4.0, 30.0, 40.0]], cause)));
    wait(&metrics, 2, "image/jpeg", 1);

    // The folder is gone, for both, and back.
    std::fs::rename(&drafts, folder.path().join("away")).unwrap();
    assert!(footage.tell(Told::Picture(0, picture.clone(), Vec::new(), cause)));
    wait(&metrics, 4, "image/jpeg", 1);
    std::fs::rename(folder.path().join("away"), &drafts).unwrap();
    let other = Arc::new(Picture::rgb(64, 48, vec![120; 64 * 48 * 3]));
    assert!(footage.tell(Told::Picture(0, other, vec![[4.0, 4.0, 30.0, 40.0]], cause)));
    wait(&metrics, 4, "image/jpeg", 3);

    stop.store(true, Ordering::Relaxed);
    keeper.join().unwrap();
    drop((journal, acks, footage));
    thread.join();
    // What the journal names is there; nothing half written is left.
    let mut named = stored(folder.path(), cause.event);
    let mut files: Vec<(String, u64)> = std::fs::read_dir(folder.path().join("media/waiting"))
        .unwrap()
        .map(|file| file.unwrap())
        .map(|file| (file.file_name().into_string().unwrap(), file.metadata().unwrap().len()))
        .collect();
    named.sort();
    files.sort();
    assert_eq!((named.len(), &named), (4, &files));
    assert_eq!(std::fs::read_dir(&drafts).unwrap().count(), 0);
}

/// What the journal says is kept, because of this event.
fn stored(folder: &std::path::Path, cause: EventId) -> Vec<(String, u64)> {
    let mut named = Vec::new();
    for row in Reader::open(folder).unwrap().after(Lane::Media, 0, 1000, usize::MAX).unwrap() {
        let Item::Record(record) = row.item else { continue };
        let decoded = record.decode().unwrap();
        let Some(Payload::MediaStored(stored)) = decoded.payload else { continue };
        assert_eq!(decoded.envelope.cause_id, Some(cause));
        named.push((stored.hash, stored.bytes));
    }
    named
}

#[test]
fn what_an_alert_asked_for_goes_last_also_after_another_start() {
    let folder = tempfile::tempdir().unwrap();
    let config: MediaConfig = toml::from_str("quota_mib = 1\nlargest_mib = 1").unwrap();
    let open = || Media::open(folder.path(), config).unwrap();
    let mut media = open();
    // Each of 300 kB: three have room.
    let keep = |media: &Media, shade: u8, rank: Rank| {
        let mut draft = media.draft().unwrap();
        draft.write(&vec![shade; 300_000]).unwrap();
        let (blob, gone) = media.keep(draft, rank).unwrap();
        (blob.hash, gone.into_iter().map(|(blob, _)| blob.hash).collect::<Vec<_>>())
    };
    let hash = |shade: u8| Digest(*blake3::hash(&vec![shade; 300_000]).as_bytes());
    for (shade, rank) in [(1, Rank::Alert), (2, Rank::Plain), (3, Rank::Plain)] {
        assert_eq!(keep(&media, shade, rank), (hash(shade), Vec::new()));
    }
    assert_eq!(keep(&media, 4, Rank::Plain).1, [hash(2)], "the oldest plain one, not the oldest");
    media = open();
    assert_eq!(keep(&media, 5, Rank::Alert).1, [hash(3)]);
    assert_eq!(keep(&media, 6, Rank::Alert).1, [hash(4)]);
    assert_eq!(keep(&media, 7, Rank::Plain).1, [hash(1)], "where all are locked, the oldest of them");
    assert_eq!(keep(&media, 8, Rank::Plain).1, [hash(7)], "and no longer than what nobody asked for");
}
