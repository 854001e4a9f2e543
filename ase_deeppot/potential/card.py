"""What a model file says about itself: shape, units, domain of validity, where the model came from."""

import json
from dataclasses import asdict, dataclass, field
from types import MappingProxyType
from typing import Any, Callable, Mapping

from ase_deeppot.config import parse
from ase_deeppot.potential import parameters
from ase_deeppot.potential.config import DescriptorConfig, FittingNetConfig, HybridConfig, LocalFrameConfig, ModelConfig
from ase_deeppot.species import element_of, elements_among

FORMAT = "ase_deeppot model"
FORMAT_VERSION = 4
UNITS: Mapping[str, str] = MappingProxyType(
    {"energy": "eV", "length": "Angstrom", "force": "eV/Angstrom", "virial": "eV, -dE/dstrain"}
)
ERROR_UNITS: Mapping[str, str] = MappingProxyType({"energy": "meV/atom", "forces": "meV/A", "stress": "meV/A^3"})


@dataclass(frozen=True)
class Domain:
    """What the training data covered; outside, the model extrapolates."""

    frames: int = 0
    atoms: tuple[int, int] = (0, 0)  # smallest and largest frame
    smallest_distance: dict = field(default_factory=dict)  # "H-O" -> A
    largest_neighbors: dict = field(default_factory=dict)  # "O" -> most neighbours of that species in rcut
    composition: dict = field(default_factory=dict)  # "O" -> [least, most] fraction of the atoms
    energy_per_atom: tuple[float, float] = (0.0, 0.0)  # eV, least and most
    largest_force: float = 0.0  # eV/A
    force_jump: float | None = None  # eV/A, largest seen when a neighbour crosses the cutoff; of local frames only


@dataclass(frozen=True)
class ModelCard:
    """The JSON record inside a model file."""

    config: ModelConfig
    domain: Domain = field(default_factory=Domain)
    training: dict = field(default_factory=dict)  # sources and their hashes, settings, steps, errors
    package_version: str = ""
    units: dict = field(default_factory=lambda: dict(UNITS))
    series: dict = field(default_factory=dict)  # see folding.describe_series; made when the model is written

    @property
    def type_map(self) -> tuple[str, ...]:
        """Names of the model's species, elements or others (``ase_deeppot.species``), in the order of its types."""
        return self.config.type_map

    @property
    def elements(self) -> tuple[str, ...]:
        """Chemical symbols of the species, each once."""
        return elements_among(self.type_map)

    @property
    def rcut(self) -> float:
        """Cutoff radius, A."""
        return self.config.rcut


def to_json(card: ModelCard) -> str:
    """Canonical text of a card: sorted keys, so that equal cards have equal text."""
    record = {"format": FORMAT, "format_version": FORMAT_VERSION, **asdict(card)}
    return json.dumps(record, sort_keys=True, indent=1, allow_nan=False)


def from_record(record: Mapping[str, Any]) -> ModelCard:
    """Read a card from its decoded JSON; the caller has checked format and version."""
    fields = {key: value for key, value in record.items() if key not in ("format", "format_version")}
    return parse(ModelCard, fields, "model card")


def pair_name(first: str, second: str) -> str:
    """Name of an unordered pair of elements, as the domain's tables spell it."""
    return "-".join(sorted((first, second)))


def describe(card: ModelCard) -> str:
    """The card in a few lines for a terminal."""
    descriptor, fitting_net = card.config.descriptor, card.config.fitting_net
    lines = [
        *_species(card),
        f"descriptor      {descriptor.kind}, rcut {card.rcut:g} A, " + describe_descriptor(descriptor),
        f"fitting net     {describe_fitting_net(fitting_net)}, {card.config.precision}",
        *([f"takes           {taken} beside the structure"] if (taken := parameters.describe(fitting_net)) else []),
        *(["series          " + _series(card.series)] if descriptor.kind in ("smooth", "hybrid") else []),
        *(["discontinuous   " + discontinuity(card)] if descriptor.kind == "local_frame" else []),
        f"written by      ase-deeppot {card.package_version or 'unknown'}",
        *_history(card),
    ]
    errors = card.training.get("validation_rmse", {})
    if errors:
        lines.append("validation RMSE " + ", ".join(f"{name} {1e3 * error:.3g} {ERROR_UNITS.get(name, 'meV')}"
                                                    for name, error in errors.items()))
    if dynamics := card.training.get("dynamics"):
        lines.append("dynamics        {ended} of {runs} runs at {temperature} K left the nets of this training behind, "
                     "with the difference tripled".format(**dynamics))
    return "\n".join(lines)


