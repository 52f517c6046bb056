"""The ways in which a cell can end without a result, as exceptions the worker understands."""


class UnsupportedError(Exception):
    """This machine, or this pair of model and data set, cannot run the cell: it is skipped."""


class ModelError(Exception):
    """A model does not do what training or inference needs of it; the message says what came and what was needed."""


class BrokenTask(ModelError):
    """A task is put together wrongly, or the function that gives it fails or gives something else."""


class NotFiniteError(ArithmeticError):
    """A loss or an output is NaN or infinite: times of such steps mean nothing."""


class MissingDataError(Exception):
    """The files of a data set are not where they were looked for, or no data set has the name."""
