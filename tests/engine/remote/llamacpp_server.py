"""llama.cpp's own server as a program: prints its address, serves until the end of stdin. Arguments: MODEL PORT [KEY].

It runs in an environment of its own, which has xllamacpp and nothing of this project.
"""

from __future__ import annotations

import sys

import xllamacpp

CONTEXT = 1024


def main(model: str, port: str, *keys: str) -> None:
    parameters = xllamacpp.CommonParams()
    parameters.model.path = model
    parameters.hostnames = ["127.0.0.1"]
    parameters.port = int(port)
    parameters.api_keys = list(keys)
    parameters.n_ctx = CONTEXT
    parameters.n_parallel = 1
    parameters.warmup = False
    # One thread: two that wait for each other come to a standstill where other tests run beside.
    parameters.cpuparams.n_threads = parameters.cpuparams_batch.n_threads = 1
    server = xllamacpp.Server(parameters)
    sys.stdout.write(f"\n{server.listening_address}\n")
    sys.stdout.flush()
    sys.stdin.read()


main(*sys.argv[1:])
