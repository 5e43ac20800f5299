//! The one place that reads the clock.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Now, UTC.
#[expect(clippy::disallowed_methods, reason = "the driver's reading of the clock")]
pub fn now() -> SystemTime {
    SystemTime::now()
}

/// Now, microseconds since 1970 UTC.
pub fn utc_us() -> i64 {
    i64::try_from(since_epoch().as_micros()).unwrap_or(i64::MAX)
}

/// Now, since 1970 UTC.
pub fn since_epoch() -> Duration {
    now().duration_since(UNIX_EPOCH).unwrap_or_default()
}