def _history(card: ModelCard) -> list[str]:
    """What is known of the training data, or where the model came from."""
    domain, imported = card.domain, card.training.get("imported")
    if imported:
        known = [str(imported[key]) for key in ("software", "version", "backend", "format") if imported.get(key)]
        nearest = imported.get("min_nbor_dist")
        closest = f"{nearest:.2f} A" if nearest else "not known"
        return [f"read from       {', '.join(known)}", "sel             " + _sel(imported["sel"]),
                f"closest pair    {closest}"]
    return [
        f"trained on      {domain.frames} frames of {' to '.join(map(str, sorted(set(domain.atoms))))} atoms",
        f"energies        {domain.energy_per_atom[0]:.4f} to {domain.energy_per_atom[1]:.4f} eV/atom",
        f"largest force   {domain.largest_force:.2f} eV/A",
        *([] if card.config.bonds else [  # of many species, which are the same in every frame
            "composition     " + _table(domain.composition, lambda range_: f"{range_[0]:.0%} to {range_[1]:.0%}")]),
        "closest pairs   " + _table(_of_elements(domain.smallest_distance), lambda r: f"{r:.2f} A"),
        *([] if card.config.bonds else ["most neighbours " + _table(domain.largest_neighbors, str)]),
    ]


def _species(card: ModelCard) -> list[str]:
    elements = "elements        " + ", ".join(card.elements)
    return [elements, f"species         {', '.join(card.type_map)}"] if card.config.bonds else [elements]


def _of_elements(distances: Mapping[str, float]) -> dict[str, float]:
    """The smallest of pairs of elements."""
    smallest: dict[str, float] = {}
    for names, distance in distances.items():
        pair = pair_name(*map(element_of, names.split("-")))
        smallest[pair] = min(distance, smallest.get(pair, distance))
    return smallest


def _sel(sel: list) -> str:
    parts = sel if sel and isinstance(sel[0], list) else [sel]  # of a hybrid descriptor, or of the only one
    return "; ".join(", ".join(map(str, part)) for part in parts)


def discontinuity(card: ModelCard) -> str:
    """How far a model with local frames is from a continuous function."""
    jump = card.domain.force_jump
    size = "by an amount not measured" if jump is None else f"by up to {jump:.2g} eV/A in its training data"
    return f"forces jump {size} when a neighbour crosses the cutoff"


def describe_descriptor(config: DescriptorConfig) -> str:
    """Its sizes in a few words."""
    if isinstance(config, LocalFrameConfig):
        return (f"slots {_table(config.sel_a, str) or 'to be counted'} with all coordinates, "
                f"{_table(config.sel_r, str) or 'to be counted'} with 1/R")
    if isinstance(config, HybridConfig):
        return "; ".join(f"{part.kind} to {part.rcut:g} A, {describe_descriptor(part)}" for part in config.parts)
    low = f"smooth from {config.rcut_smth:g} A, embedding {_widths(config.neuron)}, axis {config.axis_neuron}"
    if config.l_max == 1:
        return low
    third = f", bispectrum of {config.bispectrum_neuron}" if config.bispectrum_neuron else ""
    return f"{low}, angular orders to {config.l_max} ({config.columns[-1]}, axis {config.axes[-1]}){third}"


def _series(series: Mapping[str, Any]) -> str:
    if not series:
        return "not written yet"
    if "parts" in series:
        return "\n                ".join(map(_series, series["parts"]))
    if series["order"] == 0:
        return (f"none, its embedding nets ({series['activation']}) are evaluated for every pair: {series['longest']} "
                f"terms would differ from them by {series['missed']:.0e} of their range")
    directions = ", ".join(map(str, series["directions"]))
    return (f"{series['terms']} of {series['order']} terms, {directions} directions, pairs down to "
            f"{series['reach']:.2f} A; differs from the embedding net by {series['error']:.0e} of its range")


def describe_fitting_net(config: FittingNetConfig) -> str:
    """``240-240-240``, or what polynomials are of."""
    if not config.polynomial:
        return _widths(config.neuron)
    terms = ", ".join(str(terms) for _, terms in config.polynomial)
    return f"cubic polynomials, {terms} terms of {config.neuron[-1]} directions"


def _widths(widths: tuple[int, ...]) -> str:
    return "-".join(map(str, widths))


def _table(values: Mapping[str, Any], text: Callable[[Any], str]) -> str:
    return ", ".join(f"{key} {text(value)}" for key, value in values.items())
