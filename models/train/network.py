"""The yard detector: a small YOLO shaped by what tract multiplies fast (dense 3x3 and 1x1 products, few depthwise ones).

Input: 1 x 12 x H/2 x W/2, RGB from 0 to 1, space to depth: each 2 x 2 block of pixels is twelve planes, three colours
of (row, column) (0,0), (1,0), (0,1), (1,1) in this order. Output: 1 x N x (5 + classes), as YOLOX's head: offsets and
log sizes of strides 4, 8, 16, 32, then sigmoids of objectness and classes. Stride 4 is for who is a dozen pixels high and
four wide: half a cell of stride 8.
"""

import torch
from torch import nn

CLASSES = ["person", "car", "truck", "drone", "animal"]
STRIDES = (4, 8, 16, 32)


def conv(inputs, outputs, size=3, stride=1, groups=1):
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, size, stride, size // 2, groups=groups, bias=False),
        nn.BatchNorm2d(outputs, eps=1e-3, momentum=0.03),
        nn.SiLU(),
    )


class Bottleneck(nn.Module):
    def __init__(self, channels, hidden):
        super().__init__()
        self.body = nn.Sequential(conv(channels, hidden, 1), conv(hidden, channels, 3))

    def forward(self, x):
        return x + self.body(x)


class Pools(nn.Module):
    """Spatial pyramid pooling by chained 5 x 5 pools: 5, 9 and 13 wide."""

    def __init__(self, channels, hidden):
        super().__init__()
        self.less, self.more = conv(channels, hidden, 1), conv(4 * hidden, channels, 1)
        self.pool = nn.MaxPool2d(5, 1, 2)

    def forward(self, x):
        parts = [self.less(x)]
        for _ in range(3):
            parts.append(self.pool(parts[-1]))
        return self.more(torch.cat(parts, 1))


def separable(channels):
    return nn.Sequential(conv(channels, channels, 3, groups=channels), conv(channels, channels, 1))


def straight(channels):
    """Separable, with nothing between its halves (Chollet, 2017, 4.7: better than with)."""
    return nn.Sequential(nn.Conv2d(channels, channels, 3, 1, 1, groups=channels), conv(channels, channels, 1))


def more(channels, hidden, count):
    """Blocks that change nothing until they have learned something: they may be added to what is trained."""
    blocks = [Bottleneck(channels, hidden) for _ in range(count)]
    for block in blocks:
        nn.init.zeros_(block.body[1][1].weight)
    return blocks


class Quarter(nn.Module):
    """Stride 4: what the stem sees, told by stride 8 what it may be. Narrow and with few bends, since it has four times the
    cells."""

    def __init__(self, stem, channels, classes):
        super().__init__()
        self.lateral, self.narrow = nn.Conv2d(stem, channels, 1), nn.Conv2d(64, channels, 1)
        self.up = nn.Upsample(scale_factor=2, mode="nearest")
        self.smooth, self.tower = straight(channels), straight(channels)
        self.head = head_of(channels, classes)

    def forward(self, stem, fine):
        return self.head(self.tower(self.smooth(self.lateral(stem) + self.up(self.narrow(fine)))))


def head_of(channels, classes):
    head = nn.Conv2d(channels, 5 + classes, 1)
    nn.init.normal_(head.weight, std=0.01)
    nn.init.constant_(head.bias, 0.0)
    nn.init.constant_(head.bias[4:5], -4.6)
    nn.init.constant_(head.bias[5:], -2.0)
    return head


