"""Records llama.cpp's greedy answers of the starter model; needs xllamacpp: `record_golden.py SmolLM2….gguf`.

Writes golden_smollm2.json beside itself: for each prompt its tokens and, step by step, the likeliest tokens with their
log-probabilities. The end of text does not end an answer.
"""

from __future__ import annotations

import json
import sys
import urllib.request
from pathlib import Path
from typing import Any

import xllamacpp

CHAT = (
    "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n"
    "<|im_start|>user\n{}<|im_end|>\n<|im_start|>assistant\n"
)
PROMPTS = (
    "The capital of France is",
    "Once upon a time, there was a little",
    'def fibonacci(n):\n    """Return the n-th Fibonacci number."""\n',
    CHAT.format("What is the capital of France?"),
    "1, 2, 3, 4, 5, 6, 7,",
    "import os\nimport sys\n\ndef main():\n",
    "The three primary colors are",
    "Photosynthesis is the process by which plants",
    '{"name": "Alice", "age": 30, "city":',
)
STEPS, LIKELIEST = 32, 6
FORCED = 1e6
"""A bias that makes the server's own choice a plain letter: it leaves out tokens that end amid a character."""


class Server:
    """llama.cpp's server in this process."""

    def __init__(self, model: str) -> None:
        parameters = xllamacpp.CommonParams()
        parameters.model.path = model
        parameters.n_ctx, parameters.n_parallel, parameters.warmup, parameters.port = 1024, 1, False, 0
        self._server = xllamacpp.Server(parameters)

    def post(self, path: str, **body: Any) -> Any:
        url = self._server.listening_address + path
        request = urllib.request.Request(url, json.dumps(body).encode(), {"Content-Type": "application/json"})
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(request, timeout=60) as response:
            return json.load(response)

    def tokens(self, text: str) -> list[int]:
        return list(self.post("/tokenize", content=text, add_special=True, parse_special=True)["tokens"])

    def likeliest(self, ids: list[int], letter: int) -> list[list[float]]:
        told = self.post(
            "/completion",
            prompt=ids,
            n_predict=1,
            n_probs=LIKELIEST,
            temperature=0,
            cache_prompt=True,
            logit_bias=[[letter, FORCED]],
        )
        top = told["completion_probabilities"][0]["top_logprobs"][:LIKELIEST]
        return [[token["id"], round(token["logprob"], 4)] for token in top]


def main() -> None:
    server = Server(sys.argv[1])
    letter = server.tokens("a")[-1]
    answers = []
    for prompt in PROMPTS:
        ids = server.tokens(prompt)
        steps: list[list[list[float]]] = []
        for _ in range(STEPS):
            steps.append(server.likeliest(ids + [int(step[0][0]) for step in steps], letter))
        answers.append({"prompt": prompt, "ids": ids, "steps": steps})
    result = {"xllamacpp": xllamacpp.__version__, "model": Path(sys.argv[1]).name, "answers": answers}
    Path(__file__).with_name("golden_smollm2.json").write_text(
        json.dumps(result, separators=(",", ":")) + "\n", "utf-8"
    )


if __name__ == "__main__":
    main()
