"""PyTorch's saved tensors (`.pth`, `.bin`, `.pt`): a zip with one pickle, and storages that are mapped in place.

Before version 1.6 there was no zip: see torch_before_zip.py.

Source: torch/serialization.py and torch/_utils.py in the pytorch repository.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, TYPE_CHECKING

from engine.checkpoints.checkpoint import TensorInfo
from engine.checkpoints.derived import aligned, derived
from engine.checkpoints.pickles import MAX_BYTES, Call, Global, Persistent, read_pickle
from engine.checkpoints.tensor_types import TYPE_BY_NAME, TensorType
from engine.checkpoints.torch_before_zip import MAGIC, begins_before_zip, read_before_zip
from engine.checkpoints.zip_stored import DAMAGED, StoredFile, read_directory
from engine.errors import ModelFileError, UnsupportedModelError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

MAX_DIMS = 8
MAX_SIZE = 1 << 62
MAX_NESTED = 4
MAX_SHOWN = 1 << 70

_STORAGES = {
    "DoubleStorage": "F64",
    "FloatStorage": "F32",
    "HalfStorage": "F16",
    "BFloat16Storage": "BF16",
    "LongStorage": "I64",
    "IntStorage": "I32",
    "ShortStorage": "I16",
    "CharStorage": "I8",
    "ByteStorage": "I8",
    "BoolStorage": "I8",
}
"""PyTorch's types of storage; what has no floating point is never a weight, only its size matters."""

_REBUILD_TENSOR = "torch._utils._rebuild_tensor_v2"
_REBUILD_PARAMETER = "torch._utils._rebuild_parameter"
_REBUILD_FROM_TYPE = "torch._tensor._rebuild_from_type_v2"
_ALLOWED = frozenset(
    {_REBUILD_TENSOR, _REBUILD_PARAMETER, _REBUILD_FROM_TYPE, "torch.Tensor", "torch.nn.parameter.Parameter"}
    | {f"torch.{name}" for name in _STORAGES}
)

_WRAPPERS = ("state_dict", "model", "module")
"""Keys under which training programs put the tensors."""

_KEY = re.compile(r"[0-9A-Za-z_]{1,64}")


def is_torch_zip(path: Path) -> bool:
    """Whether a zip file holds a pickle, as PyTorch's do."""
    try:
        with path.open("rb") as file:
            return any(name.endswith(".pkl") for name in read_directory(file, path))
    except (OSError, ModelFileError):
        return False


def read_torch(path: Path) -> dict[str, TensorInfo]:
    """The tensors in a file by the names that they were saved under; nothing in it is run, and no weight is loaded.

    Raises ModelFileError, UnsafePickleError for a pickle that asks for more than tensors.
    """
    try:
        with path.open("rb") as file:
            if begins_before_zip(file.read(len(MAGIC))):
                older = read_before_zip(file, path, _ALLOWED)
                return _built(_state(older.root, path), _Builder(path, older.storages(_STORAGES), ""), path)
            entries = read_directory(file, path)
            name = _pickle_name(entries, path)
            entry = entries[name]
            if entry.n_bytes > MAX_BYTES:
                raise ModelFileError(f"{path}: {name} has {entry.n_bytes} bytes, the limit is {MAX_BYTES}.", DAMAGED)
            file.seek(entry.offset)
            pickle = file.read(entry.n_bytes)
            _check_byte_order(file, entries.get(name.removesuffix("data.pkl") + "byteorder"), path)
    except FileNotFoundError:
        raise ModelFileError(f"{path} is missing.", "Fetch all files of the model into one folder.") from None
    except OSError as error:
        raise ModelFileError(f"{path} cannot be read: {error.strerror}.", "Check its permissions.") from error
    root = _state(read_pickle(pickle, _ALLOWED, f"{path}: {name}"), path)
    return _built(root, _Builder(path, entries, name.removesuffix("data.pkl")), path)


