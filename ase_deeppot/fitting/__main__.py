"""``python -m ase_deeppot.fitting`` is ``deeppot train``, in the form that torchrun starts."""

import sys

from ase_deeppot.cli import main

sys.exit(main(["train", *sys.argv[1:]]))
