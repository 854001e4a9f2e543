"""From a DeePMD-kit model to ours: the same nets, with the embedding as a series that is exact, or pair by pair."""

from dataclasses import replace
from typing import TypeVar

import numpy as np
import torch

from ase_deeppot.errors import ModelFileError
from ase_deeppot.interop.foreign import Descriptor, ForeignModel
from ase_deeppot.interop.into_config import config_of
from ase_deeppot.interop.into_state import State, prefix, state_of
from ase_deeppot.interop.refusals import INSTEAD
from ase_deeppot.potential.archive import Model
from ase_deeppot.potential.card import ModelCard
from ase_deeppot.potential.config import HybridConfig, HybridPart, ModelConfig, Precision, SmoothConfig
from ase_deeppot.potential.deep_potential import DeepPotential
from ase_deeppot.potential.folding import LONGEST, series_error
from ase_deeppot.potential.pairwise import smooth_descriptor
from ase_deeppot.species import unknown_species
from ase_deeppot.version import __version__

ORDERS = (32, 48, 64, 96, 128, 192, LONGEST)  # terms of a series, as many as it needs
EXACT = 1e-12  # relative to the range of the nets
ALLOWED = 1e-11  # of the longest series; nets that it does not follow to this have kinks or steps where atoms come
Shape = TypeVar("Shape", SmoothConfig, HybridPart)


def to_model(foreign: ForeignModel, device: str = "cpu", dtype: Precision | None = None) -> Model:
    """The model that computes what DeePMD-kit computes with the foreign one.

    Raises
    ------
    ModelFileError
        If the foreign model is one that has no equal here; the message names what.
    """
    _check(foreign)
    config = config_of(foreign, dtype)
    state = state_of(foreign)
    _check_finite(state)
    config = _with_series(config, state)
    module = DeepPotential(config)
    module.load_state_dict({**module.state_dict(), **state})  # copies into the precision asked for
    sel = [list(part.sel) for part in foreign.parts]
    origin = {**foreign.origin, "sel": sel if len(sel) > 1 else sel[0], "min_nbor_dist": foreign.min_nbor_dist}
    card = ModelCard(config, training={"imported": origin}, package_version=__version__)
    return Model(module.to(device).eval(), card)


def _check(foreign: ForeignModel) -> None:
    strange = unknown_species(foreign.type_map)
    if strange:
        raise ModelFileError(f"expected chemical symbols in its type map, got {strange}: ASE's atoms are elements; "
                             "name its types after elements, each once")
    n, nets = len(foreign.type_map), len(foreign.fitting.nets)
    for part in foreign.parts:
        if len(part.sel) != n or nets != n:
            raise ModelFileError(f"expected sel and fitting nets for {n} species, got {len(part.sel)} and {nets}; a "
                                 "model with spin or type embedding cannot be read")
        _check_statistics(part)
    if any(foreign.fitting.from_vacuum) and foreign.parameters:
        raise ModelFileError("atom_ener with fparam or aparam cannot be read: the energy of a lone atom depends on "
                             f"them; {INSTEAD}")


def _check_statistics(descriptor: Descriptor) -> None:
    """Refuse statistics that differ from slot to slot, or from x to y: no function of the environment."""
    davg, dstd = descriptor.davg, descriptor.dstd
    alike = all(np.ptp(part, axis=1).max(initial=0.0) == 0.0 for part in (davg, dstd))
    if not alike or davg[:, :, 1:].any() or (dstd[:, 0, 1:] != dstd[:, 0, -1:]).any():
        raise ModelFileError("its davg or dstd differ from slot to slot, or by direction, and cannot be read; "
                             f"{INSTEAD}")


def _check_finite(state: State) -> None:
    broken = {name: int((~value.isfinite()).sum()) for name, value in state.items() if not bool(value.isfinite().all())}
    if broken:
        name, count = next(iter(broken.items()))
        raise ModelFileError(f"expected finite weights, got {count} that are not in {name}: a training that diverged, "
                             "or a file that was damaged; use an earlier checkpoint")


def _with_series(config: ModelConfig, state: State) -> ModelConfig:
    """With as many terms in the series as make them exact; none for nets that no series follows."""
    shape = config.descriptor
    if isinstance(shape, HybridConfig):
        parts = tuple(_long_enough(part, part.rcut, config.type_map, _below(state, prefix(k, True)))
                      for k, part in enumerate(shape.parts))
        return replace(config, descriptor=HybridConfig(parts=parts))
    assert isinstance(shape, SmoothConfig)  # as made above
    return replace(config, descriptor=_long_enough(shape, config.rcut, config.type_map, _below(state, "descriptor.")))


def _long_enough(shape: Shape, rcut: float, type_map: tuple[str, ...], state: State) -> Shape:
    descriptor = smooth_descriptor(shape, rcut, type_map, torch.float64)
    descriptor.load_state_dict({**descriptor.state_dict(), **state})
    error = np.inf
    for order in ORDERS:
        error = series_error(descriptor, order)
        if error < EXACT:
            return replace(shape, order=order)
    return replace(shape, order=LONGEST if error < ALLOWED else 0)


def _below(state: State, prefix: str) -> State:
    return {key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)}
