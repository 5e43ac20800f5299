//! Signed packets (<https://mavlink.io/en/guide/message_signing.html>): a key of a link, what we sign with it, and what is
//! taken from the link.
//!
//! Times count 10 µs since 2015-01-01. They come from one number that only grows: the box's clock, a minute after what was
//! stored, and each validly signed packet that came, so that a box that booted in 1970 is obeyed once it has heard its
//! vehicle. Each sender has its own times above it; nobody waits for anybody.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use sha2::{Digest, Sha256};
use shared::units::{Uptime, UtcMicros};
use tracing::error;

use super::codec::{Packet, SIGNATURE_LEN};
use crate::durable;

/// 2015-01-01 in microseconds of UTC.
const EPOCH: i64 = 1_420_070_400_000_000;
/// One minute in units of 10 µs: how old a new sender's first packet may be, and how far a start goes past what was stored.
const MINUTE: u64 = 6_000_000;
/// The time is stored this often: less than the minute that a start adds.
const STORE: Duration = Duration::from_secs(30);
/// A stop is noticed within this time.
const LOOK: Duration = Duration::from_millis(200);
/// File of the time.
const FILE: &str = "signing-time";
/// Bytes of a key, and of the hash that is sent.
const KEY: usize = 32;
const HASH: usize = 6;
/// Largest time: it has six bytes.
const LAST: u64 = (1 << 48) - 1;
/// Senders of one key that are remembered: a site's vehicles with what they carry, and its ground stations.
const SENDERS: usize = 256;

/// A secret key of a link.
#[derive(Clone, PartialEq, Eq)]
pub struct Key([u8; KEY]);

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Key(…)")
    }
}

impl Key {
    /// A key of 64 hexadecimal digits.
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        let mut key = [0; KEY];
        let wanted = text.len() == 2 * KEY && text.is_ascii();
        for (index, byte) in key.iter_mut().enumerate().filter(|_| wanted) {
            *byte = u8::from_str_radix(text.get(2 * index..2 * index + 2)?, 16).ok()?;
        }
        wanted.then_some(Self(key))
    }

    /// Reads a key file. Says what is wrong with it and never what is in it.
    ///
    /// # Errors
    /// A file that cannot be read, that others may read, or that holds no key.
    pub fn read(path: &Path) -> Result<Self, String> {
        use std::os::unix::fs::PermissionsExt;
        let wrong = |what: String| format!("{}: {what}", path.display());
        let text = std::fs::read_to_string(path).map_err(|error| wrong(error.to_string()))?;
        let mode = std::fs::metadata(path).map_err(|error| wrong(error.to_string()))?.permissions().mode();
        if mode & 0o077 != 0 {
            return Err(wrong(format!(
                "expected a file that its owner alone can read (0600), found {:o}",
                mode & 0o777
            )));
        }
        Self::parse(&text).ok_or_else(|| wrong("expected 64 hexadecimal digits".into()))
    }

    /// The first 48 bits of SHA-256 over key, packet up to its checksum, link id and time.
    fn hash(&self, packet: &[u8], link_and_time: &[u8]) -> [u8; HASH] {
        let mut hash = Sha256::new();
        hash.update(self.0);
        hash.update(packet);
        hash.update(link_and_time);
        let hash = hash.finalize();
        std::array::from_fn(|n| hash.get(n).copied().unwrap_or(0))
    }
}

/// The time that signatures are above of: one for the node, shared by everything that signs or checks.
#[derive(Debug, Clone, Default)]
pub struct Clock(Arc<AtomicU64>);

impl Clock {
    /// A clock that starts at the later of the wall clock and a minute after what was stored in `folder`.
    ///
    /// # Errors
    /// A file that cannot be read, or holds no number.
    pub fn open(folder: &Path, utc: UtcMicros) -> Result<Self, String> {
        let path = folder.join(FILE);
        let stored = match std::fs::read_to_string(&path) {
            Ok(text) => {
                let number: Option<u64> = text.trim().parse().ok();
                number.ok_or_else(|| format!("{}: expected a number, found {text:?}", path.display()))?
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => 0,
            Err(error) => return Err(format!("{}: {error}", path.display())),
        };
        let wall = u64::try_from((utc.0.saturating_sub(EPOCH)) / 10).unwrap_or(0);
        // A clock that is past what was stored is past what was signed since: nothing is added, or restarts would add up.
        let begun = if wall > stored { wall } else { stored.saturating_add(if stored == 0 { 0 } else { MINUTE }) };
        Ok(Self(Arc::new(AtomicU64::new(begun.min(LAST)))))
    }

    /// The time now.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    /// A sender with the key is as far as this.
    fn heard(&self, time: u64) {
        self.0.fetch_max(time.min(LAST), Ordering::Relaxed);
    }

    /// Stores it.
    ///
    /// # Errors
    /// The disk's.
    pub fn store(&self, folder: &Path) -> std::io::Result<()> {
        durable::write(folder, FILE, self.get().to_string().as_bytes(), 0o600)
    }
}

/// Stores a clock now and then, and when stopped.
pub fn keep(clock: &Clock, folder: &Path, stop: &AtomicBool) {
    let mut waited = STORE;
    loop {
        let stopped = stop.load(Ordering::Relaxed);
        if waited >= STORE || stopped {
            waited = Duration::ZERO;
            if let Err(error) = clock.store(folder) {
                error!(%error, "time of signatures cannot be stored");
            }
        }
        if stopped {
            return;
        }
        std::thread::sleep(LOOK);
        waited += LOOK;
    }
}

/// Lets a clock go on with the time since boot.
#[derive(Debug, Clone)]
pub struct Pace {
    clock: Clock,
    begun: (u64, Uptime),
}

impl Pace {
    /// From where the clock is.
    pub fn new(clock: Clock, now: Uptime) -> Self {
        let begun = (clock.get(), now);
        Self { clock, begun }
    }

