"""Trains the yard detector from scratch (or goes on from weights) and writes ONNX.

    python3 train.py --data FOLDER... --check FOLDER --out yard.onnx [--epochs 30] [--start weights.pt]

FOLDER: pictures of `sim render`, or real ones in YOLO's format or COCO's (`models/labels.py` says how they may lie). The
model's card is written beside it. Debian 12's python3-torch 1.13.1, python3-numpy 1.24.2, python3-pil 9.4.0, python3-yaml
6.0; CPU.
"""

import argparse
import copy
import hashlib
import json
import math
import os
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

# Threads that each have a part of the batch get more done than layers that are shared out.
os.environ.setdefault("OMP_NUM_THREADS", "1")
import torch  # noqa: E402

from data import HEIGHT, WIDTH, Pictures, spoil, stacked
from loss import ious, loss
from network import CLASSES, Yard, boxes, cells, planes, start_from

LEAST_PX = 12.0


def detect(raw, corners, strides, least=0.01):
    """Boxes of one picture after suppression at IoU 0.45: (class, score, box), best first."""
    scores = raw[:, 4:5].sigmoid() * raw[:, 5:].sigmoid()
    best, kinds = scores.max(1)
    keep = best >= least
    best, kinds, found = best[keep], kinds[keep], boxes(raw, corners, strides)[keep]
    order = best.argsort(descending=True)[:300]
    best, kinds, found = best[order], kinds[order], found[order]
    overlap = ious(found[:, None], found[None]) * (kinds[:, None] == kinds[None])
    kept = []
    for n in range(len(order)):
        if all(overlap[n, other] <= 0.45 for other in kept):
            kept.append(n)
    return kinds[kept], best[kept], found[kept]


@torch.no_grad()
def check(model, pictures, size=256):
    """mAP50 and the people found at 0.1 false ones a picture, of things of 12 px and more; the rest is not asked for."""
    model.eval()
    corners, strides = cells(HEIGHT, WIDTH)
    hits = {c: [] for c in range(len(CLASSES))}
    real = dict.fromkeys(hits, 0)
    count = min(len(pictures), size)
    for at in range(0, count, 32):
        images, labels = pictures.batch(torch.arange(at, min(at + 32, count)))
        for raw, label in zip(model.raw(planes(images)), labels):
            kinds, scores, found = detect(raw, corners, strides)
            large = (label[:, 3:] - label[:, 1:3]).amax(1) >= LEAST_PX
            asked = (label[:, 0] >= 0) & large
            spared = (label[:, 0] == -2) | ((label[:, 0] >= 0) & ~large)
            for c in hits:
                mine = label[asked & (label[:, 0] == c), 1:]
                real[c] += len(mine)
                free = torch.ones(len(mine), dtype=torch.bool)
                for score, box in zip(scores[kinds == c], found[kinds == c]):
                    overlap = ious(box, mine) * free if len(mine) else torch.zeros(1)
                    if len(mine) and overlap.max() >= 0.5:
                        free[overlap.argmax()] = False
                        hits[c].append((float(score), True))
                    elif not (ious(box, label[spared, 1:]) > 0.1).any() and (box[2:] - box[:2]).max() >= LEAST_PX * 0.8:
                        hits[c].append((float(score), False))
    result = {}
    for c, name in enumerate(CLASSES):
        found = sorted(hits[c], reverse=True)
        right, wrong, curve = 0, 0, []
        recall_at = 0.0
        for _, good in found:
            right, wrong = right + good, wrong + (not good)
            curve.append((right / max(real[c], 1), right / (right + wrong)))
            if wrong <= 0.1 * count:
                recall_at = right / max(real[c], 1)
        points = [max((p for r, p in curve if r >= t / 100), default=0.0) for t in range(101)]
        result[name] = {"AP50": round(sum(points) / 101, 4), "recall": round(recall_at, 4), "real": real[c]}
    result["mAP50"] = round(sum(result[name]["AP50"] for name in CLASSES) / len(CLASSES), 4)
    return result


