"""``python -m closerlook``: the command line."""

import sys

from closerlook.cli import main

if __name__ == "__main__":
    sys.exit(main())
