//! From the last byte of a picture that shows a person to the first Hold at the vehicle's socket, and what of it is inference.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::process::Command;
use std::sync::mpsc::{Receiver, SyncSender, channel, sync_channel};
use std::time::{Duration, Instant};

use anyhow::Context;

use super::console::Console;
use super::{number, percentiles, rover};
use crate::binaries::built;
use crate::media::{folder, root};
use crate::process::output;
use crate::servers::Place;
use crate::site::{FAILSAFES, Plan, Ports, ROVER_BRAKE, Site};
use crate::wait::now;

/// People who come.
const PEOPLE: usize = 100;
/// Pictures a second.
const FPS: u32 = 5;
/// Pictures without anybody before each: the rover drives by then.
const EMPTY: usize = 5;
const SEND_ON: &str = "{\"verb\":\"resume\",\"by\":\"bench\"}";
/// Passes over the picture when its inference is measured alone.
const PASSES: &str = "50";
/// Longest wait for anything.
const LONG: Duration = Duration::from_secs(30);
/// Pictures of COCO: one person, who scores over 0.6; nobody.
const SOMEBODY: &str = "coco64/images/000000001490.jpg";
const NOBODY: &str = "coco64/images/000000000802.jpg";

/// What was found, milliseconds.
pub struct Found {
    /// Median, 99th in a hundred, 99.9th, largest: of each person's picture to the first Hold.
    pub hold: [f64; 4],
    /// The same picture in a process of its own, median: preparation, inference, boxes.
    pub inference: f64,
    /// How many.
    pub people: usize,
}

/// Measures.
///
/// # Errors
/// When pictures are missing, the node does not start, or a person is not noticed.
pub fn measure() -> anyhow::Result<Found> {
    let media = folder().context("find the pictures: ../shared/media or PICKET_MEDIA")?;
    let read = |name: &str| std::fs::read(media.join(name)).with_context(|| format!("read {name}"));
    let (somebody, nobody) = (read(SOMEBODY)?, read(NOBODY)?);
    let mut alone = Command::new(built()?.join("edge-node"));
    alone.args(["detect", "--timing", PASSES, "--model", "yolox-nano", "--manifest"]);
    alone.arg(root().join("models/manifest.toml")).arg(media.join(SOMEBODY));
    let timing = serde_json::from_str(output(&mut alone)?.trim()).context("read timings")?;
    let inference = ["preprocess", "inference", "postprocess"].iter().map(|part| number(&timing, part)).sum();
    let camera = TcpListener::bind("127.0.0.1:0").context("bind a camera")?;
    let ports = Ports::free()?;
    let node = format!(
        "\n[[link]]\nname = \"radio\"\nurl = \"udpin:127.0.0.1:{}\"\n\n\
         [[vehicle]]\nname = \"rover\"\nclass = \"rover\"\nsysid = 1\nlinks = [\"radio\"]\n{ROVER_BRAKE}\n\
         [[camera]]\nname = \"yard\"\nsource = \"mjpeg:http://{}/yard\"\nview = {{ frozen_after = \"0s\" }}\n\n\
         [[zone]]\nname = \"yard\"\ncamera = \"yard\"\npolygon = [[0, 0], [1, 0], [1, 1], [0, 1]]\n\n\
         [[keep_out]]\nzone = \"yard\"\nvehicles = [\"rover\"]\nclear_after = \"500ms\"\n",
        ports.link,
        camera.local_addr()?
    );
    let place = Place { postgres: String::new(), kafka: String::new(), topic_prefix: String::new() };
    let plan = Plan { node, plain: true, model: true, ..Plan::default() };
    let mut site = Site::prepare(place, ports, &plan, None)?;
    let (show, shown) = sync_channel::<Vec<u8>>(1);
    let (sent, times) = channel();
    std::thread::spawn(move || serve(&camera, &shown, &sent));
    site.start_node()?;
    let (told, holds) = channel();
    let (link, drives) =
        (ports.link, format!("mission_m = [[0, 0], [4000, 0]]\nspeed_mps = 2.0\nmode = 4\n{FAILSAFES}"));
    std::thread::spawn(move || rover::run(link, &drives, &told));
    let mut console = Console::open(ports.console)?;
    console.ask("POST", "/api/v1/vehicles/rover/patrol", "{\"for\":\"1h\",\"by\":\"bench\"}")?;
    let hold = people(&mut console, (&show, &times), &holds, (&somebody, &nobody))?;
    Ok(Found { hold: percentiles(hold.clone()), inference, people: hold.len() })
}

/// Somebody comes, and goes, again and again.
fn people(
    console: &mut Console,
    (show, times): (&SyncSender<Vec<u8>>, &Receiver<Instant>),
    holds: &Receiver<Instant>,
    (somebody, nobody): (&[u8], &[u8]),
) -> anyhow::Result<Vec<f64>> {
    let picture = |jpeg: &[u8]| -> anyhow::Result<Instant> {
        show.send(jpeg.to_vec()).context("show a picture")?;
        times.recv_timeout(LONG).context("send a picture")
    };
    let mut found = Vec::new();
    for _ in 0..PEOPLE {
        // Pictures without anybody until the rover may be sent on, and some more while it gathers speed.
        let begun = now();
        while !console.ask("POST", "/api/v1/vehicles/rover/commands", SEND_ON)?.contains("\"id\"") {
            picture(nobody)?;
            anyhow::ensure!(begun.elapsed() < LONG, "the rover is not let go");
        }
        for _ in 0..EMPTY {
            picture(nobody)?;
        }
        while holds.try_recv().is_ok() {}
        let seen = picture(somebody)?;
        let held = loop {
            match holds.recv_timeout(LONG).context("wait for a Hold")? {
                at if at >= seen => break at,
                _ => {}
            }
        };
        found.push(held.duration_since(seen).as_secs_f64() * 1e3);
    }
    Ok(found)
}

/// A camera that shows what it is given, at its rate; tells when the last byte was written.
fn serve(camera: &TcpListener, shown: &Receiver<Vec<u8>>, sent: &std::sync::mpsc::Sender<Instant>) {
    let mut viewer: Option<TcpStream> = None;
    while let Ok(jpeg) = shown.recv() {
        let stream = match &mut viewer {
            Some(stream) => stream,
            None => {
                let Ok((stream, _)) = camera.accept() else { return };
                let _ = stream.set_nodelay(true);
                let mut lines = BufReader::new(&stream).lines();
                while lines.next().and_then(Result::ok).is_some_and(|line| !line.is_empty()) {}
                let mut stream = stream;
                let head = "HTTP/1.1 200 OK\r\nContent-Type: multipart/x-mixed-replace; boundary=frame\r\n\r\n";
                if stream.write_all(head.as_bytes()).is_err() {
                    return;
                }
                viewer.insert(stream)
            }
        };
        let head = format!("--frame\r\nContent-Type: image/jpeg\r\nContent-Length: {}\r\n\r\n", jpeg.len());
        let part = [head.as_bytes(), &jpeg, b"\r\n"].concat();
        if stream.write_all(&part).is_err() || sent.send(now()).is_err() {
            return;
        }
        std::thread::sleep(Duration::from_secs(1) / FPS);
    }
}
