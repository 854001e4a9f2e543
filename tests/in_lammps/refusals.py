"""Run inputs that must be refused, one after the other; print what was said as JSON. refusals.py INPUTS.json"""

import json
import sys
from pathlib import Path

from ase_deeppot.errors import DeepPotError
from ase_deeppot.lammps import run

said = []
for text, model in json.loads(Path(sys.argv[1]).read_text()):
    Path("in.lammps").write_text(text)
    try:
        run("in.lammps", model, arguments=["-log", "none", "-screen", "none"])
        said.append("nothing")
    except DeepPotError as error:
        said.append(f"{type(error).__name__}: {error}")
print(json.dumps(said))
