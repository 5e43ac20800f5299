//! The fuzz target's corpus, through the same function, with every compiler.

#[path = "../../fuzz/src/lib.rs"]
mod targets;

#[test]
fn journals_of_the_corpus_open_or_are_refused() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus/journal");
    let mut seeds = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        targets::journal(&std::fs::read(entry.unwrap().path()).unwrap());
        seeds += 1;
    }
    assert!(seeds >= 3, "{seeds} seeds");
}
