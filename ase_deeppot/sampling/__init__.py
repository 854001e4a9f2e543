"""Structures by molecular dynamics, labelled by models, or by any calculator of ASE."""

from typing import TYPE_CHECKING, Any

from ase_deeppot.sampling.config import SamplingConfig

if TYPE_CHECKING:
    from ase_deeppot.sampling.dynamics import sample

__all__ = ["SamplingConfig", "sample"]


def __getattr__(name: str) -> Any:
    """Imported when it is asked for: the command line needs the configuration alone, before torch is there."""
    if name == "sample":
        from ase_deeppot.sampling.dynamics import sample

        return sample
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
