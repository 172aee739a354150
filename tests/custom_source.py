"""Blocks, stems and heads as a user may write them, good and bad, as the text of a file."""

SOURCE = '''
import torch
from torch import nn
from torch.nn import functional

from designspace.networks.layers import conv, conv_norm, scale


class Block(nn.Module):
    """A depthwise convolution, a layer norm and two 1x1 convolutions, all but one as modules."""

    network_parameters = ("mode",)

    def __init__(self, in_width, width, stride, kernel=3, factor=2.0, mode="mul"):
        super().__init__()
        hidden = int(width * factor)
        self.spatial = nn.Conv2d(in_width, in_width, kernel, stride, kernel // 2, groups=in_width, bias=False)
        self.batch = nn.BatchNorm2d(in_width)
        self.widen = nn.Conv2d(in_width, hidden, 1)
        self.norm = nn.LayerNorm(hidden)
        self.narrow = nn.Conv2d(hidden, width, 1, bias=False)
        self.scale = nn.Parameter(torch.ones(width))
        self.mode = mode
        self.shortcut = nn.Conv2d(in_width, width, 1, stride) if stride > 1 or in_width != width else nn.Identity()

    def body(self, x):
        x = self.widen(self.batch(self.spatial(x)))
        return self.narrow(self.norm(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2).relu())

    def forward(self, x):
        y, scale = self.body(x), self.scale[:, None, None]
        return self.shortcut(x) + (y * scale if self.mode == "mul" else y + scale)


class Functional(Block):
    """The same with functions instead of two of the modules."""

    def __init__(self, in_width, width, stride, kernel=3, factor=2.0, mode="mul"):
        super().__init__(in_width, width, stride, kernel, factor, mode)
        self.stride = stride
        self.weight, self.reduce = self.spatial.weight, nn.Linear(int(width * factor), width, bias=False)
        del self.spatial, self.narrow

    def body(self, x):
        kernel = self.weight.shape[2]
        x = functional.conv2d(x, self.weight, stride=self.stride, padding=kernel // 2, groups=len(self.weight))
        x = self.norm(self.widen(self.batch(x)).permute(0, 2, 3, 1)).relu()
        return self.reduce(x).permute(0, 3, 1, 2)


class Listed(Block):
    """The same with a list of its layers."""

    @classmethod
    def layers(cls, block):
        hidden = (block.width * block["factor"]).astype(int)
        yield from conv_norm(1, block.in_width, block.size, kernel=block["kernel"])
        yield conv(block.in_width, hidden, block.size)
        yield scale(hidden, block.size * block.size, "layer_norm")
        yield from list(conv_norm(hidden, block.width, block.size))[:1]
        yield scale(block.width, block.size * block.size, "scale")
        yield conv(block.in_width, block.width * block.changes_shape, block.size)


class Grouped(nn.Module):
    """A block with shared parameters."""

    def __init__(self, in_width, width, stride, group_width, bottleneck_ratio, se_ratio, radix):
        super().__init__()
        inner = round(width / bottleneck_ratio)
        self.first = nn.Conv2d(in_width, inner, 1, bias=False)
        self.conv = nn.Conv2d(inner, width, 3, stride, 1, groups=inner // group_width if width == inner else 1)
        self.radix = radix

    def forward(self, x):
        return self.conv(self.first(x)) * max(1, self.radix)


class Dropping(Grouped):
    """A block that takes the options of the recipe."""

    def __init__(self, in_width, width, stride, drop_path=0.0):
        super().__init__(in_width, width, stride, width, 1, 0, 0)
        self.rate = drop_path


class Stem(nn.Module):
    stride = 4

    def __init__(self, in_channels, width, kernel=7):
        super().__init__()
        self.conv = nn.Conv2d(in_channels, width, kernel, 2, kernel // 2)
        self.pool = nn.MaxPool2d(3, 2, 1)

    def forward(self, x):
        return self.pool(self.conv(x))


class Head(nn.Module):
    def __init__(self, in_width, num_classes, head_width=0, kind="mean", dropout=0.0):
        super().__init__()
        self.hidden = nn.Linear(in_width, head_width) if head_width else nn.Identity()
        self.classifier = nn.Linear(head_width or in_width, num_classes)
        self.kind, self.rate = kind, dropout

    def forward(self, x):
        pooled = x.mean((2, 3)) if self.kind == "mean" else x.amax((2, 3))
        return self.classifier(self.hidden(pooled))


class NeedsNumbers(nn.Module):
    """A block that tensors without memory cannot run."""

    def __init__(self, in_width, width, stride):
        super().__init__()
        self.conv = nn.Conv2d(in_width, width, 3, stride, 1)

    def forward(self, x):
        y = self.conv(x)
        return y if y.sum().item() < 1e9 else -y


def not_a_class(in_width, width, stride):
    return nn.Identity()


class NoModule:
    def __init__(self, in_width, width, stride):
        pass


class NoModuleWithForward(NoModule):
    def forward(self, x):
        return x


class NoWidth(nn.Module):
    def __init__(self, in_width, stride):
        super().__init__()


class ListDefault(nn.Module):
    def __init__(self, in_width, width, stride, kernels=(3, 5)):
        super().__init__()


class WrongShape(nn.Module):
    def __init__(self, in_width, width, stride):
        super().__init__()
        self.conv = nn.Conv2d(in_width, width, 3, 1, 1)

    def forward(self, x):
        return self.conv(x)


class Raises(nn.Module):
    def __init__(self, in_width, width, stride):
        super().__init__()
        if width > 8:
            raise ValueError("too wide")
        self.conv = nn.Conv2d(in_width, width, 3, stride, 1)

    def forward(self, x):
        return self.conv(x)


class FailsToRun(Raises):
    def __init__(self, in_width, width, stride):
        nn.Module.__init__(self)
        self.conv = nn.Conv2d(in_width + 1, width, 3, stride, 1)


class Reserved(nn.Module):
    def __init__(self, in_width, width, stride, depth=3):
        super().__init__()


class EndsWithDigit(nn.Module):
    def __init__(self, in_width, width, stride, kernel_1=3):
        super().__init__()


class NoStride(Stem):
    stride = None


class BadLayers(Block):
    @classmethod
    def layers(cls, block):
        return [3]


class FailingLayers(Block):
    @classmethod
    def layers(cls, block):
        raise KeyError("oops")


class WrongClasses(Head):
    def forward(self, x):
        return super().forward(x)[:, 1:]
'''
