//! Cameras by V4L2, on a driver of the kernel: `vivid`, the virtual one, in a machine of its own. It shows what it is told to
//! and fails as it is told to; `v4l2-ctl`, the kernel's own tool, says what the driver was asked for.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use hil::binaries::built;
use hil::machine::Machine;
use hil::media::root;
use hil::wait::until;
use serde_json::Value;

/// For one command, all of it emulated.
const COMMAND: Duration = Duration::from_secs(60);
/// For what the node has to notice.
const NOTICED: Duration = Duration::from_secs(90);
const DEVICE: &str = "/dev/video0";

/// A node in a machine that has the driver.
struct Rig {
    machine: Machine,
    node: String,
}

impl Rig {
    fn start(folder: &Path) -> Self {
        let machine = Machine::start(&["vivid"], folder).unwrap();
        let node = built().unwrap().join("edge-node").canonicalize().unwrap();
        Self { machine, node: node.display().to_string() }
    }

    fn run(&mut self, script: &str) -> String {
        self.machine.run(script, COMMAND).unwrap()
    }

    /// Sets the driver's controls.
    fn set(&mut self, controls: &str) {
        self.run(&format!("v4l2-ctl -d {DEVICE} -c {controls}"));
    }

    /// Starts the node with these cameras, looked at by our own model at a size that an emulated processor keeps up with.
    fn start_node(&mut self, cameras: &str) {
        let models = root().join("models").canonicalize().unwrap();
        let manifest = std::fs::read_to_string(models.join("manifest.toml")).unwrap();
        let yard = manifest.split_inclusive("[[model]]\n").find(|entry| entry.contains("name = \"yard\"\n")).unwrap();
        let small = yard
            .replace("file = \"", &format!("file = \"{}/", models.display()))
            .replace("width = 320, height = 192", "width = 96, height = 64")
            .replace("rows = 5100", "rows = 510");
        let small = format!("[[model]]\n{}", small.trim_end_matches("[[model]]\n"));
        let config = format!(
            "node = \"gate-1\"\ndata = \"/run/data\"\nlisten = \"127.0.0.1:8080\"\n\n[model]\nname = \"yard\"\n\
             manifest = \"/run/share/models.toml\"\n{cameras}"
        );
        for (name, text) in [("models.toml", small), ("node.toml", config)] {
            std::fs::write(self.machine.share().join(name), text).unwrap();
        }
        let node = self.node.clone();
        self.run(&format!("{node} run --config /run/share/node.toml > /run/share/node.log 2>&1 & echo $! > /run/node"));
    }

    fn get(&mut self, path: &str) -> Result<String, String> {
        let got = self.machine.run(&format!("curl -sSf -m 10 http://127.0.0.1:8080{path}"), COMMAND);
        got.map_err(|error| format!("{error:#}"))
    }

    /// Waits for what is said of a camera.
    fn wait(&mut self, what: &str, camera: usize, good: impl Fn(&Value) -> bool) {
        let seen = until(what, NOTICED, || {
            let state = self.get("/api/v1/state")?;
            let state: Value = serde_json::from_str(&state).map_err(|error| error.to_string())?;
            if good(&state["cameras"][camera]) { Ok(()) } else { Err(state["cameras"].to_string()) }
        });
        if let Err(error) = seen {
            let log = std::fs::read_to_string(self.machine.share().join("node.log")).unwrap();
            panic!("{error:#}\n{log}");
        }
    }

    /// A counter of a camera.
    fn count(&mut self, name: &str, camera: &str) -> u64 {
        let metrics = self.get("/metrics").unwrap();
        let line = format!("picket_camera_{name}_total{{name=\"{camera}\"}} ");
        metrics.lines().find_map(|each| each.strip_prefix(&line)).map_or(0, |count| count.parse().unwrap())
    }

    /// Each thing that the journal has of a camera: type and what is said.
    fn said(&mut self, kind: &str, field: &str) -> Vec<String> {
        let node = self.node.clone();
        let events = self.run(&format!("{node} events --config /run/share/node.toml --json --type {kind}"));
        let events = events.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let yard = events.filter(|event| event["subject"] == "camera/yard");
        yard.map(|event| event["data"][field].as_str().unwrap().to_owned()).collect()
    }
}

