//! The summary line of the test run counts what the runner printed.

use hil::suite::Sums;

#[test]
fn results_of_all_binaries_are_summed() {
    let mut sums = Sums::default();
    for line in [
        "running 3 tests",
        "test result: ok. 3 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.00s",
        "test result: FAILED. 41 passed; 2 failed; 1 ignored; 0 measured; 0 filtered out; finished in 2.08s",
    ] {
        sums.add(line);
    }
    assert_eq!(sums, Sums { passed: 44, failed: 2, skipped: 1 });
}
