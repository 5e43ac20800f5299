//! Untrusted bodies meet their limits before anything is made of them.

use proptest::prelude::{ProptestConfig, any, proptest};
use shared::dictionary::{NEWEST, bytes, known};
use shared::ids::Seq;
use shared::wire::{BODY_MAX, Batch, INFLATED_MAX, ITEMS_MAX, Item, WireError};

use crate::golden::batch;

#[test]
fn a_batch_survives_the_wire() {
    assert_eq!(Batch::decode(&batch().encode().unwrap(), 0).unwrap(), batch());
}

#[test]
fn a_zip_bomb_is_refused_while_inflating() {
    let bomb = zstd::bulk::compress(&vec![0; INFLATED_MAX * 8], 3).unwrap();
    assert!(bomb.len() < BODY_MAX);
    assert!(matches!(Batch::decode(&bomb, 0), Err(WireError::InflatedTooLarge)));
}

#[test]
fn an_oversized_truncated_or_overfull_body_is_refused() {
    assert!(matches!(Batch::decode(&vec![0; BODY_MAX + 1], 0), Err(WireError::BodyTooLarge(_))));
    let whole = batch().encode().unwrap();
    assert!(matches!(Batch::decode(&whole[..whole.len() - 3], 0), Err(WireError::Inflate(_))));
    let mut many = batch();
    let record = many.items[1].clone();
    many.items.extend(std::iter::repeat_n(record, ITEMS_MAX));
    assert!(matches!(many.encode(), Err(WireError::TooManyItems(_))));
}

#[test]
fn a_batch_that_breaks_its_own_order_is_refused() {
    let mut late_opening = batch();
    late_opening.first_seq = Seq(5);
    assert!(matches!(Batch::decode(&late_opening.encode().unwrap(), 0), Err(WireError::Invalid(_))));
    let mut unopened = batch();
    unopened.items.remove(0);
    assert!(matches!(Batch::decode(&unopened.encode().unwrap(), 0), Err(WireError::Invalid(_))));
    let mut zero = batch();
    zero.first_seq = Seq(0);
    assert!(matches!(Batch::decode(&zero.encode().unwrap(), 0), Err(WireError::Invalid(_))));
}

#[test]
fn the_chain_changes_with_any_flipped_byte() {
    let Item::Record(record) = batch().items[1].clone() else { panic!("second item is a record") };
    for at in 0..record.bytes.len() {
        let mut flipped = record.clone();
        flipped.bytes[at] ^= 1;
        assert_ne!(flipped.digest(), record.digest(), "byte {at}");
    }
}

#[test]
fn a_dictionary_makes_a_small_batch_smaller_and_only_its_own_number_opens_it() {
    let plain = batch().encode().unwrap();
    let with = Batch { dict_id: NEWEST, ..batch() };
    let body = with.encode().unwrap();
    assert!(body.len() < plain.len(), "{} bytes with, {} without", body.len(), plain.len());
    assert_eq!(Batch::decode(&body, NEWEST).unwrap(), with);
    assert!(Batch::decode(&body, 0).is_err());
    assert!(matches!(Batch::decode(&body, 999), Err(WireError::UnknownDictionary(999))));
    assert!(matches!(Batch { dict_id: 999, ..batch() }.encode(), Err(WireError::UnknownDictionary(999))));
}

#[test]
fn a_header_that_names_another_dictionary_than_the_batch_is_refused() {
    let lying = Batch { dict_id: NEWEST, ..batch() };
    let plain = zstd::bulk::compress(&postcard::to_stdvec(&lying).unwrap(), 3).unwrap();
    assert!(matches!(Batch::decode(&plain, 0), Err(WireError::Invalid(_))));
}

/// Dictionaries are kept for ever: an old batch must still decode.
#[test]
fn the_dictionaries_are_the_bytes_they_always_were() {
    let digests = known().into_iter().skip(1).map(|n| blake3::hash(bytes(n).unwrap()).to_hex().to_string());
    let expected = ["e2173b06136f21c2bc6292dcf1bef41f61477187ec513849492a87abaa629067"];
    assert_eq!(digests.collect::<Vec<_>>(), expected);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]
    #[test]
    fn any_bytes_are_refused_without_panic(bytes in proptest::collection::vec(any::<u8>(), 0..4096)) {
        let _ = Batch::decode(&bytes, 0);
        let framed = zstd::bulk::compress(&bytes, 1).unwrap();
        assert!(Batch::decode(&framed, 0).is_err());
    }

    #[test]
    fn a_flipped_bit_never_panics(at in 0usize..400, bit in 0u8..8) {
        let mut body = postcard::to_stdvec(&batch()).unwrap();
        let at = at % body.len();
        body[at] ^= 1 << bit;
        let _ = Batch::decode(&zstd::bulk::compress(&body, 1).unwrap(), 0);
    }
}