def _built(root: Mapping[object, object], builder: _Builder, path: Path) -> dict[str, TensorInfo]:
    made = {key: builder.tensor(key, value) for key, value in _tensors_in(root)}
    tensors = {key: tensor for key, tensor in made.items() if tensor is not None}
    if not tensors:
        raise ModelFileError(f"{path} holds no tensors.", "Choose another file.")
    return tensors


def _check_byte_order(file: IO[bytes], entry: StoredFile | None, path: Path) -> None:
    """Files of newer versions say which way round their numbers are; older ones are always little-endian."""
    if entry is None:
        return
    file.seek(entry.offset)
    if file.read(min(entry.n_bytes, 16)) != b"little":
        raise UnsupportedModelError(f"{path} was written on a big-endian machine.", "Take the model as safetensors.")


def _pickle_name(entries: Mapping[str, StoredFile], path: Path) -> str:
    names = [name for name in entries if name == "data.pkl" or name.endswith("/data.pkl")]
    if len(names) != 1 or sum(name.endswith(".pkl") for name in entries) != 1:
        raise ModelFileError(
            f"{path} has {len(names)} pickles called data.pkl, a PyTorch file has one.", "Choose another file."
        )
    return names[0]


def _state(root: object, path: Path) -> Mapping[object, object]:
    """The dictionary with the tensors, which training programs put into others."""
    for _ in range(MAX_NESTED):
        if not isinstance(root, dict):
            break
        if any(_is_tensor(value) for value in root.values()):
            return root
        root = next((root[key] for key in _WRAPPERS if key in root), None)
    raise ModelFileError(f"{path} holds no dictionary of tensors.", "Choose another file.")


def _tensors_in(state: Mapping[object, object]) -> Iterator[tuple[str, Call]]:
    for key, value in state.items():
        if isinstance(key, str) and isinstance(value, Call) and _is_tensor(value):
            yield key, value


def _is_tensor(value: object) -> bool:
    return isinstance(value, Call) and value.function in (_REBUILD_TENSOR, _REBUILD_PARAMETER, _REBUILD_FROM_TYPE)


