"""The fitting nets' input and its derivative by pair vectors, against the descriptor and finite differences."""

import pytest
import torch
from builders import arguments_of, random_atoms, random_model

from ase_deeppot.fitting.input_slopes import centres, slopes
from ase_deeppot.potential.descriptor import Neighbors

MODELS = [{"l_max": 1}, {"l_max": 2, "type_one_side": False}, {"l_max": 3, "bispectrum_neuron": 2},
          {"l_max": 5, "bispectrum_neuron": 1},
          {"l_max": 3, "bispectrum_neuron": 1, "exclude_types": (("H", "O"),)}]


def seen(model, arguments, t):
    """Centres of a species."""
    types, i, types_j, vectors = arguments
    p = model.module.descriptor.geometry().describe(Neighbors(types, i, types_j, vectors)).features
    return centres(model.module, t, p[types == t])


@pytest.mark.parametrize("options", MODELS)
@torch.no_grad()
def test_the_input_is_that_of_the_nets(options):
    model = random_model(**options)
    types, i, types_j, vectors = arguments = arguments_of(model, random_atoms(6, seed=2))
    net, descriptor = model.module.fitting_net, model.module.descriptor
    p = descriptor.geometry().describe(Neighbors(types, i, types_j, vectors)).features
    whole = descriptor([p[types == t] for t in (0, 1)])
    for t in (0, 1):
        torch.testing.assert_close(seen(model, arguments, t).x, (whole[t] - net.mean[t]) / net.scale)


@pytest.mark.parametrize("options", MODELS)
@torch.no_grad()
def test_slopes_are_those_of_finite_differences(options):
    model, h = random_model(**options), 1e-6
    types, i, types_j, vectors = arguments_of(model, random_atoms(6, seed=3))
    for t in (0, 1):
        place = torch.zeros_like(types)
        place[types == t] = torch.arange(int((types == t).sum()))
        own = (types[i] == t).nonzero()[:, 0].flip(0)[::5]  # in any order
        found = slopes(model.module, seen(model, (types, i, types_j, vectors), t),
                       Neighbors(types, place[i[own]], types_j[own], vectors[own]))
        assert found.abs().max() > 1e-2
        for k, pair in enumerate(own[:4].tolist()):
            for axis in range(3):
                ends = []
                for step in (h, -h):
                    moved = vectors.clone()
                    moved[pair, axis] += step
                    ends.append(seen(model, (types, i, types_j, moved), t).x)
                change = (ends[0] - ends[1]) / (2 * h)
                expected = change[place[i[pair]]]
                tolerance = 1e-7 * (1 + float(expected.abs().max()))
                torch.testing.assert_close(found[k, axis], expected, rtol=0, atol=tolerance)
                change[place[i[pair]]] = 0.0
                assert not change.any()
