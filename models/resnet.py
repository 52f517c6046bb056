"""Residual networks: the paper's ResNet-20 for CIFAR, and torchvision's with a stem for small images."""

from __future__ import annotations

from collections.abc import Callable

import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.models import ResNet


class ResNet20(nn.Module):
    """Three stages of three blocks with 16, 32 and 64 channels: 269,722 parameters.

    Takes [B, 3, 32, 32], gives logits [B, 10].

    Source: He et al. 2015, section 4.2 with n = 3 (arXiv 1512.03385).
    """

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(conv3x3(3, 16), nn.BatchNorm2d(16), nn.ReLU())
        self.stage1 = nn.Sequential(Block(16, 16), Block(16, 16), Block(16, 16))
        self.stage2 = nn.Sequential(Block(16, 32, stride=2), Block(32, 32), Block(32, 32))
        self.stage3 = nn.Sequential(Block(32, 64, stride=2), Block(64, 64), Block(64, 64))
        self.head = nn.Linear(64, 10)

    def forward(self, x: Tensor) -> Tensor:
        """Logits of the images."""
        x = self.stem(x)  # [B, 3, 32, 32] -> [B, 16, 32, 32]
        x = self.stage1(x)  # [B, 16, 32, 32] -> [B, 16, 32, 32]
        x = self.stage2(x)  # [B, 16, 32, 32] -> [B, 32, 16, 16]
        x = self.stage3(x)  # [B, 32, 16, 16] -> [B, 64, 8, 8]
        x = x.mean(dim=(2, 3))  # [B, 64, 8, 8] -> [B, 64], global average pooling
        logits: Tensor = self.head(x)  # [B, 64] -> [B, 10]
        return logits


class Block(nn.Module):
    """Two 3x3 convolutions beside a shortcut without parameters.

    Takes [B, inputs, H, W], gives [B, outputs, H/stride, W/stride].

    Source: He et al. 2015, figure 2 and option A of section 3.3.
    """

    def __init__(self, inputs: int, outputs: int, stride: int = 1) -> None:
        super().__init__()
        self.residual = nn.Sequential(
            conv3x3(inputs, outputs, stride),
            nn.BatchNorm2d(outputs),
            nn.ReLU(),
            conv3x3(outputs, outputs),
            nn.BatchNorm2d(outputs),
        )
        self.stride = stride
        self.added_channels = outputs - inputs

    def forward(self, x: Tensor) -> Tensor:
        """relu(residual(x) + shortcut(x))."""
        return F.relu(self.residual(x) + self.shortcut(x))

    def shortcut(self, x: Tensor) -> Tensor:
        """Option A: every ``stride``-th pixel, and channels of zeros where the block adds some."""
        x = x[:, :, :: self.stride, :: self.stride]  # [B, C, H, W] -> [B, C, H/stride, W/stride]
        return F.pad(x, (0, 0, 0, 0, 0, self.added_channels))  # -> [B, C + added, H/stride, W/stride]


def conv3x3(inputs: int, outputs: int, stride: int = 1) -> nn.Conv2d:
    """A 3x3 convolution without bias, which the BatchNorm after it would cancel."""
    conv = nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1, bias=False)
    nn.init.kaiming_normal_(conv.weight, mode="fan_out", nonlinearity="relu")  # as torchvision's ResNets
    return conv


def with_cifar_stem(build: Callable[..., ResNet]) -> ResNet:
    """One of torchvision's ResNets for 32x32 images and 10 classes.

    The stock stem, made for 224 px, would leave 8x8 of 32x32 pixels before the first block: here
    the first convolution is 3x3 with stride 1 and the pooling after it is gone.

    Takes [B, 3, 32, 32], gives logits [B, 10].

    Args:
        build: Such as ``torchvision.models.resnet18``.

    Source: the stem of He et al. 2015, section 4.2, before the stages of its table 1.
    """
    model = build(num_classes=10)
    model.conv1 = conv3x3(3, 64)
    model.maxpool = nn.Identity()
    return model
