"""Model files of every kind: this package's own, and DeePMD-kit's, which are turned into the same model."""

from ase_deeppot.interop.load import from_bytes, load_model, read_card

__all__ = ["from_bytes", "load_model", "read_card"]
