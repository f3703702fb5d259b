"""Writes the files of this folder with PyTorch: `pip install torch==2.13.0`, then `python write.py`.

They are kept, so that the tests see what PyTorch itself writes without needing it.
"""

from __future__ import annotations

import json
from pathlib import Path

import torch

HERE = Path(__file__).parent


def counting(*shape: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    """0, 1/8, 2/8 up to 255/8 and again: exact in every type."""
    n = 1
    for size in shape:
        n *= size
    return (torch.arange(n, dtype=torch.float32) % 256 / 8).reshape(shape).to(dtype)


def types() -> None:
    for name, dtype in (("half", torch.float16), ("bfloat", torch.bfloat16), ("float", torch.float32)):
        state = {"matrix": counting(3, 8, dtype=dtype), "vector": counting(5, dtype=dtype), "epoch": 3, "note": "text"}
        torch.save(state, HERE / f"{name}.pth")


def shapes() -> None:
    whole = counting(4, 6)
    torch.save(
        {"rows": whole[1:3], "columns": whole[:, 2:5], "turned": whole.T, "one": whole[0, 0]}, HERE / "views.pth"
    )
    parameter = torch.nn.Parameter(counting(2, 3))
    torch.save({"model": {"parameter": parameter}, "optimizer": {"lr": 0.1}}, HERE / "wrapped.pth")
    module = torch.nn.Linear(4, 2)
    torch.save(module.state_dict(), HERE / "module.pth")
    torch.save({"w": counting(2, 2)}, HERE / "before_1_6.pth", _use_new_zipfile_serialization=False)


def meta_shards() -> None:
    """A LLaMA of one layer in two shards, as Meta cut them; a weight's value tells where in the whole it belongs."""
    dim, hidden, n_vocab = 8, 16, 264
    folder = HERE / "consolidated"
    folder.mkdir(exist_ok=True)
    by_columns = {"tok_embeddings.weight": (n_vocab, dim), "layers.0.attention.wo.weight": (dim, dim)}
    by_columns["layers.0.feed_forward.w2.weight"] = (dim, hidden)
    by_rows = {f"layers.0.attention.{name}.weight": (dim, dim) for name in ("wq", "wk", "wv")}
    by_rows |= {f"layers.0.feed_forward.{name}.weight": (hidden, dim) for name in ("w1", "w3")}
    by_rows["output.weight"] = (n_vocab, dim)
    vectors = ("norm.weight", "layers.0.attention_norm.weight", "layers.0.ffn_norm.weight")
    for number in range(2):
        state = {}
        for names, axis in ((by_columns, 1), (by_rows, 0)):
            for name, shape in names.items():
                state[name] = counting(*shape, dtype=torch.float16).chunk(2, axis)[number].clone()
        for name in vectors:
            state[name] = torch.ones(dim, dtype=torch.float16)
        state["rope.freqs"] = torch.zeros(2, dtype=torch.float16)
        torch.save(state, folder / f"consolidated.{number:02d}.pth")
    params = {"dim": dim, "multiple_of": 16, "n_heads": 2, "n_layers": 1, "norm_eps": 1e-06, "vocab_size": -1}
    (folder / "params.json").write_text(json.dumps(params))


if __name__ == "__main__":
    types()
    shapes()
    meta_shards()
