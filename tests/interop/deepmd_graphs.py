"""DeePMD-kit's TensorFlow graphs, written by the tests without TensorFlow."""

import json

import numpy as np

from interop.deepmd_files import listed, settings


def graph(tree):
    """Nodes of a TensorFlow graph: (name, op, {attribute: value}, inputs); arrays are constants.

    The parts of a hybrid stand in the wrong order, as nothing says that a file keeps it.
    """
    model = tree["model"]
    fitting = model["fitting"]
    nodes = [constant("model_attr/tmap", " ".join(model["type_map"]).encode()),
             constant("model_attr/model_attr/t_out_bias", model["@variables"]["out_bias"]),
             constant("fitting_attr/t_bias_atom_e", fitting["@variables"]["bias_atom_e"].reshape(-1)),
             *(constant(f"fitting_attr/d{key}", np.array(fitting.get(f"numb_{key}", 0), np.int32))
               for key in ("fparam", "aparam")),
             *(constant(f"fitting_attr/t_{key.replace('inv_std', 'istd')}", value)
               for key, value in fitting["@variables"].items() if "param" in key and value is not None),
             ("layer_0_type_0/Tanh", "Tanh", {}, ())]
    for k, descriptor in reversed(listed(model["descriptor"])):
        nodes += _descriptor(descriptor, "" if k is None else f"_{k}")
    for t, net in enumerate(fitting["nets"]["networks"]):
        for k, layer in enumerate(net["layers"]):
            last = k == len(net["layers"]) - 1
            nodes += _constants((f"final_layer_type_{t}" if last else f"layer_{k}_type_{t}") + "/{}", layer)
    return nodes


def _descriptor(descriptor, suffix):
    """Nodes of a descriptor; as in DeePMD-kit there are no nets for pairs of species that are excluded."""
    radial, n, own = descriptor["type"] == "se_e2_r", len(descriptor["sel"]), descriptor["@variables"]
    one_side = descriptor["embeddings"]["ndim"] == 1
    shape = ({"sel": descriptor["sel"], "rcut": descriptor["rcut"], "rcut_smth": descriptor["rcut_smth"]} if radial else
             {"sel_a": descriptor["sel"], "sel_r": [0] * n, "rcut_a": -1.0, "rcut_r": descriptor["rcut"],
              "rcut_r_smth": descriptor["rcut_smth"]})
    op, place = "ProdEnvMatR" if radial else "ProdEnvMatA", f"descrpt_attr{suffix}"
    scopes = [f"filter_type_{centre}{suffix}" for centre in (["all"] if one_side else range(n))]
    nodes = [(op + suffix, op, shape, ("t_natoms", f"{place}/t_avg/read", f"{place}/t_std/read")),
             constant(f"{place}/t_avg", own["davg"].reshape(n, -1)),
             constant(f"{place}/t_std", own["dstd"].reshape(n, -1)), (f"{scopes[0]}/Tanh", "Tanh", {}, ())]
    if not radial:
        sizes = list(enumerate(([-1, 4 * descriptor["sel"][0]], [-1, 1], [-1, -1, descriptor["axis_neuron"]])))
        nodes += [constant(f"{scope}/Slice{f'_{k}' if k else ''}/size", np.array(size, np.int32))
                  for scope in scopes for k, size in sizes]
    excluded = {pair for c, t in descriptor["exclude_types"] for pair in ((c, t), (t, c))}
    for at, net in enumerate(descriptor["embeddings"]["networks"]):
        neighbor, centre = (at, 0) if one_side else divmod(at, n)
        for k, layer in enumerate(net["layers"] if one_side or (centre, neighbor) not in excluded else ()):
            nodes += _constants(f"{scopes[centre]}/{{}}_{k + 1}_{neighbor}", layer)
    return nodes


def with_settings(tree):
    """The same nodes, and the settings that newer files have inside."""
    return [*graph(tree), script(tree)]


def script(tree):
    """The node of the settings."""
    return constant("train_attr/training_script", json.dumps({"model": settings(tree)}).encode())


def constant(name, value):
    return name, "Const", {"value": value}, ()


def _constants(name, layer):
    names = {"w": "matrix", "b": "bias", "idt": "idt"}
    return [constant(name.format(names[key]), value) for key, value in layer["@variables"].items()
            if value is not None]


TYPES = {"float32": 1, "float64": 2, "int32": 3}


def pb(nodes):
    return b"".join(_field(1, _field(1, name.encode()) + _field(2, op.encode())
                           + b"".join(_field(3, one.encode()) for one in inputs) + b"".join(
        _field(5, _field(1, key.encode()) + _field(2, _value(value))) for key, value in attr.items()))
        for name, op, attr, inputs in nodes)


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
            quoted = value.decode().replace('"', '\\"')
            return f'tensor {{ dtype: DT_STRING tensor_shape {{ }} string_val: "{quoted}" }}'
        if isinstance(value, float):
            return f"f: {value}"
        if isinstance(value, list):
            return "list { " + " ".join(f"i: {item}" for item in value) + " }"
        dims = " ".join(f"dim {{ size: {size} }}" for size in value.shape)
        raw = "".join(f"\\{byte:03o}" for byte in value.tobytes())
        kind = {"float64": "DT_DOUBLE", "float32": "DT_FLOAT", "int32": "DT_INT32"}[str(value.dtype)]
        return f'tensor {{ dtype: {kind} tensor_shape {{ {dims} }} tensor_content: "{raw}" }}'

    return "\n".join(f'node {{\n  name: "{name}"\n  op: "{op}"\n' + "".join(
        f'  input: "{one}"\n' for one in inputs) + "".join(
        f'  attr {{ key: "{key}" value {{ {text(value)} }} }}\n' for key, value in attr.items()) + "}"
        for name, op, attr, inputs in nodes).encode()
