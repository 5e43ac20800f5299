//! `interlock`: whatever bytes a link brings and whatever is pressed and asked meanwhile, the interlock does not panic, sends
//! nothing on that is told to stand, and says no more than a bounded number of things at once.
//!
//! `link`: whatever bytes links bring to the vehicles' thread, nothing of a ground station goes on that moves a vehicle, and what
//! follows a packet is bounded.
//!
//! `seen`: whatever bytes a camera sends as pictures, as a multipart stream, as access units or their parameter sets, or a video
//! file has, what comes of them has the size it says, a clip begins with a key frame, and nothing panics but what is caught.
//!
//! `journal`: a journal whose files are damaged in any way opens again, or is refused with an error; it never panics, and what can be
//! read of it has its place and its chain. The tests run the corpus through the same function.

#![allow(clippy::unwrap_used, reason = "a fuzz target that panics has found something")]

mod interlock;
mod link;
mod seen;

pub use interlock::interlock;
pub use link::link;
pub use seen::seen;

use std::path::Path;
use std::sync::OnceLock;

use edge_node::clock::Stamp;
use edge_node::journal::block::Head;
use edge_node::journal::limits::Limits;
use edge_node::journal::reader::Reader;
use edge_node::journal::store::Store;
use edge_node::journal::writer;
use shared::event::{Alert, Payload, SensorReading};
use shared::ids::{Digest, Epoch, Lane, Seq};

/// Files of the journal that is damaged, with their bytes.
type Files = Vec<(String, Vec<u8>)>;
/// Most damages of one run.
const EDITS: usize = 64;

fn limits() -> Limits {
    toml::from_str("segment_mib = 1\nbulk_mib = 64\nurgent_mib = 4\nballast_mib = 0").unwrap()
}

/// A journal of alerts and readings with its logs, as a power cut leaves it; made once.
fn files() -> &'static Files {
    static FILES: OnceLock<Files> = OnceLock::new();
    FILES.get_or_init(|| {
        let folder = tempfile::tempdir().unwrap();
        let (journal, acks, writer) = writer::start(folder.path().to_owned(), limits(), Stamp::new(), None).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        for n in 0..40 {
            let text = "t".repeat(300);
            let alert = Alert { alert: n, rule: "r".into(), subject: "s".into(), text };
            let reading = SensorReading { sensor: "s".repeat(100), value: 1.0, unit: "kN".into() };
            for payload in [Payload::AlertRaised(alert), Payload::SensorReading(reading)] {
                runtime.block_on(journal.append(journal.event("sensor/s", payload))).unwrap();
            }
        }
        let read = std::fs::read_dir(folder.path()).unwrap().flatten();
        let mut files: Files = read
            .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_file()))
            .map(|entry| (entry.file_name().to_string_lossy().into_owned(), std::fs::read(entry.path()).unwrap()))
            .collect();
        files.sort();
        drop((journal, acks));
        writer.join();
        files
    })
}

/// Each six bytes of `data` damage the journal: which file, what (flip, cut, zero a page, remove), where (three bytes, of
/// 65 536ths of the file and a rest), with which bits.
pub fn journal(data: &[u8]) {
    let mut damaged = files().clone();
    for edit in data.chunks_exact(6).take(EDITS) {
        let &[file, what, high, low, rest, bits] = edit else { continue };
        let count = damaged.len().max(1);
        let Some((_, bytes)) = damaged.get_mut(usize::from(file) % count) else { continue };
        let share = usize::from(u16::from_be_bytes([high, low]));
        let at = (bytes.len() * share / 65_536 + usize::from(rest)).min(bytes.len().saturating_sub(1));
        match what % 4 {
            0 => bytes.get_mut(at).into_iter().for_each(|byte| *byte ^= bits),
            1 => bytes.truncate(at),
            2 => bytes.iter_mut().skip(at).take(4096).for_each(|byte| *byte = bits),
            _ => bytes.clear(),
        }
    }
    // In memory where there is a place for it: a run is mostly syncs.
    let folder = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
    for (name, bytes) in damaged {
        std::fs::write(folder.path().join(name), bytes).unwrap();
    }
    let opened = Store::open(folder.path(), limits(), [Head::NONE; Lane::ALL.len()], || {
        Epoch(uuid::Uuid::new_v4().into_bytes())
    });
    drop(opened);
    read(folder.path());
}

/// What is read is dense and chained, whatever was damaged.
fn read(folder: &Path) {
    let Ok(mut reader) = Reader::open(folder) else { return };
    for lane in Lane::ALL {
        let Ok(rows) = reader.after(lane, 0, 10_000, usize::MAX) else { continue };
        let (mut epoch, mut seq, mut chain) = (Epoch([0; 16]), Seq(0), Digest::default());
        for row in rows {
            if row.epoch != epoch {
                (epoch, seq, chain) = (row.epoch, Seq(0), Digest::default());
            }
            let (last, after) = row.item.advance(seq.next(), chain);
            assert_eq!((row.seq, row.chain), (last, after), "{lane}: the chain breaks");
            (seq, chain) = (last, after);
        }
    }
}
