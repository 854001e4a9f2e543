"""``python -m ase_deeppot.cli`` is ``deeppot``."""

import sys

from ase_deeppot.cli import main

sys.exit(main())
