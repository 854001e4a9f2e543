"""A Deep Potential as an ASE calculator."""

import difflib
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from ase import Atoms
from ase.calculators.calculator import CalculationFailed, Calculator, InputError, PropertyNotImplementedError
from ase.calculators.calculator import all_changes as everything
from ase.stress import full_3x3_to_voigt_6_stress

from ase_deeppot import resources
from ase_deeppot.errors import StructureError
from ase_deeppot.neighbors import Pairs, VerletList
from ase_deeppot.potential.archive import from_bytes, read_model
from ase_deeppot.potential.card import ModelCard, pair_name
from ase_deeppot.potential.config import Precision
from ase_deeppot.potential.evaluation import Prediction, evaluate, symmetric
from ase_deeppot.structures import Structure, from_atoms, types_of

CLOSE = 0.9  # of the smallest trained distance; thermal motion goes a little below it harmlessly


class DomainWarning(UserWarning):
    """Atoms came closer than any pair of the training data: the model extrapolates."""


class DeepPotCalculator(Calculator):
    """Energies, forces and stresses of a Deep Potential.

    Parameters
    ----------
    model : str or Path
        A model file (``.pth``), or the name of a bundled model such as ``"water"``.
    device : str
        Where the model runs: ``"cpu"``, ``"cuda"``, ``"cuda:1"``.
    dtype : {"float64", "float32"}, optional
        Precision of the nets; that of the file if not given. Geometry and sums are float64 in any case.
    skin : float
        Distance in A by which the neighbour list reaches beyond the cutoff, so that it serves for many steps.
        Results do not depend on it.

    Attributes
    ----------
    card : ModelCard
        What the model file says of itself: elements, cutoff, training, domain.
    virial : ndarray, [3, 3]
        ``-dE/dstrain`` of the last structure, eV; there for structures without a cell too.

    Raises
    ------
    ModelFileError
        If the model file cannot be used.

    Notes
    -----
    Implements ``energy``, ``free_energy`` (the same), ``forces``, ``energies`` (atomic), and for a cell of three
    vectors ``stress`` and ``stresses`` (atomic, by neighbour: the one whose sum with velocities is the heat current).
    """

    name = "deeppot"
    implemented_properties = ["energy", "free_energy", "energies", "forces", "stress", "stresses"]
    default_parameters = {"device": "cpu", "dtype": None, "skin": 1.0}
    ignored_changes = {"initial_charges", "initial_magmoms"}

    def __init__(self, model: str | Path, device: str = "cpu", dtype: Precision | None = None, skin: float = 1.0,
                 **unknown: Any) -> None:
        super().__init__(model=str(model), device=device, dtype=dtype, skin=skin, **unknown)

    @property
    def card(self) -> ModelCard:
        """The model's card."""
        return self._model.card

    def set(self, **kwargs: Any) -> dict[str, Any]:
        """Change parameters; results are discarded if anything did change.

        Raises
        ------
        InputError
            For a keyword or value that is not known.
        """
        wanted = self.parameters | kwargs | ({"model": str(kwargs["model"])} if "model" in kwargs else {})
        _check_parameters(wanted)
        if any(wanted[key] != self.parameters.get(key) for key in ("model", "device", "dtype")):
            same = wanted["model"] == self.parameters.get("model")
            self._load(self._content if same else read_model(resources.model_path(wanted["model"])), wanted)
        changed: dict[str, Any] = super().set(**{key: wanted[key] for key in kwargs})
        if changed:
            self._neighbors = VerletList(self.card.rcut, self.parameters["skin"])
            self.reset()
        return changed

    def _load(self, content: bytes, parameters: Mapping[str, Any]) -> None:
        self._model = from_bytes(content, parameters["model"], parameters["device"], parameters["dtype"],
                                 scripted=True)
        self._content, self._warned = content, False

    def __getstate__(self) -> dict[str, Any]:
        # A TorchScript module cannot be pickled or copied; the content of its file can.
        return {key: value for key, value in self.__dict__.items() if key != "_model"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._load(self._content, self.parameters)

    def calculate(self, atoms: Atoms | None = None, properties: Sequence[str] | None = None,
                  system_changes: Sequence[str] = tuple(everything)) -> None:
        """Compute all properties of the structure at once.

        Raises
        ------
        InputError
            If an element is not the model's, a position is not finite, or a periodic direction has no cell vector.
        PropertyNotImplementedError
            If a stress is asked for without three independent cell vectors.
        CalculationFailed
            If the result is not finite, as for two atoms at the same place.
        """
        super().calculate(atoms, properties, system_changes)
        self.results = {}  # those of another structure, if this one fails
        structure, types = self._checked()
        if structure.volume == 0.0 and {"stress", "stresses"} & set(properties or ()):
            raise PropertyNotImplementedError("expected three independent cell vectors for a stress, got "
                                              f"{structure.cell.tolist()}")
        pairs = self._neighbors.update(structure.positions, structure.cell, structure.pbc)
        prediction = evaluate(self._model, types, pairs)
        _check_finite(prediction, pairs)
        self._warn_outside_domain(types, pairs)
        self.virial = symmetric(prediction.virials.sum(axis=0))
        self.results = _results(prediction, structure.volume)

    def _checked(self) -> tuple[Structure, np.ndarray]:
        try:
            structure = from_atoms(cast(Atoms, self.atoms))
            return structure, types_of(structure.numbers, self.card.type_map)
        except StructureError as error:
            raise InputError(str(error)) from error

    def _warn_outside_domain(self, types: np.ndarray, pairs: Pairs) -> None:
        """Warn, once, when two atoms are much closer than any such pair of the training data."""
        known = self.card.domain.smallest_distance
        if self._warned or not known or len(pairs.i) == 0:
            return
        symbols = self.card.type_map
        kind = types[pairs.i] * len(symbols) + types[pairs.j]
        smallest = np.full(len(symbols) ** 2, np.inf)
        np.minimum.at(smallest, kind, np.einsum("ea,ea->e", pairs.vectors, pairs.vectors))
        for k, r in enumerate(np.sqrt(smallest)):
            name = pair_name(symbols[k // len(symbols)], symbols[k % len(symbols)])
            if r < CLOSE * known.get(name, 0.0):
                self._warned = True
                warnings.warn(f"{name} distance of {r:.2f} A; the smallest in the training data is {known[name]:.2f} "
                              "A, so energies and forces are extrapolated", DomainWarning, stacklevel=6)
                return


def _check_parameters(parameters: Mapping[str, Any]) -> None:
    known = {"model", "device", "dtype", "skin"}
    unknown = sorted(set(parameters) - known)
    if unknown:
        near = difflib.get_close_matches(unknown[0], sorted(known), n=1)
        raise InputError(f"unknown parameter '{unknown[0]}'; "
                         + (f"did you mean '{near[0]}'?" if near else f"known: {', '.join(sorted(known))}"))
    if parameters["dtype"] not in (None, "float64", "float32"):
        raise InputError(f"expected dtype 'float64', 'float32' or None, got {parameters['dtype']!r}")
    skin = parameters["skin"]
    if not isinstance(skin, int | float) or not 0 <= skin < np.inf:
        raise InputError(f"expected skin >= 0 (in A), got {skin!r}")
    _check_device(parameters["device"])


def _check_device(device: Any) -> None:
    try:
        torch.empty(0, device=device if isinstance(device, str) else "")
    except (RuntimeError, AssertionError) as error:
        raise InputError(f"expected a device that is there, such as 'cpu' or 'cuda', got {device!r}") from error


def _check_finite(prediction: Prediction, pairs: Pairs) -> None:
    if np.isfinite(prediction.energies).all() and np.isfinite(prediction.forces).all():
        return
    together = np.flatnonzero(~pairs.vectors.any(axis=1))
    if len(together):
        i, j = pairs.i[together[0]], pairs.j[together[0]]
        raise CalculationFailed(f"atoms {i} and {j} are at the same place")
    atom = int(np.argmin(np.isfinite(prediction.forces).all(axis=1) & np.isfinite(prediction.energies)))
    raise CalculationFailed(f"expected finite energies and forces, got {prediction.energies[atom]} eV and "
                            f"{prediction.forces[atom]} eV/A for atom {atom}; it is far outside the training data")


def _results(prediction: Prediction, volume: float) -> dict[str, Any]:
    """ASE's results: plain float energy, tension positive."""
    energy = float(prediction.energies.sum())
    results: dict[str, Any] = {"energy": energy, "free_energy": energy, "energies": prediction.energies,
                               "forces": prediction.forces}
    if volume > 0.0:
        stresses = full_3x3_to_voigt_6_stress(symmetric(prediction.virials) / -volume).reshape(-1, 6)
        results |= {"stress": stresses.sum(axis=0), "stresses": stresses}
    return results
