"""A model for images, measured with the lecture's loop around it."""

from torch import Tensor, nn


class Net(nn.Module):
    """Batch normalisation over 28x28 grey images: [B, 1, 28, 28] -> [B, 10]."""

    input_shape = (1, 28, 28)
    classes = 10

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(1, 8, 3, stride=2), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 13 * 13, 10)
        )

    def forward(self, images: Tensor) -> Tensor:
        """Logits of the images."""
        return self.layers(images)
