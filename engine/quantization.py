"""What a model's weights are stored as, in the names that people use."""

from __future__ import annotations

from collections import Counter

from engine.checkpoints import Checkpoint

FILE_TYPES = {
    0: "F32", 1: "F16", 2: "Q4_0", 3: "Q4_1", 7: "Q8_0", 8: "Q5_0", 9: "Q5_1", 10: "Q2_K", 11: "Q3_K_S", 12: "Q3_K_M",
    13: "Q3_K_L", 14: "Q4_K_S", 15: "Q4_K_M", 16: "Q5_K_S", 17: "Q5_K_M", 18: "Q6_K", 19: "IQ2_XXS", 20: "IQ2_XS",
    21: "Q2_K_S", 22: "IQ3_XS", 23: "IQ3_XXS", 24: "IQ1_S", 25: "IQ4_NL", 26: "IQ3_S", 27: "IQ3_M", 28: "IQ2_S",
    29: "IQ2_M", 30: "IQ4_XS", 31: "IQ1_M", 32: "BF16", 36: "TQ1_0", 37: "TQ2_0", 38: "MXFP4",
}  # fmt: skip
"""`general.file_type` of GGUF. Source: llama.cpp's llama_ftype."""


def name_without_quantization(name: str) -> str:
    """A model's name without the quantisation at its end: ``SmolLM2-135M.Q4_1`` is ``SmolLM2-135M``."""
    known = {kind.lower() for kind in FILE_TYPES.values()}
    for mark in ".-_":
        stem, separator, ending = name.rpartition(mark)
        if separator and stem and ending.lower() in known:
            return stem
    return name


def quantization_name(checkpoint: Checkpoint) -> str:
    """The mix that the file says it is, else the type that holds most weights."""
    file_type = checkpoint.metadata.get("general.file_type")
    if isinstance(file_type, int) and file_type in FILE_TYPES:
        return FILE_TYPES[file_type]
    weights: Counter[str] = Counter()
    for tensor in checkpoint.tensors.values():
        if len(tensor.shape) > 1:
            weights[tensor.type.name] += tensor.n_elements
    return weights.most_common(1)[0][0] if weights else ""
