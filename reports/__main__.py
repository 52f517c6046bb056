"""``python -m reports``: another name for the command ``trainmark``."""

import sys

from trainmark.cli import main

sys.exit(main())
