"""Put a model into a LAMMPS that is running."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ase_deeppot import resources
from ase_deeppot.compiler import compilable
from ase_deeppot.errors import ConfigError
from ase_deeppot.interop import load_model
from ase_deeppot.lammps.forces import Forces
from ase_deeppot.potential.config import Precision
from ase_deeppot.potential.domain import limits
from ase_deeppot.potential.engine import engine
from ase_deeppot.potential.parameters import refuse

FIX = "deeppot"  # ID of the fix that calls us
OWN_FIXES = ("GROUP_", "_COMPUTE_STORE", "COMPUTE_STORE_")  # in the IDs of fixes that LAMMPS makes for itself


def attach(lmp: Any, model: str | Path, elements: Sequence[str], device: str = "cpu",
           dtype: Precision | None = None) -> None:
    """Let a model supply the forces of a LAMMPS with a simulation box: what ``pair_coeff`` is in an input.

    Parameters
    ----------
    lmp : lammps.lammps
        LAMMPS, with ``units metal``; all MPI processes call this.
    model : str or Path
        A model file, or the name of a bundled model.
    elements : sequence of str
        Chemical symbol of each atom type.
    device, dtype
        As for `DeepPotCalculator`; ``"cuda"`` gives the processes of a node its GPUs in turn.

    Raises
    ------
    ConfigError
        If LAMMPS is not set up as needed, or an element is not the model's.
    ModelFileError
        If the model file cannot be used.
    """
    loaded = load_model(resources.model_path(model), dtype=dtype)
    refuse(loaded.card.config.fitting_net, "in LAMMPS")
    _check(lmp)
    types = _types(elements, loaded.card.type_map, lmp.extract_setting("ntypes"))
    lmp.command(f"pair_style zero {loaded.card.rcut} nocoeff")  # ghosts as far as the model sees, and no forces
    lmp.command("pair_coeff * *")
    lmp.command(f"fix {FIX} all external pf/callback 1 1")
    lmp.command(f"fix_modify {FIX} energy yes virial yes")
    # Loops that have yet to be compiled are waited for: the numbers do not depend on when that is done.
    run = engine(loaded, device, compiled=True if device == "cpu" and compilable() else None)
    lmp.set_fix_external_callback(FIX, Forces(lmp, FIX, run, loaded.card, limits(loaded), types), None)


def _types(elements: Sequence[str], type_map: Sequence[str], ntypes: int) -> np.ndarray:
    """The model's type of each atom type, from 1."""
    unknown = sorted(set(elements) - set(type_map))
    if unknown:
        raise ConfigError(f"expected elements of the model ({', '.join(type_map)}) in pair_coeff, "
                          f"got {', '.join(unknown)}")
    if len(elements) != ntypes:
        raise ConfigError(f"expected an element for each of {ntypes} atom types in pair_coeff, "
                          f"got {len(elements)}: {' '.join(elements)}")
    return np.array([-1, *(type_map.index(element) for element in elements)], dtype=np.int64)


def _check(lmp: Any) -> None:
    """What a model needs of LAMMPS."""
    if not lmp.extract_setting("box_exist"):
        raise ConfigError("expected pair_coeff after the simulation box is made, got none yet: put it after "
                          "read_data, read_restart or create_box")
    if (units := lmp.extract_global("units")) != "metal":
        raise ConfigError(f"expected 'units metal' in the LAMMPS input (eV and Angstrom), got 'units {units}'")
    if (dimension := lmp.extract_setting("dimension")) != 3:
        raise ConfigError(f"expected 'dimension 3' in the LAMMPS input, got {dimension}")
    if lmp.extract_setting("kokkos_active"):
        raise ConfigError("expected LAMMPS without KOKKOS, whose atoms may be elsewhere, got '-k on': leave it out")
    fixes = [fix for fix in lmp.available_ids("fix") if not any(part in fix for part in OWN_FIXES)]
    if fixes:
        raise ConfigError("expected pair_coeff before the first fix, as forces are changed in the order of fixes, "
                          f"got fix {fixes[0]} before: move it down")
