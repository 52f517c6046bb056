"""What the fork server imports once, so that each cell's process has it from the start.

The server would pass over an import that fails, and each cell would then import for itself, slowly: so
what goes wrong is kept here, and every process that is forked says it.
"""

from __future__ import annotations

import gc
import traceback

failure: str | None = None

try:
    import torch._dynamo  # noqa: F401  # which the first optimizer of a process would import: a second

    from trainmark import suite
    from trainmark.measure import data, protocol

    for source in data.sources().values():
        if source.preload is not None:
            source.preload()  # read once; every child shares the pages
    gc.collect()  # else the first step of each child meets a collection of all that was imported: 0.3 s of copied pages
except (Exception, SystemExit) as error:  # noqa: BLE001  # whatever a suite's own files do when they are imported
    traceback.print_exc()
    failure = f"{type(error).__name__}: {error}"

__all__ = ["data", "failure", "protocol", "suite"]