class Workers:
    """A batch shared out among threads: twins of the model have its weights, and gradients of their own."""

    def __init__(self, model, count, seed):
        self.models = [model] + [twin(model) for _ in range(count - 1)]
        self.randoms = [torch.Generator().manual_seed(seed + n) for n in range(count)]
        self.pool = ThreadPoolExecutor(count)
        self.grids = {height: cells(height, WIDTH) for height in (HEIGHT, WIDTH)}

    def step(self, images, labels, spoilt, flipped, square):
        """Mean gradients in the model, and the mean of the losses. A part's is over its own responsible cells."""
        count = len(self.models)
        jobs = zip(self.models, self.randoms, images.chunk(count), labels.chunk(count))
        parts = list(self.pool.map(lambda job: self.part(*job, spoilt, flipped, square), jobs))
        with torch.no_grad():
            for mine, *others in zip(*(model.parameters() for model in self.models)):
                for other in others:
                    mine.grad.add_(other.grad)
                mine.grad.div_(count)
            for values in zip(*(model.buffers() for model in self.models)):
                if values[0].dtype.is_floating_point:
                    mean = torch.stack(values).mean(0)
                    for value in values:
                        value.copy_(mean)
        return torch.stack(parts).mean(0)

    def part(self, model, random, images, labels, spoilt, flipped, square):
        if spoilt:
            images, labels = spoil(images, labels, random)
        elif flipped:
            images = images.flip(3)
            left = labels[..., 1].clone()
            labels[..., 1], labels[..., 3] = WIDTH - labels[..., 3], WIDTH - left
        if square:
            images, labels = stacked(images, labels, WIDTH)
        corners, strides = self.grids[images.shape[2]]
        raw = model.raw(planes(images).contiguous(memory_format=torch.channels_last)).float()
        parts = loss(raw, boxes(raw, corners, strides), labels, corners, strides)
        model.zero_grad(set_to_none=True)
        (5 * parts[0] + sum(parts[1:])).backward()
        return torch.stack(parts).detach()


