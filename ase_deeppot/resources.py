"""Find what travels with the package: beside it in a checkout, inside it in a wheel."""

from pathlib import Path

from ase_deeppot.errors import ModelFileError

PACKAGE = Path(__file__).resolve().parent


def find(name: str) -> Path:
    """Path of a bundled file such as ``models/water.pth`` or ``examples/data/alcohols.db``.

    Raises
    ------
    FileNotFoundError
        If neither an installed package nor a checkout has it.
    """
    for folder in (PACKAGE, PACKAGE.parent):
        if (folder / name).exists():
            return folder / name
    raise FileNotFoundError(f"expected {name} in {PACKAGE} or {PACKAGE.parent}, found neither")


def bundled_models() -> dict[str, Path]:
    """Bundled models by name."""
    folders = (PACKAGE.parent / "models", PACKAGE / "models")  # what find prefers comes last
    return {path.stem: path for folder in folders for path in sorted(folder.glob("*.pth"))}


def bundled_model(name: str) -> Path:
    """Path of a bundled model.

    Raises
    ------
    ModelFileError
        If there is none of this name; the message lists those that there are.
    """
    models = bundled_models()
    if name not in models:
        raise ModelFileError(f"expected the name of a bundled model ({', '.join(sorted(models))}), got {name!r}")
    return models[name]


def model_path(name: str | Path) -> Path:
    """A path to a model file; a bare name such as ``water`` means the bundled model.

    Raises
    ------
    ModelFileError
        If it is a bare name, and there is neither a bundled model nor a file of this name.
    """
    path = Path(name)
    if str(name) in bundled_models() or (str(name) == path.name and not path.suffix and not path.exists()):
        return bundled_model(str(name))
    return path
