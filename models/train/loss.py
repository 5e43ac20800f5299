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


@torch.no_grad()
def assign(raw, found, labels, corners, strides):
    """Which label each cell is responsible for: B x N, -1 for none; and its IoU."""
    kinds, wanted = labels[..., 0], labels[..., 1:]
    real = kinds >= 0
    centres = (corners + 0.5) * strides[:, None]
    x, y = centres[:, 0], centres[:, 1]
    left, top, right, bottom = (wanted[..., i, None] for i in range(4))
    inside = (x > left) & (x < right) & (y > top) & (y < bottom)
    reach = 1.5 * strides
    near = ((x - (left + right) / 2).abs() < reach) & ((y - (top + bottom) / 2).abs() < reach)
    may = (inside | near) & real[..., None]
    overlap = ious(wanted[:, :, None], found[:, None]) * may
    scores = (raw[..., 5:].sigmoid() * raw[..., 4:5].sigmoid()).sqrt().clamp(1e-6, 1 - 1e-6)
    score = scores.gather(2, kinds.clamp(min=0).long()[:, None].expand(-1, scores.shape[1], -1)).transpose(1, 2)
    others = -(1 - scores).log().sum(-1)[:, None]
    cost = -score.log() + others + (1 - score).log() - 3 * overlap.clamp(min=1e-8).log()
    cost = cost + 1e5 * ~(inside & near) + 1e9 * ~may
    count = overlap.topk(min(10, overlap.shape[-1]), -1).values.sum(-1).int().clamp(min=1, max=10)
    best = cost.topk(10, -1, largest=False)
    taken = (torch.arange(10)[None, None] < count[..., None]) & (best.values < 1e8)
    chosen = torch.zeros_like(may).scatter(2, best.indices, taken)
    cost = torch.where(chosen, cost, torch.full_like(cost, 1e10))
    least = cost.min(1)
    whose = torch.where(least.values < 1e9, least.indices, torch.full_like(least.indices, -1))
    overlap = overlap.gather(1, least.indices[:, None])[:, 0]
    return whose, overlap


def loss(raw, found, labels, corners, strides):
    """Box, distance, objectness and class losses, each over the number of responsible cells."""
    whose, overlap = assign(raw.detach(), found.detach(), labels, corners, strides)
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
    target = F.one_hot(kinds[mine], raw.shape[-1] - 5).float() * overlap[mine][:, None].clamp(min=0.05)
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
