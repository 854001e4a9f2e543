"""The tensors of a TorchScript archive without its program: no torch.jit, none of the operators it may call."""

import pickle
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Iterator
from typing import Any

import torch

from ase_deeppot.errors import ModelFileError

STORAGES = {
    "DoubleStorage": torch.float64, "FloatStorage": torch.float32, "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16, "LongStorage": torch.int64, "IntStorage": torch.int32,
    "ShortStorage": torch.int16, "CharStorage": torch.int8, "ByteStorage": torch.uint8, "BoolStorage": torch.bool,
}


class Record:
    """An object of a scripted class: its attributes, nothing that it could do."""


def read_attributes(archive: zipfile.ZipFile) -> dict[str, Any]:
    """All attributes of the scripted module by dotted name: tensors, texts, numbers, lists.

    Raises
    ------
    ModelFileError
        If the archive holds anything but data.
    """
    names = [name for name in archive.namelist() if name.endswith("/data.pkl") and name.count("/") == 1]
    if not names:
        raise ModelFileError("expected a TorchScript archive, got one without its data")
    folder = names[0].split("/")[0]
    with archive.open(names[0]) as file:
        module = _Unpickler(file, lambda key: archive.read(f"{folder}/data/{key}")).load()
    return dict(_flat(module, ""))


def _flat(value: Any, name: str) -> Iterator[tuple[str, Any]]:
    if not isinstance(value, Record):
        yield name, value
        return
    for key, child in value.__dict__.items():
        yield from _flat(child, f"{name}.{key}" if name else key)


class _Unpickler(pickle.Unpickler):
    """Knows tensors and plain containers; classes of scripted modules become records; all else is refused."""

    def __init__(self, file: Any, read: Callable[[str], bytes]) -> None:
        super().__init__(file)
        self._read = read
        self._storages: dict[str, torch.Tensor] = {}

    def find_class(self, module: str, name: str) -> Any:
        if module.split(".")[0] == "__torch__":
            return Record
        if module == "torch" and name in STORAGES:
            return STORAGES[name]
        known = {("collections", "OrderedDict"): OrderedDict, ("torch._utils", "_rebuild_tensor_v2"): _tensor,
                 ("torch._utils", "_rebuild_parameter"): _first, ("torch.jit._pickle", "restore_type_tag"): _first}
        if module == "torch.jit._pickle" and name.startswith("build_"):
            return _first
        if (module, name) not in known:
            raise ModelFileError(f"expected an archive of tensors, got one that asks for {module}.{name}")
        return known[module, name]

    def persistent_load(self, pid: Any) -> torch.Tensor:
        _, dtype, key, *_ = pid
        if key not in self._storages:
            content = self._read(key)
            self._storages[key] = (torch.frombuffer(bytearray(content), dtype=dtype) if content
                                   else torch.empty(0, dtype=dtype))
        return self._storages[key]


def _tensor(storage: torch.Tensor, offset: int, size: Any, stride: Any, *_: Any) -> torch.Tensor:
    return storage.as_strided(tuple(size), tuple(stride), offset)


def _first(value: Any, *_: Any) -> Any:
    return value
