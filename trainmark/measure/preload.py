"""What the fork server imports once, so that each cell's process has it from the start.

The server would pass over an import that fails, and each cell would then import for itself, slowly: so
what goes wrong is kept here, and every process that is forked says it.
"""

from __future__ import annotations

import contextlib
import faulthandler
import gc
import os
import sys
import traceback
from pathlib import Path

from trainmark.formatting import excerpt
from trainmark.measure import processes
from trainmark.measure.worker import LOG_LINES, START_SECONDS

failure: str | None = None

if processes.MARK in os.environ:  # in a server, and not in a process that only looks
    processes.serve()

with Path(os.devnull).open("w") as nowhere:  # what the suite names may take for ever, in whatever language
    faulthandler.dump_traceback_later(START_SECONDS, exit=True, file=nowhere)
    try:
        import torch._dynamo  # noqa: F401  # which the first optimizer of a process would import: a second

        from trainmark import suite
        from trainmark.measure import data, protocol
        from trainmark.measure.failures import MissingDataError

        for source in data.sources().values():
            if source.preload is not None:
                with contextlib.suppress(MissingDataError):  # its own cells say so
                    source.preload()  # read once; every child shares the pages
        gc.collect()  # else the first step of each child meets one of all that was imported: 0.3 s of copied pages
    except (Exception, SystemExit) as error:  # noqa: BLE001  # whatever a suite's own files do when they are imported
        sys.stderr.write("\n".join([*map(excerpt, traceback.format_exc().splitlines()[-LOG_LINES:]), ""]))
        failure = f"{type(error).__name__}: {excerpt(error)}"
    finally:
        faulthandler.cancel_dump_traceback_later()

__all__ = ["data", "failure", "protocol", "suite"]
