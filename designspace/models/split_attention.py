"""Split attention: a grouped convolution whose splits are weighted by attention (ResNeSt, arXiv 2004.08955)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from designspace.models.layers import ConvNorm, global_average
from designspace.networks.blocks.widths import attention_width


class SplitAttention(nn.Module):
    """A 3x3 convolution into ``radix`` splits of ``width`` channels, and their attention-weighted sum (section 3.1).

    (N, width, H, W) -> (N, width, H', W') with H' = H / stride, rounded up. Each of ``cardinality`` groups has
    ``radix`` splits. The channels of the convolution are radix-major (first all cardinal groups of split 1, then all of
    split 2), so that ordinary grouped convolutions compute both kinds of groups (the paper's appendix). With ``radix``
    1 a sigmoid replaces the softmax. Neither batch-norm nor ReLU follows.
    """

    def __init__(
        self,
        width: int,
        *,
        radix: int,
        cardinality: int,
        stride: int = 1,
        dilation: int = 1,
        drop_block: float = 0.0,
    ) -> None:
        super().__init__()
        self.width, self.radix, self.cardinality = width, radix, cardinality
        hidden = int(attention_width(width, radix, cardinality))
        groups = cardinality * radix
        self.splits = ConvNorm(
            width, width * radix, 3, stride=stride, groups=groups, dilation=dilation, drop_block=drop_block
        )
        self.squeeze = nn.Conv2d(width, hidden, 1, groups=cardinality)
        self.norm = nn.BatchNorm2d(hidden)
        self.relu = nn.ReLU()
        self.attend = nn.Conv2d(hidden, width * radix, 1, groups=cardinality)
        self.gate: nn.Module = nn.Softmax(dim=1) if radix > 1 else nn.Sigmoid()

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, width, H, W) to (N, width, H', W')."""
        maps = self.splits(x)  # (N, radix * width, H', W')
        # The mean of the splits' sum is the sum of their means, so the summed map is never built.
        pooled = sum_of_splits(global_average(maps), self.radix)  # (N, width, 1, 1)
        return weighted_sum(maps, self.attention_weights(pooled), self.radix)

    def attention_weights(self, pooled: Tensor) -> Tensor:
        """Return a weight per channel of each split: (N, width, 1, 1) -> (N, radix * width, 1, 1), radix-major."""
        hidden = self.relu(self.norm(self.squeeze(pooled)))  # (N, hidden, 1, 1)
        logits: Tensor = self.attend(hidden)  # (N, cardinality * radix * width / cardinality, 1, 1), cardinal-major
        logits = logits.reshape(-1, self.cardinality, self.radix, self.width // self.cardinality).transpose(1, 2)
        weights: Tensor = self.gate(logits).reshape(-1, self.radix * self.width, 1, 1)
        return weights


# torch.fx records calls of these functions without tracing into them: its quantisation treats chunks as one tensor.
torch.fx.wrap("sum_of_splits")
torch.fx.wrap("weighted_sum")


def sum_of_splits(x: Tensor, radix: int) -> Tensor:
    """Return the sum of the splits: (N, radix * width, H, W) -> (N, width, H, W)."""
    return torch.stack(x.chunk(radix, dim=1)).sum(0)


def weighted_sum(maps: Tensor, weights: Tensor, radix: int) -> Tensor:
    """Return the sum of the splits of ``maps`` (N, radix * width, H, W), times ``weights`` (N, radix * width, 1, 1)."""
    # With a constant number of chunks, exported graphs contain no shape code, and maps stay channels last (measured on
    # a CPU for 2 splits of 32 x 14 x 14: 2.7 ms forward and backward, against 12 ms as (N, radix, width, H', W')).
    splits, factors = maps.chunk(radix, dim=1), weights.chunk(radix, dim=1)
    out = splits[0] * factors[0]
    for number in range(1, radix):
        out = torch.addcmul(out, splits[number], factors[number])
    return out
