"""Descriptors in DeePMD-kit's TensorFlow graphs; those of a hybrid have a suffix in the names of their nodes."""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from ase_deeppot.errors import ModelFileError
from ase_deeppot.interop import refusals
from ase_deeppot.interop.deepmd_tree import pairs, statistics
from ase_deeppot.interop.deepmd_tree import parts_of as listed
from ase_deeppot.interop.foreign import Descriptor, Layer
from ase_deeppot.interop.graph_nets import Nodes, activation_in, layer

ENVIRONMENTS = {"ProdEnvMatA": "se_e2_a", "DescrptSeA": "se_e2_a", "ProdEnvMatR": "se_e2_r", "DescrptSeR": "se_e2_r"}
OTHERS = {"ProdEnvMatAMix": "se_atten", "Descrpt": "loc_frame", "TabulateFusionSeT": "se_e3",
          "ProdEnvMatAMask": "se_a_mask"}
OFF = {"sigmoid": -1e3, "softplus": -1e3, "silut": -1e3}  # where these give 0; the others do so at 0
Net = tuple[Layer, ...]
Settings = Mapping[str, Any]


class Environment(NamedTuple):
    """An environment matrix: the operator that computes it, and where its descriptor is."""

    kind: str  # "se_e2_a" or "se_e2_r"
    attr: Mapping[str, Any]
    suffix: str  # of the names of its nodes: none, or in a hybrid "_0", "_1", ...

    @property
    def said(self) -> str:
        """As messages have it."""
        return f"descriptor {self.suffix[1:]} of its hybrid" if self.suffix else "its descriptor"


def parts_of(nodes: Nodes, settings: Settings, n_types: int) -> tuple[Descriptor, ...]:
    """The descriptor, or those of a hybrid in their order.

    Raises
    ------
    ModelFileError
        If one of them is not one that can be read.
    """
    _check_kinds(nodes, settings)
    found = sorted(_environments(nodes), key=lambda one: [int(k) for k in one.suffix.split("_")[1:]])
    each = listed(settings) if settings else [{}] * len(found)
    if not found or len(each) != len(found):
        raise ModelFileError("expected as many descriptors in its graph as in its settings, "
                             f"{len(each) or 'some'}, got {len(found)}; {refusals.INSTEAD}")
    return tuple(_descriptor(nodes, one, own, n_types) for one, own in zip(found, each, strict=True))


def width(descriptor: Descriptor) -> int:
    """Number of its components."""
    return descriptor.nets[0][-1].weight.shape[1] * descriptor.axis_neuron


def _check_kinds(nodes: Nodes, settings: Settings) -> None:
    """Refuse other descriptors by their names; files of before DeePMD-kit 2 have no settings inside."""
    for part in listed(settings) if settings else ():
        refusals.descriptor_kind(part["type"])
    for op in {node.op for node in nodes.values()} & set(OTHERS):
        refusals.descriptor_kind(OTHERS[op])
    for name in nodes:
        if re.match(r"filter_type_all(_\d+)*/matrix_\d+_\d+_\d+$", name):
            refusals.descriptor_kind("se_e3")
        if re.match(r"(type_embed_net|filter_type_all(_\d+)*/matrix_\d+$)", name):
            refusals.descriptor_kind("se_a_tpe")


def _environments(nodes: Nodes) -> Iterator[Environment]:
    for node in nodes.values():
        if node.op in ENVIRONMENTS:
            places = [found.group(1) for found in
                      (re.match(r"descrpt_attr((?:_\d+)*)/t_avg\b", name) for name in node.inputs) if found]
            if len(places) != 1:
                raise ModelFileError(f"expected an operator {node.op} that takes descrpt_attr/t_avg, got one that "
                                     f"takes {', '.join(node.inputs) or 'nothing'}")
            yield Environment(ENVIRONMENTS[node.op], node.attr, places[0])


