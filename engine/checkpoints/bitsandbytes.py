"""Weights as bitsandbytes keeps them: four bits that choose one of 16 numbers, or rows of eight bits.

Of four bits, each block's largest number is beside the weights; where that is in eight bits itself, so is that of many
such ("double quantisation"). Source: functional.py and nn/modules.py in the bitsandbytes repository; Dettmers et al.,
2022 (LLM.int8) and 2023 (QLoRA).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from engine.checkpoints.checkpoint import TensorInfo
from engine.checkpoints.derived import derived, float_bytes, read_floats
from engine.checkpoints.few_bytes import first_bytes
from engine.checkpoints.levels import Grid
from engine.checkpoints.limits import MAX_WIDTH
from engine.checkpoints.metadata import Metadata
from engine.checkpoints.small_files import parse_json_object
from engine.checkpoints.small_floats import pairs_of
from engine.checkpoints.tensor_types import TYPE_BY_NAME
from engine.errors import ModelFileError, UnsupportedModelError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_STATE = ".quant_state.bitsandbytes__"
_KINDS = ("nf4", "fp4")
_NUMBERS, _LARGEST = ".quant_map", ".absmax"
_NESTED_NUMBERS, _NESTED_LARGEST = ".nested_quant_map", ".nested_absmax"
_BESIDE = (_NUMBERS, _LARGEST, _NESTED_NUMBERS, _NESTED_LARGEST)

_ROW_SCALES, _ROW_ORDER = "SCB", "weight_format"
"""What stands in the place of `weight` in the names of what is beside weights of eight bits."""

MAX_STATE_BYTES = 4096
"""What describes a matrix has some 200 bytes."""

MAX_BLOCK = 1 << 20

_EIGHT_BITS = Grid(-128, 127, 0)
_MOST = 127

FETCH_BOTH = "The file is damaged or was written wrongly: fetch the folder again."


def unpacked_bits_and_bytes(tensors: Mapping[str, TensorInfo]) -> dict[str, TensorInfo]:
    """The tensors with one of F16, or Q8_0 for those of eight bits, in the place of each quantised one.

    Those that were left in plain numbers stay. Raises ModelFileError, UnsupportedModelError.
    """
    states = {name.rpartition(_STATE)[0]: name for name in tensors if _STATE in name}
    whole: dict[str, TensorInfo] = {}
    for name, tensor in tensors.items():
        module, _, part = name.rpartition(".")
        scales = tensors.get(f"{module}.{_ROW_SCALES}" if module else _ROW_SCALES)
        if name in states:
            whole[name] = _Matrix.of(name, tensors, states[name]).unpacked()
        elif part == "weight" and scales is not None:
            whole[name] = _of_eight_bits(tensor, scales, tensors.get(f"{module}.{_ROW_ORDER}"))
        elif not _is_beside(name, tensors):
            whole[name] = tensor
    return whole


def _is_beside(name: str, tensors: Mapping[str, TensorInfo]) -> bool:
    module, _, part = name.rpartition(".")
    if part in (_ROW_SCALES, _ROW_ORDER):
        return f"{module}.weight" in tensors
    return _STATE in name or (name.endswith(_BESIDE) and module in tensors)


@dataclass(frozen=True, slots=True)
class _Matrix:
    """A matrix of four bits, two weights to a byte, the first in the upper four, without regard to rows.

    block: so many weights share what each is multiplied by. nested: so many of those share one in turn, 0 if each is
    as it is; offset: what is added to each of them then.
    """

    packed: TensorInfo
    numbers: TensorInfo
    largest: TensorInfo
    nested_numbers: TensorInfo | None
    nested_largest: TensorInfo | None
    shape: tuple[int, int]
    block: int
    nested: int
    offset: float

    @classmethod
    def of(cls, name: str, tensors: Mapping[str, TensorInfo], state_name: str) -> _Matrix:
        packed, state = tensors[name], _state(tensors[state_name])
        if state_name.rpartition("__")[2] not in _KINDS:
            raise UnsupportedModelError(
                f"{packed.path}: {name} is stored as {state_name.rpartition('__')[2]} of bitsandbytes, of which only "
                f"{' and '.join(_KINDS)} are read here.",
                "Choose the original weights of the model, or a GGUF.",
            )
        shape = state.get("shape")
        if not isinstance(shape, list) or len(shape) != 2:
            raise state.error(f"{state_name}: the shape should be two numbers.")
        rows, columns = (Metadata({"shape": n}, packed.path).integer("shape", low=1, high=MAX_WIDTH) for n in shape)
        block = state.integer("blocksize", low=1, high=MAX_BLOCK)
        nested = state.integer("nested_blocksize", low=1, high=MAX_BLOCK) if "nested_blocksize" in state else 0
        offset = state.real("nested_offset", low=-1e6, high=1e6) if nested else 0.0
        wanted = _BESIDE if nested else _BESIDE[:2]
        for part in wanted:
            if name + part not in tensors:
                raise ModelFileError(f"{packed.path}: {name}{part} is missing.", "Fetch all parts of the model.")
        found = cls(
            packed,
            tensors[name + _NUMBERS],
            tensors[name + _LARGEST],
            tensors[name + _NESTED_NUMBERS] if nested else None,
            tensors[name + _NESTED_LARGEST] if nested else None,
            (rows, columns),
            block,
            nested,
            offset,
        )
        found.check()
        return found

    def check(self) -> None:
        """Raise ModelFileError where a part has not the size that it should have."""
        n_weights = self.shape[0] * self.shape[1]
        n_blocks = -(-n_weights // self.block)
        self._expect(self.packed, -(-n_weights // 2), "bytes", self.packed.n_bytes)
        self._expect(self.numbers, 16, "numbers", self.numbers.n_elements if self.numbers.type.name == "F32" else 0)
        kind = "I8" if self.nested else "F32"
        self._expect(self.largest, n_blocks, kind, self.largest.n_elements if self.largest.type.name == kind else 0)
        for part, count in ((self.nested_numbers, 256), (self.nested_largest, -(-n_blocks // (self.nested or 1)))):
            if part is not None:
                self._expect(part, count, "F32", part.n_elements if part.type.name == "F32" else 0)

    def _expect(self, part: TensorInfo, count: int, what: str, found: int) -> None:
        if found != count:
            raise ModelFileError(
                f"{part.path}: {part.name}, {part.type.name} of shape {part.shape}, does not fit a matrix of shape "
                f"{self.shape} in blocks of {self.block}, which needs {count} {what}.",
                FETCH_BOTH,
            )

    def unpacked(self) -> TensorInfo:
        kind, columns = TYPE_BY_NAME["F16"], self.shape[1]

        def make_rows(first: int, count: int) -> NDArray[np.uint8]:
            return float_bytes(self._weights(first * columns, count * columns).reshape(count, columns), kind)

        return derived(self.packed, make_rows, shape=self.shape, kind=kind)

    def _weights(self, first: int, count: int) -> NDArray[np.float32]:
        """Some weights in the order of the rows, as one vector."""
        import numpy as np

        numbers = read_floats(self.numbers, 0, 1).reshape(-1)
        first_block, last_block = first // self.block, -(-(first + count) // self.block)
        largest = self._largest(first_block, last_block)
        if not (np.isfinite(largest).all() and np.isfinite(numbers).all()):
            raise ModelFileError(
                f"{self.packed.path}: {self.packed.name} has scales (absmax) that are not finite.",
                "The file is damaged: fetch it again.",
            )
        raw = _bytes(self.packed, first // 2, -(-(first + count) // 2))
        weights = np.take(pairs_of(numbers)[:, ::-1], raw, axis=0).reshape(-1)[first % 2 :][:count]
        if first % self.block == count % self.block == 0:
            return (weights.reshape(-1, self.block) * largest[:, None]).reshape(-1)
        return weights * largest[np.arange(first, first + count) // self.block - first_block]

    def _largest(self, first: int, last: int) -> NDArray[np.float32]:
        """What the weights of some blocks are multiplied by."""
        import numpy as np

        if self.nested_numbers is None or self.nested_largest is None:
            return _bytes(self.largest, 4 * first, 4 * last).view(np.float32)
        numbers = read_floats(self.nested_numbers, 0, 1).reshape(-1)
        of_many = read_floats(self.nested_largest, 0, 1).reshape(-1)
        chosen = numbers[_bytes(self.largest, first, last)]
        return chosen * of_many[np.arange(first, last) // self.nested] + np.float32(self.offset)


def _bytes(tensor: TensorInfo, first: int, last: int) -> NDArray[np.uint8]:
    """Some of a tensor's bytes."""
    import numpy as np

    from engine.checkpoints.rows import read_rows

    of_row = tensor.n_bytes // tensor.n_rows
    row = first // of_row
    rows = np.asarray(read_rows(tensor, row, -(-last // of_row) - row)).reshape(-1)
    return rows[first - row * of_row : last - row * of_row]


def _state(tensor: TensorInfo) -> Metadata:
    """What is said of a matrix, JSON in bytes."""
    raw = first_bytes(tensor, MAX_STATE_BYTES)
    return Metadata(parse_json_object(raw, tensor.path, tensor.name), tensor.path)


def _of_eight_bits(tensor: TensorInfo, scales: TensorInfo, order: TensorInfo | None) -> TensorInfo:
    """Rows of eight bits; their scales are their largest numbers."""
    if tensor.type.name != "I8" or len(tensor.shape) != 2 or scales.n_elements != tensor.shape[0]:
        raise ModelFileError(
            f"{scales.path}: {scales.name}, of shape {scales.shape}, does not fit weights of {tensor.type.name} of "
            f"shape {tensor.shape}.",
            FETCH_BOTH,
        )
    if order is not None and any(first_bytes(order, MAX_STATE_BYTES)):
        raise UnsupportedModelError(
            f"{tensor.path}: {tensor.name} lies in the order of a GPU's instructions ({order.name}), not in rows.",
            "Choose the original weights of the model, or a GGUF.",
        )

    def make_rows(first: int, count: int) -> NDArray[np.uint8]:
        import numpy as np

        from engine.checkpoints.rows import read_rows

        levels = np.asarray(read_rows(tensor, first, count)).view(np.int8).astype(np.int16)
        every = read_floats(scales, 0, scales.n_rows).reshape(-1, 1)
        of_rows = every[first : first + count] * np.float32(1 / _MOST)
        return _EIGHT_BITS.rows(levels, of_rows, None, tensor.path, tensor.name)

    return derived(tensor, make_rows, shape=tensor.shape, kind=_EIGHT_BITS.kind(tensor.shape[1]))


def is_bits_and_bytes(how: Mapping[str, object]) -> bool:
    """Whether a `quantization_config` is of these; the first ones did not name their method."""
    named = how.get("quant_method")
    return named == "bitsandbytes" or (named is None and True in (how.get("load_in_4bit"), how.get("load_in_8bit")))
