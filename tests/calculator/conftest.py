"""Both kinds of models go through the same tests."""

import pytest


@pytest.fixture(params=["smooth", "local_frame"])
def kind(request):
    """Of the descriptor."""
    return request.param


@pytest.fixture
def model_file(model_file, kind):
    """Function: path of a file with ``random_model(kind=kind, **options)``."""
    return lambda **options: model_file(kind=kind, **options)


@pytest.fixture
def smooth_only(kind):
    """Leaves out what cannot hold for an energy with jumps."""
    if kind != "smooth":
        pytest.skip("the energy of a local-frame model jumps, also where two neighbours are equally far")
