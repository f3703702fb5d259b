"""The record of a residual stream of several, which all of its steps share. Nothing here needs Numba."""

from __future__ import annotations

MOST_STREAMS = 4
"""Coefficients from each stream to each fill no more than a vector."""

STREAMS_FIELDS = 8
STREAMS, STREAMS_STRIDE, COUNT, ACTIVE, WIDTH, ACTIVE_X, ACTIVE_X_STRIDE, ROUTER_EPS = range(STREAMS_FIELDS)
"""Rows of all streams, one behind the other, float32; how many there are, which one layers compute, their width (whole
vectors); rows where layers find that one; the epsilon of the norm before the router (float32 bits)."""
