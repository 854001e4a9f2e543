from pathlib import Path

import pytest

from ase_deeppot import resources
from ase_deeppot.errors import ModelFileError


@pytest.fixture
def tree(tmp_path, monkeypatch):
    """A checkout, with the package inside, as seen by the module."""
    package = tmp_path / "ase_deeppot"
    (tmp_path / "models").mkdir()
    package.mkdir()
    monkeypatch.setattr(resources, "PACKAGE", package)
    return tmp_path


def test_checkout(tree):
    (tree / "models" / "water.pth").touch()
    assert resources.find("models/water.pth") == tree / "models" / "water.pth"
    assert resources.bundled_models() == {"water": tree / "models" / "water.pth"}
    assert resources.model_path("water") == tree / "models" / "water.pth"


def test_wheel(tree):
    """There, models lie inside the package."""
    (tree / "models").rmdir()
    (tree / "ase_deeppot" / "models").mkdir()
    (tree / "ase_deeppot" / "models" / "water.pth").touch()
    assert resources.find("models/water.pth") == resources.model_path("water")
    assert resources.model_path("water").parent.parent == tree / "ase_deeppot"


def test_the_packages_own_file_wins(tree):
    inside = tree / "ase_deeppot" / "models"
    inside.mkdir()
    for folder in (inside, tree / "models"):
        (folder / "water.pth").touch()
    assert resources.find("models/water.pth") == inside / "water.pth"
    assert resources.model_path("water") == inside / "water.pth"


def test_a_path_is_a_path(tree):
    (tree / "models" / "water.pth").touch()
    for name in ("water.pth", "./water", "/somewhere/water", Path("here") / "water"):
        assert resources.model_path(name) == Path(name)


def test_a_bare_name_is_a_bundled_model_or_a_file(tree, monkeypatch):
    (tree / "models" / "water.pth").touch()
    (tree / "models" / "Li.pth").touch()
    message = r"expected the name of a bundled model \(Li, water\), got 'watr'"
    for find in (resources.model_path, resources.bundled_model):
        with pytest.raises(ModelFileError, match=message):
            find("watr")
    monkeypatch.chdir(tree)
    Path("watr").touch()
    assert resources.model_path("watr") == Path("watr")
    with pytest.raises(ModelFileError, match=message):
        resources.bundled_model("watr")


def test_missing_file_is_named_with_the_places_searched(tree):
    with pytest.raises(FileNotFoundError, match=r"expected models/no\.pth in .*ase_deeppot or .*, found neither"):
        resources.find("models/no.pth")


def test_no_models_at_all(tree):
    assert resources.bundled_models() == {}


def test_the_real_package_is_where_it_says():
    assert (resources.PACKAGE / "resources.py").is_file()
