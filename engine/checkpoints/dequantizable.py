"""The names of the weight types that dequantize.py reads, for those who may not import NumPy."""

from __future__ import annotations

DEQUANTIZABLE = tuple(
    "F32 F16 BF16 Q4_0 Q4_1 Q5_0 Q5_1 Q8_0 Q2_K Q3_K Q4_K Q5_K Q6_K IQ4_NL IQ4_XS MXFP4 TQ1_0 TQ2_0".split()
)
