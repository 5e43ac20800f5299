#![no_main]

use std::sync::Once;

static QUIET: Once = Once::new();

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    // The node catches the panics of some libraries; the fuzzer's own hook would end at each of them. What nobody catches
    // still ends it.
    QUIET.call_once(|| std::panic::set_hook(Box::new(|_| {})));
    edge_node_fuzz::seen(data);
});
