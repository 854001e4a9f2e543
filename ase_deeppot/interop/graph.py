"""TensorFlow graphs without TensorFlow: protocol buffers (``.pb``) and their text form (``.pbtxt``).

A message becomes a table: field number or name -> list of values, in the order of the file. Only what constants and
attributes need is understood: https://protobuf.dev/programming-guides/encoding.
"""

import re
import struct
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np

from ase_deeppot.errors import ModelFileError

Message = dict[str, list[Any]]
# Numbers of the fields that are read, by message; a nested message names its kind, a number how it is packed.
FIELDS: Mapping[str, Mapping[int, tuple[str, str]]] = {
    "GraphDef": {1: ("node", "NodeDef")},
    "NodeDef": {1: ("name", "text"), 2: ("op", "text"), 3: ("input", "text"), 5: ("attr", "Entry")},
    "Entry": {1: ("key", "text"), 2: ("value", "AttrValue")},
    "AttrValue": {1: ("list", "ListValue"), 2: ("s", "bytes"), 3: ("i", "int"), 4: ("f", "<f4"), 5: ("b", "int"),
                  6: ("type", "int"), 8: ("tensor", "TensorProto")},
    "ListValue": {3: ("i", "int"), 4: ("f", "<f4")},
    "TensorProto": {1: ("dtype", "int"), 2: ("tensor_shape", "Shape"), 4: ("tensor_content", "bytes"),
                    5: ("float_val", "<f4"), 6: ("double_val", "<f8"), 7: ("int_val", "int"),
                    8: ("string_val", "bytes"), 10: ("int64_val", "int"), 11: ("bool_val", "int")},
    "Shape": {2: ("dim", "Dim")},
    "Dim": {1: ("size", "int")},
}
TYPES = {1: "<f4", 2: "<f8", 3: "<i4", 9: "<i8", 10: "?", 19: "<f2", "DT_FLOAT": "<f4", "DT_DOUBLE": "<f8",
         "DT_INT32": "<i4", "DT_INT64": "<i8", "DT_BOOL": "?", "DT_HALF": "<f2"}
STRING = (7, "DT_STRING")
VALUES = ("float_val", "double_val", "int_val", "int64_val", "bool_val")


class Node(NamedTuple):
    """A node of a graph."""

    op: str
    attr: dict[str, Message]
    inputs: tuple[str, ...]  # names of the nodes that it takes values from

    def constant(self) -> Any:
        """The array, or the text, that a node of kind Const holds."""
        return _constant(self.attr["value"]["tensor"][0])


def read_binary(content: bytes) -> dict[str, Node]:
    """Nodes of a frozen graph by name."""
    return _nodes(_message(memoryview(content), "GraphDef"))


def read_text(content: bytes) -> dict[str, Node]:
    """Nodes of a graph in text form by name."""
    words = _words(content.decode("utf-8", "surrogateescape"))
    return _nodes(_text_message(words, ""))


def _nodes(graph: Message) -> dict[str, Node]:
    nodes = {}
    for node in graph.get("node", []):
        attr = {entry["key"][0]: entry["value"][0] for entry in node.get("attr", []) if "value" in entry}
        nodes[node["name"][0]] = Node(node["op"][0], attr, tuple(node.get("input", ())))
    return nodes


def _message(content: memoryview, kind: str) -> Message:
    result: Message = {}
    at = 0
    while at < len(content):
        tag, at = _varint(content, at)
        field, wire = FIELDS[kind].get(tag >> 3), tag & 7
        if wire == 0:
            value, at = _varint(content, at)
            values: list[Any] = [_signed(value)]
        else:
            size = {1: 8, 5: 4}.get(wire)
            if wire == 2:
                size, at = _varint(content, at)
            if size is None or at + size > len(content):
                raise ModelFileError("expected a TensorFlow graph, got a damaged or truncated one")
            part, at = content[at : at + size], at + size
            values = [] if field is None else _decoded(part, field[1])
        if field is not None:
            result.setdefault(field[0], []).extend(values)
    return result


