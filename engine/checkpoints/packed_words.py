"""Weights of a few bits in 32-bit words, as GPTQ and AWQ pack them for GPUs, as blocks or plain numbers.

A matrix is a tensor of words, `qweight`; for every group of inputs, `qzeros` are taken away from its numbers, and
`scales` multiply what is left. Source: GPTQ (Frantar et al. 2022) and AWQ (Lin et al. 2023), as AutoGPTQ, GPTQModel
and AutoAWQ write them.
"""

from __future__ import annotations

from array import array
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from engine.checkpoints.checkpoint import TensorInfo
from engine.checkpoints.derived import derived, float_bytes, read_floats
from engine.checkpoints.few_bytes import first_bytes
from engine.checkpoints.levels import Grid
from engine.checkpoints.limits import MAX_WIDTH
from engine.checkpoints.metadata import Metadata
from engine.checkpoints.tensor_types import TYPE_BY_NAME
from engine.errors import ModelFileError, UnsupportedModelError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

WORD_BITS = 32
_WORDS, _SCALES, _ZEROS, _GROUPS = ".qweight", ".scales", ".qzeros", ".g_idx"
_PARTS = (_WORDS, _SCALES, _ZEROS, _GROUPS)

_AWQ_ORDER = (0, 4, 1, 5, 2, 6, 3, 7)
"""Which of a word's eight numbers, from the lowest bits on, each of eight neighbouring outputs has."""

_LESS_ONE = {"gptq": True, "gptq_v2": False}
"""By what GPTQModel calls the formats in which words are as GPTQ had them: whether zeros are stored less one."""


_AUTO_ROUND = {"auto_round:auto_gptq": "gptq", "auto_round:auto_awq": "awq"}
"""By what it calls its formats, whose they are."""


@dataclass(frozen=True, slots=True)
class Packing:
    """How a model's words are made.

    bits: of a weight. group: so many inputs share scales, 0 for all. by_outputs: a word has neighbouring outputs, in
    AWQ's order, else neighbouring inputs. less_one: zeros are stored less one.
    """

    bits: int
    group: int
    by_outputs: bool
    less_one: bool

    @property
    def words_together(self) -> int:
        """How many words whole numbers fill: those of three bits go on from word to word."""
        return 3 if self.bits == 3 else 1

    @property
    def together(self) -> int:
        """How many numbers they have."""
        return WORD_BITS * self.words_together // self.bits


def packing_of(how: Mapping[str, object], values: Metadata) -> Packing | None:
    """How weights are packed by a `quantization_config`; None where they are kept in another way, not known here."""
    method, settings = how.get("quant_method"), Metadata(how, values.path)
    if method == "auto-round":
        # AutoRound packs as one of the two does.
        method = _AUTO_ROUND.get(str(how.get("packing_format")))
    if method not in ("gptq", "awq"):
        return None
    bits = settings.integer("w_bit" if "w_bit" in how else "bits", low=1, high=WORD_BITS)
    group = settings.integer("q_group_size" if "q_group_size" in how else "group_size", -1, low=-1, high=MAX_WIDTH)
    if method == "awq":
        is_known = bits == 4 and str(how.get("version", "gemm")).lower() == "gemm"
        return Packing(bits, max(group, 0), by_outputs=True, less_one=False) if is_known else None
    less_one = _LESS_ONE.get(str(how.get("checkpoint_format", "gptq")))
    if less_one is None or bits not in (2, 3, 4, 8):
        return None
    return Packing(bits, max(group, 0), by_outputs=False, less_one=less_one)


def unpacked(tensors: Mapping[str, TensorInfo], packing: Packing) -> dict[str, TensorInfo]:
    """The tensors with one (outputs, inputs) in the place of each packed one. Raises ModelFileError.

    What a file's first matrix has counts for all: whether groups are of neighbouring inputs, and whether zeros are all
    in the middle. To look into each would take seconds where a disk is slow.
    """
    whole: dict[str, TensorInfo] = {}
    looks: _Looks | None = None
    for name, tensor in tensors.items():
        if name.endswith(_WORDS):
            matrix = _Matrix.of(name.removesuffix(_WORDS), tensors, packing)
            looks = looks or matrix.looks()
            whole[matrix.name] = matrix.unpacked(looks)
        elif not name.endswith(_PARTS):
            whole[name] = tensor
    return whole


