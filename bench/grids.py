"""The quick and the full grid of this suite."""

from trainmark.workloads.grid import Grid

SMALL_MODELS = ("mlp", "mlp-residual", "cnn", "resnet20")
LARGE_MODELS = ("resnet18-cifar", "resnet50-cifar", "resnet18", "resnet50", "resnet152")

GRIDS = {
    "quick": Grid(
        "about five minutes on two cores",
        models=SMALL_MODELS,
        batch_sizes={("cpu", "resnet"): (16, 64)},  # a CPU core takes a second for 256
        # Epochs and seeds that fit a few minutes; the full grid takes the lecture's 10.
        training={"mlp": (10, 2), "cnn": (2, 2)},
        other_training=(1, 2),
        untrained=("resnet",),  # an epoch takes 20 s
        compiled=("mlp",),  # others take 20 s and more to compile on a CPU core
    ),
    "full": Grid(
        "all that this machine can run",
        models=SMALL_MODELS + LARGE_MODELS,
        exhaustive=True,
        input_batch_sizes=(64, 256, 1024),
    ),
}