def _descriptor(nodes: Nodes, own: Environment, settings: Settings, n_types: int) -> Descriptor:
    radial, attr = own.kind == "se_e2_r", own.attr
    sel = tuple(attr["sel" if radial else "sel_a"]["list"][0]["i"])
    rcut, rcut_smth = (attr[name]["f"][0] for name in (("rcut", "rcut_smth") if radial else ("rcut_r", "rcut_r_smth")))
    davg, dstd = (statistics(nodes[f"descrpt_attr{own.suffix}/{name}"].constant(), sel) for name in ("t_avg", "t_std"))
    one_side = any(name.startswith(f"filter_type_all{own.suffix}/matrix_") for name in nodes)
    found, some = _embeddings(nodes, own, settings.get("activation_function"), n_types, one_side)
    excluded = pairs(settings.get("exclude_types"))
    excluded = tuple(sorted({*excluded, *(pair[::-1] for pair in excluded),
                             *(divmod(k, n_types) for k, net in enumerate(found) if not net and not one_side)}))
    if one_side and any(davg[c, 0, 0] for c, _ in excluded):
        one_side, found = False, _by_pair(own, found, excluded, n_types)
    absent = () if one_side else tuple(pair for pair in excluded if not found[pair[0] * n_types + pair[1]])
    return Descriptor(
        own.kind, rcut, rcut_smth, sel, 1 if radial else _axis_neuron(nodes, own), one_side, excluded, davg, dstd,
        tuple(net or _nothing(some) for net in found), some[0].weight.dtype != np.float64, absent)


def _embeddings(nodes: Nodes, own: Environment, activation: str | None, n_types: int,
                one_side: bool) -> tuple[list[Net], Net]:
    """Nets by neighbour, or by centre and neighbour, empty for pairs that are excluded; and one that is not."""
    activation = activation or activation_in(nodes, rf"filter_type_(all|\d+){own.suffix}/")
    centres = ["all"] if one_side else list(map(str, range(n_types)))
    found = [tuple(_embedding(nodes, f"filter_type_{centre}{own.suffix}/{{}}_{{n}}_{t}", activation))
             for centre in centres for t in range(n_types)]
    some = next(filter(None, found), None)
    if some is None:
        raise ModelFileError(f"the embedding nets of {own.said} are not in the file (a compressed model); use the file "
                             "from before its compression")
    return found, some


def _embedding(nodes: Nodes, name: str, activation: str) -> Iterator[Layer]:
    for n in range(1, 100):
        found = layer(nodes, name.replace("{n}", str(n)), activation, resnet=True)
        if found is None:
            return
        yield found


def _by_pair(own: Environment, found: Sequence[Net], excluded: Sequence[tuple[int, int]], n_types: int) -> list[Net]:
    """Nets by neighbour as nets by centre and neighbour, without those of excluded pairs.

    In the graph an excluded neighbour has the environment of nothing, 0, and so has an empty slot of its species. In a
    row of se_e2_a that adds nothing, whatever davg is; in se_e2_r it adds what the net gives for 0.
    """
    if own.kind == "se_e2_r":
        raise ModelFileError(f"exclude_types of {own.said}, se_e2_r with type_one_side, and a davg that is not zero "
                             f"cannot be read; train with set_davg_zero, or {refusals.INSTEAD}")
    return [() if (c, t) in excluded else found[t] for c in range(n_types) for t in range(n_types)]


def _nothing(net: Net) -> Net:
    """A net that gives zero, for pairs that have none."""
    if net[0].weight.shape[1] <= 2:  # whose shortcut gives s
        raise ModelFileError("exclude_types with embedding nets that begin with one or two neurons cannot be read; "
                             f"{refusals.INSTEAD}")
    off = OFF.get(net[0].activation.partition(":")[0].lower(), 0.0)
    return tuple(one._replace(weight=np.zeros_like(one.weight), bias=np.full_like(one.bias, off)) for one in net)


def _axis_neuron(nodes: Nodes, own: Environment) -> int:
    """Columns of the smaller matrix, from the operator that cuts them out of the larger one."""
    for name, node in nodes.items():
        if re.match(rf"filter_type_(all|\d+){own.suffix}/Slice(_\d+)?/size$", name):
            size = node.constant()
            if size.shape == (3,) and size[2] > 0:
                return int(size[2])
    raise ModelFileError(f"expected an operator that cuts out the axis_neuron columns of {own.said}, got none")
