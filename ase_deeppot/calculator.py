"""A Deep Potential as an ASE calculator."""

import copy
import difflib
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self, cast

import numpy as np
import torch
from ase import Atoms
from ase.calculators.calculator import CalculationFailed, Calculator, InputError, PropertyNotImplementedError
from ase.calculators.calculator import all_changes as everything
from ase.stress import full_3x3_to_voigt_6_stress

from ase_deeppot import resources
from ase_deeppot.errors import StructureError
from ase_deeppot.interop import from_bytes
from ase_deeppot.interop.slots import overfull
from ase_deeppot.neighbors import Pairs, VerletList
from ase_deeppot.potential.archive import read_model
from ase_deeppot.potential.card import ModelCard, discontinuity
from ase_deeppot.potential.config import LocalFrameConfig, Precision
from ase_deeppot.potential.domain import extrapolation, limits
from ase_deeppot.potential.engine import engine, neighbor_list
from ase_deeppot.potential.local_frame import LocalFrames
from ase_deeppot.potential.prediction import Prediction, symmetric
from ase_deeppot.structures import ATOM_PARAMETERS, FRAME_PARAMETERS, Structure, from_atoms, parameters_of, types_of

DESCRIBING = ("positions", "numbers", "cell", "pbc")  # all of a structure that the model sees


class DomainWarning(UserWarning):
    """Atoms are closer, or have more neighbours, than in the training data: the model extrapolates."""


class DiscontinuityWarning(UserWarning):
    """The model's energy is not continuous: its cutoff is sharp, and its neighbours are sorted."""


