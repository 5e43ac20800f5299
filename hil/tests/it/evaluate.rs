//! How good a model is, by pycocotools: on labelled folders as collections lay them out, and beside ONNX Runtime.

use std::fs;
use std::path::{Path, PathBuf};

use hil::drawn::render;
use hil::evaluate::{Order, run};
use serde_json::{Value, json};

const SCENES: usize = 16;
const NAMES: [&str; 5] = ["person", "car", "truck", "drone", "animal"];

/// The last line of the table.
fn evaluated(model: &str, folder: Option<&Path>) -> Result<Value, String> {
    let order = Order { model: Some(model.into()), folder: folder.map(Path::to_owned), scenes: SCENES };
    let mut out = Vec::new();
    run(&order, &mut out).map_err(|error| format!("{error:#}"))?;
    let text = String::from_utf8(out).unwrap();
    let line = text.lines().rev().find(|line| line.starts_with('{')).unwrap();
    Ok(serde_json::from_str(line).unwrap())
}

/// Copies one of the parts of a drawn folder.
fn copy(from: &Path, to: PathBuf) {
    fs::create_dir_all(&to).unwrap();
    for file in fs::read_dir(from).unwrap().flatten() {
        fs::copy(file.path(), to.join(file.file_name())).unwrap();
    }
}

/// COCO's annotations of a drawn folder; what nobody is asked for is a crowd.
fn annotations(drawn: &Path) -> Value {
    let (mut images, mut annotations) = (Vec::new(), Vec::new());
    for scene in 0..SCENES {
        images.push(json!({ "id": scene + 7, "file_name": format!("{scene:06}.jpg"), "width": 640, "height": 360 }));
        for (kind, crowd) in [("labels", 0), ("unsure", 1)] {
            let lines = fs::read_to_string(drawn.join(format!("{kind}/{scene:06}.txt"))).unwrap();
            for line in lines.lines() {
                let (class, place) = line.split_once(' ').unwrap();
                let place: Vec<f64> = place.split(' ').map(|v| v.parse().unwrap()).collect();
                let [x, y, w, h] = place.try_into().unwrap();
                let class: u64 = class.parse().unwrap();
                let (x, y, w, h) = (x * 640.0, y * 360.0, w * 640.0, h * 360.0);
                annotations.push(json!({
                    "id": annotations.len() + 1, "image_id": scene + 7, "category_id": class * 3 + 1,
                    "bbox": [x - w / 2.0, y - h / 2.0, w, h], "area": w * h, "iscrowd": crowd
                }));
            }
        }
    }
    let categories: Vec<Value> =
        NAMES.iter().enumerate().map(|(n, name)| json!({ "id": n * 3 + 1, "name": name })).collect();
    json!({ "images": images, "annotations": annotations, "categories": categories })
}

#[test]
fn a_labelled_folder_is_measured_alike_however_its_collection_lays_it_out() {
    let folder = tempfile::tempdir().unwrap();
    let ours = folder.path().join("ours");
    render(&ours, "1000000", SCENES, &[]).unwrap();
    let place = |name: &str| folder.path().join(name);
    // Ultralytics: parts below, names by number. Roboflow: parts above, names in a list, pictures one folder too high.
    let names: String = NAMES.iter().enumerate().map(|(n, name)| format!("  {n}: {name}\n")).collect();
    for part in ["images", "labels", "unsure"] {
        copy(&ours.join(part), place(&format!("ultralytics/{part}/val")));
        copy(&ours.join(part), place(&format!("roboflow/valid/{part}")));
    }
    let about = format!("path: .\ntrain: images/train\nval: images/val\n\nnames:\n{names}");
    fs::write(place("ultralytics/data.yaml"), about).unwrap();
    let about = format!("train: ../train/images\nval: ../valid/images\nnc: 5\nnames: {NAMES:?}\n");
    fs::write(place("roboflow/data.yaml"), about).unwrap();
    copy(&ours.join("images"), place("coco/val2017"));
    fs::create_dir(place("coco/annotations")).unwrap();
    fs::write(place("coco/annotations/instances_val2017.json"), annotations(&ours).to_string()).unwrap();
    let measured = |name: &str| evaluated("yard", Some(&place(name))).unwrap();
    let expected = measured("ours");
    assert!(expected["mAP50"].as_f64() > Some(0.4) && expected["person_AP50"].as_f64() > Some(0.4), "{expected}");
    for name in ["ultralytics", "roboflow", "coco"] {
        let found = measured(name);
        for key in ["mAP", "mAP50", "person_recall_at_0.1"] {
            let apart = found[key].as_f64().unwrap() - expected[key].as_f64().unwrap();
            assert!(apart.abs() < 0.003, "{name}: {found}, expected {expected}");
        }
    }
    // What is wrong is named with its place; a model that finds nothing is measured, too.
    let label = place("ultralytics/labels/val/000003.txt");
    fs::write(&label, "0 0.5 0.5 0.1 0.1\n0 0.5 zero 0.1 0.1\n").unwrap();
    let error = evaluated("yard", Some(&place("ultralytics"))).unwrap_err();
    assert!(error.contains("000003.txt, line 2: expected a known class"), "{error}");
    for part in ["images", "labels"] {
        fs::create_dir_all(place("empty").join(part)).unwrap();
    }
    fs::write(place("empty/names.yaml"), "names:\n  0: person\n").unwrap();
    fs::write(place("empty/labels/a.txt"), "0 0.5 0.5 0.2 0.4\n").unwrap();
    let mut grey = Vec::new();
    image::RgbImage::from_pixel(320, 192, image::Rgb([114; 3]))
        .write_to(&mut std::io::Cursor::new(&mut grey), image::ImageFormat::Png)
        .unwrap();
    fs::write(place("empty/images/a.png"), grey).unwrap();
    assert_eq!(measured("empty")["mAP"], 0.0);
}

#[test]
fn the_node_is_as_good_on_real_pictures_as_onnx_runtime_with_the_reference_processing() {
    let test = "the_node_is_as_good_on_real_pictures_as_onnx_runtime_with_the_reference_processing";
    if hil::media::or_skip(test).is_none() {
        return;
    }
    let found = evaluated("yolox-nano", None).unwrap();
    assert!(found["mAP"].as_f64() > Some(0.3), "{found}");
    assert!(found["difference"].as_f64().unwrap().abs() <= 0.005, "{found}");
}
