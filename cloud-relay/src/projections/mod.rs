//! Events into typed read tables, rebuildable from zero.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::Value;
use shared::units::UtcMicros;
use tokio_postgres::Transaction;
use tokio_postgres::types::ToSql;

use crate::consume::{Effect, Record};

/// The newest sample of each vehicle, into `vehicle_latest`.
pub struct VehicleLatest;

impl Effect for VehicleLatest {
    fn name(&self) -> &'static str {
        "vehicle-latest"
    }

    fn topic(&self) -> &'static str {
        "system-events"
    }

    async fn apply(&self, tx: &Transaction<'_>, record: &Record) -> Result<Result<(), String>, tokio_postgres::Error> {
        if record.header("ce_type") != "vehicle.sampled" {
            return Ok(Ok(()));
        }
        let sample = match Sample::read(record) {
            Ok(sample) => sample,
            Err(reason) => return Ok(Err(reason)),
        };
        // A late event never overwrites newer state.
        let sql = "INSERT INTO vehicle_latest AS old(tenant, node, vehicle, mode, armed, lat_deg, lon_deg, speed_mps,
                battery_pct, \"timestamp\", seq) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)
            ON CONFLICT (tenant, node, vehicle) DO UPDATE SET mode = $4, armed = $5, lat_deg = $6, lon_deg = $7,
                speed_mps = $8, battery_pct = $9, \"timestamp\" = $10, seq = $11
            WHERE (old.\"timestamp\", old.seq) < ($10, $11)";
        let values: [&(dyn ToSql + Sync); 11] = [
            &record.header("tenant"),
            &record.header("node"),
            &sample.vehicle,
            &sample.mode,
            &sample.armed,
            &sample.lat_deg,
            &sample.lon_deg,
            &sample.speed_mps,
            &sample.battery_pct,
            &sample.at,
            &sample.seq,
        ];
        tx.execute(sql, &values).await?;
        Ok(Ok(()))
    }
}

struct Sample {
    vehicle: String,
    mode: i64,
    armed: bool,
    lat_deg: Option<f64>,
    lon_deg: Option<f64>,
    speed_mps: Option<f64>,
    battery_pct: Option<i32>,
    at: SystemTime,
    seq: i64,
}

impl Sample {
    fn read(record: &Record) -> Result<Self, String> {
        let field = |key: &str| record.payload.get(key).unwrap_or(&Value::Null);
        let expected = |key: &str| format!("vehicle.sampled: expected {key}, found {}", field(key));
        let micros = UtcMicros::parse_rfc3339(record.header("ce_time"))?.0;
        Ok(Self {
            vehicle: field("vehicle").as_str().ok_or_else(|| expected("vehicle"))?.to_owned(),
            mode: field("mode").as_i64().ok_or_else(|| expected("mode"))?,
            armed: field("armed").as_bool().ok_or_else(|| expected("armed"))?,
            lat_deg: field("lat_deg").as_f64(),
            lon_deg: field("lon_deg").as_f64(),
            speed_mps: field("speed_mps").as_f64(),
            battery_pct: field("battery_pct").as_i64().and_then(|pct| i32::try_from(pct).ok()),
            at: UNIX_EPOCH + Duration::from_micros(u64::try_from(micros).unwrap_or(0)),
            seq: record.header("seq").parse().map_err(|_| "vehicle.sampled: expected header seq".to_owned())?,
        })
    }
}
