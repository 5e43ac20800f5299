//! The fuzz targets' corpora, through the same functions, with every compiler; and random bytes beside them.

#[path = "../../fuzz/src/lib.rs"]
mod targets;

use proptest::prelude::{any, proptest};

fn seeds(target: &str) -> Vec<Vec<u8>> {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target);
    let seeds: Vec<_> =
        std::fs::read_dir(folder).unwrap().map(|entry| std::fs::read(entry.unwrap().path()).unwrap()).collect();
    assert!(seeds.len() >= 3, "{target}: {} seeds", seeds.len());
    seeds
}

#[test]
fn journals_of_the_corpus_open_or_are_refused() {
    seeds("journal").iter().for_each(|seed| targets::journal(seed));
}

#[test]
fn inputs_of_the_corpus_leave_the_interlock_sound() {
    seeds("interlock").iter().for_each(|seed| targets::interlock(seed));
}

proptest! {
    #[test]
    fn any_bytes_leave_the_interlock_sound(bytes in proptest::collection::vec(any::<u8>(), 0..2000)) {
        targets::interlock(&bytes);
    }
}
