"""Labelled pictures in YOLO's or COCO's format, held in memory at the network's size."""

import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from network import CLASSES

sys.path.append(str(Path(__file__).resolve().parent.parent))
from labels import read  # noqa: E402
from names import ALIASES  # noqa: E402

WIDTH, HEIGHT, FILL = 320, 192, 114


def class_of(name):
    name = ALIASES.get(name, name)
    return CLASSES.index(name) if name in CLASSES else None


def items_of(folder, part):
    """(picture, labels, places where nobody is asked): (class, x, y, width, height), in shares of the picture."""
    for picture in read(folder, part):
        rows = [(class_of(name), *box) for name, *box in picture.labels]
        yield picture.path, [row for row in rows if row[0] is not None], picture.unsure


def fit(picture):
    """Letterboxed top left with 114, as the node does it (`shrink = "area"`): H x W x 3 bytes, and the factor."""
    picture = Image.open(picture).convert("RGB")
    ratio = min(WIDTH / picture.width, HEIGHT / picture.height)
    size = (int(picture.width * ratio), int(picture.height * ratio))
    inner = picture.resize(size, Image.BOX if ratio < 1 else Image.BILINEAR)
    out = np.full((HEIGHT, WIDTH, 3), FILL, np.uint8)
    out[: inner.height, : inner.width] = np.asarray(inner)
    return out, picture.width * ratio, picture.height * ratio


class Pictures:
    """All pictures of some folders. `labels`: N x most in a picture x 5 (class, left, top, right, bottom in pixels of the
    input); class -1 is nothing, -2 a place where nobody is asked."""

    def __init__(self, folders, part="train", least_px=6.0):
        items = [item for folder in folders for item in items_of(folder, part)]
        with ThreadPoolExecutor(2) as pool:
            fitted = list(pool.map(lambda item: fit(item[0]), items, chunksize=64))
        self.pictures = torch.from_numpy(np.stack([picture for picture, _, _ in fitted]))
        most = max((len(rows) + len(unsure) for _, rows, unsure in items), default=0)
        self.labels = torch.full((len(items), max(most, 1), 5), -1.0)
        for n, ((_, rows, unsure), (_, width, height)) in enumerate(zip(items, fitted)):
            all_rows = [(c, *box) for c, *box in rows] + [(-2, *box) for _, *box in unsure]
            for k, (c, x, y, w, h) in enumerate(all_rows):
                w, h, x, y = w * width, h * height, x * width, y * height
                small = max(w, h) < least_px
                self.labels[n, k] = torch.tensor(
                    [-2.0 if small else float(c), x - w / 2, y - h / 2, x + w / 2, y + h / 2])

    def __len__(self):
        return len(self.pictures)

    def batch(self, numbers):
        """B x 3 x H x W from 0 to 1, and labels."""
        pictures = self.pictures[numbers].permute(0, 3, 1, 2).float() / 255
        return pictures, self.labels[numbers].clone()


def spoil(pictures, labels, random):
    """Flips, moves, scales and colours; what is cut to less than half of itself is a place where nobody is asked."""
    count, _, height, width = pictures.shape
    flip = torch.rand(count, generator=random) < 0.5
    scale = torch.exp((torch.rand(count, generator=random) - 0.4) * 0.7)
    shift = (torch.rand(count, 2, generator=random) - 0.5) * 0.3 * torch.tensor([width, height])
    centre = torch.tensor([width / 2, height / 2])
    sign = torch.where(flip, -1.0, 1.0)
    # Output pixel -> input pixel, in shares from -1 to 1.
    theta = torch.zeros(count, 2, 3)
    theta[:, 0, 0] = sign / scale
    theta[:, 1, 1] = 1 / scale
    theta[:, 0, 2] = -sign * shift[:, 0] / centre[0] / scale
    theta[:, 1, 2] = -shift[:, 1] / centre[1] / scale
    grid = nn_grid(theta, pictures.shape)
    fill = FILL / 255
    pictures = torch.nn.functional.grid_sample(pictures - fill, grid, align_corners=False) + fill
    box = labels[..., 1:]
    x = torch.stack((box[..., 0], box[..., 2]), -1)
    x = (x - centre[0]) * (sign * scale)[:, None, None] + centre[0] + shift[:, 0, None, None]
    y = torch.stack((box[..., 1], box[..., 3]), -1)
    y = (y - centre[1]) * scale[:, None, None] + centre[1] + shift[:, 1, None, None]
    moved = torch.stack((x.amin(-1), y.amin(-1), x.amax(-1), y.amax(-1)), -1)
    cut = torch.stack((moved[..., 0].clamp(0, width), moved[..., 1].clamp(0, height),
                       moved[..., 2].clamp(0, width), moved[..., 3].clamp(0, height)), -1)
    area = lambda b: (b[..., 2] - b[..., 0]).clamp(min=0) * (b[..., 3] - b[..., 1]).clamp(min=0)
    share = area(cut) / area(moved).clamp(min=1e-3)
    kind = labels[..., 0]
    kind = torch.where((kind >= 0) & (share < 0.5), torch.tensor(-2.0), kind)
    kind = torch.where((kind >= 0) & ((cut[..., 2:] - cut[..., :2]).amax(-1) < 6), torch.tensor(-2.0), kind)
    kind = torch.where(share <= 0.02, torch.tensor(-1.0), kind)
    labels = torch.cat((kind[..., None], cut), -1)
    # Colour: brightness, contrast, saturation; one in eight without colour.
    draw = lambda low, high: (torch.rand(count, 1, 1, 1, generator=random) * (high - low) + low)
    grey = pictures.mean(1, keepdim=True)
    colour = draw(0.5, 1.4) * (torch.rand(count, 1, 1, 1, generator=random) > 0.125)
    pictures = grey + (pictures - grey) * colour
    mean = pictures.mean((1, 2, 3), keepdim=True)
    pictures = ((pictures - mean) * draw(0.7, 1.3) + mean * draw(0.75, 1.25)).clamp(0, 1)
    return pictures, labels


def nn_grid(theta, shape):
    return torch.nn.functional.affine_grid(theta, list(shape), align_corners=False)


def stacked(pictures, labels, height):
    """Pictures above their neighbours: B x 3 x height x W, so that square inputs are met, too."""
    half = height // 2
    both = torch.cat((pictures[:, :, :half], pictures.roll(1, 0)[:, :, :half]), 2)
    moved = labels.roll(1, 0)
    moved[..., 2] += half
    moved[..., 4] += half
    parts = []
    for part, top in ((labels.clone(), 0), (moved, half)):
        whole = part[..., 4] - part[..., 2]
        part[..., 4] = part[..., 4].clamp(max=top + half)
        left = part[..., 4] - part[..., 2]
        kind = part[..., 0]
        kind = torch.where((kind >= 0) & (left < whole * 0.5), torch.tensor(-2.0), kind)
        part[..., 0] = torch.where(left <= 1, torch.tensor(-1.0), kind)
        parts.append(part)
    return both, torch.cat(parts, 1)
