//! Everything that is said on the links, kept as ground stations keep it: `.tlog` files of eight bytes of time (microseconds
//! since 1970, big-endian) before each packet as it was on the wire, which QGroundControl, MAVProxy and pymavlink replay.
//! Demands of the safety thread are not in it: it waits for nobody; they are events of the journal.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::Duration;

use prometheus_client::metrics::counter::Counter;
use shared::units::UtcMicros;
use tracing::warn;

use crate::durable::{files, make_room, private_folder};

/// Batches that wait for the disk: seconds of a busy site. Full: the batch is counted and missing from the file.
const QUEUE: usize = 128;
/// Bytes that are handed over together, or what there is twenty times a second.
const TOGETHER: usize = 16 << 10;
/// One file.
const FILE_BYTES: u64 = 16 << 20;
/// What waits is written after this time.
const FLUSH: Duration = Duration::from_secs(1);
/// Folder, in the data folder, and how its files end.
const FOLDER: &str = "tlog";
const EXTENSION: &str = "tlog";

/// The end that is told: never waits.
#[derive(Debug)]
pub struct Tlog {
    to: Option<SyncSender<Vec<u8>>>,
    /// What is handed over together: a thread that wakes for each packet costs more than the packet.
    gathered: Vec<u8>,
    lost: Counter,
}

/// The end that writes.
pub struct Scribe {
    from: Receiver<Vec<u8>>,
    folder: PathBuf,
    quota: u64,
}

/// Both ends, for a data folder and so many bytes; nothing is kept for zero.
pub fn tlog(data: &Path, quota: u64, lost: Counter) -> (Tlog, Option<Scribe>) {
    if quota == 0 {
        return (Tlog { to: None, gathered: Vec::new(), lost }, None);
    }
    let (to, from) = sync_channel(QUEUE);
    (Tlog { to: Some(to), gathered: Vec::new(), lost }, Some(Scribe { from, folder: data.join(FOLDER), quota }))
}

impl Tlog {
    /// Keeps packets, as they were on the wire at this time.
    pub fn keep<'a>(&mut self, packets: impl Iterator<Item = &'a [u8]>, at: UtcMicros) {
        if self.to.is_none() {
            return;
        }
        let time = u64::try_from(at.0).unwrap_or(0).to_be_bytes();
        for packet in packets {
            self.gathered.extend_from_slice(&time);
            self.gathered.extend_from_slice(packet);
        }
        if self.gathered.len() >= TOGETHER {
            self.hand_over();
        }
    }

    /// What was gathered goes to the file.
    pub fn hand_over(&mut self) {
        let bytes = std::mem::take(&mut self.gathered);
        if let Some(to) = self.to.as_ref().filter(|_| !bytes.is_empty())
            && to.try_send(bytes).is_err()
        {
            self.lost.inc();
        }
    }
}

impl Scribe {
    /// Writes until the other end is gone.
    pub fn run(self) {
        let (mut page, mut warned): (Option<(BufWriter<File>, u64)>, bool) = (None, false);
        loop {
            let bytes = match self.from.recv_timeout(FLUSH) {
                Ok(bytes) => bytes,
                Err(RecvTimeoutError::Timeout) => Vec::new(),
                Err(RecvTimeoutError::Disconnected) => break,
            };
            if let Err(error) = self.write(&bytes, &mut page) {
                page = None;
                if !std::mem::replace(&mut warned, true) {
                    warn!(%error, "what is said on the links cannot be kept");
                }
            }
        }
        // The end of a file that cannot be written was warned of.
        let _ = page.map(|(mut file, _)| file.flush());
    }

    fn write(&self, bytes: &[u8], page: &mut Option<(BufWriter<File>, u64)>) -> std::io::Result<()> {
        let Some((file, written)) = page else {
            if !bytes.is_empty() {
                *page = Some((self.open()?, 0));
                return self.write(bytes, page);
            }
            return Ok(());
        };
        file.write_all(bytes)?;
        *written += bytes.len() as u64;
        if bytes.is_empty() {
            // Nothing more comes for now.
            file.flush()?;
        }
        if *written >= self.file_bytes() {
            file.flush()?;
            *page = None;
        }
        Ok(())
    }

    fn file_bytes(&self) -> u64 {
        FILE_BYTES.min(self.quota / 4)
    }

    /// The next file, numbered: times may go back.
    fn open(&self) -> std::io::Result<BufWriter<File>> {
        private_folder(&self.folder)?;
        make_room(&self.folder, EXTENSION, self.quota, self.file_bytes())?;
        let number = |path: &PathBuf| path.file_stem()?.to_str()?.parse::<u64>().ok();
        let number = files(&self.folder, EXTENSION)?.iter().filter_map(number).max().unwrap_or(0);
        let path = self.folder.join(format!("{:010}.{EXTENSION}", number + 1));
        Ok(BufWriter::new(File::options().create_new(true).write(true).mode(0o600).open(path)?))
    }
}
