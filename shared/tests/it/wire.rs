//! Untrusted bodies meet their limits before anything is made of them.

use proptest::prelude::{ProptestConfig, any, proptest};
use shared::ids::Seq;
use shared::wire::{BODY_MAX, Batch, INFLATED_MAX, ITEMS_MAX, Item, WireError};

use crate::golden::batch;

#[test]
fn a_batch_survives_the_wire() {
    assert_eq!(Batch::decode(&batch().encode().unwrap()).unwrap(), batch());
}

#[test]
fn a_zip_bomb_is_refused_while_inflating() {
    let bomb = zstd::bulk::compress(&vec![0; INFLATED_MAX * 8], 3).unwrap();
    assert!(bomb.len() < BODY_MAX);
    assert!(matches!(Batch::decode(&bomb), Err(WireError::InflatedTooLarge)));
}

#[test]
fn an_oversized_truncated_or_overfull_body_is_refused() {
    assert!(matches!(Batch::decode(&vec![0; BODY_MAX + 1]), Err(WireError::BodyTooLarge(_))));
    let whole = batch().encode().unwrap();
    assert!(matches!(Batch::decode(&whole[..whole.len() - 3]), Err(WireError::Inflate(_))));
    let mut many = batch();
    let record = many.items[1].clone();
    many.items.extend(std::iter::repeat_n(record, ITEMS_MAX));
    assert!(matches!(many.encode(), Err(WireError::TooManyItems(_))));
}

#[test]
fn a_batch_that_breaks_its_own_order_is_refused() {
    let mut late_opening = batch();
    late_opening.first_seq = Seq(5);
    assert!(matches!(Batch::decode(&late_opening.encode().unwrap()), Err(WireError::Invalid(_))));
    let mut unopened = batch();
    unopened.items.remove(0);
    assert!(matches!(Batch::decode(&unopened.encode().unwrap()), Err(WireError::Invalid(_))));
    let mut zero = batch();
    zero.first_seq = Seq(0);
    assert!(matches!(Batch::decode(&zero.encode().unwrap()), Err(WireError::Invalid(_))));
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

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]
    #[test]
    fn any_bytes_are_refused_without_panic(bytes in proptest::collection::vec(any::<u8>(), 0..4096)) {
        let _ = Batch::decode(&bytes);
        let framed = zstd::bulk::compress(&bytes, 1).unwrap();
        assert!(Batch::decode(&framed).is_err());
    }

    #[test]
    fn a_flipped_bit_never_panics(at in 0usize..400, bit in 0u8..8) {
        let mut body = postcard::to_stdvec(&batch()).unwrap();
        let at = at % body.len();
        body[at] ^= 1 << bit;
        let _ = Batch::decode(&zstd::bulk::compress(&body, 1).unwrap());
    }
}
