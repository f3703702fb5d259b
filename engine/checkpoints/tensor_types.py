"""The table of ggml's tensor types: how many bytes hold how many weights."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class TensorType:
    """One way to store weights: `block_size` of them in `block_bytes` bytes.

    block_size 0: the name is known, but its layout is not ours to read.
    """

    id: int
    name: str
    block_size: int
    block_bytes: int

    @property
    def is_known(self) -> bool:
        """Whether sizes can be computed."""
        return self.block_size > 0

    @property
    def is_float(self) -> bool:
        """Whether each weight is a plain floating-point number."""
        return self.name in ("F32", "F16", "BF16", "F64")

    def row_bytes(self, n_columns: int) -> int:
        """Bytes of a row; n_columns must be whole blocks."""
        return n_columns // self.block_size * self.block_bytes


_TABLE = (
    TensorType(0, "F32", 1, 4),
    TensorType(1, "F16", 1, 2),
    TensorType(2, "Q4_0", 32, 18),
    TensorType(3, "Q4_1", 32, 20),
    TensorType(4, "Q4_2", 0, 0),
    TensorType(5, "Q4_3", 0, 0),
    TensorType(6, "Q5_0", 32, 22),
    TensorType(7, "Q5_1", 32, 24),
    TensorType(8, "Q8_0", 32, 34),
    TensorType(9, "Q8_1", 32, 36),
    TensorType(10, "Q2_K", 256, 84),
    TensorType(11, "Q3_K", 256, 110),
    TensorType(12, "Q4_K", 256, 144),
    TensorType(13, "Q5_K", 256, 176),
    TensorType(14, "Q6_K", 256, 210),
    TensorType(15, "Q8_K", 256, 292),
    TensorType(16, "IQ2_XXS", 256, 66),
    TensorType(17, "IQ2_XS", 256, 74),
    TensorType(18, "IQ3_XXS", 256, 98),
    TensorType(19, "IQ1_S", 256, 50),
    TensorType(20, "IQ4_NL", 32, 18),
    TensorType(21, "IQ3_S", 256, 110),
    TensorType(22, "IQ2_S", 256, 82),
    TensorType(23, "IQ4_XS", 256, 136),
    TensorType(24, "I8", 1, 1),
    TensorType(25, "I16", 1, 2),
    TensorType(26, "I32", 1, 4),
    TensorType(27, "I64", 1, 8),
    TensorType(28, "F64", 1, 8),
    TensorType(29, "IQ1_M", 256, 56),
    TensorType(30, "BF16", 1, 2),
    TensorType(31, "Q4_0_4_4", 0, 0),
    TensorType(32, "Q4_0_4_8", 0, 0),
    TensorType(33, "Q4_0_8_8", 0, 0),
    TensorType(34, "TQ1_0", 256, 54),
    TensorType(35, "TQ2_0", 256, 66),
    TensorType(36, "IQ4_NL_4_4", 0, 0),
    TensorType(37, "IQ4_NL_4_8", 0, 0),
    TensorType(38, "IQ4_NL_8_8", 0, 0),
    TensorType(39, "MXFP4", 32, 17),
    TensorType(40, "NVFP4", 64, 36),
    TensorType(41, "Q1_0", 128, 18),
)

TYPE_BY_ID: dict[int, TensorType] = {t.id: t for t in _TABLE}
TYPE_BY_NAME: dict[str, TensorType] = {t.name: t for t in (*_TABLE, TensorType(-1, "F8_E4M3", 1, 1))}
"""Those, and what only safetensors files have."""
