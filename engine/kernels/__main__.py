"""Compiles kernels by order, in a process of its own, so that the engine's holds neither Numba nor LLVM.

Each line of input is an order, an `engine.machine_code.orders.Order`; the object file is written, and answered with an
empty line, or with what went wrong.
"""

from __future__ import annotations

import os
import sys
import threading

from engine.machine_code.files import write_object
from engine.machine_code.orders import Order, order_decoder

STACK_BYTES = 64 << 20
"""LLVM recurses deeply when it compiles; some systems give a thread half a megabyte."""


def main() -> None:
    """Read orders until the end of the input."""
    from engine.kernels.compiling import compile_function, find

    wire = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what LLVM or Numba print must not look like an answer
    for line in sys.stdin.buffer:
        order: Order = order_decoder.decode(line)
        try:
            function = find(order.module, order.name, order.arguments)
            write_object(order.path, compile_function(function, order.result, order.types))
            answer = ""
        except Exception as error:  # noqa: BLE001 - whatever it is, the engine has to hear of it
            answer = f"{type(error).__name__}: {error}".replace("\n", " ").strip()
        print(answer, file=wire, flush=True)


if __name__ == "__main__":
    threading.stack_size(STACK_BYTES)
    thread = threading.Thread(target=main)
    thread.start()
    thread.join()
