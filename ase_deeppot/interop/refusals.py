"""Models of DeePMD-kit that cannot be read, by name, and what to do instead."""

from collections.abc import Mapping
from typing import Any

from ase_deeppot.errors import ModelFileError

INSTEAD = "run it with DeePMD-kit's own calculator, deepmd.calculator.DP"
DESCRIPTORS = {
    "se_e2_a": "se_e2_a", "se_a": "se_e2_a",
    "se_e2_r": "se_e2_r", "se_r": "se_e2_r",
}
WHY = {
    "se_e3": "three-body embedding", "se_at": "three-body embedding", "se_a_3be": "three-body embedding",
    "se_e3_tebd": "three-body embedding of types",
    "se_a_tpe": "type embedding", "se_a_ebd": "type embedding", "se_a_ebd_v2": "type embedding",
    "se_atten": "attention", "se_atten_v2": "attention", "dpa1": "attention",
    "dpa2": "attention and message passing", "dpa3": "message passing", "se_a_mask": "masked atoms",
    "loc_frame": "local frames of DeePMD-kit 0.x", "hybrid": "one inside another",
}


def descriptor_kind(name: Any) -> str:
    """One of the two that can be read, alone or in a hybrid.

    Raises
    ------
    ModelFileError
        For all others, by name.
    """
    if name in DESCRIPTORS:
        return DESCRIPTORS[name]
    why = f" ({WHY[name]})" if name in WHY else ""
    raise ModelFileError(f"its descriptor {name!r}{why} cannot be read, only 'se_e2_a' and 'se_e2_r'; {INSTEAD}")


def check_model_type(name: Any) -> None:
    """Refuse what is not a descriptor and a fitting net."""
    if name not in (None, "standard", "ener"):
        raise ModelFileError(f"a model of type {name!r} cannot be read, only a standard energy model; {INSTEAD}")


def check_fitting(name: Any, settings: Mapping[str, Any]) -> None:
    """Refuse fitting nets that give no energy, or take what an ASE calculator has not got."""
    if name not in (None, "ener"):
        raise ModelFileError(f"its fitting net {name!r} cannot be read, only 'ener', that of energies; {INSTEAD}")
    if settings.get("use_aparam_as_mask"):
        raise ModelFileError(f"use_aparam_as_mask cannot be read: atoms that come and go are not ASE's; {INSTEAD}")
    if settings.get("spin"):
        raise ModelFileError(f"a model with spin cannot be read; {INSTEAD}")


def check_protection(value: Any) -> None:
    """Refuse an environment matrix of another form."""
    if value:
        raise ModelFileError(f"env_protection = {value!r} cannot be read, only 0: its rows are not s(r) (1, u); "
                             f"{INSTEAD}")
