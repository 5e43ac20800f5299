//! zstd dictionaries by number, trained on events of our own: a batch of one event is mostly what every event says.
//!
//! A number's bytes never change and no number goes: an old batch must still decode. A new one is made with
//! `hil dictionary`, gets the next number, and old builds go on with the newest that both sides know.

/// The dictionary that new batches are made with, where the relay knows it.
pub const NEWEST: u32 = 1;

const ALL: [(u32, &[u8]); 2] = [(0, &[]), (1, include_bytes!("../dictionaries/0001.zdict"))];

/// The numbers this build knows; 0 is none.
pub fn known() -> Vec<u32> {
    ALL.iter().map(|(number, _)| *number).collect()
}

/// A dictionary's bytes.
pub fn bytes(number: u32) -> Option<&'static [u8]> {
    ALL.iter().find(|(known, _)| *known == number).map(|(_, bytes)| *bytes)
}
