"""What guessing ahead brings: greedy answers with and without it, in turn; the ratio of their speeds, text by text.

    python bench/lookup.py MODEL.gguf [--rounds 5] [--threads 2]

Texts that repeat themselves are rewritten with one change; the others give nothing to look up.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import statistics
from pathlib import Path

import psutil

from engine.client import EngineClient
from engine.protocol import ChatMessage, ChatPrompt, Failed, Finished, Generate, Load, Sampling, TextPrompt, Token
from tui.paths import user_paths

CODE = '''def read_settings(path):
    """Read the settings file and return a dictionary."""
    settings = {}
    with open(path, encoding="utf-8") as file:
        for number, line in enumerate(file, start=1):
            line = line.strip()
            if not line or line.startswith("#"):
                continue
            key, separator, value = line.partition("=")
            if not separator:
                raise ValueError(f"line {number} has no equals sign")
            settings[key.strip()] = value.strip()
    return settings


def write_settings(path, settings):
    """Write a dictionary to the settings file."""
    with open(path, "w", encoding="utf-8") as file:
        for key, value in sorted(settings.items()):
            file.write(f"{key} = {value}\\n")
'''

CHANGED = CODE.replace("path", "source")
PROMPTS: dict[str, str | TextPrompt] = {
    "code once more": TextPrompt(
        text=f"settings.py:\n\n{CODE}\n\nsettings.py, with the first argument called source:\n\n{CHANGED[:240]}"
    ),
    "code with one change": "Rewrite this code with one change: the file is called source, not path.\n\n"
    f"```python\n{CODE}```",
    "a list again": "Repeat this list, with the last line left out:\n\n"
    + "\n".join(f"{n}. The {n}th customer ordered {n * 3} boxes of green apples on Monday." for n in range(1, 21)),
    "a story": "Tell me a long story about a lighthouse keeper and a storm.",
    "an explanation": "Explain in detail how bread is made, from the grain to the table.",
    "a letter": "Write a letter to a friend about a journey through the mountains.",
}


async def answer(
    client: EngineClient, prompt: str | TextPrompt, tokens: int, speculate: bool
) -> tuple[Finished, list[int]]:
    command = Generate(
        prompt=ChatPrompt(messages=[ChatMessage(role="user", content=prompt)]) if isinstance(prompt, str) else prompt,
        sampling=Sampling(temperature=0.0, max_new_tokens=tokens, repeat_penalty=1.0),
        speculate=speculate,
    )
    ids = []
    async for event in client.ask(command):
        if isinstance(event, Token):
            ids.append(event.id)
        elif isinstance(event, Failed):
            raise SystemExit(event.message)
        elif isinstance(event, Finished):
            return event, ids
    raise SystemExit("The engine ended without an answer.")


async def measure(options: argparse.Namespace) -> None:
    client = await EngineClient.start(log_path=user_paths().engine_log)
    await client.load(
        Load(path=str(options.model), threads=options.threads, context=2048, cache_dir=str(user_paths().cache_dir))
    )
    for name, prompt in PROMPTS.items():
        speeds: dict[bool, list[float]] = {True: [], False: []}
        for _ in range(options.rounds + 1):
            answers = {}
            for speculate, seen in speeds.items():
                finished, answers[speculate] = await answer(client, prompt, options.tokens, speculate)
                seen.append(finished.tokens_per_second() or 0.0)
                if speculate:
                    guessed, right = finished.guessed_tokens, finished.right_guesses
            if answers[True] != answers[False]:
                raise SystemExit(f"{name}: guessing ahead changed the answer.")
        ahead, plain = (statistics.median(speeds[speculate][1:]) for speculate in (True, False))
        print(
            f"{name:22} {len(answers[True]):4} tokens: {ahead:6.1f} / {plain:6.1f} tokens/s = {ahead / plain:.2f}"
            f"  ({right} of {guessed} guesses right)"
        )
    await client.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("--threads", type=int, default=psutil.cpu_count(logical=False) or os.cpu_count())
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--tokens", type=int, default=400)
    asyncio.run(measure(parser.parse_args()))


if __name__ == "__main__":
    main()
