"""A model of digits that behaves, and the same with a way of its own in its factory, forward or backward."""

import torch
import ways
from torch import nn


class Digits(nn.Module):
    def __init__(self, forward="", backward=""):
        super().__init__()
        self.linear = nn.Linear(784, 10)
        self.forward_way, self.backward_way = forward, backward

    def forward(self, images):
        logits = self.linear(images.flatten(1))
        if self.forward_way:
            self.once("forward_way")
        if self.backward_way and logits.requires_grad:
            logits.register_hook(lambda gradient: self.once("backward_way"))
        return logits

    def once(self, place):
        way = getattr(self, place)
        if way:
            setattr(self, place, "")
            getattr(ways, way)()


def fine():
    return Digits()


def built(way):
    getattr(ways, way)()
    return Digits()


def forward(way):
    return Digits(forward=way)


def backward(way):
    return Digits(backward=way)


def nothing():
    return None


def tensor():
    return torch.ones(3)


def a_class():
    return Digits
