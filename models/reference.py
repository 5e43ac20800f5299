"""The reference of `./dev bench detect`: the same model in ONNX Runtime, one thread, with the reference processing.

Prints one JSON line: median milliseconds of preprocess, inference and decode+NMS over the pictures, repeated.
Preprocessing: Pillow's BILINEAR (a convolution resize), letterbox top-left with 114, BGR, 0-255, as YOLOX's own demo.
"""

import json
import statistics
import sys
import time

import numpy as np
import onnxruntime as ort
from PIL import Image

SIZE, FILL, NMS_IOU = 416, 114, 0.45


def preprocess(picture):
    ratio = min(SIZE / picture.width, SIZE / picture.height)
    inner = picture.resize((int(picture.width * ratio), int(picture.height * ratio)), Image.BILINEAR)
    box = np.full((SIZE, SIZE, 3), FILL, np.float32)
    box[: inner.height, : inner.width] = np.asarray(inner)[:, :, ::-1]
    return np.ascontiguousarray(box.transpose(2, 0, 1))[None], ratio


def grids():
    cells, strides = [], []
    for stride in (8, 16, 32):
        side = SIZE // stride
        ys, xs = np.mgrid[:side, :side]
        cells.append(np.stack((xs, ys), 2).reshape(-1, 2))
        strides.append(np.full((side * side, 1), stride))
    return np.concatenate(cells), np.concatenate(strides)


CELLS, STRIDES = grids()


def decode(output, ratio, least):
    rows = output[0]
    scores = rows[:, 4:5] * rows[:, 5:]
    classes = scores.argmax(1)
    best = scores.max(1)
    keep = best >= least
    centre = (rows[keep, :2] + CELLS[keep]) * STRIDES[keep]
    half = np.exp(rows[keep, 2:4]) * STRIDES[keep] / 2
    boxes = np.concatenate((centre - half, centre + half), 1) / ratio
    classes, best = classes[keep], best[keep]
    found = []
    for c in np.unique(classes):
        of = np.flatnonzero(classes == c)
        of = of[best[of].argsort()[::-1]]
        while of.size:
            first, of = of[0], of[1:]
            found.append((int(c), float(best[first]), boxes[first].tolist()))
            low = np.maximum(boxes[first, :2], boxes[of, :2])
            high = np.minimum(boxes[first, 2:], boxes[of, 2:])
            common = np.clip(high - low, 0, None).prod(1)
            area = lambda b: (b[..., 2:] - b[..., :2]).prod(-1)
            of = of[common / (area(boxes[first]) + area(boxes[of]) - common) <= NMS_IOU]
    return found


def main():
    model, repeat, files = sys.argv[1], int(sys.argv[2]), sys.argv[3:]
    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    pictures = [Image.open(f).convert("RGB") for f in files]
    parts = {"preprocess": [], "inference": [], "postprocess": []}
    for _ in range(repeat):
        for picture in pictures:
            begun = time.perf_counter()
            tensor, ratio = preprocess(picture)
            prepared = time.perf_counter()
            output = session.run(None, {name: tensor})[0]
            inferred = time.perf_counter()
            decode(output, ratio, 0.3)
            done = time.perf_counter()
            for part, value in zip(parts, (prepared - begun, inferred - prepared, done - inferred)):
                parts[part].append(value * 1000)
    print(json.dumps({part: statistics.median(values) for part, values in parts.items()}))


if __name__ == "__main__":
    main()
