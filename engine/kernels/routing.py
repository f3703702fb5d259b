"""The records of routing tokens to experts. Nothing here needs Numba."""

from __future__ import annotations

from engine.kernels.sizes import TOKEN_PAD

ROUTING_FIELDS = 5
N_EXPERTS, N_USED, CHOICES, CHOICES_STRIDE, GROUPS = range(ROUTING_FIELDS)
"""The routing record: how many experts there are and each token uses; rows of choices; the list of groups."""

CHOICE_FIELDS = 3
EXPERT, ROW, SHARE = range(CHOICE_FIELDS)
"""A token's choice, as int64: the expert, the row of this pair, and what its result is multiplied by (float32 bits).
Choices of a token lie one after the other, the likeliest first."""

GROUP_FIELDS = 3
GROUP_EXPERT, GROUP_ROW, GROUP_COUNT = range(GROUP_FIELDS)
"""A group: the expert, its first row and how many rows it has. The list of groups begins with their number."""


def pair_rows(max_tokens: int, n_experts: int, n_used: int) -> int:
    """How many rows the pairs of a batch may take, padding between the experts included."""
    pairs = max_tokens * n_used
    return pairs + min(n_experts, pairs) * (TOKEN_PAD - 1)


def groups_fields(n_experts: int) -> int:
    """int64 of the list of groups, and of a number per expert behind it."""
    return 1 + GROUP_FIELDS * n_experts + n_experts
