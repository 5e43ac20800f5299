"""COCO mAP of a model of the manifest on a labelled folder, by pycocotools, through the node's own processing.

    evaluate.py --node EDGE-NODE --manifest MANIFEST --model NAME --folder FOLDER [--reference MODEL.onnx] [--least-px 12]

FOLDER: in YOLO's format or COCO's (`labels.py` says how they may lie); of one that has parts, the one to measure with.
Classes are matched by name; labels of classes that the model does not know are left out, and so are detections of
classes that the folder does not have. With `--reference` the same pictures go through ONNX Runtime with `reference.py`.
`--least-px`: smaller things, at the model's input, are not asked for either. The last line is a JSON object.
"""

import argparse
import contextlib
import io
import json
import subprocess
import tomllib
from pathlib import Path

import numpy as np
from PIL import Image
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from labels import read
from names import ALIASES

LEAST_SCORE, CHUNK = 0.001, 200


def truth(folder, classes, size, least_px):
    """The labels as COCO has them; what nobody is asked for is a crowd."""
    number = {name: n + 1 for n, name in enumerate(classes)}
    images, annotations = [], []
    for n, picture in enumerate(read(folder, "val")):
        width, height = Image.open(picture.path).size
        images.append({"id": n, "file_name": str(picture.path), "width": width, "height": height})
        scale = min(size[0] / width, size[1] / height)
        for rows, unsure in ((picture.labels, False), (picture.unsure, True)):
            for name, x, y, w, h in rows:
                category = number.get(name) or number.get(ALIASES.get(name))
                if category is None:
                    continue
                x, y, w, h = x * width, y * height, w * width, h * height
                small = max(w, h) * scale < least_px
                annotations.append({"id": len(annotations) + 1, "image_id": n, "category_id": category, "area": w * h,
                                    "bbox": [x - w / 2, y - h / 2, w, h], "iscrowd": int(small or unsure)})
    categories = [{"id": n, "name": name} for name, n in number.items()]
    return {"info": {}, "images": images, "annotations": annotations, "categories": categories}


def node_results(args, images, classes):
    results = []
    for at in range(0, len(images), CHUNK):
        part = {image["file_name"]: image["id"] for image in images[at : at + CHUNK]}
        command = [args.node, "detect", "--json", "--score", str(LEAST_SCORE), "--model", args.model,
                   "--manifest", args.manifest, *part]
        found = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
        for file, detections in found.items():
            for d in detections:
                left, top, right, bottom = d["box_xyxy_px"]
                results.append({"image_id": part[file], "category_id": classes.index(d["label"]) + 1,
                                "bbox": [left, top, right - left, bottom - top], "score": d["score"]})
    return results


def reference_results(model, images):
    import onnxruntime as ort

    import reference

    session = ort.InferenceSession(model, providers=["CPUExecutionProvider"])
    name, results = session.get_inputs()[0].name, []
    for image in images:
        tensor, ratio = reference.preprocess(Image.open(image["file_name"]).convert("RGB"))
        output = session.run(None, {name: tensor})[0]
        for c, score, (left, top, right, bottom) in reference.decode(output, ratio, LEAST_SCORE):
            results.append({"image_id": image["id"], "category_id": c + 1, "score": score,
                            "bbox": [left, top, right - left, bottom - top]})
    return results


def recall_at(evaluation, category, count, wrong_a_picture=0.1):
    """Share of a class that is found (IoU 0.5) at the score at which so many false ones a picture are left."""
    found, asked = [], 0
    for one in evaluation.evalImgs:
        if one is None or one["category_id"] != category or one["aRng"] != evaluation.params.areaRng[0]:
            continue
        asked += int((np.asarray(one["gtIgnore"]) == 0).sum())
        for score, match, spared in zip(one["dtScores"], one["dtMatches"][0], one["dtIgnore"][0]):
            if not spared:
                found.append((score, match > 0))
    right = wrong = 0
    best, threshold = 0.0, 1.0
    for score, good in sorted(found, reverse=True):
        right, wrong = right + good, wrong + (not good)
        if wrong > wrong_a_picture * count:
            break
        best, threshold = right / max(asked, 1), score
    return best, threshold, asked


