"""The lecture's convolutional network for 32x32 colour images: 1,070,794 parameters."""

from __future__ import annotations

from torch import nn


def cnn() -> nn.Sequential:
    """Two convolutions, each pooled to half the height and width, then two linear layers.

    Takes [B, 3, 32, 32], gives logits [B, 10].

    Source: lecture, "CNN".
    """
    return nn.Sequential(
        nn.Conv2d(3, 32, 3, padding=1),  # [B, 3, 32, 32] -> [B, 32, 32, 32]
        nn.ReLU(),
        nn.MaxPool2d(2),  # [B, 32, 32, 32] -> [B, 32, 16, 16]
        nn.Conv2d(32, 64, 3, padding=1),  # [B, 32, 16, 16] -> [B, 64, 16, 16]
        nn.ReLU(),
        nn.MaxPool2d(2),  # [B, 64, 16, 16] -> [B, 64, 8, 8]
        nn.Flatten(),  # [B, 64, 8, 8] -> [B, 4096]
        nn.Linear(4096, 256),  # [B, 4096] -> [B, 256]
        nn.ReLU(),
        nn.Dropout(0.3),
        nn.Linear(256, 10),  # [B, 256] -> [B, 10]
    )