fn fresh(camera: &Value) -> bool {
    camera["age_ms"].as_u64().is_some_and(|age| age < 2000) && camera["stale"] == false && camera["error"] == ""
}

/// Sizes and rates of a driver as its kernel's tool lists them, each as `edge-node cameras` writes it.
fn listed(formats: &str) -> BTreeSet<String> {
    let (mut coding, mut size, mut all) = (None, String::new(), BTreeSet::new());
    for line in formats.lines().map(str::trim) {
        if line.starts_with('[') {
            coding = line.contains("'YUYV'").then_some("Yuyv");
        } else if let Some(found) = line.strip_prefix("Size: Discrete ") {
            size = found.replace('x', "×");
        } else if let (Some(coding), Some((_, rate))) = (coding, line.split_once("s (")) {
            let rate: f64 = rate.strip_suffix(" fps)").unwrap().parse().unwrap();
            all.insert(format!("{coding} {size} at {rate:.1}"));
        }
    }
    all
}

#[test]
fn a_driver_of_the_kernel_is_listed_read_and_outlived() {
    if cfg!(not(target_arch = "x86_64")) {
        hil::media::skip("a_driver_of_the_kernel_is_listed_read_and_outlived", "the machine's kernel is of x86-64");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let mut rig = Rig::start(folder.path());
    let node = rig.node.clone();

    let ours = rig.run(&format!("{node} cameras"));
    let (_, ours) = ours.split_once("v4l2:/dev/video0\tvivid-000-vid-cap\n").unwrap();
    let ours = ours.lines().map_while(|line| line.strip_prefix('\t')).map(|offer| {
        let (what, rate) = offer.strip_suffix("/s").unwrap().rsplit_once(' ').unwrap();
        format!("{what} {:.1}", rate.parse::<f64>().unwrap())
    });
    let theirs = listed(&rig.run(&format!("v4l2-ctl -d {DEVICE} --list-formats-ext")));
    assert!(theirs.contains("Yuyv 640×360 at 10.0"), "{theirs:?}");
    assert_eq!(ours.collect::<BTreeSet<_>>(), theirs);

    // Colour bars that go by, which looks like a camera that is moved and like a blurred one. The second camera wants a size
    // that the driver has not.
    rig.set("test_pattern=0,osd_text_mode=2,horizontal_movement=4");
    rig.start_node(
        "\n[[camera]]\nname = \"yard\"\nsource = \"v4l2:/dev/video0\"\nview = { moved = -1, blurred = 0 }\n\
         v4l2 = { size = [640, 360], fps = 10, controls = { gain_automatic = 0, gain = 60 } }\n\
         \n[[camera]]\nname = \"odd\"\nsource = \"v4l2:/dev/video0\"\nv4l2 = { size = [800, 600] }\n",
    );
    rig.wait("pictures", 0, |camera| fresh(camera) && camera["view"] == "good");
    let asked = rig.run(&format!("v4l2-ctl -d {DEVICE} --get-fmt-video --get-parm -C gain_automatic,gain"));
    for line in ["640/360", "'YUYV'", "10.000 (10/1)", "gain_automatic: 0", "gain: 60"] {
        assert!(asked.contains(line), "{line}: {asked}");
    }
    rig.wait("the odd one to say why", 1, |camera| {
        camera["error"].as_str().is_some_and(|error| error.contains("expected") && error.contains("800×600"))
    });
    bars(&mut rig);
    dark_and_still(&mut rig);
    damaged_and_broken(&mut rig);
    let views = rig.said("camera.view_changed", "view");
    assert_eq!(views, ["dark", "good", "frozen", "good"], "what the journal has of its view");
    // The odd one has failed each second, always in the same way.
    assert!(rig.count("sessions_failed", "odd") > 5);
    let log = std::fs::read_to_string(rig.machine.share().join("node.log")).unwrap();
    let said = log.lines().filter(|line| line.contains("trying again") && line.ends_with("camera=odd"));
    assert_eq!(said.count(), 1, "{log}");
    unplugged(&mut rig);
    rig.run("kill $(cat /run/node); while kill -0 $(cat /run/node); do sleep 0.1; done 2> /run/ended");
}

/// The driver's colours come out as they are: eight bars, and nothing but them.
fn bars(rig: &mut Rig) {
    rig.run("curl -sSf -m 10 -o /run/share/bars.jpg http://127.0.0.1:8080/api/v1/cameras/yard/frame.jpg");
    let picture = image::open(rig.machine.share().join("bars.jpg")).unwrap().into_rgb8();
    let (width, height) = picture.dimensions();
    assert_eq!((width, height), (640, 360));
    // Three quarters of full, and nothing; behind them their order on the screen.
    let bars = [[1, 1, 1], [1, 1, 0], [0, 1, 1], [0, 1, 0], [1, 0, 1], [1, 0, 0], [0, 0, 1], [0, 0, 0]];
    let is = |pixel: [u8; 3], bar: [u8; 3]| pixel.iter().zip(bar).all(|(found, part)| found.abs_diff(part * 191) <= 12);
    let row: Vec<_> = (0..width).map(|x| picture.get_pixel(x, height / 2).0).collect();
    let mut order: Vec<_> = row.iter().filter_map(|pixel| bars.iter().position(|bar| is(*pixel, *bar))).collect();
    // All but the edges between them.
    assert!(order.len() >= 560, "{} pixels of 640 have a bar's colour: {row:?}", order.len());
    order.dedup();
    assert!(order.windows(2).all(|pair| pair[1] == (pair[0] + 1) % 8), "{order:?}");
    assert_eq!(order.iter().collect::<BTreeSet<_>>().len(), 8, "{order:?}");
}

/// Bars without light are dark, bars that stand are frozen; each is good again.
fn dark_and_still(rig: &mut Rig) {
    for (bad, view) in [("brightness=0", "dark"), ("horizontal_movement=3", "frozen")] {
        rig.set(bad);
        rig.wait(view, 0, |camera| camera["view"] == view);
        rig.set("brightness=128,horizontal_movement=4");
        rig.wait("a good view", 0, |camera| camera["view"] == "good");
    }
}

/// A buffer that the driver calls damaged is passed over and counted; a driver that gives up is opened again.
fn damaged_and_broken(rig: &mut Rig) {
    let (bad, failed) = (rig.count("frames_bad", "yard"), rig.count("sessions_failed", "yard"));
    rig.set("inject_v4l2_buf_flag_error=1");
    until("the damaged picture to be counted", NOTICED, || match rig.count("frames_bad", "yard") {
        count if count == bad + 1 => Ok(()),
        count => Err(format!("{count}")),
    })
    .unwrap();
    assert_eq!(rig.count("sessions_failed", "yard"), failed);
    rig.set("inject_fatal_streaming_error=1");
    until("the session to be ended", NOTICED, || match rig.count("sessions_failed", "yard") {
        count if count == failed + 1 => Ok(()),
        count => Err(format!("{count}")),
    })
    .unwrap();
    let state: Value = serde_json::from_str(&rig.get("/api/v1/state").unwrap()).unwrap();
    // Those that were still on their way are of the last one.
    let old = state["cameras"][0]["frame"].as_u64().unwrap() + 5;
    rig.wait("pictures of the next session", 0, |camera| fresh(camera) && camera["frame"].as_u64() > Some(old));
}

/// Pulled out, it is stale and says why; plugged in, it is read again.
fn unplugged(rig: &mut Rig) {
    let driver = "/sys/bus/platform/drivers/vivid";
    rig.run(&format!("echo vivid.0 > {driver}/unbind"));
    rig.wait("it to be missed by name", 0, |camera| {
        camera["stale"] == true && camera["error"].as_str().is_some_and(|error| error.contains(DEVICE))
    });
    rig.run(&format!("echo vivid.0 > {driver}/bind"));
    rig.wait("pictures of the next one", 0, fresh);
}
