"""``python -m rotogbml``."""

import sys

from rotogbml.cli import main

sys.exit(main())
