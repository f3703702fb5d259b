"""Records in quantized.json what libraries make of weights, and what they take the result for.

`python record_quantized.py`, with bitsandbytes, compressed-tensors, mlx (its CPU's), numpy and torch.
"""

from __future__ import annotations

import base64
import json
import zlib
from pathlib import Path
from typing import Any

import bitsandbytes as bnb
import mlx.core as mx
import numpy as np
import torch
from bitsandbytes import functional
from compressed_tensors.compressors import (
    IntQuantizationCompressor,
    MXFP4PackedCompressor,
    NVFP4PackedCompressor,
    PackedQuantizationCompressor,
)
from compressed_tensors.quantization import QuantizationArgs, QuantizationScheme

MLX_MODES = {
    "two bits": {"bits": 2, "group_size": 32},
    "three bits": {"bits": 3, "group_size": 64},
    "four bits": {"bits": 4, "group_size": 64},
    "five bits": {"bits": 5, "group_size": 64},
    "six bits": {"bits": 6, "group_size": 64},
    "eight bits": {"bits": 8, "group_size": 128},
    "mxfp4": {"bits": 4, "group_size": 32, "mode": "mxfp4"},
    "nvfp4": {"bits": 4, "group_size": 16, "mode": "nvfp4"},
    "mxfp8": {"bits": 8, "group_size": 32, "mode": "mxfp8"},
}
"""What MLX's `quantization` may be."""

TYPES = {
    torch.uint8: "U8",
    torch.int8: "I8",
    torch.int32: "I32",
    torch.int64: "I64",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.float32: "F32",
    torch.float8_e4m3fn: "F8_E4M3",
}
"""What safetensors calls them."""

STEP = 53
"""Of large matrices, every so many weights are kept."""


def weights_of(rows: int, columns: int) -> torch.Tensor:
    """Random ones; each row has a size of its own."""
    made = torch.randn(rows, columns, generator=torch.Generator().manual_seed(rows * columns))
    return made * torch.linspace(0.02, 0.2, rows)[:, None]


def text_of(raw: bytes) -> str:
    """Bytes as JSON has them."""
    return base64.b64encode(zlib.compress(raw, 9)).decode()


def stored(tensor: torch.Tensor) -> list[Any]:
    """A tensor as a file has it: its type, its shape, its bytes."""
    raw = tensor.detach().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()
    return [TYPES[tensor.dtype], list(tensor.shape) or [1], text_of(raw)]


def case(tensors: dict[str, torch.Tensor], weights: torch.Tensor, **how: Any) -> dict[str, Any]:
    """What a test needs: what a file has of the matrix called `m`, and the numbers that it is."""
    numbers = weights.detach().float().numpy()
    step = STEP if numbers.size > 4096 else 1
    return {
        "how": how,
        "shape": list(numbers.shape),
        "step": step,
        "tensors": {name: stored(tensor) for name, tensor in tensors.items()},
        "weights": text_of(np.ascontiguousarray(numbers.reshape(-1)[::step]).astype("<f4").tobytes()),
    }


def bits_and_bytes() -> dict[str, Any]:
    """Four bits of two kinds, with and without scales in eight bits, and rows of eight bits."""
    cases = {}
    for kind in ("nf4", "fp4"):
        for nested, shape in ((False, (6, 96)), (True, (6, 96)), (True, (130, 160))):
            weights = weights_of(*shape)
            linear = bnb.nn.Linear4bit(shape[1], shape[0], bias=False)
            linear.weight = bnb.nn.Params4bit(
                weights.clone(), requires_grad=False, quant_type=kind, compress_statistics=nested, blocksize=64
            )
            linear.to("cpu")
            state = linear.weight.quant_state
            state.shape = torch.Size([1, weights.numel()])  # its CPU kernel takes blocks across rows wrongly
            found = functional.dequantize_4bit(linear.weight.data, state).reshape(shape)
            state.shape = torch.Size(shape)
            assert (found - weights).abs().max() < weights.abs().max() / 6
            tensors = {f"m.{name}": tensor for name, tensor in linear.state_dict().items()}
            how = {"quant_method": "bitsandbytes", "load_in_4bit": True, "bnb_4bit_quant_type": kind}
            cases[f"{kind} {'nested ' * nested}{shape[0]}x{shape[1]}"] = case(tensors, found, **how)
    linear = bnb.nn.Linear8bitLt(96, 6, bias=False, has_fp16_weights=False)
    linear.weight = bnb.nn.Int8Params(weights_of(6, 96), requires_grad=False, has_fp16_weights=False)
    linear.to("cpu")
    linear(torch.ones(1, 96))
    tensors = {f"m.{name}": tensor for name, tensor in linear.state_dict().items()}
    found = functional.int8_vectorwise_dequant(tensors["m.weight"], tensors["m.SCB"])
    cases["eight bits"] = case(tensors, found, quant_method="bitsandbytes", load_in_8bit=True)
    return cases


