"""EfficientNet-Lite0: EfficientNet-B0 without squeeze-and-excitation, with ReLU6, and with its ends unscaled.

Tan & Le 2019 for the blocks and their sizes; what the Lite variants change is told in the TensorFlow team's
`tpu/models/official/efficientnet/lite`. Names of modules follow the files of weights that were made of theirs.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

SETTINGS = (
    # expansion, channels, blocks, stride, kernel
    (1, 16, 1, 1, 3),
    (6, 24, 2, 2, 3),
    (6, 40, 2, 2, 5),
    (6, 80, 3, 2, 3),
    (6, 112, 3, 1, 5),
    (6, 192, 4, 2, 5),
    (6, 320, 1, 1, 3),
)
FEATURES = 1280
"""Channels of the last map, which is pooled."""


class SamePadded(nn.Conv2d):
    """A convolution that pads as TensorFlow's "SAME" does: where the sum is odd, one more on the right and below."""

    def forward(self, images: Tensor) -> Tensor:
        """`(N, C, H, W)` to `(N, C', ceil(H / stride), ceil(W / stride))`."""
        height, width = (
            max((-(-size // stride) - 1) * stride + kernel - size, 0)
            for size, stride, kernel in zip(images.shape[2:], self.stride, self.kernel_size, strict=True)
        )
        if height % 2 or width % 2:
            images = F.pad(images, (width // 2, width - width // 2, height // 2, height - height // 2))
            return F.conv2d(images, self.weight, self.bias, self.stride, 0, self.dilation, self.groups)
        return F.conv2d(
            images, self.weight, self.bias, self.stride, (height // 2, width // 2), self.dilation, self.groups
        )


def _norm(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, eps=1e-3, momentum=0.01)


class Block(nn.Module):
    """Expand, filter each channel, project; with a shortcut where shapes allow (an inverted residual)."""

    def __init__(self, inputs: int, outputs: int, *, expansion: int, kernel: int, stride: int) -> None:
        super().__init__()
        wide = inputs * expansion
        if expansion != 1:
            self._expand_conv = nn.Conv2d(inputs, wide, 1, bias=False)
            self._bn0 = _norm(wide)
        self._depthwise_conv = SamePadded(wide, wide, kernel, stride, groups=wide, bias=False)
        self._bn1 = _norm(wide)
        self._project_conv = nn.Conv2d(wide, outputs, 1, bias=False)
        self._bn2 = _norm(outputs)
        self.expands, self.shortcut = expansion != 1, stride == 1 and inputs == outputs

    def forward(self, images: Tensor) -> Tensor:
        """`(N, C, H, W)` to maps of the block's channels, of 1/stride the size."""
        maps = F.relu6(self._bn0(self._expand_conv(images)), inplace=True) if self.expands else images
        maps = F.relu6(self._bn1(self._depthwise_conv(maps)), inplace=True)
        maps = self._bn2(self._project_conv(maps))
        return maps + images if self.shortcut else maps


class EfficientNetLite0(nn.Module):
    """`stages()` are its parts in order; together they take normalised images to maps `(N, 1280, H / 32, W / 32)`."""

    def __init__(self) -> None:
        super().__init__()
        self._conv_stem = SamePadded(3, 32, 3, 2, bias=False)
        self._bn0 = _norm(32)
        blocks, channels = [], 32
        self._ends: list[int] = []
        for expansion, outputs, count, stride, kernel in SETTINGS:
            for number in range(count):
                first = stride if number == 0 else 1
                blocks.append(Block(channels, outputs, expansion=expansion, kernel=kernel, stride=first))
                channels = outputs
            self._ends.append(len(blocks))
        self._blocks = nn.ModuleList(blocks)
        self._conv_head = nn.Conv2d(channels, FEATURES, 1, bias=False)
        self._bn1 = _norm(FEATURES)

    def stages(self) -> list[nn.Module]:
        """The stem, the seven groups of blocks, and the last convolution."""
        stem = nn.Sequential(self._conv_stem, self._bn0, nn.ReLU6(inplace=True))
        starts = [0, *self._ends[:-1]]
        groups = [nn.Sequential(*self._blocks[a:b]) for a, b in zip(starts, self._ends, strict=True)]
        return [stem, *groups, nn.Sequential(self._conv_head, self._bn1, nn.ReLU6(inplace=True))]
