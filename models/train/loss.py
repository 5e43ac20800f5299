"""YOLOX's loss with SimOTA (Ge et al., 2021), for a whole batch at once."""

import torch
from torch.nn import functional as F


def areas(b):
    return (b[..., 2] - b[..., 0]).clamp(min=0) * (b[..., 3] - b[..., 1]).clamp(min=0)


def ious(a, b):
    """Of broadcastable boxes."""
    low, high = torch.maximum(a[..., :2], b[..., :2]), torch.minimum(a[..., 2:], b[..., 2:])
    common = (high - low).clamp(min=0).prod(-1)
    return common / (areas(a) + areas(b) - common).clamp(min=1e-6)


def candidates(wanted, strides, grids):
    """The three by three cells of each grid around the middle of each box: numbers and whether they exist, B x M x 9 a grid."""
    numbers, real, first = [], [], 0
    aside = torch.tensor([(x, y) for y in (-1, 0, 1) for x in (-1, 0, 1)])
    middle = (wanted[..., :2] + wanted[..., 2:]) / 2
    for stride, (rows, columns) in zip(strides, grids):
        at = (middle / stride).floor().long()[:, :, None] + aside
        inside = (at >= 0).all(-1) & (at[..., 0] < columns) & (at[..., 1] < rows)
        numbers.append((first + at[..., 1] * columns + at[..., 0]).where(inside, torch.zeros_like(at[..., 0])))
        real.append(inside)
        first += rows * columns
    return torch.cat(numbers, -1), torch.cat(real, -1)


@torch.no_grad()
def assign(raw, found, labels, corners, strides):
    """Which label each cell is responsible for: B x N, -1 for none. Only cells near a label's middle may be, as in YOLOX
    from 0.3 on."""
    kinds, wanted = labels[..., 0], labels[..., 1:]
    (count, number), most = raw.shape[:2], labels.shape[1]
    sizes = strides.unique_consecutive()
    ends = [corners[strides == size].amax(0) + 1 for size in sizes]
    cell, may = candidates(wanted, sizes, [(int(end[1]), int(end[0])) for end in ends])
    may = may & (kinds >= 0)[..., None]
    flat = cell.flatten(1)
    of_cells = lambda values: values.gather(1, flat[..., None].expand(-1, -1, values.shape[-1])).unflatten(1, (most, -1))
    overlap = ious(wanted[:, :, None], of_cells(found)) * may
    centre = ((corners + 0.5) * strides[:, None])[cell]
    inside = ((centre > wanted[:, :, None, :2]) & (centre < wanted[:, :, None, 2:])).all(-1)
    logits = of_cells(raw[..., 4:])
    scores = (logits[..., 1:].sigmoid() * logits[..., :1].sigmoid()).sqrt().clamp(1e-6, 1 - 1e-6)
    score = scores.gather(3, kinds.clamp(min=0).long()[..., None, None].expand(-1, -1, scores.shape[2], 1))[..., 0]
    others = -(1 - scores).log().sum(-1)
    cost = -score.log() + others + (1 - score).log() - 3 * overlap.clamp(min=1e-8).log()
    cost = cost + 1e5 * ~inside + 1e9 * ~may
    wish = overlap.topk(10, -1).values.sum(-1).int().clamp(min=1, max=10)
    best = cost.topk(10, -1, largest=False)
    taken = (torch.arange(10) < wish[..., None]) & (best.values < 1e8)
    # Of several labels that want a cell the cheapest has it.
    cells, price = cell.gather(2, best.indices).flatten(1), best.values.where(taken, torch.tensor(1e10)).flatten(1)
    least = torch.full((count, number), 1e10).scatter_reduce(1, cells, price, "amin")
    wins = taken.flatten(1) & (price <= least.gather(1, cells))
    label = torch.arange(most)[:, None].expand(-1, 10).flatten().expand(count, -1)
    return torch.full((count, number), -1).scatter_reduce(1, cells, label.where(wins, torch.tensor(-1)), "amax")


def loss(raw, found, labels, corners, strides):
    """Box, distance, objectness and class losses, each over the number of responsible cells."""
    whose = assign(raw.detach(), found.detach(), labels, corners, strides)
    mine = whose >= 0
    number = mine.sum().clamp(min=1)
    index = whose.clamp(min=0)
    wanted = labels[..., 1:].gather(1, index[..., None].expand(-1, -1, 4))
    kinds = labels[..., 0].gather(1, index).long().clamp(min=0)
    box = box_loss(found[mine], wanted[mine]).sum() / number
    distance = (raw[..., :4][mine] - as_raw(wanted, corners, strides)[mine]).abs().sum() / number
    centres = (corners + 0.5) * strides[:, None]
    x, y = centres[:, 0], centres[:, 1]
    left, top, right, bottom = (labels[..., i, None] for i in range(1, 5))
    unasked = ((labels[..., 0, None] == -2) & (x > left) & (x < right) & (y > top) & (y < bottom)).any(1) & ~mine
    objectness = F.binary_cross_entropy_with_logits(raw[..., 4], mine.float(), reduction="none")
    objectness = (objectness * ~unasked).sum() / number
    overlap = ious(found[mine], wanted[mine]).detach()
    target = F.one_hot(kinds[mine], raw.shape[-1] - 5).float() * overlap[:, None].clamp(min=0.05)
    classes = F.binary_cross_entropy_with_logits(raw[..., 5:][mine], target, reduction="sum") / number
    return box, distance, objectness, classes


def as_raw(wanted, corners, strides):
    """What the head would say of these boxes: offsets and log sizes, in strides. YOLOX learns their plain distance, too;
    overlap alone hardly pulls at the sides of small boxes."""
    centre = (wanted[..., :2] + wanted[..., 2:]) / 2 / strides[:, None] - corners
    size = ((wanted[..., 2:] - wanted[..., :2]).clamp(min=1) / strides[:, None]).log()
    return torch.cat((centre, size), -1)


def box_loss(a, b):
    """Complete IoU (Zheng et al., 2020) without its aspect term: overlap and distance of the centres."""
    overlap = ious(a, b)
    low, high = torch.minimum(a[..., :2], b[..., :2]), torch.maximum(a[..., 2:], b[..., 2:])
    diagonal = ((high - low) ** 2).sum(-1).clamp(min=1e-6)
    apart = (((a[..., :2] + a[..., 2:]) - (b[..., :2] + b[..., 2:])) ** 2).sum(-1) / 4
    return 1 - overlap + apart / diagonal