class Yard(nn.Module):
    """`deeper`: blocks added at strides 8, 16 and 32."""

    def __init__(self, classes=len(CLASSES), deeper=(0, 0, 0)):
        super().__init__()
        self.stem = conv(12, 24, 3, 2)
        self.eighth = nn.Sequential(conv(24, 64, 3, 2), Bottleneck(64, 32), *more(64, 32, deeper[0]))
        self.sixteenth = nn.Sequential(
            conv(64, 128, 3, 2), Bottleneck(128, 48), *more(128, 48, deeper[1]))
        self.thirtysecond = nn.Sequential(
            conv(128, 128, 3, 2), Bottleneck(128, 64), Pools(128, 64), *more(128, 64, deeper[2]))
        self.laterals = nn.ModuleList([conv(64, 64, 1), conv(128, 64, 1), conv(128, 64, 1)])
        self.up = nn.Upsample(scale_factor=2, mode="nearest")
        self.smooth = nn.ModuleList([separable(64), separable(64)])
        self.towers = nn.ModuleList([nn.Sequential(*(separable(64) for _ in range(count))) for count in (1, 2, 2)])
        self.heads = nn.ModuleList([head_of(64, classes) for _ in range(3)])
        self.quarter = Quarter(24, 32, classes)

    def raw(self, x):
        """Logits, 1 x N x (5 + classes)."""
        stem = self.stem(x)
        eighth = self.eighth(stem)
        sixteenth = self.sixteenth(eighth)
        coarse = self.laterals[2](self.thirtysecond(sixteenth))
        middle = self.smooth[1](self.laterals[1](sixteenth) + self.up(coarse))
        fine = self.smooth[0](self.laterals[0](eighth) + self.up(middle))
        levels = zip((fine, middle, coarse), self.towers, self.heads)
        maps = [self.quarter(stem, fine), *(head(tower(level)) for level, tower, head in levels)]
        return torch.cat([values.flatten(2) for values in maps], 2).transpose(1, 2)

    def forward(self, x):
        raw = self.raw(x)
        return torch.cat([raw[..., :4], raw[..., 4:].sigmoid()], 2)


def path_of(node):
    """The module that an ONNX node was written by: `/eighth/eighth.1/body/body.0/body.0.0/Conv` is `eighth.1.body.0.0`."""
    path, before = "", ""
    for part in node.strip("/").split("/")[:-1]:
        path += part[len(before):] if before and part.startswith(before + ".") else ("." if path else "") + part
        before = part
    return path


@torch.no_grad()
def start_from(model, path, pictures):
    """Goes on from an ONNX file that `train.py` wrote, be it of a network of partly other layers: gives the names of those
    that only the file has, and of those that only this network has, which have still to learn everything. The file's
    convolutions hold their normalisation; what that was is made anew from what `pictures` (B x 12 x H/2 x W/2) give."""
    import onnx
    from onnx import numpy_helper

    graph = onnx.load(path).graph
    values = {value.name: torch.tensor(numpy_helper.to_array(value)) for value in graph.initializer}
    modules, hooks, others = dict(model.named_modules()), [], []
    fresh = {name for name, module in modules.items() if isinstance(module, nn.Conv2d)}
    for node in graph.node:
        if node.op_type != "Conv":
            continue
        place = path_of(node.name)
        layer, weight, bias = modules.get(place), values[node.input[1]], values[node.input[2]]
        if layer is None or layer.weight.shape != weight.shape:
            others.append(place)
            continue
        fresh.discard(place)
        layer.weight.copy_(weight)
        if layer.bias is not None:
            layer.bias.copy_(bias)
            continue
        stem, _, last = place.rpartition(".")
        norm = modules[f"{stem}.{int(last) + 1}"]

        def seen(norm, inputs, bias=bias):
            var, mean = torch.var_mean(inputs[0], (0, 2, 3), unbiased=False)
            norm.running_mean.copy_(mean)
            norm.running_var.copy_(var)
            norm.weight.copy_((var + norm.eps).sqrt())
            norm.bias.copy_(bias + mean)

        hooks.append(norm.register_forward_pre_hook(seen))
    model.eval()
    model.raw(pictures)
    for hook in hooks:
        hook.remove()
    return others, sorted(fresh)


def planes(pictures):
    """B x 3 x H x W -> B x 12 x H/2 x W/2."""
    return torch.cat([pictures[..., row::2, column::2] for column in (0, 1) for row in (0, 1)], 1)


def cells(height, width):
    """Left top corners of the cells and their strides, N x 2 and N."""
    corners, strides = [], []
    for stride in STRIDES:
        ys, xs = torch.meshgrid(torch.arange(height // stride), torch.arange(width // stride), indexing="ij")
        corners.append(torch.stack((xs, ys), 2).reshape(-1, 2).float())
        strides.append(torch.full((corners[-1].shape[0],), float(stride)))
    return torch.cat(corners), torch.cat(strides)


def boxes(raw, corners, strides):
    """Left, top, right, bottom in pixels of the input, B x N x 4."""
    centre = (raw[..., :2] + corners) * strides[:, None]
    half = raw[..., 2:4].clamp(max=8).exp() * strides[:, None] / 2
    return torch.cat((centre - half, centre + half), -1)
