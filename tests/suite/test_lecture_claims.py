"""Every example of the lecture, with the number that it comes to by hand; and that something else is seen."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from bench.lecture import convolutions, learned, practice, sequences
from bench.lecture.claims import computed_claims
from bench.lecture.findings import Claim
from models.mlp import mlp

FOUND = {
    # practice
    "ToTensor() turns a grey image of 28x28 into [C, H, W] in [0, 1]": "1x28x28, 0 to 1",
    "A batch of 64 is [64, 1, 28, 28], and [64, 784] once it is flattened": "64x1x28x28, 64x784",
    "Normalize centres and scales the pixels": "mean 0.00, deviation 1.00",
    "A module or parameter that is assigned is registered, and parameters() gives it": (
        "layer.bias, layer.weight, weight"
    ),
    "model.to(device) moves the parameters": "all on meta",
    "model(x) calls model.forward(x)": "the same",
    "nn.Sequential executes its layers in order": "the same",
    "784 x 256 + 256 = 200,960 and 512; 256 x 256 + 256 = 65,792 and 512; 256 x 10 + 10 = 2,570": (
        "200,960; 512; 65,792; 512; 2,570"
    ),
    "nn.RMSNorm may stand in LayerNorm's place": "logits of 64x10",
    "GPT-3 has 175B parameters": "175B",
    "A DataLoader batches by 64 and shuffles anew each epoch": "64 a batch, another order, each once",
    "Without shuffle the order stays": "as stored",
    "zero_grad() clears old gradients": "1",
    "To predict stock prices, only the model and the data change": "gradients up to 0",
    "softmax of [2.0, 0.5, -1.0] = [0.79, 0.17, 0.04]": "[0.79, 0.18, 0.04]",
    "The example's cross-entropy is 0.241": "0.241",
    "-log(0.95) = 0.05": "0.05",
    "nn.CrossEntropyLoss is numerically stable": "losses 0 and 1000",
    "torch.no_grad() saves memory: it builds no graph": "0.0 MB kept",
    "mlp has 270,346 parameters": "270,346",
    "mlp-residual has 270,346 parameters": "270,346",
    "cnn has 1,070,794 parameters": "1,070,794",
    "What the CNN's layers give for an image of 3x32x32": "32x32x32, 32x16x16, 64x16x16, 64x8x8, 4096, 256, 10",
    "LayerNorm uses running statistics in eval mode": "the same in both modes, 0 buffers",
    "model.train() sets LayerNorm to another mode than eval()": "the same in both modes, 0 buffers",
    "BatchNorm uses running statistics in eval mode": "not the same in both modes, 3 buffers",
    "Dropout is idle in eval mode": "not the same in both modes, 0 buffers",
    # convolutions
    "[1, 3, 2, 4, 1] * [1, 0, -1] = [-1, -1, 1]": "[-1, -1, 1]",
    "[1, 0, -1] is a difference detector: negative where values increase": "at 3 of 3 places",
    "The patch [[1, 2, 0], [0, 1, 3], [2, 3, 1]] under [[1, 0, -1]] x 3 gives -1": "-1",
    "A 5x5 input under a 3x3 kernel gives 3x3": "3x3",
    "Vertical edges are what its kernel detects": "3 on its edge, 0 on the other",
    "Horizontal edges are what its kernel detects": "3 on its edge, 0 on the other",
    "The third kernel sharpens": "flat stays, the step grows from 1 to 3",
    "A 3x3 kernel has 9 parameters, whatever the size of the image": "9",
    "An edge that a kernel detects at (5, 5) it detects at (9, 9)": "the same answer",
    "A dense layer from 3x32x32 to 256 has 786,432 weights": "786,432",
    "A 3x3 filter over 3 channels has 28 parameters": "28",
    "That is 28,086 times fewer": "28,086",
    "A 3x3 kernel on an RGB image is [3, 3, 3]": "3x3x3",
    "At each place a kernel gives one number of all three channels": "1x1x1",
    "Conv2d(3, 32, 3, padding=1) has 32 x 3 x 3 x 3 + 32 = 896 parameters": "896",
    "Conv2d(3, 32, 3) turns [64, 3, 32, 32] into [64, 32, 30, 30]": "64x32x30x30",
    "MaxPool2d(2) turns [C, 16, 16] into [C, 8, 8]": "7x8x8",
    "The maximum captures what is found anywhere in its 2x2": "4 of 4 places",
    "A stride of 2 halves them too": "64x32x16x16",
    "Padding of 1 keeps height and width": "64x32x32x32",
    "Later layers respond to larger structures": "3x3, 8x8, 10x10",
    "resnet18 has 18 layers": "18",
    "resnet50 has 50 layers": "50",
    "resnet152 has 152 layers": "152",
    "F of a block is two convolutions (resnet18)": "2 convolutions",
    "F of a block is two convolutions (resnet50)": "3 convolutions",
    "F of a block is two convolutions (resnet152)": "3 convolutions",
    "ResNet-18 has a top-5 error of 10.9%": "10.92%",
    "ResNet-50 has a top-5 error of 7.1%": "7.14%",
    "ResNet-152 has a top-5 error of 5.7%": "5.95%",
    # sequences
    "P(cat | the) = 0.05": "0.05",
    "P(dog | the) = 0.03": "0.03",
    "P(elephant | the purple) = 0 where it was never seen": "0",
    "50,000 words have 1.25e14 trigrams": "1.25e+14",
    "'The cat that I saw … was orange' joins words that are far apart": "farther than our longest n-grams reach",
    "N-grams fail at (1), sequences of variable length": "a probability for each length",
    "N-grams fail at (2), long-range dependencies": (
        "'was' as likely after 'the cats … river' as after 'the cat … river'"
    ),
    "CNNs are limited on (1), inputs of variable size": "refuses an image of 40x40",
    "CNNs are limited on (2): a fixed receptive field": "10 pixels",
    "CNNs handle (3), training by gradient descent": "a finite gradient for 8 of 8 parameters",
    "CNNs handle (4): they are parallel": "one matrix product for all places",
}
# Their numbers depend on the text, which is another with each Python: the verdicts do not.
OF_THE_TEXT = {
    "Order matters: 'Dog bites man' is not 'Man bites dog'": "holds",
    "Sentences have different numbers of words": "holds",
    "After 'The students opened their': books is likely, laptops less, elephants unlikely": "not checked",
    "N-grams work reasonably well for short contexts": "holds",
    "A corpus covers a tiny fraction of the trigrams": "holds",
    "N-grams memorise and do not generalise": "holds",
    "N-grams fail at (3), training by gradient descent": "fails",
}


@pytest.fixture(scope="module")
def claims() -> dict[str, Claim]:
    return {claim.said: claim for claim in computed_claims()}


def test_no_example_is_told_twice_and_none_is_without_its_number_here(claims: dict[str, Claim]) -> None:
    assert len(claims) == len(computed_claims())
    elsewhere = {said for said, claim in claims.items() if claim.verdict == "not checked"}
    general = {said for said in claims if said.startswith(("A 2-D convolution gives", "MaxPool2d(2) halves", "resnet"))}
    general |= {"An unseen n-gram has probability zero", "Weight sharing is translation invariant"}
    assert set(claims) - set(FOUND) - set(OF_THE_TEXT) - elsewhere - general == set()


@pytest.mark.parametrize("said", FOUND)
def test_an_example_comes_to_its_number(claims: dict[str, Claim], said: str) -> None:
    assert claims[said].found == FOUND[said]


@pytest.mark.parametrize("said", OF_THE_TEXT)
def test_what_a_text_shows_is_shown(claims: dict[str, Claim], said: str) -> None:
    assert claims[said].verdict == OF_THE_TEXT[said]


def test_what_was_not_computed_says_where_it_comes_from_or_how_to_compute_it(claims: dict[str, Claim]) -> None:
    assert [
        c.said for c in claims.values() if c.verdict == "not checked" and not (c.source or "python -m" in c.note)
    ] == []
    assert "arXiv 2005.14165" in claims["GPT-3 has 175B parameters"].source
    assert "ten crops, in He et al. 2015, table 3" in claims["ResNet-152 has a top-5 error of 5.7%"].note
    assert claims["ResNet-152 has a top-5 error of 5.7%"].source == "torchvision, ResNet152_Weights.IMAGENET1K_V1"
    assert claims["mlp has 270,346 parameters"].source == ""


def test_notes_tell_the_numbers_beside(claims: dict[str, Claim]) -> None:
    """Each worked out by hand: 6.2 MB are three matrices of 1,000 x 256 floats a block and a head, and dropped bits."""
    assert "0.1753" in claims["softmax of [2.0, 0.5, -1.0] = [0.79, 0.17, 0.04]"].note
    assert "-log of the rounded 0.79 is 0.236" in claims["The example's cross-entropy is 0.241"].note
    assert "nan and inf" in claims["nn.CrossEntropyLoss is numerically stable"].note
    assert "269,834 parameters, 512 fewer" in claims["nn.RMSNorm may stand in LayerNorm's place"].note
    assert "174,604,259,328" in claims["GPT-3 has 175B parameters"].note
    assert "938 batches, the last of 32" in claims["A DataLoader batches by 64 and shuffles anew each epoch"].note
    assert "6x6, 30x30, 222x222" in claims["A 3x3 kernel has 9 parameters, whatever the size of the image"].note
    assert (
        "'was' is 11 words after 'cat'"
        in claims["'The cat that I saw … was orange' joins words that are far apart"].note
    )


@pytest.mark.parametrize(
    ("of", "name", "value", "part", "said"),
    [
        (practice, "GPT3_LAYERS", 95, practice.practice_claims, "GPT-3 has 175B parameters"),
        (practice, "BATCH", 32, practice.practice_claims, "A DataLoader batches by 64 and shuffles anew each epoch"),
        (convolutions, "VERTICAL", convolutions.HORIZONTAL, convolutions.convolution_claims,
         "Vertical edges are what its kernel detects"),
        (convolutions, "HORIZONTAL", convolutions.VERTICAL, convolutions.convolution_claims,
         "Horizontal edges are what its kernel detects"),
        (convolutions, "SHARPEN", ((0.0, -1, 0), (-1, 6, -1), (0, -1, 0)), convolutions.convolution_claims,
         "The third kernel sharpens"),
        (convolutions, "STAGES", {"early": 1, "middle": 5, "later": 5}, convolutions.convolution_claims,
         "Later layers respond to larger structures"),
        (nn, "MaxPool2d", nn.AvgPool2d, convolutions.convolution_claims,
         "The maximum captures what is found anywhere in its 2x2"),
        (sequences, "MAX_ORDER", 12, sequences.sequence_claims,
         "'The cat that I saw … was orange' joins words that are far apart"),
    ],
)  # fmt: skip
def test_something_else_makes_its_claim_fail(
    monkeypatch: pytest.MonkeyPatch, of: Any, name: str, value: Any, part: Any, said: str
) -> None:
    monkeypatch.setattr(of, name, value)
    (claim,) = [claim for claim in part() if claim.said == said]
    assert claim.verdict == "fails"


def test_a_text_with_the_lectures_words_decides_which_of_them_follow() -> None:
    likely = b"the students opened their books\n" * 5 + b"the students opened their laptops\n" * 3 + b"elephants\n"
    claim = sequences._students(sequences.fitted(likely * 3, 3, "kneser-ney"))
    assert claim.verdict == "holds"
    assert "most likely: books" in claim.note
    unlikely = likely.replace(b"books", b"x").replace(b"laptops", b"books").replace(b"x", b"laptops")
    assert sequences._students(sequences.fitted(unlikely * 3, 3, "kneser-ney")).verdict == "fails"


# What is measured on trained networks


def test_weights_are_distant_beyond_two_pixels_of_their_neurons_heaviest() -> None:
    weights = torch.zeros(2, 784)
    weights[0, 10 * 28 + 10] = weights[1, 0] = 1.0  # inside, and in a corner
    assert learned.distant_weights(weights) == 2 * 784 - 25 - 9


def test_a_network_that_needs_few_weights_can_do_without_the_others() -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(4, 2, bias=False))
    with torch.no_grad():
        model[1].weight.copy_(torch.tensor([[1.0, 0.2, 0.1, 0.1], [-1.0, 0.2, 0.1, 0.1]]))
    before = model[1].weight.clone()
    images = torch.tensor([[1.0, 0, 0, 0], [-1, 0, 0, 0]]).view(2, 1, 2, 2)
    assert learned.spared_share(model, (images, torch.tensor([0, 1]))) == (1.0, 0.75)
    assert torch.equal(model[1].weight, before)


def test_neighbours_are_more_alike_than_distant_pixels_in_stripes() -> None:
    stripes = (torch.arange(28) // 7 % 2).float().expand(3, 1, 28, 28)
    assert learned.likeness(stripes, 1) > 0.6
    assert learned.likeness(stripes, 7) == pytest.approx(-1.0)


def test_a_plane_explains_all_of_a_slope_and_nothing_of_a_dot() -> None:
    slope = torch.arange(3.0).expand(1, 1, 3, 3)
    dot = torch.zeros(1, 1, 3, 3)
    dot[..., 1, 1] = 1.0
    assert learned.plane_share(slope) == pytest.approx(1.0)
    assert learned.plane_share(dot) == pytest.approx(0.0)
    assert learned.plane_share(torch.cat([slope, dot])) == pytest.approx(0.5)


def test_maps_that_tell_the_class_are_nearest_to_its_mean() -> None:
    labels = torch.arange(8) // 2 % 2
    told = labels.float().view(8, 1, 1, 1).expand(8, 1, 8, 8)
    assert learned.by_class_means(told, labels) == 1.0
    assert learned.by_class_means(torch.zeros(8, 1, 8, 8), labels) == 0.5


def test_a_forward_pass_keeps_what_its_backward_pass_needs() -> None:
    """Of a linear layer behind another: the output of the first, 5 x 3 floats."""
    model = nn.Sequential(nn.Linear(2, 3, bias=False), nn.Linear(3, 4, bias=False))
    images = torch.zeros(5, 2)
    assert practice.kept_bytes(model, images) == 5 * 3 * 4
    with torch.no_grad():
        assert practice.kept_bytes(model, images) == 0


def test_rms_norm_stands_wherever_layer_norm_stood() -> None:
    kinds = [type(layer) for layer in practice.with_rms_norm(mlp())]
    assert kinds.count(nn.RMSNorm) == 2
    assert nn.LayerNorm not in kinds
