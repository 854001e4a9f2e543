"""Deep Potential molecular dynamics for ASE: a calculator, and the tool that trains it."""

from ase_deeppot.calculator import DeepPotCalculator
from ase_deeppot.interop import load_model
from ase_deeppot.version import __version__

__all__ = ["DeepPotCalculator", "__version__", "load_model"]
