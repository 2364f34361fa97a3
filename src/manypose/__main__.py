"""`python -m manypose` is the command `manypose`."""

import sys

from manypose.cli import main

if __name__ == "__main__":
    sys.exit(main())
