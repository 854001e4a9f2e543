"""What the calculator may be told: keywords and their values, checked."""

import difflib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ase.calculators.calculator import InputError

KNOWN = ("model", "device", "dtype", "skin", "head")


def plain(model: str | Path | Sequence[str | Path]) -> str | list[str]:
    """Names of a model or of several, as ASE can compare and write them."""
    return str(model) if isinstance(model, str | Path) else [str(name) for name in model]


def names_of(model: str | list[str]) -> list[str]:
    """Names of all models."""
    return [model] if isinstance(model, str) else model


def check(parameters: Mapping[str, Any]) -> None:
    """Look at all parameters of a calculator.

    Raises
    ------
    InputError
        For a keyword or value that is not known.
    """
    unknown = sorted(set(parameters) - set(KNOWN))
    if unknown:
        near = difflib.get_close_matches(unknown[0], KNOWN, n=1)
        raise InputError(f"unknown parameter '{unknown[0]}'; "
                         + (f"did you mean '{near[0]}'?" if near else f"known: {', '.join(sorted(KNOWN))}"))
    if not parameters["model"]:
        raise InputError(f"expected a model, or several, got {parameters['model']!r}")
    if parameters["dtype"] not in (None, "float64", "float32"):
        raise InputError(f"expected dtype 'float64', 'float32' or None, got {parameters['dtype']!r}")
    skin = parameters["skin"]
    if not isinstance(skin, int | float) or not 0 <= skin < np.inf:
        raise InputError(f"expected skin >= 0 (in A), got {skin!r}")
    _check_device(parameters["device"])


def _check_device(device: Any) -> None:
    try:
        torch.empty(0, device=device if isinstance(device, str) else "")
    except (RuntimeError, AssertionError) as error:
        reason = str(error).split("\n")[0][:120]
        raise InputError(f"expected a device that works here, 'cpu' if none else, got {device!r}: {reason}") from error
