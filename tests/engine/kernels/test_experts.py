"""The router, the grouping of tokens by expert, and their sums, against NumPy."""

from __future__ import annotations

import numpy as np
import pytest

from engine.forward.program import float_bits
from engine.kernels import routing
from engine.kernels.sizes import LANES, TOKEN_PAD
from engine.machine_code import step

DIM = 32


class Routed:
    """Tokens on their way: logits of n_experts each, of which n_used are chosen."""

    def __init__(self, run_step, logits, n_used) -> None:
        self.run, self.n, self.n_used = run_step, len(logits), n_used
        n_experts = logits.shape[1]
        self.choices = np.zeros((self.n, n_used, routing.CHOICE_FIELDS), np.int64)
        self.groups = np.zeros(routing.groups_fields(n_experts), np.int64)
        self.record = np.array(
            [n_experts, n_used, self.choices.ctypes.data, self.choices.strides[0], self.groups.ctypes.data]
        )
        self.address = self.record.ctypes.data
        self.rows = routing.pair_rows(self.n, n_experts, n_used)
        left = logits.copy()
        choice = [left.ctypes.data, left.strides[0], self.address, 0, 0, float_bits(1.0)]
        run_step(step("experts.choose_experts"), choice, self.n, n_tokens=self.n)
        run_step(step("experts.group_tokens"), [self.address], 1, n_tokens=self.n)

    @property
    def shares(self):
        return np.ascontiguousarray(self.choices[..., routing.SHARE]).view(np.float32)[:, ::2]

    def listed(self):
        return self.groups[1 : 1 + 3 * self.groups[0]].reshape(-1, 3)


