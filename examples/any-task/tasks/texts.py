"""Tasks over tokens of varying length: batches with names, tied weights, a model of two inputs."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.nn.utils.rnn import pad_sequence
from torch.utils.data import Dataset

from trainmark.task import HeldOut, Task

WORDS, PADDING = 40, 0


class Sentences(Dataset):
    """Token numbers, int64 [3 to 12], of words that follow each other in a circle."""

    def __init__(self, number: int, seed: int) -> None:
        generator = torch.Generator().manual_seed(seed)
        starts = torch.randint(1, WORDS, (number,), generator=generator).tolist()
        lengths = torch.randint(3, 13, (number,), generator=generator).tolist()
        self.sentences = [
            torch.tensor([1 + (start + place) % (WORDS - 1) for place in range(length)])
            for start, length in zip(starts, lengths, strict=True)
        ]

    def __len__(self) -> int:
        return len(self.sentences)

    def __getitem__(self, index: int) -> Tensor:
        return self.sentences[index]


def sentences() -> tuple[Sentences, Sentences]:
    """Training and held-out data."""
    return Sentences(320, 0), Sentences(80, 1)


def padded(batch: list[Tensor]) -> dict[str, Tensor]:
    """Tokens and the one that follows each, int64 [B, T]."""
    tokens = pad_sequence(batch, batch_first=True, padding_value=PADDING)
    return {"tokens": tokens[:, :-1], "lengths": (tokens[:, :-1] != PADDING).sum(1), "target": tokens[:, 1:]}


class LanguageModel(nn.Module):
    """Tokens [B, T] -> a dict of logits [B, T, words]."""

    def __init__(self, tied: bool = False) -> None:
        super().__init__()
        self.embed = nn.Embedding(WORDS, 24, padding_idx=PADDING)
        self.gru = nn.GRU(24, 24, batch_first=True)
        self.head = nn.Linear(24, WORDS, bias=False)
        if tied:
            self.head.weight = self.embed.weight

    def forward(self, tokens: Tensor, lengths: Tensor) -> dict[str, Tensor]:
        """Logits of the next token, and how long each sentence is."""
        hidden, _ = self.gru(self.embed(tokens))
        return {"logits": self.head(hidden), "lengths": lengths}


def next_token(output: dict[str, Tensor], target: Tensor) -> Tensor:
    """Mean cross-entropy of the tokens that are none of the padding."""
    return cross_entropy(output["logits"].flatten(0, 1), target.flatten(), ignore_index=PADDING)


class Perplexity:
    """Over all tokens, not over batches: asked when it has seen them all."""

    def __init__(self) -> None:
        self.loss, self.tokens = torch.zeros(()), 0

    def update(self, output: dict[str, Tensor], target: Tensor) -> None:
        """Takes in a batch."""
        number = int((target != PADDING).sum())
        self.loss, self.tokens = self.loss + number * next_token(output, target), self.tokens + number

    def compute(self) -> Tensor:
        """Two to the mean number of bits."""
        return (self.loss / self.tokens).exp()


def language_model(tied: bool) -> Task:
    """The task with weights of its own for each layer, or one matrix for both."""
    return Task(
        model=lambda: LanguageModel(tied),
        data=sentences,
        collate=padded,
        criterion=next_token,
        metrics={"perplexity": HeldOut(Perplexity, better="lower", margin=2.0)},
        unit="token",
        count=lambda inputs, _: int(inputs["lengths"].sum()),
    )


tokens = language_model(tied=False)
tied = language_model(tied=True)


@dataclass
class Pair:
    """A question of two rows: are they near each other?"""

    left: Tensor
    right: Tensor
    label: Tensor


class Near(nn.Module):
    """Two rows [B, 8] -> [B]."""

    def __init__(self) -> None:
        super().__init__()
        self.project = nn.Linear(8, 8)

    def forward(self, left: Tensor, right: Tensor) -> Tensor:
        """A logit."""
        return (self.project(left) * self.project(right)).sum(1)


def pairs() -> list[tuple[Tensor, Tensor, Tensor]]:
    """Rows of two kinds, and whether a pair is of one."""
    kinds, noise = torch.randn(2, 8), 0.3 * torch.randn(2, 400, 8)
    which = torch.randint(2, (2, 400))
    rows = kinds[which] + noise
    return [(rows[0, n], rows[1, n], (which[0, n] == which[1, n]).float()) for n in range(400)]


def together(batch: list[tuple[Tensor, Tensor, Tensor]]) -> Pair:
    """The rows of a batch."""
    return Pair(*(torch.stack(column) for column in zip(*batch, strict=True)))


two_inputs = Task(
    model=Near,
    data=lambda: ((whole := pairs())[:320], whole[320:]),
    collate=together,
    criterion=nn.BCEWithLogitsLoss(),
    metrics={"right": HeldOut(lambda logit, near: ((logit > 0) == (near > 0)).float().mean(), "higher", "share")},
)