def _decoded(part: memoryview, kind: str) -> list[Any]:
    if kind in FIELDS:
        return [_message(part, kind)]
    if kind == "text":
        return [bytes(part).decode()]
    if kind == "bytes":
        return [bytes(part)]
    if kind == "int":
        return list(_packed(part))
    return np.frombuffer(part, kind).tolist()


def _packed(part: memoryview) -> Iterator[int]:
    at = 0
    while at < len(part):
        value, at = _varint(part, at)
        yield _signed(value)


def _varint(content: memoryview, at: int) -> tuple[int, int]:
    value = shift = 0
    while at < len(content) and shift < 64:
        byte = content[at]
        value |= (byte & 127) << shift
        at, shift = at + 1, shift + 7
        if byte < 128:
            return value, at
    raise ModelFileError("expected a TensorFlow graph, got a damaged or truncated one")


def _signed(value: int) -> int:
    return value - (1 << 64) if value >= 1 << 63 else value


def _words(text: str) -> Iterator[str]:
    for found in re.finditer(r'"(?:[^"\\]|\\.)*"|[{}:]|[^\s{}:"]+', text):
        yield found.group()


def _text_message(words: Iterator[str], end: str) -> Message:
    """What follows until the closing brace: ``name: value`` and ``name { ... }``."""
    result: Message = {}
    for name in words:
        if name == end:
            return result
        sign = next(words, "")
        if sign == "{":
            value: Any = _text_message(words, "}")
        elif sign == ":":
            value = _text_value(next(words, ""), name)
            if value == "{":
                value = _text_message(words, "}")
        else:
            raise ModelFileError(f"expected a TensorFlow graph as text, got {name} {sign}")
        result.setdefault(name, []).append(value)
    if end:
        raise ModelFileError("expected a TensorFlow graph as text, got a truncated one")
    return result


def _text_value(word: str, name: str) -> Any:
    if word.startswith('"'):
        raw = _unescaped(word[1:-1])
        return raw if name in ("tensor_content", "string_val", "s") else raw.decode()
    if word in ("true", "false"):
        return word == "true"
    try:
        return int(word)
    except ValueError:
        pass
    try:
        return struct.unpack("<f", struct.pack("<f", float(word)))[0] if name == "f" else float(word)
    except ValueError:
        return word


def _unescaped(text: str) -> bytes:
    """Bytes of a quoted string with octal, hexadecimal and C escapes."""
    simple = {"n": "\n", "t": "\t", "r": "\r"}

    def plain(found: re.Match[str]) -> str:
        code = found.group(1)
        if code[0] in "01234567":
            return chr(int(code, 8))
        if code[0] == "x" and len(code) > 1:
            return chr(int(code[1:], 16))
        return simple.get(code, code)

    raw = text.encode("utf-8", "surrogateescape").decode("latin-1")
    return re.sub(r"\\([0-7]{1,3}|x[0-9a-fA-F]{1,2}|.)", plain, raw, flags=re.DOTALL).encode("latin-1")


def _constant(tensor: Message) -> Any:
    kind = tensor["dtype"][0]
    if kind in STRING:
        return tensor.get("string_val", [b""])[0]
    if kind not in TYPES:
        raise ModelFileError(f"expected numbers in a TensorFlow constant, got type {kind}")
    dims = tensor.get("tensor_shape", [{}])[0].get("dim", [])
    shape = [int(dim.get("size", [0])[0]) for dim in dims]
    if "tensor_content" in tensor:
        return np.frombuffer(tensor["tensor_content"][0], TYPES[kind]).reshape(shape)
    values = next((tensor[name] for name in VALUES if name in tensor), [0])
    count = int(np.prod(shape))
    filled = values + values[-1:] * (count - len(values))  # the last one stands for all that follow
    return np.array(filled, TYPES[kind]).reshape(shape)