class DeepPotCalculator(Calculator):
    """Energies, forces and stresses of a Deep Potential.

    Parameters
    ----------
    model : str or Path
        A model file, this package's or DeePMD-kit's, or the name of a bundled model such as ``"water"``.
    device : str
        Where the model runs: ``"cpu"``, ``"cuda"``, ``"cuda:1"``.
    dtype : {"float64", "float32"}, optional
        Precision of the nets; that of the file if not given. Geometry and sums are float64 in any case.
    skin : float
        Distance in A by which the neighbour list reaches beyond the cutoff, so that it serves for many steps.
        Results do not depend on it.
    head : str, optional
        Which model of a DeePMD-kit file of several tasks.

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

    A DeePMD-kit model with frame or atomic parameters takes them from ``atoms.info["fparam"]`` (a number, or as many
    as the model takes) and ``atoms.arrays["aparam"]`` (N, or N times as many).
    """

    name = "deeppot"
    implemented_properties = ["energy", "free_energy", "energies", "forces", "stress", "stresses"]
    default_parameters = {"device": "cpu", "dtype": None, "skin": 1.0, "head": None}
    ignored_changes = {"initial_charges", "initial_magmoms"}

    def __init__(self, model: str | Path, device: str = "cpu", dtype: Precision | None = None, skin: float = 1.0,
                 head: str | None = None, **unknown: Any) -> None:
        super().__init__(model=str(model), device=device, dtype=dtype, skin=skin, head=head, **unknown)

    @classmethod
    def pretrained(cls, name: str, **parameters: Any) -> Self:
        """A calculator with a bundled model, as ``DeepPotCalculator.pretrained("water")``.

        Parameters
        ----------
        name : str
            As ``deeppot models`` lists them.
        **parameters
            As above.

        Raises
        ------
        ModelFileError
            If there is no such model; the message lists those that there are.
        """
        resources.bundled_model(name)
        return cls(name, **parameters)

    @property
    def card(self) -> ModelCard:
        """The model's card."""
        return self._card

    def set(self, **kwargs: Any) -> dict[str, Any]:
        """Change parameters; results are discarded if anything did change.

        Raises
        ------
        InputError
            For a keyword or value that is not known.
        """
        wanted = self.parameters | kwargs | ({"model": str(kwargs["model"])} if "model" in kwargs else {})
        _check_parameters(wanted)
        if any(wanted[key] != self.parameters.get(key) for key in ("model", "device", "dtype", "head")):
            same = wanted["model"] == self.parameters.get("model")
            self._load(self._content if same else read_model(resources.model_path(wanted["model"])), wanted)
            if not same:
                _warn_of_jumps(self.card)
        changed: dict[str, Any] = super().set(**{key: wanted[key] for key in kwargs})
        if changed:
            self._neighbors = self._neighbor_list()
            self.reset()
        return changed

    def _load(self, content: bytes, parameters: Mapping[str, Any]) -> None:
        model = from_bytes(content, parameters["model"], dtype=parameters["dtype"], head=parameters["head"])
        self._card, self._engine = model.card, engine(model, parameters["device"])
        self._limits, self._geometry = limits(model), model.module.descriptor.geometry()
        self._content, self._warned, self._warned_of_slots = content, False, False
        self._prediction: Prediction | None = None

    def __getstate__(self) -> dict[str, Any]:
        # An engine with its threads, or a list on a GPU, cannot be pickled; the content of the model's file can.
        own = {"_engine", "_neighbors"}
        return {key: value for key, value in self.__dict__.items() if key not in own} | {"_prediction": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._load(self._content, self.parameters)
        self._neighbors = self._neighbor_list()

    def _neighbor_list(self) -> VerletList:
        return neighbor_list(self.card.rcut, self.parameters["skin"], self.parameters["device"])

    def check_state(self, atoms: Atoms, tol: float = 1e-15) -> list[str]:
        """What changed since the last calculation; ASE's own test of each property takes a tenth of a small step."""
        if self.atoms is None:
            return list(everything)
        changed = [name for name in DESCRIBING if not np.array_equal(getattr(self.atoms, name), getattr(atoms, name))]
        if self.card.config.fitting_net.parameters and not _same_parameters(self._given, _given_parameters(atoms)):
            changed.append("parameters")
        return changed

    def calculate(self, atoms: Atoms | None = None, properties: Sequence[str] | None = None,
                  system_changes: Sequence[str] = tuple(everything)) -> None:
        """Compute all properties of the structure at once.

        Raises
        ------
        InputError
            If an element is not the model's, a position is not finite, a periodic direction has no cell vector, or
            parameters that the model takes are missing or of another shape.
        PropertyNotImplementedError
            If a stress is asked for without three independent cell vectors.
        CalculationFailed
            If the result is not finite, as for two atoms at the same place.
        """
        changed = system_changes or (atoms is not None and self.check_state(atoms))
        super().calculate(atoms, properties, system_changes)
        self.results = {}  # those of another structure, if this one fails
        if changed or self._prediction is None:
            self._prediction = None
            self._prediction, self._volume = self._predicted()
        wanted = {"stress", "stresses"} & set(properties or ())
        if wanted and self._volume == 0.0:
            raise PropertyNotImplementedError("expected three independent cell vectors for a stress, got "
                                              f"{cast(Atoms, self.atoms).cell.tolist()}")
        self.results = _results(self._prediction, self.virial, self._volume)
        if self._volume > 0.0 and (properties is None or "stresses" in properties):  # seldom: as large as all the rest
            self.results["stresses"] = _voigt(symmetric(self._prediction.virials), self._volume)

    def _predicted(self) -> tuple[Prediction, float]:
        """What the model says of the atoms, and the volume of their cell."""
        self._given = _given_parameters(cast(Atoms, self.atoms))
        structure, types, parameters = self._checked()
        pairs = self._neighbors.update(structure.positions, structure.cell, structure.pbc)
        prediction = self._engine.evaluate(types, pairs, parameters=parameters)
        _check_finite(prediction, pairs)
        self._warn_outside_domain(prediction.closest)
        self._warn_overfull(types, pairs)
        self.virial = symmetric(np.einsum("nab->ab", prediction.virials))
        return prediction, structure.volume

    def _checked(self) -> tuple[Structure, np.ndarray, np.ndarray | None]:
        atoms, net = cast(Atoms, self.atoms), self.card.config.fitting_net
        taken = (net.frame_parameters, net.atom_parameters, net.default_frame_parameters)
        try:
            structure = from_atoms(atoms)
            types = types_of(structure.numbers, self.card.type_map)
            return structure, types, parameters_of(atoms, *taken) if net.parameters else None
        except StructureError as error:
            raise InputError(str(error)) from error

    def _warn_outside_domain(self, closest: np.ndarray) -> None:
        """Warn, once, when two atoms are much closer than any such pair of the training data."""
        text = "" if self._warned else extrapolation(self.card, closest, self._limits)
        if text:
            self._warned = True
            warnings.warn(text, DomainWarning, stacklevel=7)

    def _warn_overfull(self, types: np.ndarray, pairs: Pairs) -> None:
        """Warn, once, when there are more neighbours than slots for them, here or in the model's own program."""
        if self._warned_of_slots:
            return
        frames = self._geometry
        text = _left_out(frames, types, pairs) if isinstance(frames, LocalFrames) else overfull(self.card, types, pairs)
        if text:
            self._warned_of_slots = True
            warnings.warn(text, DomainWarning, stacklevel=7)


def _left_out(frames: LocalFrames, types: np.ndarray, pairs: Pairs) -> str:
    without = frames.left_out(types, pairs)
    return (f"{without} of {len(pairs.i)} neighbours have no slot (sel_a + sel_r) in this model: the farthest of each "
            "atom are left out; the structure is denser than the training data") if without else ""


def _warn_of_jumps(card: ModelCard) -> None:
    if isinstance(card.config.descriptor, LocalFrameConfig):
        warnings.warn(f"a local-frame model is not continuous: {discontinuity(card)}, and also where neighbours change "
                      "their order; use a smooth model (DeepPot-SE) for NVE dynamics", DiscontinuityWarning,
                      stacklevel=5)


def _given_parameters(atoms: Atoms) -> tuple[Any, Any]:
    """Parameters of the frame and of the atoms as they are given, for comparison: copies."""
    return copy.deepcopy(atoms.info.get(FRAME_PARAMETERS)), copy.deepcopy(atoms.arrays.get(ATOM_PARAMETERS))


def _same_parameters(one: tuple[Any, Any], other: tuple[Any, Any]) -> bool:
    return all((a is None) == (b is None) and np.array_equal(a, b) for a, b in zip(one, other, strict=True))


def _check_parameters(parameters: Mapping[str, Any]) -> None:
    known = {"model", "device", "dtype", "skin", "head"}
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
        reason = str(error).split("\n")[0][:120]
        raise InputError(f"expected a device that works here, 'cpu' if none else, got {device!r}: {reason}") from error


def _check_finite(prediction: Prediction, pairs: Pairs) -> None:
    if np.isfinite(prediction.energies).all() and np.isfinite(prediction.forces).all():
        return
    together = np.flatnonzero(~_on_host(pairs.vectors).any(axis=1))
    if len(together):
        i, j = (_on_host(part)[together[0]] for part in (pairs.i, pairs.j))
        raise CalculationFailed(f"atoms {i} and {j} are at the same place")
    atom = int(np.argmin(np.isfinite(prediction.forces).all(axis=1) & np.isfinite(prediction.energies)))
    raise CalculationFailed(f"expected finite energies and forces, got {prediction.energies[atom]} eV and "
                            f"{prediction.forces[atom]} eV/A for atom {atom}; it is far outside the training data")


def _on_host(part: np.ndarray | torch.Tensor) -> np.ndarray:
    return torch.as_tensor(part).cpu().numpy()


def _results(prediction: Prediction, virial: np.ndarray, volume: float) -> dict[str, Any]:
    """ASE's results: plain float energy, tension positive."""
    energy = float(prediction.energies.sum())
    results: dict[str, Any] = {"energy": energy, "free_energy": energy, "energies": prediction.energies,
                               "forces": prediction.forces}
    return results | ({"stress": _voigt(virial, volume)} if volume > 0.0 else {})


def _voigt(virials: np.ndarray, volume: float) -> np.ndarray:
    """Stresses of symmetric virials, eV/A^3, in Voigt's order."""
    return full_3x3_to_voigt_6_stress(virials / -volume).reshape(*virials.shape[:-2], 6)
