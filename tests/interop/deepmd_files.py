"""DeePMD-kit's files, written by the tests from the numbers of the oracle; nothing of the package is used."""

import io
import json
import zipfile

import h5py
import numpy as np
import torch
from torch import nn

KINDS = {"smooth": "se_e2_a", "radial": "se_e2_r"}


def net_tree(layers, activation, last_linear):
    rows = []
    for n, layer in enumerate(layers):
        linear = last_linear and n == len(layers) - 1
        rows.append({"@class": "Layer", "activation_function": "none" if linear else activation, "resnet": not linear,
                     "@variables": {"w": layer.weight, "b": layer.bias, "idt": layer.idt}})
    return {"layers": rows}


def with_parameters(p, frame, atom, seed=0):
    """The oracle's parameters with that many more inputs of the fitting nets, and their statistics."""
    rng, k = np.random.default_rng(seed), frame + atom
    fitting = [[net[0]._replace(weight=np.concatenate([net[0].weight, rng.normal(size=(k, net[0].weight.shape[1]))])),
                *net[1:]] for net in p.fitting]
    return p._replace(fitting=fitting, extra_mean=rng.uniform(-1, 1, k), extra_inverse=rng.uniform(1, 2, k))


def parameter_tree(p, frame, **options):
    """The tree of a model with parameters, of which so many are of the frame."""
    result = tree(p, **options)
    fitting, atom = result["model"]["fitting"], len(p.extra_mean) - frame
    fitting |= {"numb_fparam": frame, "numb_aparam": atom}
    for name, part, n in (("fparam", slice(0, frame), frame), ("aparam", slice(frame, None), atom)):
        fitting["@variables"] |= {f"{name}_avg": p.extra_mean[part] if n else None,
                                  f"{name}_inv_std": p.extra_inverse[part] if n else None}
    return result


def deepmd_order(p):
    """Embedding nets as DeePMD-kit lists them: the centre fastest."""
    n = len(p.sel)
    return p.embedding if p.type_one_side else [p.embedding[c * n + t] for t in range(n) for c in range(n)]


def tree(p, type_map=("H", "O"), *, kind="se_e2_a", descriptor=None, fitting=None, model=None):
    """The tree of a model with the parameters of the oracle; the others change or add entries."""
    n, columns = len(p.sel), 4 if kind == "se_e2_a" else 1
    davg, dstd = np.zeros((n, int(p.sel.sum()), columns)), np.ones((n, int(p.sel.sum()), columns))
    davg[:, :, 0], dstd[:, :, 0] = p.davg[:, None], p.dstd[:, :1]
    dstd[:, :, 1:] = p.dstd[:, 1][:, None, None]
    return {
        "backend": "PyTorch", "version": "3.2.0", "software": "deepmd-kit",
        "@variables": {"min_nbor_dist": np.array(1.6)},
        "model": {
            "type": "standard", "type_map": list(type_map), "pair_exclude_types": [], "atom_exclude_types": [],
            "@variables": {"out_bias": 0.25 * p.energy_bias.reshape(1, -1, 1), "out_std": np.full((1, n, 1), 3.0)},
            "descriptor": {
                "type": kind, "rcut": p.rcut, "rcut_smth": p.rcut_smth, "sel": [int(k) for k in p.sel],
                "axis_neuron": p.axis_neuron, "env_protection": 0.0, "exclude_types": [], "precision": "float64",
                "@variables": {"davg": davg, "dstd": dstd}, "type_one_side": p.type_one_side,
                "activation_function": p.activations[0],
                "embeddings": {"ndim": 1 if p.type_one_side else 2,
                               "networks": [net_tree(net, p.activations[0], False) for net in deepmd_order(p)]},
                **(descriptor or {})},
            "fitting": {
                "type": "ener", "precision": "default", "use_aparam_as_mask": False, "atom_ener": [],
                "activation_function": p.activations[1],
                "@variables": {"bias_atom_e": 0.75 * p.energy_bias[:, None]},
                "nets": {"networks": [net_tree(net, p.activations[1], True) for net in p.fitting]}, **(fitting or {})},
            **(model or {})},
    }


def hybrid_tree(parts):
    """The tree of a model with a hybrid descriptor, of ``oracles.hybrid_parts``.

    The fitting nets are without the inputs that are for the constants that our radial parts begin with.
    """
    trees, constants, at = [tree(p, kind=KINDS[kind]) for kind, p in parts], [], 0
    for kind, p in parts:
        constants += [at] if kind == "radial" else []
        at += p.embedding[0][-1].weight.shape[1] * (1 if kind == "radial" else p.axis_neuron) + (kind == "radial")
    result = trees[0]
    for net in result["model"]["fitting"]["nets"]["networks"]:
        first = net["layers"][0]["@variables"]
        first["w"] = np.delete(first["w"], constants, axis=0)
    result["model"]["descriptor"] = {"type": "hybrid", "list": [one["model"]["descriptor"] for one in trees]}
    return result


def listed(descriptor):
    """Those of a hybrid, each with what comes after its name; or the only one."""
    several = descriptor["type"] == "hybrid"
    return list(enumerate(descriptor["list"])) if several else [(None, descriptor)]


