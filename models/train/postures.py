"""Trains the posture classifier on people of `sim render` and writes ONNX.

    python3 postures.py --data FOLDER... --check FOLDER --out posture.onnx [--epochs 12]

Input: 1 x 12 x 32 x 32 (64 x 64 pixels, RGB from 0 to 1, space to depth), the crop that the node makes of a box: 15 % of
its larger side around it, letterboxed in the middle with 114. Output: 1 x 3 probabilities: upright, low, lying.
"""

import argparse
import json
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import nn

from network import conv, planes

WORDS = ["upright", "low", "lying"]
SIDE, FILL, AROUND = 64, 114, 0.15
LEAST_PX = 24


def crop(picture, box):
    """As `detect/chain.rs` and `detect/letterbox.rs` make it."""
    left, top, right, bottom = box
    around = max(right - left, bottom - top) * AROUND
    even = lambda value, most: int(min(max(value, 0), most)) // 2 * 2
    x0, x1 = even(left - around, picture.width), even(right + around + 1, picture.width)
    y0, y1 = even(top - around, picture.height), even(bottom + around + 1, picture.height)
    part = picture.crop((x0, y0, x1, y1))
    ratio = min(SIDE / part.width, SIDE / part.height)
    inner = part.resize((max(1, int(part.width * ratio)), max(1, int(part.height * ratio))), Image.BILINEAR)
    out = np.full((SIDE, SIDE, 3), FILL, np.uint8)
    at = ((SIDE - inner.height) // 2, (SIDE - inner.width) // 2)
    out[at[0] : at[0] + inner.height, at[1] : at[1] + inner.width] = np.asarray(inner)
    return out


def people(folder, random, copies):
    """Crops and postures; each person so many times, the box moved a little, as a detector's is."""
    def of(picture_path):
        stem, found = picture_path.stem, []
        lines = (folder / "labels" / f"{stem}.txt").read_text().splitlines()
        words = (folder / "postures" / f"{stem}.txt").read_text().splitlines()
        mine = [(line, word) for line, word in zip(lines, words) if word in WORDS]
        if not mine:
            return found
        picture = Image.open(picture_path).convert("RGB")
        for line, word in mine:
            x, y, w, h = (float(v) for v in line.split()[1:])
            w, h, x, y = w * picture.width, h * picture.height, x * picture.width, y * picture.height
            if max(w, h) < LEAST_PX:
                continue
            for _ in range(max(1, copies)):
                seed = np.random.default_rng((random, int(stem), len(found)))
                dx, dy, dw, dh = seed.uniform(-0.06, 0.06, 4) if copies else (0, 0, 0, 0)
                cx, cy, cw, ch = x + dx * w, y + dy * h, w * (1 + 2 * dw), h * (1 + 2 * dh)
                found.append((crop(picture, (cx - cw / 2, cy - ch / 2, cx + cw / 2, cy + ch / 2)), WORDS.index(word)))
        return found
    with ThreadPoolExecutor(2) as pool:
        both = [item for found in pool.map(of, sorted((folder / "images").iterdir())) for item in found]
    return torch.from_numpy(np.stack([c for c, _ in both])), torch.tensor([w for _, w in both])


class Posture(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(
            conv(12, 24, 3), nn.MaxPool2d(2), conv(24, 48, 3), nn.MaxPool2d(2), conv(48, 64, 3), conv(64, 64, 3),
            nn.MaxPool2d(2), conv(64, 96, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(0.2))
        self.last = nn.Linear(96, len(WORDS))

    def forward(self, x):
        return self.last(self.body(x)).softmax(1) if not self.training else self.last(self.body(x))


def spoil(pictures, random):
    flip = torch.rand(len(pictures), generator=random) < 0.5
    pictures = torch.where(flip[:, None, None, None], pictures.flip(3), pictures)
    draw = lambda low, high: torch.rand(len(pictures), 1, 1, 1, generator=random) * (high - low) + low
    mean = pictures.mean((1, 2, 3), keepdim=True)
    pictures = ((pictures - mean) * draw(0.6, 1.4) + mean * draw(0.7, 1.3)).clamp(0, 1)
    grey = torch.rand(len(pictures), 1, 1, 1, generator=random) < 0.2
    return torch.where(grey, pictures.mean(1, keepdim=True).expand_as(pictures), pictures)


@torch.no_grad()
def check(model, pictures, words):
    model.eval()
    ready = lambda part: planes(part.permute(0, 3, 1, 2).float() / 255)
    scores = torch.cat([model(ready(part)) for part in pictures.split(256)])
    best = scores.argmax(1)
    table = [[int(((words == real) & (best == said)).sum()) for said in range(len(WORDS))] for real in range(len(WORDS))]
    recall = {WORDS[n]: round(row[n] / max(1, sum(row)), 4) for n, row in enumerate(table)}
    right = {WORDS[n]: round(table[n][n] / max(1, sum(row[n] for row in table)), 4) for n in range(len(WORDS))}
    return {"crops": len(words), "accuracy": round(float((best == words).float().mean()), 4), "recall": recall,
            "precision": right, "table": table}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", nargs="+", required=True)
    parser.add_argument("--check", required=True)
    parser.add_argument("--out", required=True)
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--copies", type=int, default=2, help="crops of each person, the box moved a little")
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    torch.manual_seed(args.seed)
    random = torch.Generator().manual_seed(args.seed)
    parts = [people(Path(folder), args.seed, args.copies) for folder in args.data]
    pictures, words = torch.cat([p for p, _ in parts]), torch.cat([w for _, w in parts])
    held = people(Path(args.check), 0, 0)
    share = torch.bincount(words, minlength=len(WORDS)).float()
    print(f"{len(words)} crops {share.int().tolist()}, {len(held[1])} to check with", flush=True)
    model = Posture()
    weigh = (share.sum() / share).sqrt()
    optimiser = torch.optim.AdamW(model.parameters(), lr=2e-3, weight_decay=0.02)
    steps = args.epochs * (len(words) // 64)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    begun = time.time()
    for epoch in range(args.epochs):
        model.train()
        order, total = torch.randperm(len(words), generator=random), 0.0
        for at in range(0, len(words) - 63, 64):
            some = order[at : at + 64]
            shown = spoil(pictures[some].permute(0, 3, 1, 2).float() / 255, random)
            loss = nn.functional.cross_entropy(model(planes(shown)), words[some], weight=weigh, label_smoothing=0.05)
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            optimiser.step()
            schedule.step()
            total += float(loss)
        print(json.dumps({"epoch": epoch + 1, "seconds": round(time.time() - begun), "loss": round(total / (len(words) // 64), 4),
                          **check(model, *held)}), flush=True)
    model.eval()
    torch.onnx.export(model, torch.zeros(1, 12, SIDE // 2, SIDE // 2), args.out, opset_version=13,
                      input_names=["planes"], output_names=["postures"])


if __name__ == "__main__":
    main()
