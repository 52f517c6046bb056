"""The lecture's multilayer perceptrons for 28x28 grey images: 270,346 parameters each."""

from __future__ import annotations

from torch import Tensor, nn


def mlp() -> nn.Sequential:
    """Two hidden layers of 256.

    Takes [B, 1, 28, 28], gives logits [B, 10].

    Source: lecture, "MLP".
    """
    return nn.Sequential(
        nn.Flatten(),  # [B, 1, 28, 28] -> [B, 784]
        *hidden(784, 256),  # [B, 784] -> [B, 256]
        *hidden(256, 256),  # [B, 256] -> [B, 256]
        nn.Linear(256, 10),  # [B, 256] -> [B, 10]
    )


class ResidualMLP(nn.Module):
    """The same two hidden layers, with a shortcut around the second.

    Takes [B, 1, 28, 28], gives logits [B, 10].

    Source: lecture, "MLP with a residual connection".
    """

    def __init__(self) -> None:
        super().__init__()
        self.flatten = nn.Flatten()
        self.block1 = hidden(784, 256)
        self.block2 = hidden(256, 256)
        self.head = nn.Linear(256, 10)

    def forward(self, x: Tensor) -> Tensor:
        """Logits of the images."""
        x = self.flatten(x)  # [B, 1, 28, 28] -> [B, 784]
        h: Tensor = self.block1(x)  # [B, 784] -> [B, 256]
        h = self.block2(h) + h  # [B, 256] -> [B, 256]
        logits: Tensor = self.head(h)  # [B, 256] -> [B, 10]
        return logits


def hidden(inputs: int, outputs: int) -> nn.Sequential:
    """One hidden layer: [B, inputs] -> [B, outputs]."""
    return nn.Sequential(
        nn.Linear(inputs, outputs),
        nn.ReLU(),
        nn.LayerNorm(outputs),  # no running statistics: the same in train and eval mode
        nn.Dropout(0.1),  # idle in eval mode
    )
