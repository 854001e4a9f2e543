"""Training: labelled frames to a fitted Deep Potential."""

from ase_deeppot.fitting.config import FittingConfig, read_config
from ase_deeppot.fitting.finish import FitResult
from ase_deeppot.fitting.fit import fit, preview
from ase_deeppot.fitting.sources import read_frames

__all__ = ["FitResult", "FittingConfig", "fit", "preview", "read_config", "read_frames"]
