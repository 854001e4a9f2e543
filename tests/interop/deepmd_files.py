"""DeePMD-kit's files, written by the tests from the numbers of the oracle; nothing of the package is used."""

import io
import json
import zipfile

import h5py
import numpy as np
import torch
from torch import nn


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
    model, numbers = tree["model"], ("@variables", "embeddings", "nets")
    descriptor, fitting = ({key: value for key, value in model[part].items() if key not in numbers}
                           for part in ("descriptor", "fitting"))
    return {"type_map": model["type_map"], "descriptor": descriptor, "fitting_net": fitting,
            "pair_exclude_types": model["pair_exclude_types"], "atom_exclude_types": model["atom_exclude_types"]}


def state(tree):
    """The numbers by the names that they have in DeePMD-kit's PyTorch modules."""
    model, numbers = tree["model"], {}
    sea = "descriptor.sea" if model["descriptor"]["type"] == "se_e2_a" else "descriptor"
    own = model["descriptor"]["@variables"]
    numbers |= {f"{sea}.mean": own["davg"], f"{sea}.stddev": own["dstd"], "out_bias": model["@variables"]["out_bias"]}
    numbers |= {f"fitting_net.{key}": value for key, value in model["fitting"]["@variables"].items()
                if value is not None}
    parts = ((sea, model["descriptor"]["embeddings"]), ("fitting_net", model["fitting"]["nets"]))
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


def pth(tree):
    """A frozen TorchScript archive with the same attributes."""
    root = Holder()
    root.model_def_script = json.dumps(settings(tree))
    root.register_buffer("min_nbor_dist", torch.tensor(1.6, dtype=torch.float64))
    for name, value in state(tree).items():
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


def graph(tree):
    """Nodes of a TensorFlow graph: (name, op, {attribute: value}); arrays are constants."""
    model = tree["model"]
    descriptor, fitting = model["descriptor"], model["fitting"]
    radial, n = descriptor["type"] == "se_e2_r", len(model["type_map"])
    shape = ({"sel": descriptor["sel"], "rcut": descriptor["rcut"], "rcut_smth": descriptor["rcut_smth"]} if radial else
             {"sel_a": descriptor["sel"], "sel_r": [0] * n, "rcut_a": -1.0, "rcut_r": descriptor["rcut"],
              "rcut_r_smth": descriptor["rcut_smth"]})
    own = descriptor["@variables"]
    nodes = [("model_attr/tmap", "Const", {"value": " ".join(model["type_map"]).encode()}),
             ("ProdEnvMatA", "ProdEnvMatR" if radial else "ProdEnvMatA", shape),
             ("descrpt_attr/t_avg", "Const", {"value": own["davg"].reshape(n, -1)}),
             ("descrpt_attr/t_std", "Const", {"value": own["dstd"].reshape(n, -1)}),
             ("fitting_attr/t_bias_atom_e", "Const", {"value": model["@variables"]["out_bias"].reshape(-1)
                                                      + fitting["@variables"]["bias_atom_e"].reshape(-1)}),
             *((f"fitting_attr/d{key}", "Const", {"value": np.array(fitting.get(f"numb_{key}", 0), np.int32)})
               for key in ("fparam", "aparam")),
             *((f"fitting_attr/t_{key.replace('inv_std', 'istd')}", "Const", {"value": value})
               for key, value in fitting["@variables"].items() if "param" in key and value is not None),
             ("filter_type_all/Tanh", "Tanh", {}), ("layer_0_type_0/Tanh", "Tanh", {})]
    one_side = descriptor["embeddings"]["ndim"] == 1
    for place, net in enumerate(descriptor["embeddings"]["networks"]):
        neighbor, centre = (place, "all") if one_side else divmod(place, n)
        for k, layer in enumerate(net["layers"]):
            nodes += _constants(f"filter_type_{centre}/{{}}_{k + 1}_{neighbor}", layer)
    for t, net in enumerate(fitting["nets"]["networks"]):
        for k, layer in enumerate(net["layers"]):
            last = k == len(net["layers"]) - 1
            nodes += _constants((f"final_layer_type_{t}" if last else f"layer_{k}_type_{t}") + "/{}", layer)
    return nodes


def _constants(name, layer):
    names = {"w": "matrix", "b": "bias", "idt": "idt"}
    return [(name.format(names[key]), "Const", {"value": value}) for key, value in layer["@variables"].items()
            if value is not None]


TYPES = {"float32": 1, "float64": 2, "int32": 3}


def pb(nodes):
    return b"".join(_field(1, _field(1, name.encode()) + _field(2, op.encode()) + b"".join(
        _field(5, _field(1, key.encode()) + _field(2, _value(value))) for key, value in attr.items()))
        for name, op, attr in nodes)


def _varint(value):
    value &= (1 << 64) - 1
    result = b""
    while value > 127:
        result, value = result + bytes([value & 127 | 128]), value >> 7
    return result + bytes([value])


def _field(number, content):
    return _varint(number << 3 | 2) + _varint(len(content)) + content


def _value(value):
    if isinstance(value, bytes):
        return _field(8, b"\x08\x07" + _field(2, b"") + _field(8, value))
    if isinstance(value, float):
        return _varint(4 << 3 | 5) + np.float32(value).tobytes()
    if isinstance(value, list):
        return _field(1, _field(3, b"".join(map(_varint, value))))
    dims = b"".join(_field(2, _varint(1 << 3) + _varint(size)) for size in value.shape)
    return _field(8, b"\x08" + _varint(TYPES[str(value.dtype)]) + _field(2, dims) + _field(4, value.tobytes()))


def pbtxt(nodes):
    def text(value):
        if isinstance(value, bytes):
            return f'tensor {{ dtype: DT_STRING tensor_shape {{ }} string_val: "{value.decode()}" }}'
        if isinstance(value, float):
            return f"f: {value}"
        if isinstance(value, list):
            return "list { " + " ".join(f"i: {item}" for item in value) + " }"
        dims = " ".join(f"dim {{ size: {size} }}" for size in value.shape)
        raw = "".join(f"\\{byte:03o}" for byte in value.tobytes())
        kind = {"float64": "DT_DOUBLE", "float32": "DT_FLOAT", "int32": "DT_INT32"}[str(value.dtype)]
        return f'tensor {{ dtype: {kind} tensor_shape {{ {dims} }} tensor_content: "{raw}" }}'

    return "\n".join(f'node {{\n  name: "{name}"\n  op: "{op}"\n' + "".join(
        f'  attr {{ key: "{key}" value {{ {text(value)} }} }}\n' for key, value in attr.items()) + "}"
        for name, op, attr in nodes).encode()
