"""What coming back to a long session costs: the first new token with the kept cache against reading it all again.

    .venv/bin/python bench/return.py [--tokens 4000] [--rounds 5]

A real engine reads a session of the starter model, ends (which keeps the session's cache on disk), and is started anew
for every return; each return asks a short new question. One JSON object says the times, their ratio, and whether the
answers, greedy, have the same tokens. That the engine has to start is left out: it does so while the app opens.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import statistics
import tempfile
from dataclasses import dataclass
from pathlib import Path

from starter_home import engine_cache, starter_model

from engine.client import EngineClient
from engine.protocol import Finished, Generate, Load, Sampling, Token, TokenPrompt
from tui.commands.bench import random_ids

SESSION = "the session"
QUESTION_TOKENS = 20
ANSWER_TOKENS = 32


@dataclass
class Return:
    """One coming back. first_token_ms: from the question to the first token of its answer."""

    first_token_ms: float
    reused: int
    ids: list[int]


async def main() -> None:
    """Keep a session, return to it in turn with and without what was kept, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tokens", type=int, default=4000)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    model = starter_model()
    with tempfile.TemporaryDirectory() as folder:
        load = Load(path=str(model), cache_dir=folder)
        kernels = engine_cache() / "kernels"
        kernels.mkdir(exist_ok=True)
        (Path(folder) / "kernels").symlink_to(kernels, target_is_directory=True)
        generator = random.Random(1)
        client = await EngineClient.start(log_path=Path(folder) / "engine.log")
        card = await client.load(load)
        session = random_ids(card, options.tokens, generator)
        await ask(client, session, SESSION)
        await client.close()
        kept, anew = [], []
        for _ in range(options.rounds):
            question = random_ids(card, QUESTION_TOKENS, generator)
            kept.append(await come_back(load, [*session, *question], SESSION))
            anew.append(await come_back(load, [*session, *question], ""))
    print(
        json.dumps(
            {
                "tokens": options.tokens,
                "kept_ms": round(statistics.median(run.first_token_ms for run in kept), 1),
                "anew_ms": round(statistics.median(run.first_token_ms for run in anew), 1),
                "ratio": round(
                    statistics.median(b.first_token_ms / a.first_token_ms for a, b in zip(kept, anew, strict=True)), 1
                ),
                "reused": [run.reused for run in kept],
                "same_tokens": all(a.ids == b.ids for a, b in zip(kept, anew, strict=True)),
            }
        )
    )


async def come_back(load: Load, ids: list[int], session: str) -> Return:
    """Start an engine, open the model, ask. session "": as if nothing had been kept."""
    client = await EngineClient.start(log_path=Path(load.cache_dir or "") / "engine.log")
    try:
        await client.load(load)
        return await ask(client, ids, session)
    finally:
        await client.close()


async def ask(client: EngineClient, ids: list[int], session: str) -> Return:
    """One greedy answer."""
    command = Generate(
        prompt=TokenPrompt(ids=ids),
        sampling=Sampling(temperature=0.0, max_new_tokens=ANSWER_TOKENS),
        ignore_eos=True,
        session=session,
    )
    chosen: list[int] = []
    async for event in client.ask(command):
        if isinstance(event, Token):
            chosen.append(event.id)
        elif isinstance(event, Finished):
            return Return(event.first_token_ms, event.reused_tokens, chosen)
    raise SystemExit("The engine ended an answer without saying so.")


if __name__ == "__main__":
    asyncio.run(main())
