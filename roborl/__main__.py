"""``python -m roborl`` is the command line."""

import sys

from roborl.cli import main

sys.exit(main())
