"""Slow, plain NumPy versions of what the package computes, written from the definitions and sharing no code with it."""

from oracles.derivatives import (
    central_difference,
    complex_step,
    energies_of,
    forces_and_virial,
    pair_gradient,
    total_energy,
)
from oracles.environment import associated_legendre, environment_row, harmonics, moments, switch
from oracles.hybrids import hybrid_energies, hybrid_parts
from oracles.local_frames import (
    LocalFrame,
    axis_candidates,
    local_axes,
    local_frame_descriptor,
    local_frame_energies,
    local_frame_of,
)
from oracles.neighbor_search import Neighbor, length, nearest_first, neighbors
from oracles.nets import Layer, activate, layer_output, net_output, plain_output, silut
from oracles.smooth import Parameters, atomic_energies, descriptor, parameters_of, radial_descriptor, slots

__all__ = [
    "Layer",
    "LocalFrame",
    "Neighbor",
    "Parameters",
    "activate",
    "associated_legendre",
    "atomic_energies",
    "axis_candidates",
    "central_difference",
    "complex_step",
    "descriptor",
    "energies_of",
    "environment_row",
    "forces_and_virial",
    "harmonics",
    "hybrid_energies",
    "hybrid_parts",
    "layer_output",
    "length",
    "local_axes",
    "local_frame_descriptor",
    "local_frame_energies",
    "local_frame_of",
    "moments",
    "nearest_first",
    "neighbors",
    "net_output",
    "pair_gradient",
    "parameters_of",
    "plain_output",
    "radial_descriptor",
    "silut",
    "slots",
    "switch",
    "total_energy",
]
