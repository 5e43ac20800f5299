//! The fuzz targets' corpus, through the same functions, with every compiler.

#[path = "../../fuzz/src/lib.rs"]
mod targets;

fn each(folder: &str, target: fn(&[u8])) {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(folder);
    let mut seeds = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        target(&std::fs::read(entry.unwrap().path()).unwrap());
        seeds += 1;
    }
    assert!(seeds >= 3, "{seeds} seeds");
}

#[test]
fn batches_of_the_corpus_are_taken_whole_or_refused() {
    each("batch", targets::batch);
}

#[test]
fn records_of_the_corpus_are_taken_whole_or_refused() {
    each("record", targets::record);
}
