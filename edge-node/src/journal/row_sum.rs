//! Checksums of the small tables' rows. SQLite has none of its own: a flipped bit in a cursor or in the list of segments
//! would be believed, and events that were never sent would be taken for sent.
//!
//! Every such row ends with `sum = row_sum(its other columns)`. `is_whole(sum, its other columns)` is true, or ends the
//! statement as damage (SQLITE_CORRUPT), so that the file is made anew of the rows that are whole. It stands among the columns
//! of a SELECT, not in its WHERE: there SQLite puts what a column is compared with in the place of the column.

use rusqlite::functions::{Context, FunctionFlags};
use rusqlite::types::ValueRef;
use rusqlite::{Connection, Error, ffi};

/// The tables with their columns before the sum, in order.
pub const TABLES: [(&str, &str); 5] = [
    ("segment", "number, sealed_us, gone, spans"),
    ("span", "lane, epoch, first_pos, last_pos, last_seq, chain_after, segment"),
    ("acked", "lane, pos, epoch, seq, chain"),
    ("begun", "lane, first_pos, pos, epoch, seq, chain"),
    ("witness", "lane, pos, epoch, seq, chain"),
];

/// Makes the two functions known to a connection.
///
/// # Errors
/// SQLite's.
pub fn register(db: &Connection) -> rusqlite::Result<()> {
    let flags = FunctionFlags::SQLITE_UTF8 | FunctionFlags::SQLITE_DETERMINISTIC;
    db.create_scalar_function("row_sum", -1, flags, |row| Ok(sum(row, 0)))?;
    db.create_scalar_function("is_whole", -1, flags, |row| match row.get_raw(0) {
        ValueRef::Integer(written) if written == sum(row, 1) => Ok(true),
        _ => Err(damage(None)),
    })
}

/// What SQLite itself says of a malformed file. Within a function without a text: a text would hide the code.
pub fn damage(what: Option<&str>) -> Error {
    Error::SqliteFailure(ffi::Error::new(ffi::SQLITE_CORRUPT), what.map(str::to_owned))
}

/// Reads every row of the tables that this file has.
///
/// # Errors
/// SQLite's, where one is not what was written.
pub fn check(db: &Connection) -> rusqlite::Result<()> {
    for (table, columns) in TABLES {
        if !has(db, table)? {
            continue;
        }
        let sql = format!("SELECT count(*) FROM {table} WHERE is_whole(sum, {columns})");
        db.query_row(&sql, [], |row| row.get::<_, i64>(0))?;
        // Rows that a damaged page or index hides are no rows that could be summed.
        let found: String = db.query_row(&format!("PRAGMA integrity_check({table})"), [], |row| row.get(0))?;
        if found != "ok" {
            return Err(damage(Some(&format!("table {table} of the catalogue: {found}"))));
        }
    }
    Ok(())
}

/// Gives the tables of a file of an earlier layout their sums.
///
/// # Errors
/// SQLite's.
pub fn upgrade(db: &Connection) -> rusqlite::Result<()> {
    for (table, columns) in TABLES {
        if !has(db, table)? || has_column(db, "main", table, "sum")? {
            continue;
        }
        if table == "segment" {
            let spans = "ALTER TABLE segment ADD COLUMN spans INTEGER NOT NULL DEFAULT 0;
                UPDATE segment SET spans = (SELECT count(*) FROM span WHERE span.segment = number);";
            db.execute_batch(spans)?;
        }
        let sum = format!("ALTER TABLE {table} ADD COLUMN sum INTEGER; UPDATE {table} SET sum = row_sum({columns});");
        db.execute_batch(&sum)?;
    }
    Ok(())
}

/// For a connection that only reads: rows of an earlier layout look as if they had their sums.
///
/// # Errors
/// SQLite's.
pub fn shadow(db: &Connection) -> rusqlite::Result<()> {
    for (table, columns) in TABLES {
        if !has(db, table)? || has_column(db, "main", table, "sum")? {
            continue;
        }
        let own = match table {
            "segment" => {
                "number, sealed_us, gone, (SELECT count(*) FROM main.span WHERE span.segment = number) AS spans"
            }
            _ => columns,
        };
        let view = format!(
            "CREATE TEMP VIEW {table} AS SELECT {columns}, row_sum({columns}) AS sum FROM (SELECT {own} FROM main.{table})"
        );
        db.execute_batch(&view)?;
    }
    Ok(())
}

/// Takes the rows that are whole from the same tables of an attached file.
///
/// # Errors
/// SQLite's.
pub fn salvage(db: &Connection, attached: &str, table: &str) -> rusqlite::Result<()> {
    let columns = TABLES.iter().find(|(name, _)| *name == table).map(|(_, columns)| *columns);
    let sql = match columns {
        None => format!("INSERT OR IGNORE INTO main.{table} SELECT * FROM {attached}.{table}"),
        Some(columns) if has_column(db, attached, table, "sum")? => format!(
            "INSERT OR IGNORE INTO main.{table}({columns}, sum)
             SELECT {columns}, sum FROM {attached}.{table} WHERE sum IS row_sum({columns})"
        ),
        Some(columns) => {
            let own = match table {
                "segment" => columns.replace(
                    "spans",
                    &format!("(SELECT count(*) FROM {attached}.span WHERE span.segment = number) AS spans"),
                ),
                _ => columns.to_owned(),
            };
            format!(
                "INSERT OR IGNORE INTO main.{table}({columns}, sum)
                 SELECT {columns}, row_sum({columns}) FROM (SELECT {own} FROM {attached}.{table})"
            )
        }
    };
    db.execute(&sql, []).map(|_| ())
}

fn has(db: &Connection, table: &str) -> rusqlite::Result<bool> {
    db.prepare_cached("SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = ?1")?.exists([table])
}

fn has_column(db: &Connection, schema: &str, table: &str, column: &str) -> rusqlite::Result<bool> {
    db.prepare("SELECT 1 FROM pragma_table_info(?1, ?2) WHERE name = ?3")?.exists([table, schema, column])
}

/// BLAKE3 of the values from `first` on, each with its kind and length, its first eight bytes.
fn sum(row: &Context<'_>, first: usize) -> i64 {
    let mut hasher = blake3::Hasher::new();
    for at in first..row.len() {
        let mut put = |kind: u8, bytes: &[u8]| {
            hasher.update(&[kind]).update(&(bytes.len() as u64).to_le_bytes()).update(bytes);
        };
        match row.get_raw(at) {
            ValueRef::Null => put(0, &[]),
            ValueRef::Integer(value) => put(1, &value.to_le_bytes()),
            ValueRef::Real(value) => put(2, &value.to_le_bytes()),
            ValueRef::Text(bytes) => put(3, bytes),
            ValueRef::Blob(bytes) => put(4, bytes),
        }
    }
    i64::from_le_bytes(hasher.finalize().as_bytes().first_chunk().copied().unwrap_or_default())
}