def from_mlx(array: mx.array) -> torch.Tensor:
    """The same bytes; words of 32 bits have a sign there."""
    raw = np.array(array.view(mx.uint8)).reshape(-1)
    kinds = {mx.uint32: torch.int32, mx.uint8: torch.uint8, mx.bfloat16: torch.bfloat16, mx.float16: torch.float16}
    return torch.from_numpy(raw).view(kinds[array.dtype]).reshape(array.shape)


def mlx() -> dict[str, Any]:
    """All modes; scales of two kinds in that of four bits."""
    cases = {}
    for name, how in [*MLX_MODES.items(), ("four bits in F16", MLX_MODES["four bits"])]:
        weights = mx.array(weights_of(6, 128).numpy()).astype(mx.float16 if "F16" in name else mx.bfloat16)
        parts = mx.quantize(weights, **how)
        exact = [part.astype(mx.float32) if part.dtype in (mx.bfloat16, mx.float16) else part for part in parts]
        found = mx.dequantize(*exact, **how, dtype=mx.float32)
        tensors = dict(zip(("m.weight", "m.scales", "m.biases"), map(from_mlx, parts), strict=False))
        cases[name] = case(tensors, torch.from_numpy(np.array(found.astype(mx.float32))), **how)
    return cases


COMPRESSORS = {
    "pack-quantized": PackedQuantizationCompressor,
    "int-quantized": IntQuantizationCompressor,
    "nvfp4-pack-quantized": NVFP4PackedCompressor,
    "mxfp4-pack-quantized": MXFP4PackedCompressor,
}
SCHEMES: dict[str, tuple[str, dict[str, Any]]] = {
    "four bits": ("pack-quantized", {"num_bits": 4, "strategy": "group", "group_size": 32}),
    "four bits of rows": ("pack-quantized", {"num_bits": 4, "strategy": "channel"}),
    "four bits with zeros": (
        "pack-quantized",
        {"num_bits": 4, "strategy": "group", "group_size": 32, "symmetric": False},
    ),
    "eight bits": ("pack-quantized", {"num_bits": 8, "strategy": "group", "group_size": 64}),
    "eight bits with zeros": ("pack-quantized", {"num_bits": 8, "strategy": "channel", "symmetric": False}),
    "bytes": ("int-quantized", {"num_bits": 8, "strategy": "channel"}),
    "nvfp4": ("nvfp4-pack-quantized", {"num_bits": 4, "type": "float", "strategy": "tensor_group", "group_size": 16}),
    "mxfp4": ("mxfp4-pack-quantized", {"num_bits": 4, "type": "float", "strategy": "group", "group_size": 32}),
}


def compressed() -> dict[str, Any]:
    """Integers packed and not, with zeros and without, and numbers of four bits with two kinds of scales."""
    cases = {}
    for name, (form, settings) in SCHEMES.items():
        arguments = QuantizationArgs(**settings)
        weights = weights_of(10, 128)
        groups = weights.reshape(10, -1, arguments.group_size or 128)
        state = {"weight": weights}
        if arguments.type == "float":
            scale = groups.abs().amax(2) / 6
            if arguments.group_size == 32:
                scale = torch.exp2(torch.ceil(torch.log2(scale)))
            else:
                state["weight_global_scale"] = (448 / scale.max()).reshape(1)
                scale = (scale * state["weight_global_scale"]).to(torch.float8_e4m3fn).float()
        elif arguments.symmetric:
            scale = groups.abs().amax(2) / (2 ** (arguments.num_bits - 1) - 0.5)
        else:
            lows, highs = groups.amin(2).clamp(max=0), groups.amax(2).clamp(min=0)
            scale = (highs - lows) / (2**arguments.num_bits - 1)
            zeros = torch.round(-(2 ** (arguments.num_bits - 1)) - lows / scale)
            state["weight_zero_point"] = zeros.to(torch.int8)
        state["weight_scale"] = scale.to(torch.bfloat16).float()
        scheme = QuantizationScheme(targets=["Linear"], weights=arguments)
        packed = COMPRESSORS[form].compress(state, scheme)
        found = COMPRESSORS[form].decompress(packed, scheme)["weight"]
        assert (found - weights).abs().max() < weights.abs().max() / 5
        tensors = {f"m.{part}": tensor for part, tensor in packed.items()}
        if arguments.type != "float":
            tensors["m.weight_scale"] = tensors["m.weight_scale"].to(torch.bfloat16)
        weights_how = arguments.model_dump(mode="json", exclude_none=True, exclude={"zp_dtype", "scale_dtype"})
        how = {"config_groups": {"group_0": {"targets": ["Linear"], "weights": weights_how}}}
        cases[name] = case(tensors, found, quant_method="compressed-tensors", format=form, **how)
    return cases


def main() -> None:
    """Write all of them."""
    found = {"bitsandbytes": bits_and_bytes(), "mlx": mlx(), "compressed-tensors": compressed()}
    target = Path(__file__).with_name("quantized.json")
    target.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
