//! A way to a camera that carries no more than a camera sends. The RTSP library sets no limit to what it gathers before it
//! gives a picture; a peer that floods it would take the box's memory. What comes through here in the time that a step may
//! take is bounded.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use anyhow::Context;
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{sleep, timeout};

use super::rate::Rate;
use crate::clock;

/// What a camera may send in a second: four times a 4K stream of the highest quality.
const PER_SECOND: u64 = 8 * 1024 * 1024;
/// And beyond that at once.
const BURST: u64 = 8 * 1024 * 1024;
/// What comes is held back by no more than this.
const LATE: Duration = Duration::from_millis(200);
/// Bytes that are carried at a time.
const CHUNK: usize = 64 * 1024;

/// Connects to a camera; gives an address on loopback that leads to it, for one connection. It ends with either end.
///
/// # Errors
/// When the camera cannot be reached in time.
pub async fn narrow(host: &str, port: u16, wait: Duration) -> anyhow::Result<SocketAddr> {
    let camera = timeout(wait, TcpStream::connect((host, port))).await;
    let camera = camera.context("connect to the camera: no answer")?.context("connect to the camera")?;
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.context("make a way to the camera")?;
    let address = listener.local_addr().context("make a way to the camera")?;
    tokio::spawn(async move {
        // Nobody came: it is over before it began.
        let Ok(Ok((inside, _))) = timeout(wait, listener.accept()).await else { return };
        let ((mut from_us, mut to_us), (mut from_camera, mut to_camera)) = (inside.into_split(), camera.into_split());
        let out = async {
            // What we say is small.
            let _ = copy(&mut from_us, &mut to_camera).await;
        };
        let back = async {
            let (mut rate, mut chunk) = (Rate::new(PER_SECOND, BURST, clock::uptime()), vec![0; CHUNK]);
            while let Ok(read @ 1..) = from_camera.read(&mut chunk).await {
                let early = rate.step(read, clock::uptime());
                // Held back, pictures would come to us younger than they are: what sends more is no camera.
                if early > LATE {
                    break;
                }
                // A sleep of no time is a turn of the timer.
                if !early.is_zero() {
                    sleep(early).await;
                }
                if to_us.write_all(chunk.get(..read).unwrap_or_default()).await.is_err() {
                    break;
                }
            }
        };
        tokio::select! {
            () = out => {}
            () = back => {}
        }
    });
    Ok(address)
}
