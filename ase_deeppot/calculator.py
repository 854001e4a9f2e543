"""A Deep Potential as an ASE calculator."""

import copy
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self, cast

import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator, InputError, PropertyNotImplementedError
from ase.calculators.calculator import all_changes as everything

from ase_deeppot import keywords, resources
from ase_deeppot.bonds import SpeciesFinder
from ase_deeppot.errors import StructureError
from ase_deeppot.interop import from_bytes
from ase_deeppot.neighbors import VerletList
from ase_deeppot.potential.archive import read_model
from ase_deeppot.potential.card import ModelCard
from ase_deeppot.potential.committee import together
from ase_deeppot.potential.config import Precision
from ase_deeppot.potential.engine import engine, neighbor_list
from ase_deeppot.potential.prediction import Deviation, Prediction, symmetric
from ase_deeppot.results import check_finite, of_structure, stresses
from ase_deeppot.structures import ATOM_PARAMETERS, FRAME_PARAMETERS, Structure, from_atoms, parameters_of
from ase_deeppot.watch import Watch


class DeepPotCalculator(Calculator):
    """Energies, forces and stresses of a Deep Potential, or the mean of several.

    Parameters
    ----------
    model : str, Path or sequence of them
        A model file, this package's or DeePMD-kit's, or the name of a bundled model such as ``"water"``. Several are a
        committee: results are means over the models, and ``deviation`` tells how far these are apart.
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
        What the model file says of itself: elements, cutoff, training, domain; of several, the first one's.
    deviation : Deviation or None
        Root mean square distance of several models from their mean, for the last structure: ``energy``, eV, and
        ``forces`` on each atom, eV/A, [N].
    virial : ndarray, [3, 3]
        ``-dE/dstrain`` of the last structure, eV; there for structures without a cell too.

    Raises
    ------
    ModelFileError
        If a model file cannot be used, or several differ in elements, cutoff or parameters.

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
    deviation: Deviation | None = None

    def __init__(self, model: str | Path | Sequence[str | Path], device: str = "cpu", dtype: Precision | None = None,
                 skin: float = 1.0, head: str | None = None, **unknown: Any) -> None:
        super().__init__(model=keywords.plain(model), device=device, dtype=dtype, skin=skin, head=head, **unknown)

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
        if "model" in kwargs:
            kwargs["model"] = keywords.plain(kwargs["model"])
        wanted = self.parameters | kwargs
        keywords.check(wanted)
        if any(wanted[key] != self.parameters.get(key) for key in ("model", "device", "dtype", "head")):
            same = wanted["model"] == self.parameters.get("model")
            files = self._contents if same else [read_model(resources.model_path(name))
                                                 for name in keywords.names_of(wanted["model"])]
            self._load(files, wanted)
            self.deviation = None
            if not same:
                self._watch.attached(stacklevel=4)
        changed: dict[str, Any] = super().set(**{key: wanted[key] for key in kwargs})
        if changed:
            self._neighbors = self._neighbor_list()
            self.reset()
        return changed

    def _load(self, contents: Sequence[bytes], parameters: Mapping[str, Any]) -> None:
        models = [from_bytes(content, name, dtype=parameters["dtype"], head=parameters["head"])
                  for content, name in zip(contents, keywords.names_of(parameters["model"]), strict=True)]
        self._engine = together(models, lambda model: engine(model, parameters["device"]))
        self._card, self._watch, self._contents = models[0].card, Watch(models), contents
        self._species = SpeciesFinder(self._card.type_map)
        self._prediction: Prediction | None = None

    def __getstate__(self) -> dict[str, Any]:
        # An engine with its threads, or a list on a GPU, cannot be pickled; the content of model files can.
        own = {"_engine", "_neighbors"}
        return {key: value for key, value in self.__dict__.items() if key not in own} | {"_prediction": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._load(self._contents, self.parameters)
        self._neighbors = self._neighbor_list()

    def _neighbor_list(self) -> VerletList:
        return neighbor_list(self.card.rcut, self.parameters["skin"], self.parameters["device"])

    def check_state(self, atoms: Atoms, tol: float = 1e-15) -> list[str]:
        """What changed since the last calculation; ASE's own test of each property takes a tenth of a small step."""
        if self.atoms is None:
            return list(everything)
        before, now = _seen(self.atoms), _seen(atoms)
        changed = [name for name in now if before[name] != now[name]]
        if self.card.config.fitting_net.parameters and not _same_parameters(self._given, _given_parameters(atoms)):
            changed.append("parameters")
        return changed

    def calculate(self, atoms: Atoms | None = None, properties: Sequence[str] | None = None,
                  system_changes: Sequence[str] = tuple(everything)) -> None:
        """Compute all properties of the structure at once.

        Raises
        ------
        InputError
            If an element is not the model's, or an atom is bonded as none of its species is, a position is not finite,
            a periodic direction has no cell vector, or parameters that the model takes are missing or of another
            shape.
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
        self.results = of_structure(self._prediction, self.virial, self._volume)
        if self._volume > 0.0 and (properties is None or "stresses" in properties):
            self.results["stresses"] = stresses(self._prediction, self._volume)

    def _predicted(self) -> tuple[Prediction, float]:
        """What the model says of the atoms, and the volume of their cell."""
        self._given = _given_parameters(cast(Atoms, self.atoms))
        structure, types, parameters = self._checked()
        pairs = self._neighbors.update(structure.positions, structure.cell, structure.pbc)
        prediction, self.deviation = self._engine.evaluate(types, pairs, parameters=parameters)
        check_finite(prediction, pairs)
        self._watch.evaluated(types, pairs, prediction.closest, stacklevel=6)
        self.virial = symmetric(np.einsum("nab->ab", prediction.virials))
        return prediction, structure.volume

    def _checked(self) -> tuple[Structure, np.ndarray, np.ndarray | None]:
        atoms, net = cast(Atoms, self.atoms), self.card.config.fitting_net
        taken = (net.frame_parameters, net.atom_parameters, net.default_frame_parameters)
        try:
            structure = from_atoms(atoms)
            types = self._species.types(structure)
            return structure, types, parameters_of(atoms, *taken) if net.parameters else None
        except StructureError as error:
            raise InputError(str(error)) from error


def _seen(atoms: Atoms) -> dict[str, bytes]:
    """All of a structure that the model sees; comparing bytes takes a seventh of the time of comparing arrays."""
    parts = {"positions": atoms.positions, "numbers": atoms.numbers, "cell": atoms.cell.array, "pbc": atoms.pbc}
    return {name: part.tobytes() for name, part in parts.items()}


def _given_parameters(atoms: Atoms) -> tuple[Any, Any]:
    """Parameters of the frame and of the atoms as they are given, for comparison: copies."""
    return copy.deepcopy(atoms.info.get(FRAME_PARAMETERS)), copy.deepcopy(atoms.arrays.get(ATOM_PARAMETERS))


def _same_parameters(one: tuple[Any, Any], other: tuple[Any, Any]) -> bool:
    return all((a is None) == (b is None) and np.array_equal(a, b) for a, b in zip(one, other, strict=True))
