"""Which hue a colour has, told from the letters of its name: "dusty teal" is green."""

import colorsys
from functools import partial

import torch
from matplotlib.colors import XKCD_COLORS, to_rgb
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence
from torch.utils.data import Dataset

from trainmark.task import HeldOut, Task

HUES = ("grey", "red", "yellow", "green", "blue", "purple")
ENDS = (20, 75, 165, 255, 330)  # degrees at which red, yellow, green, blue and purple end; then it is red again
LETTERS = " '/abcdefghijklmnopqrstuvwxyz"
PADDING = 0
HELD_OUT = 5  # every fifth name


def hue_of(colour: str) -> int:
    """The place in HUES of a colour such as ``#acc2d9``."""
    hue, lightness, saturation = colorsys.rgb_to_hls(*to_rgb(colour))
    if saturation < 0.15 or lightness in (0.0, 1.0):
        return 0
    return 1 + sum(360 * hue >= end for end in ENDS) % len(ENDS)


class Names(Dataset):
    """Names that people have given to colours, as letters int64 [3 to 27], and the hue of each.

    Source: the survey of xkcd.com, which matplotlib ships.
    """

    def __init__(self, held_out: bool) -> None:
        names = [name.removeprefix("xkcd:") for name in XKCD_COLORS]
        chosen = [name for place, name in enumerate(names) if (place % HELD_OUT == 0) == held_out]
        self.letters = [torch.tensor([1 + LETTERS.index(letter) for letter in name]) for name in chosen]
        self.hues = [hue_of(XKCD_COLORS[f"xkcd:{name}"]) for name in chosen]

    def __len__(self) -> int:
        return len(self.letters)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self.letters[index], self.hues[index]


def names() -> tuple[Names, Names]:
    """Training and held-out data."""
    return Names(held_out=False), Names(held_out=True)


def padded(batch: list[tuple[Tensor, int]]) -> tuple[Tensor, Tensor, Tensor]:
    """Letters [B, T] and lengths [B] for the model; hues [B] for the criterion."""
    letters, hues = zip(*batch, strict=True)
    lengths = torch.tensor([len(one) for one in letters])
    return pad_sequence(letters, batch_first=True, padding_value=PADDING), lengths, torch.tensor(hues)


class Reader(nn.Module):
    """Reads a name letter by letter and tells its hue."""

    def __init__(self, width: int = 64) -> None:
        super().__init__()
        self.embed = nn.Embedding(1 + len(LETTERS), 32, padding_idx=PADDING)
        self.gru = nn.GRU(32, width, batch_first=True)
        self.head = nn.Linear(width, len(HUES))

    def forward(self, letters: Tensor, lengths: Tensor) -> Tensor:
        """Letters [B, T] and lengths [B] -> logits [B, 6]."""
        hidden, _ = self.gru(self.embed(letters))  # [B, T] -> [B, T, width]
        last = hidden[torch.arange(len(lengths), device=lengths.device), lengths - 1]  # -> [B, width]
        return self.head(last)


def right(logits: Tensor, hues: Tensor) -> Tensor:
    """Share of names whose hue is told."""
    return (logits.argmax(1) == hues).float().mean()


hues = Task(
    model=Reader,
    data=names,
    collate=padded,
    optimizer=partial(torch.optim.AdamW, lr=5e-3),
    metrics={"right": HeldOut(right, better="higher", unit="share", margin=0.05)},
    unit="letter",
    count=lambda inputs, _: int(inputs[1].sum()),
)
