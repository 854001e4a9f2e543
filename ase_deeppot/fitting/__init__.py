"""Training: labelled frames to a fitted Deep Potential."""

from ase_deeppot.fitting.config import FittingConfig, read_config
from ase_deeppot.fitting.fit import FitResult, fit
from ase_deeppot.fitting.sources import read_frames

__all__ = ["FitResult", "FittingConfig", "fit", "read_config", "read_frames"]
