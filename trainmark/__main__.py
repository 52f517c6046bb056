"""``python -m trainmark``: the same as the command ``trainmark``."""

import sys

from trainmark.cli import main

sys.exit(main())
