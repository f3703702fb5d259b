"""Records what llama.cpp predicts on tiny models of every architecture; needs xllamacpp and gguf.

`record_logprobs.py [NAME …]` writes logprobs.json beside itself: for each model of tiny_models.py, the
log-probabilities of the likeliest tokens after the first tokens of a fixed text, at several lengths. With names, those
models' alone are recorded, the others' stay.
"""

from __future__ import annotations

import json
import sys
import tempfile
import urllib.request
from pathlib import Path

import numpy as np
import xllamacpp

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))
import tiny_models  # noqa: E402

CONTEXT = 256
LENGTHS = (1, 20, 60)
TOP = 10

UNLIKE_LLAMA_CPP = {
    *("mistral", "mixtral-apart", "plm", "granitehybrid-unbiased", "gemma3n", "bitnet-b1.58"),
    *("llama4-chunks", "llama4-whole", "deci-no-feed-forward", "plamo2-untied"),
}
"""It leaves attention out where Deci's layers have no feed-forward part, does not read llama's window, nor the size of
Llama 4's chunks, where there are none it does not turn the last layer in their place, no longer reads experts apart,
ends when it reads PLM, and where a state's convolution has no bias, knows some numbers of Gemma 3n by heart, and never
ends opening a model whose first layer has no heads of queries; only Microsoft's fork reads bitnet-b1.58."""


def predictions(model: Path, ids: list[int]) -> list[list[list[float]]]:
    """[[id, log-probability], …] of the likeliest tokens after the first LENGTHS tokens."""
    parameters = xllamacpp.CommonParams()
    parameters.model.path = str(model)
    parameters.n_ctx, parameters.n_parallel, parameters.warmup, parameters.port = CONTEXT, 1, False, 0
    server = xllamacpp.Server(parameters)
    found = []
    for length in LENGTHS:
        body = {"prompt": ids[:length], "n_predict": 1, "n_probs": TOP, "temperature": 0, "cache_prompt": False}
        body["logit_bias"] = [[705 - 1, 1e6]]
        request = urllib.request.Request(
            server.listening_address + "/completion", json.dumps(body).encode(), {"Content-Type": "application/json"}
        )
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(request, timeout=60) as response:
            top = json.load(response)["completion_probabilities"][0]["top_logprobs"]
        found.append([[token["id"], round(token["logprob"], 5)] for token in top])
    return found


def main() -> None:
    ids = np.random.default_rng(6).integers(3, 705, max(LENGTHS)).tolist()
    path = HERE / "logprobs.json"
    named = sys.argv[1:]
    recorded = json.loads(path.read_text("utf-8"))["models"] if named else {}
    with tempfile.TemporaryDirectory() as folder:
        for name in named or tiny_models.MODELS:
            if name in UNLIKE_LLAMA_CPP:
                continue
            model = tiny_models.write_tiny(Path(folder) / f"{name}.gguf", name)
            recorded[name] = predictions(model, ids)
    result = {
        "xllamacpp": xllamacpp.__version__,
        "context": CONTEXT,
        "ids": ids,
        "lengths": LENGTHS,
        "models": {name: recorded[name] for name in tiny_models.MODELS if name in recorded},
    }
    path.write_text(json.dumps(result, separators=(",", ":")) + "\n", "utf-8")


main()
