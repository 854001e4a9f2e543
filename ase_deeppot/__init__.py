"""Deep Potential molecular dynamics for ASE: a calculator, and the tool that trains it."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from ase_deeppot.version import __version__

if TYPE_CHECKING:
    from ase_deeppot.calculator import DeepPotCalculator
    from ase_deeppot.interop import load_model
    from ase_deeppot.watch import DiscontinuityWarning, DomainWarning

__all__ = ["DeepPotCalculator", "DiscontinuityWarning", "DomainWarning", "__version__", "load_model"]


def __getattr__(name: str) -> Any:
    """Imported when they are asked for: the command line answers, and sets up threads, before torch is there."""
    places = {"DeepPotCalculator": "ase_deeppot.calculator", "load_model": "ase_deeppot.interop",
              "DiscontinuityWarning": "ase_deeppot.watch", "DomainWarning": "ase_deeppot.watch"}
    if name not in places:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(places[name]), name)