def twin(model):
    """A copy with the same weights in memory, but gradients and normalisation of its own."""
    other = copy.deepcopy(model)
    for mine, theirs in zip(other.parameters(), model.parameters()):
        mine.data = theirs.data
    return other.train()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", nargs="+", required=True)
    parser.add_argument("--check", required=True)
    parser.add_argument("--out", required=True)
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--batch", type=int, default=32, help="multiples of 16 a thread: others take four times as long")
    parser.add_argument("--rate", type=float, default=2e-3)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--start", help="weights (.pt), or a file that this wrote (.onnx), to go on from")
    parser.add_argument("--threads", type=int, default=2, help="parts of a batch that are worked on at once")
    parser.add_argument("--plain", type=float, default=0.1, help="share of the steps, the last ones, that meet pictures as they are")
    parser.add_argument("--deeper", type=int, nargs=3, default=[0, 0, 0], help="blocks added at strides 8, 16 and 32")
    args = parser.parse_args()
    if args.threads < 1 or args.batch < 1 or args.batch % args.threads:
        parser.error(f"expected a batch that one thread or more can share evenly, found {args.batch} for {args.threads}")
    torch.manual_seed(args.seed)
    random = torch.Generator().manual_seed(args.seed)
    data, held = Pictures(args.data), Pictures([args.check], "val")
    print(f"{len(data)} pictures, {len(held)} to check with", flush=True)
    if len(data) < args.batch:
        parser.error(f"expected at least a batch of {args.batch} pictures (--batch), found {len(data)}")
    model = Yard(deeper=args.deeper)
    if args.start and args.start.endswith(".onnx"):
        others, fresh = start_from(model, args.start, planes(data.batch(torch.arange(min(64, len(data))))[0]))
        print(json.dumps({"start": check(model, held), "not taken": others, "new": fresh}), flush=True)
    elif args.start:
        model.load_state_dict(torch.load(args.start))
    model = model.to(memory_format=torch.channels_last)
    mean = copy.deepcopy(model)
    decay, rest = [], []
    for name, value in model.named_parameters():
        (decay if value.ndim > 1 else rest).append(value)
    groups = [{"params": decay, "weight_decay": 0.02}, {"params": rest, "weight_decay": 0.0}]
    optimiser = torch.optim.AdamW(groups, lr=args.rate)
    steps = args.epochs * (len(data) // args.batch)
    workers = Workers(model, args.threads, args.seed)
    step, begun = 0, time.time()
    for epoch in range(args.epochs):
        order, sums = torch.randperm(len(data), generator=random), torch.zeros(4)
        model.train()
        for at in range(0, len(data) - args.batch + 1, args.batch):
            share = step / steps
            rate = args.rate * (min(1, (step + 1) / 300) * (0.5 * (1 + math.cos(math.pi * share)) * 0.98 + 0.02))
            for group in optimiser.param_groups:
                group["lr"] = rate
            images, labels = data.batch(order[at : at + args.batch])
            parts = workers.step(images, labels, spoilt=share < 1 - args.plain, flipped=bool(step % 2), square=step % 6 == 5)
            torch.nn.utils.clip_grad_norm_(model.parameters(), 10.0)
            optimiser.step()
            step += 1
            keep = 0.999 * (1 - math.exp(-step / 500))
            with torch.no_grad():
                for ours, theirs in zip(mean.state_dict().values(), model.state_dict().values()):
                    if ours.dtype.is_floating_point:
                        ours.mul_(keep).add_(theirs, alpha=1 - keep)
                    else:
                        ours.copy_(theirs)
            sums += parts
            if step % 100 == 0:
                print(f"step {step}/{steps} {time.time() - begun:.0f} s", *(round(float(p), 3) for p in parts), flush=True)
        mean_loss = (sums / max(1, len(data) // args.batch)).tolist()
        result = check(mean, held) if epoch % 3 == 2 or epoch == args.epochs - 1 else {}
        print(json.dumps({"epoch": epoch + 1, "seconds": round(time.time() - begun), "loss": [round(v, 3) for v in mean_loss], **result}), flush=True)
        torch.save(mean.state_dict(), args.out.replace(".onnx", ".pt"))
    export(mean, args.out)
    card(args, (len(data), len(held)), check(mean, held, len(held)), time.time() - begun)


def card(args, counts, result, seconds):
    """What whoever uses the weights must know of them, beside them."""
    weights = Path(args.out).read_bytes()
    rows = [f"| {name} | {result[name]['AP50']:.3f} | {result[name]['recall']:.3f} | {result[name]['real']} |" for name in CLASSES]
    path = Path(args.out).with_suffix(".md")
    # One that somebody has written is not written over.
    if path.exists() and "by this script and not by pycocotools" not in path.read_text():
        path = path.with_suffix(".card.md")
    path.write_text("\n".join([
        f"# Model card: {Path(args.out).stem}", "",
        f"`{Path(args.out).name}`, {len(weights)} bytes, SHA-256 {hashlib.sha256(weights).hexdigest()}.",
        f"Classes: {', '.join(CLASSES)}.", "",
        f"**Trained on** {counts[0]} pictures of {', '.join(args.data)}"
        + (f", from {args.start}" if args.start else ", from scratch") + ". "
        f"`train.py --epochs {args.epochs} --batch {args.batch} --rate {args.rate} --seed {args.seed} --threads {args.threads} --plain {args.plain} "
        f"--deeper {' '.join(map(str, args.deeper))}`, torch {torch.__version__}, {seconds / 60:.0f} minutes.", "",
        f"**Measured** on {counts[1]} pictures of {args.check} at {WIDTH} x {HEIGHT}, by this script and not by "
        f"pycocotools, things of at least {LEAST_PX:.0f} pixels:", "",
        "| | AP50 | recall at 0.1 false a picture | labels |", "|---|---|---|---|", *rows,
        f"| all | {result['mAP50']:.3f} | | |", "",
        "**What it is not good for.** Anything that is not in its pictures: other cameras, heights, seasons, weather. Of drawn "
        "pictures alone: real footage. `edge-node models compare` and shadow mode show how it differs from the model in use; "
        "measure it with `evaluate.py` on pictures of the site before anybody's safety hangs on it.", ""]))


def export(model, path):
    """One file for every size: height and width are named, not fixed."""
    model = model.to(memory_format=torch.contiguous_format).eval()
    torch.onnx.export(model, torch.zeros(1, 12, HEIGHT // 2, WIDTH // 2), path, opset_version=13,
                      input_names=["planes"], output_names=["boxes"],
                      dynamic_axes={"planes": {2: "rows", 3: "columns"}, "boxes": {1: "cells"}})


if __name__ == "__main__":
    main()
