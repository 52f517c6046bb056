"""Which photograph a piece is of: images of many sizes in folders, augmented by two processes beside the training."""

from functools import partial
from pathlib import Path

import torch
from torch import nn
from torch.utils.data import DataLoader
from torchvision import transforms
from torchvision.datasets import ImageFolder

from trainmark.task import Task

IMAGES = Path(__file__).parents[1] / "images"
SIDE = 32
WORKERS = 2
FINISH = [transforms.ToTensor(), transforms.Normalize((0.5, 0.5, 0.5), (0.25, 0.25, 0.25))]

augmented = transforms.Compose(
    [
        transforms.RandomResizedCrop(SIDE, scale=(0.5, 1.0)),
        transforms.RandomHorizontalFlip(),
        transforms.ColorJitter(brightness=0.3, contrast=0.3, saturation=0.3),
        *FINISH,
    ]
)
as_they_are = transforms.Compose([transforms.Resize((SIDE, SIDE)), *FINISH])


def loaders() -> tuple[DataLoader, DataLoader]:
    """Training data, new ones each epoch, and held-out data: images [B, 3, 32, 32] and classes [B]."""
    train = ImageFolder(IMAGES / "train", augmented)
    held_out = ImageFolder(IMAGES / "test", as_they_are)
    stay = {"num_workers": WORKERS, "persistent_workers": True}
    return DataLoader(train, shuffle=True, **stay), DataLoader(held_out, **stay)


def net(width: int = 16) -> nn.Module:
    """[B, 3, 32, 32] -> [B, 3]."""
    return nn.Sequential(
        nn.Conv2d(3, width, 3, stride=2, padding=1),
        nn.BatchNorm2d(width),
        nn.ReLU(),
        nn.Conv2d(width, 2 * width, 3, stride=2, padding=1),
        nn.BatchNorm2d(2 * width),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(2 * width, 3),
    )


pieces = Task(model=net, data=loaders, optimizer=partial(torch.optim.AdamW, lr=3e-3))
