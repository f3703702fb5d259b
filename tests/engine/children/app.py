"""An app that has an answer written and gets killed; argv: the engine's command. Says the engine's pid."""

import asyncio
import os
import sys
from pathlib import Path

from engine.client import EngineClient
from engine.protocol import Generate, Load, TextPrompt, Token


async def main() -> None:
    log, model, *command = sys.argv[1:]
    client = await EngineClient.start(command or None, log_path=Path(log))
    await client.load(Load(path=model, cache_dir=os.environ.get("APP_CACHE_DIR")))
    sys.stdout.write(f"{client.pid}\n")
    sys.stdout.flush()
    async for event in client.ask(Generate(prompt=TextPrompt(text="Once upon a time"), ignore_eos=True)):
        if isinstance(event, Token):
            sys.stdout.write("token\n")
            sys.stdout.flush()


if __name__ == "__main__":
    asyncio.run(main())
