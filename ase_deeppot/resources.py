"""Find what travels with the package: beside it in a checkout, inside it in a wheel."""

from pathlib import Path

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


def model_path(name: str | Path) -> Path:
    """A path to a model file; a bare name such as ``water`` means the bundled model."""
    return bundled_models().get(str(name), Path(name))
