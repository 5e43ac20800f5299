//! Opening a journal file that may be damaged: what cannot be trusted is set aside in `damaged/`, what can still be
//! read of it goes on. What is missing then shows as a hole between positions, which reading names.

use std::path::{Path, PathBuf};

use rusqlite::Connection;
use tracing::{error, warn};

use super::segment::{COLUMNS, Segment, StoreError, read_block, recover_block, write};
use super::{row_sum, wal};

/// Largest log that is looked through: SQLite's checkpoints keep it near 4 MiB.
const LOG_MAX: u64 = 256 * 1024 * 1024;
/// Damages whose files are kept aside; the oldest go, since room for new events matters more.
const INCIDENTS_MAX: u32 = 4;

/// Opens `path` with `open`, with everything of it that can be read.
///
/// # Errors
/// [`StoreError`] when the file cannot be opened for another reason than damage, or damage cannot be set aside.
pub fn open(
    folder: &Path,
    path: &Path,
    open: impl Fn(&Path) -> Result<Segment, StoreError>,
) -> Result<Segment, StoreError> {
    finish_rebuild(folder, path)?;
    let hidden = hidden_commits(folder, path);
    let opened = open(path).and_then(|segment| segment.check().map_err(StoreError::at(path)).map(|()| segment));
    let mut segment = match opened {
        Err(error) if error.is_damage() => {
            error!(file = %path.display(), "journal file is damaged: {error}");
            rebuild(folder, path, &open)?;
            open(path)?
        }
        other => other?,
    };
    if let Some(copy) = hidden {
        salvage(&copy, &mut segment)?;
    }
    Ok(segment)
}

/// Makes a file anew of what can be read of it, and keeps the old one aside. The new one is whole, on disk and under the
/// name `.ready` before the old one is touched: a crash leaves one of the two.
///
/// # Errors
/// [`StoreError`] when the new one cannot be written; the old one is then where it was.
pub fn rebuild(
    folder: &Path,
    path: &Path,
    open: impl Fn(&Path) -> Result<Segment, StoreError>,
) -> Result<(), StoreError> {
    let (making, ready) = (with_end(path, ".new"), with_end(path, ".ready"));
    remove(&making)?;
    let made = open(&making).and_then(|mut fresh| {
        salvage(path, &mut fresh)?;
        fresh.checkpoint().map_err(StoreError::at(&making))
    });
    if let Err(error) = made {
        remove(&making)?;
        return Err(error);
    }
    // Closed, so that its log is gone: it is this one file.
    remove(&with_end(&making, "-wal"))?;
    std::fs::rename(&making, &ready).map_err(StoreError::file(&ready))?;
    super::store::sync_folder(folder)?;
    finish_rebuild(folder, path)
}

/// Puts a file that is ready in the place of the one it was made from, which goes to `damaged/`.
fn finish_rebuild(folder: &Path, path: &Path) -> Result<(), StoreError> {
    let ready = with_end(path, ".ready");
    if !ready.exists() {
        return Ok(());
    }
    let aside = aside_name(folder, path)?;
    error!(file = %path.display(), aside = %aside.display(), "journal file was made anew; the damaged one is set aside");
    for end in ["-wal", "-shm"] {
        let from = with_end(path, end);
        if from.exists() {
            std::fs::rename(&from, with_end(&aside, end)).map_err(StoreError::file(&from))?;
        }
    }
    if path.exists() {
        std::fs::hard_link(path, &aside).map_err(StoreError::file(&aside))?;
    }
    // Readers see the old one or the new one, never none.
    std::fs::rename(&ready, path).map_err(StoreError::file(path))?;
    super::store::sync_folder(folder)
}

/// Removes a file with its log, if it is there.
///
/// # Errors
/// [`StoreError`] naming the file.
pub fn remove(path: &Path) -> Result<(), StoreError> {
    ["", "-wal", "-shm"].iter().try_for_each(|end| remove_one(&with_end(path, end)))
}

/// Removes a file, if it is there.
///
/// # Errors
/// [`StoreError`] naming the file.
pub fn remove_one(file: &Path) -> Result<(), StoreError> {
    match std::fs::remove_file(file) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(StoreError::file(file)(error)),
        Ok(()) | Err(_) => Ok(()),
    }
}

/// Commits behind a damaged place of the log, which SQLite would silently drop: a copy of the file with its log mended.
fn hidden_commits(folder: &Path, path: &Path) -> Option<PathBuf> {
    let log = with_end(path, "-wal");
    let len = std::fs::metadata(&log).map_or(0, |file| file.len());
    if len == 0 || len > LOG_MAX {
        return None;
    }
    let mended = wal::mend(&std::fs::read(&log).ok()?)?;
    let copied = copy_mended(folder, path, &mended).or_else(|error| {
        // The ballast is for urgent events: these may be some.
        let freed = error.is_full() && std::fs::remove_file(folder.join("ballast")).is_ok();
        if freed { copy_mended(folder, path, &mended) } else { Err(error) }
    });
    match copied {
        Ok(copy) => {
            error!(file = %log.display(), byte = mended.at, frames = mended.hidden, copy = %copy.display(),
                "log is damaged and valid commits follow: they are read from a copy");
            Some(copy)
        }
        Err(error) => {
            error!(file = %log.display(), byte = mended.at, frames = mended.hidden,
                "log is damaged and valid commits follow, but there is no copying it ({error}): they are lost");
            None
        }
    }
}

