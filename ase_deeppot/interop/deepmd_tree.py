"""DeePMD-kit's tree of a model: ``.dp`` (HDF5), ``.yaml``, ``.json`` and ``.pt2`` hold the same one."""

import io
import json
import zipfile
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import h5py
import numpy as np

from ase_deeppot.errors import ModelFileError
from ase_deeppot.interop import refusals
from ase_deeppot.interop.foreign import NO_PARAMETERS, Descriptor, Fitting, ForeignModel, Layer, Parameters

NATIVE = "ase_deeppot.pth"  # dataset of a file that was exported from here: the model file, for the way back
Tree = Mapping[str, Any]
Resolve = Callable[[Any], Any]  # from what stands for an array in a file to the array


def read_hdf5(content: bytes, head: str | None) -> ForeignModel:
    """A ``.dp`` file: the tree is an attribute, its arrays are datasets."""
    with h5py.File(io.BytesIO(content), "r") as file:
        if "json" not in file.attrs:
            raise ModelFileError("expected a DeePMD-kit model (.dp), got an HDF5 file without its tree")
        tree = json.loads(file.attrs["json"])
        return read_tree(_with_arrays(tree, lambda value: file[value][()] if isinstance(value, str) else value),
                         "dp", head)


def read_yaml(content: bytes, head: str | None) -> ForeignModel:
    """A ``.yaml`` file: arrays are nested lists."""
    try:
        import yaml
    except ImportError as error:
        raise ModelFileError("a YAML model needs PyYAML: pip install pyyaml") from error
    try:
        tree = yaml.load(content, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    except yaml.YAMLError as error:
        raise ModelFileError(f"expected YAML, got {str(error).splitlines()[0]}") from error
    return read_tree(_with_arrays(tree, _array), "yaml", head)


def read_json(content: bytes, head: str | None) -> ForeignModel:
    """A ``.json`` file."""
    return read_tree(_with_arrays(json.loads(content), _array), "json", head)


def read_pt2(archive: zipfile.ZipFile, entry: str, head: str | None) -> ForeignModel:
    """A ``.pt2`` package: compiled code, which is not touched, and the tree beside it."""
    return read_tree(_with_arrays(json.loads(archive.read(entry)), _array), "pt2", head)


def native(content: bytes) -> bytes | None:
    """The model file inside a ``.dp`` that was exported from here."""
    with h5py.File(io.BytesIO(content), "r") as file:
        return bytes(file[NATIVE][()].tobytes()) if NATIVE in file else None


def _array(value: Any) -> Any:
    if isinstance(value, Mapping):
        return np.array(value["value"], dtype=value["dtype"])
    return np.array(value) if isinstance(value, list) else value


def _with_arrays(node: Any, resolve: Resolve) -> Any:
    """The tree with arrays in the place of what stands for them."""
    if isinstance(node, Mapping):
        return {key: {name: None if value is None else resolve(value) for name, value in child.items()}
                if key == "@variables" and isinstance(child, Mapping) else _with_arrays(child, resolve)
                for key, child in node.items()}
    if isinstance(node, list):
        return [_with_arrays(child, resolve) for child in node]
    return node


def read_tree(tree: Tree, kind: str, head: str | None) -> ForeignModel:
    """The model in a tree whose arrays are arrays.

    Raises
    ------
    ModelFileError
        If it is not one that can be read, or not a model at all.
    """
    if not isinstance(tree, Mapping) or not isinstance(tree.get("model"), Mapping):
        raise ModelFileError("expected DeePMD-kit's tree of a model, got something else")
    model = of_head(tree["model"], "model_dict", head)
    refusals.check_model_type(model.get("type"))
    fitting = model["fitting"]
    variables = model.get("@variables", {})
    n_types = len(model["type_map"])
    nearest = tree.get("@variables", {}).get("min_nbor_dist")
    origin = {"software": "DeePMD-kit", "version": tree.get("version"), "backend": tree.get("backend"), "format": kind}
    return ForeignModel(
        type_map=tuple(model["type_map"]),
        parts=tuple(map(_descriptor, parts_of(model["descriptor"]))),
        fitting=_fitting(fitting, n_types),
        bias=first_bias(variables.get("out_bias"), n_types),
        pair_exclude_types=pairs(model.get("pair_exclude_types")),
        silent_types=tuple(int(t) for t in model.get("atom_exclude_types") or ()),
        min_nbor_dist=positive(nearest),
        origin={key: value for key, value in origin.items() if value},
    )


def of_head(model: Tree, key: str, head: str | None) -> Tree:
    """The model, or in a file of several tasks the one with that name."""
    branches = model.get(key)
    if branches is None:
        if head is not None:
            raise ModelFileError(f"expected a file of several tasks for head {head!r}, got one with a single model")
        return model
    if head not in branches:
        asked = "none chosen" if head is None else f"{head!r}"
        raise ModelFileError(f"expected the head of one of its tasks ({', '.join(branches)}), got {asked}; "
                             "choose one with head=... or --head")
    result: Tree = branches[head]
    return result


def pairs(value: Any) -> tuple[tuple[int, int], ...]:
    """Pairs of species."""
    return tuple(sorted({(int(one), int(other)) for one, other in value or ()}))


def positive(value: Any) -> float | None:
    """A number that is there and makes sense."""
    number = None if value is None else float(np.asarray(value).reshape(-1)[0])
    return number if number is not None and number > 0.0 else None


def first_bias(value: Any, n_types: int) -> np.ndarray:
    """Energies of the species, [T], out of [outputs, T, components]."""
    return np.zeros(n_types) if value is None else np.asarray(value, float).reshape(-1, n_types, 1)[0, :, 0]


def parts_of(descriptor: Tree) -> list[Tree]:
    """Those of a hybrid descriptor; any other is its own only one."""
    return list(descriptor["list"]) if descriptor["type"] == "hybrid" else [descriptor]


def _descriptor(tree: Tree) -> Descriptor:
    kind = refusals.descriptor_kind(tree["type"])
    refusals.check_protection(tree.get("env_protection"))
    nets, n_types = tree["embeddings"], len(tree["sel"])
    variables = tree["@variables"]
    one_side = int(nets["ndim"]) == 1
    davg, dstd = (statistics(variables[name], tree["sel"]) for name in ("davg", "dstd"))
    return Descriptor(
        kind, float(tree["rcut"]), float(tree["rcut_smth"]), tuple(int(n) for n in tree["sel"]),
        int(tree.get("axis_neuron", 1)), one_side, pairs(tree.get("exclude_types")),
        davg, dstd, by_centre([layers(net) for net in nets["networks"]], n_types, one_side),
        is_single(tree.get("precision")),
    )


def statistics(value: Any, sel: Sequence[int]) -> np.ndarray:
    """Of each species and slot, [T, sum(sel), 4 or 1]."""
    return np.asarray(value, float).reshape(len(sel), sum(sel), -1)


def by_centre(nets: list[tuple[Layer, ...]], n_types: int, one_side: bool) -> tuple[tuple[Layer, ...], ...]:
    """Nets of pairs of species by their centre; DeePMD-kit counts the centre fastest."""
    if one_side:
        return tuple(nets)
    return tuple(nets[centre + n_types * neighbor] for centre in range(n_types) for neighbor in range(n_types))


def is_single(precision: Any) -> bool:
    """Whether nets of that precision are less than double."""
    return precision not in (None, "default", "float64", "double")


def layers(net: Tree) -> tuple[Layer, ...]:
    """The layers of a net."""
    return tuple(_layer(layer) for layer in net["layers"])


def _layer(tree: Tree) -> Layer:
    variables = tree["@variables"]
    weight, bias, idt = (variables.get(name) for name in ("w", "b", "idt"))
    weight = np.asarray(weight)
    bias = np.zeros(weight.shape[1]) if bias is None else np.asarray(bias).reshape(-1)
    return Layer(weight, bias, None if idt is None else np.asarray(idt).reshape(-1),
                 tree.get("activation_function") or "none", bool(tree.get("resnet")))


def _fitting(tree: Tree, n_types: int) -> Fitting:
    refusals.check_fitting(tree.get("type"), tree)
    variables = tree["@variables"]
    nets = [layers(net) for net in tree["nets"]["networks"]]
    task = variables.get("case_embd")
    default = tree.get("default_fparam")
    return Fitting(
        nets=tuple(nets) if len(nets) == n_types else tuple(nets[:1] * n_types),  # mixed_types: one net for all
        bias=first_bias(variables.get("bias_atom_e"), n_types),
        exclude_types=tuple(int(t) for t in tree.get("exclude_types") or ()),
        from_vacuum=vacuum(tree.get("atom_ener"), n_types),
        frame=parameters(variables, "fparam"),
        atom=parameters(variables, "aparam"),
        default_frame=None if default is None else tuple(float(value) for value in default),
        task=np.zeros(0) if task is None else np.asarray(task, float).reshape(-1),
        single=is_single(tree.get("precision")),
    )


def parameters(variables: Tree, name: str) -> Parameters:
    """Statistics of frame or atomic parameters."""
    average, inverse = variables.get(f"{name}_avg"), variables.get(f"{name}_inv_std")
    if average is None or inverse is None:
        return NO_PARAMETERS
    return Parameters(np.asarray(average, float).reshape(-1), np.asarray(inverse, float).reshape(-1))


def vacuum(atom_ener: Any, n_types: int) -> tuple[bool, ...]:
    """Of which species the energy of a lone atom is fixed: those named by ``atom_ener``, and all beyond its end."""
    given = [value is not None for value in atom_ener or ()]
    if not any(given):
        return (False,) * n_types
    return tuple(given[t] if t < len(given) else True for t in range(n_types))