class _Builder:
    """Makes tensors of the calls that would have made them; `prefix` is the zip's folder with a slash."""

    def __init__(self, path: Path, entries: Mapping[str, StoredFile], prefix: str) -> None:
        self._path = path
        self._entries = entries
        self._prefix = prefix

    def tensor(self, name: str, call: Call) -> TensorInfo | None:
        """The tensor of a call, with its place in the file; None for a single number and for nothing at all."""
        arguments = self._arguments(name, call)
        storage, begin, shape, strides = arguments[:4]
        kind, entry = self._storage(name, storage)
        offset = self._integer(name, "offset", begin)
        sizes = self._sizes(name, "size", shape)
        steps = self._sizes(name, "stride", strides)
        if len(sizes) != len(steps):
            raise self._error(name, f"has {len(sizes)} sizes and {len(steps)} strides")
        if not sizes or 0 in sizes:
            return None
        n_elements, last = 1, offset
        for size, step in zip(sizes, steps, strict=True):
            n_elements *= size
            last += (size - 1) * step
        n_stored = entry.n_bytes // kind.block_bytes
        if last >= n_stored or n_elements > n_stored:
            raise self._error(name, f"needs {max(last + 1, n_elements)} numbers, its storage has {n_stored}")
        place = entry.offset + offset * kind.block_bytes
        found = TensorInfo(name, sizes, kind, self._path, place, n_elements * kind.block_bytes)
        return aligned(found) if _is_contiguous(sizes, steps) else _strided(found, steps)

    def _arguments(self, name: str, call: Call) -> tuple[object, ...]:
        """The arguments of the innermost call: the storage, then offset, size and stride."""
        for _ in range(MAX_NESTED):
            arguments = call.arguments
            if call.function == _REBUILD_TENSOR and len(arguments) >= 6:
                return arguments
            if call.function == _REBUILD_PARAMETER and arguments and isinstance(arguments[0], Call):
                call = arguments[0]
            elif call.function == _REBUILD_FROM_TYPE and len(arguments) >= 3 and isinstance(arguments[2], tuple):
                function = arguments[0]
                call = Call(function.name if isinstance(function, Global) else "", arguments[2])
            else:
                break
        raise self._error(name, "is made in a way that is not known")

    def _storage(self, name: str, reference: object) -> tuple[TensorType, StoredFile]:
        key = reference.key if isinstance(reference, Persistent) else None
        # Before version 1.6 there was a sixth, of parts of others; those are refused where their places are looked for.
        if (
            not isinstance(key, tuple)
            or len(key) not in (5, 6)
            or key[0] != "storage"
            or not isinstance(key[1], Global)
        ):
            raise self._error(name, "has no storage of the usual form")
        type_name = _STORAGES.get(key[1].name.removeprefix("torch."))
        if type_name is None:
            raise self._error(name, f"has a storage of the kind {key[1].name}")
        if not isinstance(key[2], str) or not _KEY.fullmatch(key[2]):
            raise self._error(name, f"has a storage with the impossible name {_shown(key[2])}")
        entry = self._entries.get(f"{self._prefix}data/{key[2]}")
        if entry is None:
            raise self._error(name, f"has a storage {key[2]} that is not in the file")
        kind = TYPE_BY_NAME[type_name]
        n_numbers = self._integer(name, "storage size", key[4])
        if n_numbers * kind.block_bytes > entry.n_bytes:
            raise self._error(name, f"has a storage of {n_numbers} numbers, the file has {entry.n_bytes} bytes of it")
        return kind, entry

    def _sizes(self, name: str, what: str, value: object) -> tuple[int, ...]:
        if not isinstance(value, tuple) or len(value) > MAX_DIMS:
            raise self._error(name, f"has no {what} of the usual form")
        return tuple(self._integer(name, what, number) for number in value)

    def _integer(self, name: str, what: str, value: object) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= MAX_SIZE:
            raise self._error(name, f"has the impossible {what} {_shown(value)}")
        return value

    def _error(self, name: str, message: str) -> ModelFileError:
        return ModelFileError(f"{self._path}: the tensor {name} {message}.", DAMAGED)


def _shown(value: object) -> str:
    """A stranger's value for an error: what is neither text nor number may be nested without end."""
    if isinstance(value, str) or (isinstance(value, int) and abs(value) <= MAX_SHOWN):
        return repr(value)
    return f"of the kind {type(value).__name__}"


def _is_contiguous(sizes: tuple[int, ...], strides: tuple[int, ...]) -> bool:
    expected = 1
    for size, stride in zip(reversed(sizes), reversed(strides), strict=True):
        if size > 1 and stride != expected:
            return False
        expected *= size
    return True


def _strided(tensor: TensorInfo, strides: tuple[int, ...]) -> TensorInfo:
    """A matrix whose numbers lie in another order, such as a transposed one, or with gaps."""
    if len(tensor.shape) != 2 or not tensor.type.is_float:
        raise UnsupportedModelError(
            f"{tensor.path}: the tensor {tensor.name} of shape {tensor.shape} does not lie in one piece.",
            "Look for the model as safetensors or GGUF.",
        )

    def make_rows(first: int, count: int) -> NDArray[np.uint8]:
        import numpy as np

        from engine.checkpoints.rows import map_bytes

        columns, item = tensor.shape[1], tensor.type.block_bytes
        span = ((count - 1) * strides[0] + (columns - 1) * strides[1] + 1) * item
        raw = map_bytes(tensor.path, tensor.offset + first * strides[0] * item, span)
        rows = np.lib.stride_tricks.as_strided(
            raw, (count, columns, item), (strides[0] * item, strides[1] * item, 1), writeable=False
        )
        return np.ascontiguousarray(rows).reshape(count, columns * item)

    return derived(tensor, make_rows, shape=tensor.shape, kind=tensor.type)
