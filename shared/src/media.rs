//! Pictures and clips from node to relay, by BLAKE3, in pieces, so that a broken link costs a piece and not the file.
//!
//! `GET /v1/nodes/{node}/media/{hash}` answers with [`Progress`]. `PUT` there with the headers [`OFFSET`] and [`LENGTH`]
//! adds a piece of at most [`PIECE_MAX`] bytes at the offset: 200 with [`Progress`]; 409 with it where the offset is not
//! where the relay is; 422 with it, and nothing kept, where the whole is not what its name says; 404 where the relay
//! keeps no media. A piece that came twice is answered with 409 and does no harm.

use serde::{Deserialize, Serialize};

/// Where the piece begins, bytes.
pub const OFFSET: &str = "upload-offset";
/// Length of the whole, bytes.
pub const LENGTH: &str = "upload-length";
/// Longest piece.
pub const PIECE_MAX: usize = 1024 * 1024;

/// How far the relay is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// Bytes that it has.
    pub offset: u64,
    /// Whether that is all, and what its name says.
    pub complete: bool,
}
