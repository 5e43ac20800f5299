//! What the fuzz targets hold true of untrusted bytes. The tests run the corpus through the same functions.

use shared::cloudevent::CloudEvent;
use shared::record::Record;
use shared::wire::Batch;

/// A batch: the first byte says whether the rest is a body, or what a body inflates to, and the dictionary. What decodes
/// encodes again, and to the same batch.
pub fn batch(data: &[u8]) {
    let Some((kind, rest)) = data.split_first() else { return };
    let dictionary = u32::from(kind & 1);
    let made = (kind & 2 != 0).then(|| {
        let bytes = shared::dictionary::bytes(dictionary).unwrap_or_default();
        zstd::bulk::Compressor::with_dictionary(1, bytes).and_then(|mut zstd| zstd.compress(rest))
    });
    let body = match made {
        Some(Ok(body)) => body,
        _ => rest.to_vec(),
    };
    let Ok(batch) = Batch::decode(&body, dictionary) else { return };
    let again = batch.encode().and_then(|body| Batch::decode(&body, dictionary));
    assert_eq!(again.ok(), Some(batch), "what was taken must be given again as it was");
}

/// A record: two bytes of type, one of version, the rest as it was journaled. What decodes can be shown as JSON.
pub fn record(data: &[u8]) {
    let Some(([low, high, version], bytes)) = data.split_first_chunk() else { return };
    let type_id = u16::from_le_bytes([*low, *high]);
    let record = Record { type_id, schema_version: u16::from(*version), bytes: bytes.to_vec() };
    let Ok(decoded) = record.decode() else { return };
    let event = CloudEvent::new("node", type_id, u16::from(*version), &decoded.envelope, decoded.payload.as_ref());
    let _ = format!("{event:?}");
}