@pytest.mark.parametrize(("n", "n_experts", "n_used"), [(1, 8, 2), (30, 8, 2), (7, 60, 8), (5, 4, 4)])
def test_routing(run_step, n, n_experts, n_used):
    logits = np.random.default_rng(n).standard_normal((n, n_experts), np.float32) * 3
    routed = Routed(run_step, logits, n_used)
    expected = np.argsort(-logits, axis=1)[:, :n_used]
    np.testing.assert_array_equal(routed.choices[..., routing.EXPERT], expected)
    weights = np.exp(np.take_along_axis(logits, expected, 1))
    np.testing.assert_allclose(routed.shares, weights / weights.sum(1, keepdims=True), rtol=1e-5)
    taken = set()
    for expert, row, count in routed.listed():
        assert row % TOKEN_PAD == 0
        mine = routed.choices[routed.choices[..., routing.EXPERT] == expert][:, routing.ROW]
        np.testing.assert_array_equal(mine, np.arange(row, row + count))
        padded = set(range(row, row + -(-count // TOKEN_PAD) * TOKEN_PAD))
        assert not taken & padded
        taken |= padded
    assert max(taken) < routed.rows
    assert routed.listed()[:, routing.GROUP_COUNT].sum() == n * n_used


def test_shares_are_multiplied_by_what_their_experts_have(run_step):
    logits = np.random.default_rng(3).standard_normal((9, 8), np.float32)
    routed = Routed(run_step, logits, 3)
    shares, chosen = routed.shares.copy(), routed.choices[..., routing.EXPERT].copy()
    scales, left = np.linspace(0.5, 2.0, 16, dtype=np.float32), logits.copy()
    how = [routed.address, 0, 0, float_bits(1.0), scales.ctypes.data]
    run_step(step("experts.choose_experts"), [left.ctypes.data, left.strides[0], *how], 9, n_tokens=9)
    np.testing.assert_array_equal(routed.choices[..., routing.EXPERT], chosen)
    np.testing.assert_allclose(routed.shares, shares * scales[chosen], rtol=1e-6)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_logits_that_are_no_numbers_choose_experts_that_exist(run_step, bad):
    routed = Routed(run_step, np.full((3, 4), bad, np.float32), 2)
    assert ((routed.choices[..., routing.EXPERT] >= 0) & (routed.choices[..., routing.EXPERT] < 4)).all()
    assert routed.listed()[:, routing.GROUP_COUNT].sum() == 6


def test_each_pair_gets_what_its_expert_adds(run_step):
    rng = np.random.default_rng(4)
    routed = Routed(run_step, rng.standard_normal((6, 5), np.float32), 3)
    biases = rng.standard_normal((5, DIM), np.float32)
    pairs = rng.standard_normal((routed.rows, DIM + 16), np.float32)
    before = pairs.copy()
    where = [pairs.ctypes.data, pairs.strides[0], biases.ctypes.data, DIM // LANES, routed.address]
    run_step(step("experts.add_biases"), where, 6, n_tokens=6)
    rows = routed.choices[..., routing.ROW]
    np.testing.assert_array_equal(pairs[rows, :DIM], before[rows, :DIM] + biases[routed.choices[..., routing.EXPERT]])
    pairs[rows, :DIM] = before[rows, :DIM]
    np.testing.assert_array_equal(pairs, before)


@pytest.mark.parametrize(("is_sigmoid", "n_groups", "used_groups"), [(0, 1, 1), (1, 1, 1), (1, 6, 2), (0, 4, 3)])
def test_scores_and_the_shares_of_probabilities(run_step, is_sigmoid, n_groups, used_groups):
    rng = np.random.default_rng(5)
    n, n_experts, n_used = 9, 24, 4
    logits = rng.standard_normal((n, n_experts + 8), np.float32) * 2
    bias = rng.standard_normal(32, np.float32)
    probabilities, scores = (np.zeros((n, 48), np.float32) for _ in range(2))
    rows = [logits.ctypes.data, logits.strides[0], probabilities.ctypes.data, scores.ctypes.data, scores.strides[0]]
    how = [bias.ctypes.data, n_experts, is_sigmoid, n_groups, used_groups]
    run_step(step("experts.score_experts"), rows + how, n, n_tokens=n)
    its = logits[:, :n_experts].astype(np.float64)
    expected = 1 / (1 + np.exp(-its)) if is_sigmoid else np.exp(its) / np.exp(its).sum(1, keepdims=True)
    np.testing.assert_allclose(probabilities[:, :n_experts], expected, rtol=1e-5)
    apart = (expected + bias[:n_experts]).reshape(n, n_groups, -1)
    best = np.argsort(-np.sort(apart, -1)[..., -2:].sum(-1), axis=1)[:, :used_groups]
    inside = (np.arange(n_groups) == best[..., None]).any(1)[..., None]
    found = scores[:, :n_experts].copy()
    np.testing.assert_allclose(found, np.where(inside, apart, -np.inf).reshape(n, -1), rtol=1e-5, atol=1e-6)

    routed = Routed(run_step, logits[:, :n_experts], n_used)
    for is_normed in (0, 1):
        left = scores.copy()
        shares = [probabilities.ctypes.data, is_normed, float_bits(2.5)]
        run_step(
            step("experts.choose_experts"), [left.ctypes.data, left.strides[0], routed.address, *shares], n, n_tokens=n
        )
        chosen = np.argsort(-found, axis=1)[:, :n_used]
        np.testing.assert_array_equal(routed.choices[..., routing.EXPERT], chosen)
        theirs = np.take_along_axis(expected, chosen, 1)
        whole = theirs.sum(1, keepdims=True) if is_normed else 1.0
        np.testing.assert_allclose(routed.shares, 2.5 * theirs / whole, rtol=1e-5)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("is_sigmoid", [0, 1])
def test_scores_that_are_no_numbers_choose_experts_that_exist(run_step, bad, is_sigmoid):
    logits, spare = np.full((3, 32), bad, np.float32), np.zeros((2, 3, 32), np.float32)
    bias = np.full(32, bad, np.float32)
    rows = [logits.ctypes.data, logits.strides[0], spare[0].ctypes.data, spare[1].ctypes.data, spare.strides[1]]
    run_step(step("experts.score_experts"), [*rows, bias.ctypes.data, 8, is_sigmoid, 4, 2], 3, n_tokens=3)
    routed = Routed(run_step, np.ascontiguousarray(spare[1, :, :8]), 2)
    assert ((routed.choices[..., routing.EXPERT] >= 0) & (routed.choices[..., routing.EXPERT] < 8)).all()


def test_what_is_shared_stays_in_the_sum(run_step):
    rng = np.random.default_rng(8)
    routed = Routed(run_step, rng.standard_normal((6, 5), np.float32), 3)
    shared, gates = rng.standard_normal((6, DIM), np.float32), rng.standard_normal((6, 3), np.float32)
    pairs = rng.standard_normal((routed.rows, DIM), np.float32)
    sums = (pairs[routed.choices[..., routing.ROW]] * routed.shares[..., None]).sum(1)
    for has_gate in (False, True):
        out = shared.copy()
        parameters = [pairs.ctypes.data, pairs.strides[0], out.ctypes.data, out.strides[0], DIM, routed.address, 1]
        where = [gates.ctypes.data + 4, gates.strides[0]] if has_gate else [0, 0]
        run_step(step("experts.sum_pairs"), parameters + where, 6, n_tokens=6)
        factor = 1 / (1 + np.exp(-gates[:, 1:2])) if has_gate else 1.0
        np.testing.assert_allclose(out, sums + shared * factor, rtol=1e-5, atol=1e-5)


def test_gathering_and_summing(run_step):
    rng = np.random.default_rng(3)
    routed = Routed(run_step, rng.standard_normal((6, 5), np.float32), 3)
    x, out = rng.standard_normal((6, DIM), np.float32), np.zeros((6, DIM), np.float32)
    pairs = np.full((routed.rows, DIM), np.nan, np.float32)
    run_step(
        step("experts.gather_rows"), [x.ctypes.data, pairs.ctypes.data, x.strides[0], routed.address], 6, n_tokens=6
    )
    rows = routed.choices[..., routing.ROW]
    np.testing.assert_array_equal(pairs[rows], np.repeat(x[:, None], 3, 1))
    pairs *= np.arange(routed.rows, dtype=np.float32)[:, None]
    expected = (pairs[rows] * routed.shares[..., None]).sum(1)
    parameters = [pairs.ctypes.data, pairs.strides[0], out.ctypes.data, out.strides[0], DIM, routed.address, 0, 0, 0]
    run_step(step("experts.sum_pairs"), parameters, 6, n_tokens=6)
    np.testing.assert_allclose(out, expected, rtol=1e-5, atol=1e-5)
