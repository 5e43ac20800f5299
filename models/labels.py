"""Labelled pictures as collections come: in YOLO's format, also as Ultralytics and Roboflow lay it out, and in COCO's.

YOLO's: `images/` and `labels/`, or `images/train` and `labels/train`, or `train/images` and `train/labels`; the classes in
`names.yaml`, or in Ultralytics' `data.yaml`, which may say where the pictures are. A line of a label is a class and a box
(centre and size) or a polygon, in shares of the picture; `unsure/` beside `labels/` are things that nobody is asked for.
COCO's: `annotations.json` beside `images/`, `annotations/instances_train2017.json` beside `train2017/` or `images/train2017`,
or Roboflow's `train/_annotations.coco.json` beside its pictures; a crowd is something that nobody is asked for.
"""

import json
from dataclasses import dataclass, field
from pathlib import Path

import yaml
from PIL import Image

PICTURES = {".jpg", ".jpeg", ".png", ".bmp", ".webp"}
# What YAML calls nothing.
NULLS = ("", "~", "null", "Null", "NULL")
# What collections call the part to learn from, and the part to measure with.
PARTS = {"train": ["train"], "val": ["val", "valid", "validation", "test"]}


@dataclass
class Picture:
    """A picture; labels are (class name, x, y, width, height): centre and size in shares of the picture."""

    path: Path
    labels: list = field(default_factory=list)
    unsure: list = field(default_factory=list)


def read(folder, part="train"):
    """The pictures of a folder, of this part of it if it has parts, in order of name. Raises ValueError with the place."""
    folder = Path(folder)
    found = coco_file(folder, part)
    pictures = coco(*found) if found else yolo(folder, part)
    if not pictures:
        raise ValueError(f"{folder}: expected labelled pictures, found none")
    return pictures


def yolo(folder, part):
    about = next((folder / name for name in ("names.yaml", "data.yaml", "dataset.yaml") if (folder / name).is_file()), None)
    if about is None:
        raise ValueError(f"{folder}: expected names.yaml or data.yaml (YOLO), or annotations (COCO)")
    try:
        # Every scalar as it is written: a class may be called `no`.
        config = yaml.load(about.read_text(), yaml.BaseLoader)
        config = {key: value for key, value in config.items() if value not in NULLS}
        names = config["names"]
        if isinstance(names, str):
            raise TypeError(f"found {names!r}")
        names = {int(number): name for number, name in (names.items() if isinstance(names, dict) else enumerate(names))}
    except (yaml.YAMLError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{about}: expected names, a list or a name for each number: {error}") from None
    # Of a pose the box comes first, then its points.
    box_first, pictures, labelled = "kpt_shape" in config, [], 0
    for path in yolo_pictures(folder, config, part):
        label, unsure = beside(folder, path, "labels") or path.with_suffix(".txt"), beside(folder, path, "unsure")
        labelled += label.is_file()
        pictures.append(Picture(path, yolo_lines(label, names, box_first), yolo_lines(unsure, names, box_first)))
    if pictures and not labelled:
        raise ValueError(f"{folder}: expected labels beside {pictures[0].path}, found none of any picture")
    return pictures


def yolo_pictures(folder, config, part):
    """What data.yaml says, or where they usually are."""
    said = next((config[name] for name in PARTS[part] if config.get(name)), None)
    root = folder / (config.get("path") or ".")
    places = []
    for place in [said] if isinstance(said, str) else said or []:
        # Roboflow writes `../train/images` of what is in the folder itself; a neighbour may have one, too.
        own = [folder / place.removeprefix("../")] if place.startswith("../") else []
        tries = [*own, root / place, folder / place]
        places.append(next((one for one in tries if one.exists()), None))
        if places[-1] is None:
            raise ValueError(f"{folder}: expected {place}, as its data.yaml says")
    if not places:
        usual = [at for name in PARTS[part] for at in (folder / "images" / name, folder / name / "images")]
        places = [next((at for at in [*usual, folder / "images"] if at.is_dir()), folder / "images")]
    found = []
    for place in places:
        if place.is_file():
            lines = place.read_text().split("\n")
            found += [at if (at := Path(line.strip())).is_absolute() else place.parent / at for line in lines if line.strip()]
        elif place.is_dir():
            found += sorted(at for at in place.iterdir() if at.suffix.lower() in PICTURES)
    return found


def beside(folder, path, kind):
    """`images/x/0.jpg` -> `labels/x/0.txt`, below the folder; None: it has no `images`."""
    above, below = (folder, path.relative_to(folder)) if path.is_relative_to(folder) else (Path(path.anchor), path)
    parts = [part for part in below.parts if part != path.anchor]
    for at in reversed(range(len(parts))):
        if parts[at] == "images":
            return above.joinpath(*parts[:at], kind, *parts[at + 1 :]).with_suffix(".txt")
    return None


def yolo_lines(path, names, box_first):
    rows = []
    for number, line in enumerate(path.read_text().splitlines() if path and path.is_file() else [], 1):
        if not line.strip():
            continue
        try:
            kind, *values = (float(word) for word in line.split())
            if box_first:
                values = values[:4]
            if len(values) != 4:
                # A polygon: its box.
                xs, ys = values[0::2], values[1::2]
                if len(values) < 6 or len(xs) != len(ys):
                    raise ValueError
                values = [(min(xs) + max(xs)) / 2, (min(ys) + max(ys)) / 2, max(xs) - min(xs), max(ys) - min(ys)]
            rows.append((names[int(kind)], *values))
        except (ValueError, KeyError):
            raise ValueError(f"{path}, line {number}: expected a known class, then a box or a polygon, found {line!r}") from None
    return rows


def coco_file(folder, part):
    """Its annotations and where its pictures are; None: it is not COCO's."""
    tries = [(folder / name / "_annotations.coco.json", [folder / name]) for name in PARTS[part]]
    for name in PARTS[part]:
        for file in sorted((folder / "annotations").glob(f"instances_{name}*.json")):
            of = file.stem.removeprefix("instances_")
            tries.append((file, [folder / of, folder / "images" / of, folder / "images"]))
    tries += [(folder / "annotations.json", [folder / "images", folder]), (folder / "_annotations.coco.json", [folder])]
    return next(((file, places) for file, places in tries if file.is_file()), None)


def coco(file, places):
    about = json.loads(file.read_text())
    names = {category["id"]: category["name"] for category in about["categories"]}
    of = {}
    for annotation in about["annotations"]:
        of.setdefault(annotation["image_id"], []).append(annotation)
    pictures = []
    for image in sorted(about["images"], key=lambda image: image["file_name"]):
        path = next((at for place in places if (at := place / image["file_name"]).is_file()), None)
        if path is None:
            raise ValueError(f"{file}: expected {image['file_name']} in {' or '.join(map(str, places))}")
        size = (image.get("width"), image.get("height"))
        width, height = size if all(size) else Image.open(path).size
        picture = Picture(path)
        for annotation in of.get(image["id"], []):
            x, y, w, h = annotation["bbox"]
            row = (names[annotation["category_id"]], (x + w / 2) / width, (y + h / 2) / height, w / width, h / height)
            (picture.unsure if annotation.get("iscrowd") else picture.labels).append(row)
        pictures.append(picture)
    return pictures