fn copy_mended(folder: &Path, path: &Path, mended: &wal::Mended) -> Result<PathBuf, StoreError> {
    let copy = aside_name(folder, path)?;
    let written = || -> Result<(), StoreError> {
        std::fs::copy(path, &copy).map_err(StoreError::file(&copy))?;
        std::fs::copy(with_end(path, "-wal"), with_end(&copy, ".log")).map_err(StoreError::file(&copy))?;
        let log = with_end(&copy, "-wal");
        std::fs::write(&log, &mended.log).map_err(StoreError::file(&log))
    };
    written().map(|()| copy.clone()).inspect_err(|_| {
        // Half a copy only takes room.
        let _ = remove(&copy).and(remove(&with_end(&copy, ".log")));
    })
}

/// A new name in `damaged/`, `NNN-FILE`; what belongs to the oldest numbers goes.
fn aside_name(folder: &Path, path: &Path) -> Result<PathBuf, StoreError> {
    let aside = folder.join("damaged");
    std::fs::create_dir_all(&aside).map_err(StoreError::file(&aside))?;
    let number_of = |path: &Path| -> Option<u32> {
        path.file_name()?.to_str()?.split_once('-').and_then(|(number, _)| number.parse().ok())
    };
    let kept: Vec<(u32, PathBuf)> = std::fs::read_dir(&aside)
        .map_err(StoreError::file(&aside))?
        .flatten()
        .filter_map(|entry| Some((number_of(&entry.path())?, entry.path())))
        .collect();
    let newest = kept.iter().map(|(number, _)| *number).max().unwrap_or(0);
    for (_, oldest) in kept.iter().filter(|(number, _)| number + INCIDENTS_MAX <= newest + 1) {
        warn!(file = %oldest.display(), "oldest file set aside is removed");
        std::fs::remove_file(oldest).map_err(StoreError::file(oldest))?;
    }
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    Ok(aside.join(format!("{:03}-{name}", newest + 1)))
}

/// Takes every block that can be read and is not in `into` yet.
fn salvage(from: &Path, into: &mut Segment) -> Result<(), StoreError> {
    let Ok(db) = readable(from, into) else {
        error!(file = %from.display(), "nothing can be read of it");
        return Ok(());
    };
    let at = StoreError::at(&into.path);
    let lanes = into.lanes;
    let tx = into.db.transaction().map_err(at)?;
    let mut taken = 0;
    for lane in lanes {
        let exists = format!("SELECT 1 FROM block_{lane} WHERE first_pos = ?1");
        // From both ends: a page that cannot be read ends each way.
        for order in ["ASC", "DESC"] {
            let sql = format!("SELECT {COLUMNS} FROM block_{lane} ORDER BY first_pos {order}");
            let Ok(mut select) = db.prepare(&sql) else { continue };
            let Ok(mut rows) = select.query([]) else { continue };
            let mut before = None;
            while let Ok(Some(row)) = rows.next() {
                let read = read_block(row).ok().flatten().or_else(|| recover_block(row, before));
                let Some(block) = read else { continue };
                before = Some(block.after).filter(|_| order == "ASC");
                if !tx.prepare_cached(&exists).and_then(|mut q| q.exists([block.before.pos + 1])).map_err(at)? {
                    write(&tx, *lane, &block).map_err(at)?;
                    taken += 1;
                }
            }
        }
    }
    tx.commit().map_err(at)?;
    drop(db);
    if lanes.contains(&shared::ids::Lane::Safety) {
        salvage_tables(from, into, &["segment", "span", "acked", "begun", "witness", "inbox", "signed", "thinned"]);
    } else {
        salvage_tables(from, into, &["witness"]);
    }
    warn!(file = %from.display(), blocks = taken, "salvaged");
    Ok(())
}

/// The small tables as far as they can be read: rows that are not what was written stay behind. Without cursors the relay
/// gets what it has again and says so; segments without a row are sealed again; without spans gaps lose their reasons,
/// not their places.
fn salvage_tables(from: &Path, into: &Segment, tables: &[&str]) {
    let taken = into.db.execute("ATTACH ?1 AS found", [from.display().to_string()]).and_then(|_| {
        let copied: Vec<_> = tables.iter().map(|table| row_sum::salvage(&into.db, "found", table)).collect();
        into.db.execute("DETACH found", []).and(copied.into_iter().collect::<Result<Vec<_>, _>>())
    });
    if let Err(error) = taken {
        error!(file = %from.display(), "catalogue cannot be read whole: {error}");
    }
}

/// A connection to a damaged file; where its first page is the damaged one, that page is taken from `fresh`, whose
/// tables were made in the same order and so begin at the same pages.
fn readable(from: &Path, fresh: &Segment) -> rusqlite::Result<Connection> {
    let open = || -> rusqlite::Result<Connection> {
        let db = Connection::open(from)?;
        db.query_row("SELECT count(*) FROM sqlite_master", [], |_| Ok(()))?;
        Ok(db)
    };
    open().or_else(|error| {
        use rusqlite::ErrorCode::{DatabaseCorrupt, NotADatabase};
        if !matches!(error.sqlite_error_code(), Some(DatabaseCorrupt | NotADatabase)) {
            return Err(error);
        }
        let page = || -> std::io::Result<()> {
            use std::os::unix::fs::FileExt;
            fresh.checkpoint().map_err(std::io::Error::other)?;
            let mut first = vec![0; 4096];
            std::fs::File::open(&fresh.path)?.read_exact_at(&mut first, 0)?;
            // Header bytes 28..32 and 32..40: size and free list; zero means: take the file's size, no free pages.
            if let Some(counts) = first.get_mut(28..40) {
                counts.fill(0);
            }
            std::fs::File::options().write(true).open(from)?.write_all_at(&first, 0)
        };
        page().map_err(|_| error)?;
        open()
    })
}

pub(super) fn with_end(path: &Path, end: &str) -> PathBuf {
    PathBuf::from(format!("{}{end}", path.display()))
}
