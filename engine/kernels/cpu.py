"""Which vector instructions this processor has, as Numba will compile for it."""

from __future__ import annotations

import platform
from functools import cache

from engine.kernels import amx_permission


@cache
def features() -> frozenset[str]:
    """LLVM's names of the features that Numba compiles with (``avx2``, ``avx512vnni``, ``dotprod`` …).

    NUMBA_CPU_NAME and NUMBA_CPU_FEATURES are respected: with ``generic`` there are none.
    """
    import llvmlite.binding as llvm
    from numba.core import config

    asked_features = getattr(config, "CPU_FEATURES", None)
    if asked_features is not None:
        asked = str(asked_features).split(",")
        return frozenset(name[1:] for name in asked if name.startswith("+"))
    try:
        host = llvm.get_host_cpu_features()
    except RuntimeError:
        return frozenset()
    return frozenset(name for name, present in host.items() if present)


def is_x86() -> bool:
    """Whether this is an x86-64 processor."""
    return platform.machine().lower() in {"x86_64", "amd64"}


def has_avx512_dot() -> bool:
    """512-bit registers and byte dot products that add to 32-bit lanes (AVX-512 VNNI)."""
    return is_x86() and {"avx512f", "avx512bw", "avx512dq", "avx512vl", "avx512vnni"} <= features()


def scales_beside_products() -> bool:
    """Whether a scaling by powers of two (`vscalefps`) does not take turns with products.

    AMD's AVX-512 has two units that multiply, and two others that scale and add: 101 instead of 97 products of words a
    nanosecond (Zen 4).
    """
    return has_avx512_dot() and "sse4a" in features()


def has_amx() -> bool:
    """Matrix registers that multiply signed bytes, and the system's permission to use them."""
    return has_avx512_dot() and {"amx-tile", "amx-int8"} <= features() and amx_permission.granted()


def has_avx_vnni() -> bool:
    """256-bit byte dot products without AVX-512."""
    return is_x86() and {"avx2", "avxvnni"} <= features()


def has_avx2() -> bool:
    """256-bit integer arithmetic with `vpmaddubsw`."""
    return is_x86() and "avx2" in features()


def adds_apart() -> bool:
    """256-bit registers, but no dot product that adds to a sum by itself."""
    return has_avx2() and not (has_avx512_dot() or has_avx_vnni())


def has_f16c() -> bool:
    """Half-precision loads and stores."""
    return is_x86() and "f16c" in features()


def has_neon_dot() -> bool:
    """ARM's `sdot`."""
    return platform.machine().lower() in {"aarch64", "arm64"} and "dotprod" in features()


def fetches_when_asked() -> bool:
    """Whether a single token's weights are read faster when instructions ask for them far ahead.

    Intel's look ahead within 4 KB by themselves: a thread reads Q4_0 at 9.4 GB/s, 12.7 if asked (Granite Rapids). Of
    AMD's, which alone have SSE4a, those without AVX-512 gain too: two threads take 0.79 times as long for Q4_K, 0.9 for
    Q4_0, 0.95 for BF16 (Zen 3). With AVX-512 they lose a tenth (Zen 4).
    """
    return has_avx2() and not ("sse4a" in features() and has_avx512_dot())


def fetches_next_when_asked() -> bool:
    """Whether words that a few tokens read are read faster when instructions ask for those that come next.

    Zen 4's products of words then go at the pace at which the memory is read without them: 0.75 of the time (keys of
    4,096 positions, two threads; at any distance up to 1.5 KB). Not measured elsewhere.
    """
    return "sse4a" in features() and has_avx512_dot()