def mapped(node, change, inside=False):
    """The tree with arrays changed."""
    if isinstance(node, dict):
        return {key: mapped(child, change, inside or key == "@variables") for key, child in node.items()}
    if isinstance(node, list):
        return [mapped(child, change, inside) for child in node]
    return change(node) if inside and node is not None else node


def dp(tree):
    buffer, count = io.BytesIO(), iter(range(10**6))
    with h5py.File(buffer, "w") as file:
        def stored(array):
            return file.create_dataset(f"variable_{next(count):04d}", data=array).name

        file.attrs["json"] = json.dumps(mapped(tree, stored))
    return buffer.getvalue()


def as_lists(tree):
    return mapped(tree, lambda array: {"@class": "np.ndarray", "dtype": str(np.asarray(array).dtype),
                                       "value": np.asarray(array).tolist()})


def yaml(tree):
    import yaml as library

    return library.safe_dump(as_lists(tree)).encode()


def as_json(tree):
    return json.dumps(as_lists(tree)).encode()


def pt2(tree):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("model/data/aotinductor/model/compiled.so", b"\x7fELF of somebody else's")
        archive.writestr("model/extra/model.json", as_json(tree))
    return buffer.getvalue()


def settings(tree):
    """The input that a PyTorch file has inside."""
    model = tree["model"]

    def bare(part):
        return {key: [bare(one) for one in value] if key == "list" else value for key, value in part.items()
                if key not in ("@variables", "embeddings", "nets")}

    descriptor, fitting = (bare(model[part]) for part in ("descriptor", "fitting"))
    return {"type_map": model["type_map"], "descriptor": descriptor, "fitting_net": fitting,
            "pair_exclude_types": model["pair_exclude_types"], "atom_exclude_types": model["atom_exclude_types"]}


def state(tree):
    """The numbers by the names that they have in DeePMD-kit's PyTorch modules."""
    model = tree["model"]
    numbers, parts = {"out_bias": model["@variables"]["out_bias"]}, [("fitting_net", model["fitting"]["nets"])]
    for k, one in listed(model["descriptor"]):
        place = ("descriptor" if k is None else f"descriptor.descrpt_list.{k}") + ".sea" * (one["type"] == "se_e2_a")
        numbers |= {f"{place}.mean": one["@variables"]["davg"], f"{place}.stddev": one["@variables"]["dstd"]}
        parts.append((place, one["embeddings"]))
    numbers |= {f"fitting_net.{key}": value for key, value in model["fitting"]["@variables"].items()
                if value is not None}
    for prefix, nets in parts:
        for n, net in enumerate(nets["networks"]):
            for k, layer in enumerate(net["layers"]):
                place = f"{prefix}.filter_layers.networks.{n}.layers.{k}"
                w, b, idt = (layer["@variables"][name] for name in ("w", "b", "idt"))
                numbers |= {f"{place}.matrix": w, f"{place}.bias": b} | ({} if idt is None else {f"{place}.idt": idt})
    return {key: torch.tensor(np.asarray(value)) for key, value in numbers.items()}


def pt(trees):
    """A training checkpoint; of several tasks if there are several trees by name."""
    several = len(trees) > 1
    params = ({"model_dict": {name: settings(tree) for name, tree in trees.items()}} if several
              else settings(next(iter(trees.values()))))
    numbers = {f"model.{name if several else 'Default'}.atomic_model.{key}": value
               for name, tree in trees.items() for key, value in state(tree).items()}
    buffer = io.BytesIO()
    torch.save({"model": {**numbers, "_extra_state": {"model_params": params, "train_infos": {"step": 3}}},
                "optimizer": {}}, buffer)
    return buffer.getvalue()


class Holder(nn.Module):
    """Scripts to a class of somebody else's."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x


def pth(tree, more=None):
    """A frozen TorchScript archive with the same attributes, and more."""
    root = Holder()
    root.model_def_script = json.dumps(settings(tree))
    root.register_buffer("min_nbor_dist", torch.tensor(1.6, dtype=torch.float64))
    more = {name: torch.tensor(value) for name, value in (more or {}).items()}
    for name, value in {**state(tree), **more}.items():
        *path, last = ["atomic_model", *name.split(".")]
        module = root
        for part in path:
            if not hasattr(module, part):
                module.add_module(part, Holder())
            module = getattr(module, part)
        module.register_buffer(last, value)
    buffer = io.BytesIO()
    torch.jit.save(torch.jit.script(root), buffer)
    return buffer.getvalue()


def compressed_pth(tree):
    """A frozen archive as `dp compress` leaves it: tables beside the nets, a program that calls its operator."""
    tables = {f"descriptor.sea.compress_{what}.{k}": np.ones(size) for k in range(len(tree["model"]["type_map"]))
              for what, size in (("data", (7, 48)), ("info", 6))}
    content, buffer = pth(tree, tables), io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as plain, zipfile.ZipFile(buffer, "w") as changed:
        for name in plain.namelist():
            called = plain.read(name).replace(b"return x", b"return ops.deepmd.tabulate_fusion_se_a(x)")
            changed.writestr(name, called if name.endswith(".py") else plain.read(name))
    return buffer.getvalue()
