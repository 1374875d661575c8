"""``python -m PETSuperResLib.worker``: serve standard input and output."""

import sys

from .serve import main

if __name__ == "__main__":
    sys.exit(main())
