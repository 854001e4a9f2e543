"""The demonstration: molecular dynamics of water, and a training run."""

from ase_deeppot.demo.run import run_demo

__all__ = ["run_demo"]
