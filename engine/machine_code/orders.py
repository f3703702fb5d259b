"""What the engine and the process that compiles say to each other."""

from __future__ import annotations

import msgspec


class Order(msgspec.Struct, frozen=True):
    """A function of `engine.kernels` to be compiled to an object file.

    arguments: for the maker of the function, if `name` is one. result, types: Numba's names of what it takes and gives.
    """

    module: str
    name: str
    arguments: tuple[str, ...]
    result: str
    types: tuple[str, ...]
    path: str


order_encoder = msgspec.json.Encoder()
order_decoder = msgspec.json.Decoder(Order)
