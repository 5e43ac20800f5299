//! Opening a journal file that may be damaged: what cannot be trusted is set aside in `damaged/`, what can still be
//! read of it goes on. What is missing then shows as a hole between positions, which reading names.

use std::path::{Path, PathBuf};

use rusqlite::Connection;
use tracing::{error, warn};

use super::segment::{COLUMNS, Segment, StoreError, read_block, write};
use super::wal;

/// Largest log that is looked through: SQLite's checkpoints keep it near 4 MiB.
const LOG_MAX: u64 = 256 * 1024 * 1024;
/// Files kept aside; the oldest go, since room for new events matters more.
const ASIDE_MAX: usize = 12;

/// Opens `path` with `open`, with everything of it that can be read.
///
/// # Errors
/// [`StoreError`] when the file cannot be opened for another reason than damage, or damage cannot be set aside.
pub fn open(
    folder: &Path,
    path: &Path,
    open: impl Fn(&Path) -> Result<Segment, StoreError>,
) -> Result<Segment, StoreError> {
    let hidden = hidden_commits(folder, path)?;
    let opened = open(path).and_then(|segment| segment.check().map_err(StoreError::at(path)).map(|()| segment));
    let mut segment = match opened {
        Err(error) if error.is_damage() => {
            error!(file = %path.display(), "journal file is damaged: {error}");
            rebuild(folder, path, &open)?
        }
        other => other?,
    };
    if let Some(copy) = hidden {
        salvage(&copy, &mut segment)?;
    }
    Ok(segment)
}

/// Sets a damaged file aside and makes a new one of what can be read of it.
///
/// # Errors
/// [`StoreError`] when it cannot be moved, or the new one not be written.
pub fn rebuild(
    folder: &Path,
    path: &Path,
    open: impl Fn(&Path) -> Result<Segment, StoreError>,
) -> Result<Segment, StoreError> {
    let aside = set_aside(folder, path)?;
    error!(file = %path.display(), aside = %aside.display(), "journal file is set aside");
    let mut fresh = open(path)?;
    salvage(&aside, &mut fresh)?;
    Ok(fresh)
}

/// Commits behind a damaged place of the log, which SQLite would silently drop: a copy of the file with its log mended.
fn hidden_commits(folder: &Path, path: &Path) -> Result<Option<PathBuf>, StoreError> {
    let log = with_end(path, "-wal");
    let len = std::fs::metadata(&log).map_or(0, |file| file.len());
    if len == 0 || len > LOG_MAX {
        return Ok(None);
    }
    let Some(mended) = wal::mend(&std::fs::read(&log).map_err(StoreError::file(&log))?) else { return Ok(None) };
    let copy = aside_name(folder, path)?;
    error!(file = %log.display(), byte = mended.at, frames = mended.hidden, copy = %copy.display(),
        "log is damaged and valid commits follow: they are read from a copy");
    std::fs::copy(path, &copy).map_err(StoreError::file(&copy))?;
    std::fs::copy(&log, with_end(&copy, "-wal.found")).map_err(StoreError::file(&copy))?;
    let mended_log = with_end(&copy, "-wal");
    std::fs::write(&mended_log, &mended.log).map_err(StoreError::file(&mended_log))?;
    Ok(Some(copy))
}

/// Moves a damaged file and its log away.
fn set_aside(folder: &Path, path: &Path) -> Result<PathBuf, StoreError> {
    let aside = aside_name(folder, path)?;
    for end in ["", "-wal"] {
        let from = with_end(path, end);
        if from.exists() {
            std::fs::rename(&from, with_end(&aside, end)).map_err(StoreError::file(&from))?;
        }
    }
    // The index of a log is made anew with it.
    let _ = std::fs::remove_file(with_end(path, "-shm"));
    Ok(aside)
}

fn aside_name(folder: &Path, path: &Path) -> Result<PathBuf, StoreError> {
    let aside = folder.join("damaged");
    std::fs::create_dir_all(&aside).map_err(StoreError::file(&aside))?;
    let mut kept: Vec<PathBuf> =
        std::fs::read_dir(&aside).map_err(StoreError::file(&aside))?.flatten().map(|entry| entry.path()).collect();
    kept.sort_by_key(|path| std::fs::metadata(path).and_then(|file| file.modified()).ok());
    for oldest in kept.iter().take((kept.len() + 3).saturating_sub(ASIDE_MAX)) {
        warn!(file = %oldest.display(), "oldest file set aside is removed");
        std::fs::remove_file(oldest).map_err(StoreError::file(oldest))?;
    }
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let free = (1..).map(|n| aside.join(format!("{n:03}-{name}"))).find(|path: &PathBuf| !path.exists());
    Ok(free.unwrap_or(aside))
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
            while let Ok(Some(row)) = rows.next() {
                let Ok(Some(block)) = read_block(row) else { continue };
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
        salvage_catalogue(from, into);
    }
    warn!(file = %from.display(), blocks = taken, "salvaged");
    Ok(())
}

/// The catalogue as far as it can be read. Without cursors the relay gets what it has again and says so; without spans
/// gaps lose their reasons, not their places.
fn salvage_catalogue(from: &Path, into: &Segment) {
    let taken = into.db.execute("ATTACH ?1 AS found", [from.display().to_string()]).and_then(|_| {
        let copied = ["segment", "span", "acked"].map(|table| {
            into.db.execute(&format!("INSERT OR IGNORE INTO main.{table} SELECT * FROM found.{table}"), [])
        });
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

fn with_end(path: &Path, end: &str) -> PathBuf {
    PathBuf::from(format!("{}{end}", path.display()))
}