    /// Time has passed.
    pub fn pass(&self, now: Uptime) {
        let (from, at) = self.begun;
        let passed = u64::try_from(now.since(at).as_micros() / 10).unwrap_or(0);
        self.clock.heard(from.saturating_add(passed));
    }
}

/// Signs what one sender writes.
#[derive(Debug, Clone)]
pub struct Signer {
    key: Key,
    link: u8,
    last: u64,
    clock: Clock,
}

impl Signer {
    /// A sender's: no other may have its `link` id with this key.
    pub const fn new(key: Key, link: u8, clock: Clock) -> Self {
        Self { key, link, last: 0, clock }
    }

    /// Appends the signature to a packet that ends with its checksum and says that it is signed.
    pub fn sign(&mut self, packet: &mut Vec<u8>) {
        self.last = self.clock.get().max(self.last + 1).min(LAST);
        let [a, b, c, d, e, f, ..] = self.last.to_le_bytes();
        let head = [self.link, a, b, c, d, e, f];
        let hash = self.key.hash(packet, &head);
        packet.extend_from_slice(&head);
        packet.extend_from_slice(&hash);
    }
}

/// Why a packet was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// It is not signed.
    Unsigned,
    /// Not with this key.
    Wrong,
    /// It came before, or is more than a minute behind.
    Old,
    /// It came just before, over this link or another.
    Twice,
    /// One sender more than a site has.
    Crowd,
}

impl Refusal {
    /// For the counters.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unsigned => "unsigned",
            Self::Wrong => "wrong signature",
            Self::Old => "old signature",
            Self::Twice => "came twice",
            Self::Crowd => "too many signers",
        }
    }
}

/// Looks at the signatures made with one key, on whichever link: what came over one is not taken again over another.
#[derive(Debug)]
pub struct Guard {
    key: Key,
    clock: Clock,
    /// Of vehicles' links and of ground stations', each for itself: the one cannot speak for the other.
    senders: HashMap<(bool, u8, u8, u8), u64>,
}

impl Guard {
    /// Of a key.
    pub fn new(key: Key, clock: Clock) -> Self {
        Self { key, clock, senders: HashMap::new() }
    }

    /// A sender that was not heard before.
    fn begin(&mut self, sender: (bool, u8, u8, u8), time: u64) -> Result<(), Refusal> {
        let now = self.clock.get();
        if time.saturating_add(MINUTE) < now {
            return Err(Refusal::Old);
        }
        let crowd = |senders: &HashMap<(bool, u8, u8, u8), u64>| {
            senders.keys().filter(|known| known.0 == sender.0).count() >= SENDERS
        };
        if crowd(&self.senders) {
            // Who is more than a minute behind begins anew, as one that was never heard: refused.
            self.senders.retain(|_, last| last.saturating_add(MINUTE) >= now);
        }
        if crowd(&self.senders) {
            return Err(Refusal::Crowd);
        }
        self.senders.insert(sender, time);
        Ok(())
    }

    /// Whether this is the guard of a key.
    pub fn is_of(&self, key: &Key) -> bool {
        self.key == *key
    }

    /// Whether a packet is signed with the key and newer than the one before of its sender. `vehicle`: it came from where
    /// vehicles are, so that the node's time follows it; a ground station does not move that.
    ///
    /// # Errors
    /// Why it is not to be taken; [`Refusal::Old`] only of what has the key.
    pub fn check(&mut self, packet: &Packet, vehicle: bool) -> Result<(), Refusal> {
        if !packet.is_signed() {
            return Err(Refusal::Unsigned);
        }
        let at = packet.raw.len().saturating_sub(SIGNATURE_LEN);
        let (body, signature) = packet.raw.split_at_checked(at).ok_or(Refusal::Wrong)?;
        let (head, hash) = signature.split_at_checked(SIGNATURE_LEN - HASH).ok_or(Refusal::Wrong)?;
        // Six bytes that a guesser must send one by one: their comparison tells nothing worth hiding.
        if self.key.hash(body, head) != hash {
            return Err(Refusal::Wrong);
        }
        let &[link, a, b, c, d, e, f] = head else { return Err(Refusal::Wrong) };
        let time = u64::from_le_bytes([a, b, c, d, e, f, 0, 0]);
        let sender = (vehicle, packet.sysid, packet.compid, link);
        match self.senders.get_mut(&sender) {
            Some(last) if time == *last => return Err(Refusal::Twice),
            Some(last) if time < *last => return Err(Refusal::Old),
            Some(last) => *last = time,
            None => self.begin(sender, time)?,
        }
        if vehicle {
            self.clock.heard(time);
        }
        Ok(())
    }
}
