"""The module's package: a name of its own, since all extensions are installed into one folder."""

import os
import sys

_SOURCE = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
if os.path.isdir(os.path.join(_SOURCE, "PETSuperResLib")) and _SOURCE not in sys.path:
    sys.path.append(_SOURCE)  # run from the source tree; an installed extension has the library beside this package
