//! JPEGs of cameras that leave out the Huffman tables: the standard's own are meant (ITU-T T.81, K.3; UVC's MJPEG payload).

use std::borrow::Cow;

use jpeg_encoder::{ColorType, Encoder};

/// Marker of a table of Huffman codes, and of the start of a scan.
const TABLE: u8 = 0xC4;
const SCAN: u8 = 0xDA;

/// The segments of a JPEG up to its scan: marker, place, length with the marker. Ends where the bytes make no sense.
fn segments(bytes: &[u8]) -> impl Iterator<Item = (u8, usize, usize)> + '_ {
    let mut at = 2;
    std::iter::from_fn(move || {
        let &[0xFF, marker, high, low] = bytes.get(at..at + 4)? else { return None };
        let (place, length) = (at, 2 + usize::from(u16::from_be_bytes([high, low])));
        at += length;
        Some((marker, place, length))
    })
}

/// The same JPEG, with the standard's tables before its scan if it has none.
pub fn complete(bytes: &[u8]) -> Cow<'_, [u8]> {
    let mut scan = None;
    for (marker, place, _) in segments(bytes) {
        match marker {
            TABLE => return Cow::Borrowed(bytes),
            SCAN => {
                scan = Some(place);
                break;
            }
            _ => {}
        }
    }
    let Some((head, rest)) = scan.and_then(|scan| bytes.split_at_checked(scan)) else { return Cow::Borrowed(bytes) };
    Cow::Owned([head, &standard(), rest].concat())
}

/// The standard's tables, as an encoder that does not make its own writes them.
fn standard() -> Vec<u8> {
    let mut jpeg = Vec::new();
    // A picture of one block cannot fail.
    let _ = Encoder::new(&mut jpeg, 50).encode(&[128; 8 * 8 * 3], 8, 8, ColorType::Rgb);
    let tables = segments(&jpeg).filter(|(marker, ..)| *marker == TABLE);
    tables.filter_map(|(_, place, length)| jpeg.get(place..place + length)).collect::<Vec<_>>().concat()
}
