"""How much time passes for a state, as layers learn it: a number below zero is little time, and none is negative."""

from __future__ import annotations

import numpy as np

from engine.kernels import lanes
from engine.kernels.jit import inner


@inner
def softplus(x):
    """log(1 + e^x) of each lane.

    The logarithm of 1 + z is twice the area tangent of z / (2 + z), which is at most a third where x is negative; for
    others, x is added to what -x has.
    """
    zero, two = lanes.splat(np.float32(0.0)), lanes.splat(np.float32(2.0))
    z = lanes.exp(lanes.sub(zero, lanes.maximum(x, lanes.sub(zero, x))))
    w = lanes.div(z, lanes.add(two, z))
    square = lanes.mul(w, w)
    total = lanes.splat(np.float32(1 / 15))
    total = lanes.fma(total, square, lanes.splat(np.float32(1 / 13)))
    total = lanes.fma(total, square, lanes.splat(np.float32(1 / 11)))
    total = lanes.fma(total, square, lanes.splat(np.float32(1 / 9)))
    total = lanes.fma(total, square, lanes.splat(np.float32(1 / 7)))
    total = lanes.fma(total, square, lanes.splat(np.float32(1 / 5)))
    total = lanes.fma(total, square, lanes.splat(np.float32(1 / 3)))
    total = lanes.mul(lanes.fma(lanes.mul(total, square), w, w), two)
    return lanes.add(lanes.maximum(x, zero), total)
