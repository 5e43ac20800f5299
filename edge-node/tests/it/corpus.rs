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

#[test]
fn bytes_of_the_corpus_let_nobody_move_a_vehicle() {
    seeds("link").iter().for_each(|seed| targets::link(seed));
}

#[test]
fn bytes_of_the_corpus_from_cameras_are_pictures_or_errors() {
    seeds("seen").iter().for_each(|seed| targets::seen(seed));
}

proptest! {
    #[test]
    fn any_bytes_from_a_camera_are_pictures_or_errors(
        seed in 0usize..9,
        places in proptest::collection::vec((any::<u16>(), any::<u8>()), 0..12),
    ) {
        // A seed with some of its bytes changed: most of it still reaches the decoders.
        let mut bytes = seeds("seen").swap_remove(seed);
        let length = bytes.len();
        places.into_iter().for_each(|(place, value)| bytes[usize::from(place) % length] = value);
        targets::seen(&bytes);
    }

    #[test]
    fn packets_of_anything_let_nobody_move_a_vehicle(
        pieces in proptest::collection::vec(
            (any::<u8>(), 0u32..300, any::<bool>(), proptest::collection::vec(any::<u8>(), 0..60), 0u8..4), 0..60),
    ) {
        let mut data = Vec::new();
        for (head, id, vehicle, payload, sequence) in pieces {
            let sender = if vehicle { (1, 1) } else { (255, 190) };
            let (mut packet, mut writer) = (Vec::new(), edge_node::vehicle::codec::Writer::new(sender.0, sender.1, None));
            (0..=sequence).for_each(|_| writer.write(id, &payload, &mut packet));
            data.extend([head, packet.len() as u8]);
            data.extend(packet);
        }
        targets::link(&data);
    }

    #[test]
    fn any_bytes_leave_the_interlock_sound(bytes in proptest::collection::vec(any::<u8>(), 0..2000)) {
        targets::interlock(&bytes);
    }
}