@dataclass(frozen=True, slots=True)
class _Looks:
    """in_order: groups are of neighbouring inputs. in_the_middle: all zeros are half of the numbers that there are."""

    in_order: bool
    in_the_middle: bool


@dataclass(frozen=True, slots=True)
class _Matrix:
    """A packed matrix; groups: which group each input is in, None for as many neighbours each."""

    name: str
    words: TensorInfo
    scales: TensorInfo
    zeros: TensorInfo
    groups: TensorInfo | None
    packing: Packing
    n_inputs: int
    n_outputs: int

    @classmethod
    def of(cls, name: str, tensors: Mapping[str, TensorInfo], packing: Packing) -> _Matrix:
        words = tensors[name + _WORDS]
        if name + _SCALES not in tensors or name + _ZEROS not in tensors:
            raise ModelFileError(
                f"{words.path}: {name} has words without scales or zeros.", "Fetch all parts of the model."
            )
        scales, zeros, groups = tensors[name + _SCALES], tensors[name + _ZEROS], tensors.get(name + _GROUPS)
        together, n_words = packing.together, packing.words_together
        sizes = words.shape if len(words.shape) == 2 else (0, 0)
        n_inputs, n_outputs = sizes[0] // n_words * together, sizes[1]
        if packing.by_outputs:
            n_inputs, n_outputs = sizes[0], sizes[1] * together
        group = packing.group or n_inputs
        n_groups = -(-n_inputs // group) if group else 0
        fits = (
            n_groups > 0
            and sizes[0] % n_words == n_outputs % together == 0
            and {words.type.name, zeros.type.name} == {"I32"}
            and scales.type.is_float
            and scales.shape == (n_groups, n_outputs)
            and zeros.shape == (n_groups, n_outputs // together * n_words)
            and (groups is None or (groups.type.name == "I32" and groups.shape == (n_inputs,)))
        )
        if not fits:
            raise ModelFileError(
                f"{words.path}: {words.name}, of shape {words.shape}, does not fit scales of shape {scales.shape}, "
                f"zeros of shape {zeros.shape} and groups of {packing.group or 'all'} inputs.",
                "The configuration and the weights disagree: fetch both again.",
            )
        return cls(f"{name}.weight", words, scales, zeros, groups, packing, n_inputs, n_outputs)

    def looks(self) -> _Looks:
        """What this matrix has, as far as its file can be read as it is."""
        if self.words.path.suffix != ".safetensors":
            return _Looks(self.groups is None, in_the_middle=False)
        in_order = self.groups is None
        if self.groups is not None:
            expected = array("i", (i // (self.packing.group or self.n_inputs) for i in range(self.n_inputs)))
            in_order = first_bytes(self.groups, self.groups.n_bytes) == expected.tobytes()
        zeros = set(first_bytes(self.zeros, self.zeros.n_bytes))
        return _Looks(in_order, self.packing.bits in (4, 8) and zeros == {self._middle_byte()})

    def _middle_byte(self) -> int:
        bits, zero = self.packing.bits, (1 << self.packing.bits - 1) - self.packing.less_one
        return zero | zero << 4 if bits == 4 else zero

    def _grid(self, looks: _Looks) -> Grid:
        """Where numbers are without their zeros, which are at least 0 and at most one more than the largest number."""
        most = (1 << self.packing.bits) - 1
        middle = 1 << self.packing.bits - 1
        group = self.packing.group if looks.in_order else 1
        if looks.in_the_middle:
            return Grid(-middle, most - middle, group)
        return Grid(-most - self.packing.less_one, most, group)

    def unpacked(self, looks: _Looks) -> TensorInfo:
        """As a type with room for the numbers without their zeros, which stay as they are; else as F16."""
        grid = self._grid(looks)
        named = replace(self.words, name=self.name)

        def make_rows(first: int, count: int) -> NDArray[np.uint8]:
            levels, scales = self._rows(first, count)
            if grid.group == 1:
                weights = levels * scales[:, self._group_of_inputs()]
                return float_bytes(weights, TYPE_BY_NAME["F16"])
            self._check(levels, grid)
            return grid.rows(levels, scales, None, self.words.path, self.words.name)

        return derived(named, make_rows, shape=(self.n_outputs, self.n_inputs), kind=grid.kind(self.n_inputs))

    def _check(self, levels: NDArray[np.int16], grid: Grid) -> None:
        """Raise UnsupportedModelError where the matrix is not as the first one of its file."""
        import numpy as np

        neighbours = np.arange(self.n_inputs) // (self.packing.group or self.n_inputs)
        in_order = np.array_equal(self._group_of_inputs(), neighbours)
        if not in_order or levels.min() < grid.low or levels.max() > grid.high:
            raise UnsupportedModelError(
                f"{self.words.path}: {self.name} has other groups or zeros than the first matrix of its file has.",
                "Choose the original weights of the model, or a GGUF.",
            )

    def _rows(self, first: int, count: int) -> tuple[NDArray[np.int16], NDArray[np.float32]]:
        """Of some outputs, the numbers without their zeros, (outputs, inputs), and the scales, (outputs, groups)."""
        import numpy as np

        together, n_words = self.packing.together, self.packing.words_together
        # Outputs that share a word are taken together.
        begin, end = first // together * together, -(-(first + count) // together) * together
        words, its_words = _words(self.words), slice(begin // together * n_words, end // together * n_words)
        if self.packing.by_outputs:
            numbers = self._along_outputs(words[:, its_words])
        else:
            of_outputs = words[:, begin:end].reshape(-1, n_words, end - begin).swapaxes(1, 2)
            numbers = self._split(of_outputs).swapaxes(1, 2).reshape(self.n_inputs, end - begin)
        zeros = self._along_outputs(_words(self.zeros)[:, its_words])
        offsets = zeros.astype(np.int16) + np.int16(self.packing.less_one)
        levels = numbers.astype(np.int16)
        group_of = self._group_of_inputs()
        levels -= offsets if len(offsets) == 1 and not group_of.any() else offsets[group_of]
        some = slice(first - begin, first - begin + count)
        scales = read_floats(self.scales, 0, self.scales.n_rows)[:, first : first + count]
        return np.ascontiguousarray(levels.T[some]), np.ascontiguousarray(scales.T)

    def _group_of_inputs(self) -> NDArray[np.int64]:
        import numpy as np

        n_groups = self.scales.shape[0]
        if self.groups is None:
            return np.arange(self.n_inputs) // (self.packing.group or self.n_inputs)
        found = _words(self.groups).reshape(-1).astype(np.int64)
        if found.max() >= n_groups:
            raise ModelFileError(
                f"{self.groups.path}: {self.groups.name} names a group beyond the {n_groups} that there are.",
                "The file is damaged: fetch it again.",
            )
        return found

    def _along_outputs(self, words: NDArray[np.uint32]) -> NDArray[np.uint8]:
        """(rows, words) → (rows, numbers), in the order of the outputs."""
        numbers = self._split(words.reshape(len(words), -1, self.packing.words_together))
        return (numbers[:, :, list(_AWQ_ORDER)] if self.packing.by_outputs else numbers).reshape(len(words), -1)

    def _split(self, words: NDArray[np.uint32]) -> NDArray[np.uint8]:
        """(rows, columns, words together) → (rows, columns, numbers), from the lowest bits on."""
        import numpy as np

        bits = self.packing.bits
        if bits == 3:
            return _threes(words)
        raw = np.ascontiguousarray(words[..., 0]).view(np.uint8).reshape(*words.shape[:2], WORD_BITS // 8)
        numbers = np.empty((*raw.shape, 8 // bits), np.uint8)
        for i in range(8 // bits):
            numbers[..., i] = raw >> (bits * i) & ((1 << bits) - 1)
        return numbers.reshape(*words.shape[:2], -1)


def _threes(words: NDArray[np.uint32]) -> NDArray[np.uint8]:
    """(rows, columns, three words) → (rows, columns, 32 numbers of three bits)."""
    import numpy as np

    first, second, third = (words[..., i].astype(np.uint64) for i in range(3))
    low, high = first | second << np.uint64(32), second >> np.uint64(31) | third << np.uint64(1)
    # The numbers up to the 21st end in the first two words, that one begins with the second's last bit.
    numbers = np.empty((*words.shape[:2], WORD_BITS), np.uint8)
    for i in range(WORD_BITS):
        bits = low >> np.uint64(3 * i) if i < 21 else high >> np.uint64(3 * i - 63)
        numbers[..., i] = bits & np.uint64(7)
    return numbers


def _words(tensor: TensorInfo) -> NDArray[np.uint32]:
    """All words of a tensor, (rows, columns); of a vector, one row."""
    import numpy as np

    from engine.checkpoints.rows import read_rows

    return np.asarray(read_rows(tensor, 0, tensor.n_rows)).view(np.uint32)
