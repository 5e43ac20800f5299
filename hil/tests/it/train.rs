//! Training goes on from the weights that are shipped, with pictures as an integrator's labelling tool exports them, and gives
//! a model that the node takes.

use std::path::Path;
use std::process::Command;

use hil::binaries::built;
use hil::drawn::render;
use hil::media::{root, skip};
use hil::process::output;
use serde_json::{Value, json};

/// Debian's, with Debian's torch.
const PYTHON: &str = "/usr/bin/python3";
const NAMES: [&str; 5] = ["person", "car", "truck", "drone", "animal"];

/// Writes the labels of drawn scenes as COCO does; how many there are.
fn as_coco(drawn: &Path, scenes: usize) -> usize {
    let (mut images, mut annotations) = (Vec::new(), Vec::new());
    for scene in 0..scenes {
        images.push(json!({ "id": scene, "file_name": format!("{scene:06}.jpg"), "width": 640, "height": 360 }));
        let labels = std::fs::read_to_string(drawn.join(format!("labels/{scene:06}.txt"))).unwrap();
        for line in labels.lines() {
            let (class, place) = line.split_once(' ').unwrap();
            let class: u64 = class.parse().unwrap();
            let place: Vec<f64> = place.split(' ').map(|number| number.parse().unwrap()).collect();
            let [x, y, w, h] = place.try_into().unwrap();
            let (w, h, x, y) = (w * 640.0, h * 360.0, x * 640.0, y * 360.0);
            annotations.push(json!({
                "id": annotations.len() + 1, "image_id": scene, "category_id": class + 1, "iscrowd": 0,
                "area": w * h, "bbox": [x - w / 2.0, y - h / 2.0, w, h],
            }));
        }
    }
    let category = |(n, name): (usize, &&str)| json!({ "id": n + 1, "name": name });
    let categories: Vec<Value> = NAMES.iter().enumerate().map(category).collect();
    let count = annotations.len();
    let all = json!({ "images": images, "annotations": annotations, "categories": categories });
    std::fs::write(drawn.join("annotations.json"), all.to_string()).unwrap();
    count
}

#[test]
fn our_model_is_trained_on_with_pictures_in_cocos_format_and_the_node_takes_it() {
    let test = "our_model_is_trained_on_with_pictures_in_cocos_format_and_the_node_takes_it";
    if output(Command::new(PYTHON).args(["-c", "import onnx, torch, yaml, PIL"])).is_err() {
        return skip(test, "no python3-torch, python3-onnx, python3-yaml, python3-pil");
    }
    let folder = tempfile::tempdir().unwrap();
    let [data, held] = ["data", "held"].map(|name| folder.path().join(name));
    render(&data, "6000000", 32, &[]).unwrap();
    render(&held, "6000100", 16, &[]).unwrap();
    assert!(as_coco(&data, 32) > 32);
    // From here on there is nothing but COCO's format.
    std::fs::remove_dir_all(data.join("labels")).unwrap();
    std::fs::remove_file(data.join("names.yaml")).unwrap();
    let weights = folder.path().join("site.onnx");
    let mut train = Command::new(PYTHON);
    train.args(["-W", "ignore"]).arg(root().join("models/train/train.py")).arg("--data").arg(&data).arg("--check");
    train.arg(&held).arg("--out").arg(&weights).arg("--start").arg(root().join("models/yard.onnx"));
    let printed = output(train.args(["--epochs", "1", "--rate", "1e-4"])).unwrap();
    assert!(printed.starts_with("32 pictures, 16 to check with\n"), "{printed}");
    let results: Vec<Value> = printed.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    let [started, ended] =
        [&results[0]["start"], results.last().unwrap()].map(|result| result["mAP50"].as_f64().unwrap());
    assert!(started > 0.6 && ended > started - 0.1, "what was learned is there: {printed}");
    assert_eq!(results[0]["not taken"], json!([]), "each layer of the file has its place: {printed}");
    let card = std::fs::read_to_string(folder.path().join("site.md")).unwrap();
    assert!(card.contains("32 pictures") && card.contains("not good for"), "{card}");
    // The node takes it as it takes ours.
    let hash = output(Command::new("sha256sum").arg(&weights)).unwrap();
    let text = std::fs::read_to_string(root().join("models/manifest.toml")).unwrap();
    let ours = text.split("[[model]]").find(|entry| entry.contains("name = \"yard\"")).unwrap();
    let line = ours.lines().find(|line| line.starts_with("sha256")).unwrap();
    let ours = ours.replace(line, &format!("sha256 = \"{}\"", &hash[..64]));
    let ours = ours.replace("yard.onnx", &weights.display().to_string());
    let manifest = folder.path().join("manifest.toml");
    std::fs::write(&manifest, format!("[[model]]{ours}")).unwrap();
    let mut verify = Command::new(built().unwrap().join("edge-node"));
    let verified = output(verify.args(["models", "--manifest"]).arg(&manifest).arg("verify")).unwrap();
    assert_eq!(verified, format!("yard\tok\t{}\n", weights.display()));
}