def loaded(real, labels, results):
    """What was found, as pycocotools has it: it cannot load nothing."""
    if results:
        return real.loadRes(results)
    nothing = COCO()
    nothing.dataset = {**labels, "annotations": []}
    nothing.createIndex()
    return nothing


def score(labels, results, classes):
    with contextlib.redirect_stdout(io.StringIO()):
        real = COCO()
        real.dataset = labels
        real.createIndex()
        evaluation = COCOeval(real, loaded(real, labels, results), "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    precision = evaluation.eval["precision"]  # IoU, recall, class, area, most detections
    by_class = {}
    for n, name in enumerate(classes):
        curve, at_50 = precision[:, :, n, 0, 2], precision[0, :, n, 0, 2]
        if (curve > -1).any():
            recall, threshold, asked = recall_at(evaluation, n + 1, len(labels["images"]))
            by_class[name] = {"AP": float(curve[curve > -1].mean()), "AP50": float(at_50[at_50 > -1].mean()),
                              "recall_at_0.1": recall, "score_at_0.1": float(threshold), "labels": asked}
    return {"mAP": float(evaluation.stats[0]), "mAP50": float(evaluation.stats[1]), "classes": by_class}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("node", "manifest", "model", "folder"):
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("--reference")
    parser.add_argument("--least-px", type=float, default=0.0)
    args = parser.parse_args()
    entries = tomllib.loads(Path(args.manifest).read_text())["model"]
    entry = next(entry for entry in entries if entry["name"] == args.model)
    classes, size = entry["classes"], (entry["input"]["width"], entry["input"]["height"])
    folder = Path(args.folder)
    labels = truth(folder, classes, size, args.least_px)
    mine = score(labels, node_results(args, labels["images"], classes), classes)
    asked = sum(not a["iscrowd"] for a in labels["annotations"])
    print(f"{args.model} at {size[0]}x{size[1]} on {folder.name}: {len(labels['images'])} pictures, {asked} labels")
    print(f"{'':<12}{'AP50-95':>9}{'AP50':>9}{'recall at 0.1 false a picture':>31}{'score':>8}{'labels':>8}")
    shown = sorted(mine["classes"].items(), key=lambda item: -item[1]["labels"])
    for name, c in shown[:12]:
        print(f"{name:<12}{c['AP']:>9.3f}{c['AP50']:>9.3f}{c['recall_at_0.1']:>31.3f}{c['score_at_0.1']:>8.2f}{c['labels']:>8}")
    if len(shown) > 12:
        print(f"... and {len(shown) - 12} classes with fewer labels")
    print(f"{'all':<12}{mine['mAP']:>9.3f}{mine['mAP50']:>9.3f}")
    result = {"model": args.model, "folder": folder.name, "mAP": mine["mAP"], "mAP50": mine["mAP50"]}
    if "person" in mine["classes"]:
        result["person_AP50"] = mine["classes"]["person"]["AP50"]
        result["person_recall_at_0.1"] = mine["classes"]["person"]["recall_at_0.1"]
    if args.reference:
        other = score(labels, reference_results(args.reference, labels["images"]), classes)
        print(f"{'ONNX Runtime':<12}{other['mAP']:>9.3f}{other['mAP50']:>9.3f}   difference {mine['mAP'] - other['mAP']:+.4f}, at 0.5 {mine['mAP50'] - other['mAP50']:+.4f}")
        result |= {"reference_mAP": other["mAP"], "reference_mAP50": other["mAP50"], "difference": mine["mAP"] - other["mAP"]}
    print(json.dumps({key: round(value, 4) if isinstance(value, float) else value for key, value in result.items()}))


main()
