"""Weights as they occur and as they should not, and converting them by the code under test."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

COLUMNS = 512
SAMPLES = (
    "normal",
    "uniform",
    "heavy tails",
    "one sign",
    "laplace",
    "outliers",
    "zeros between",
    "two values",
    "few",
    "tiny",
    "shifted",
    "one giant a row",
)


def weights(name: str, rows: int = 64) -> NDArray[np.float32]:
    """(rows, COLUMNS) weights with this distribution, always the same."""
    rng = np.random.default_rng(20230423)
    shape = (rows, COLUMNS)
    normal = rng.standard_normal(shape) * 0.02
    made = {
        "normal": normal,
        "uniform": rng.random(shape) - 0.5,
        "heavy tails": normal**3 * 100,
        "one sign": np.abs(normal),
        "laplace": rng.laplace(size=shape) * 0.01,
        "outliers": np.where(rng.random(shape) < 0.002, normal * 50, normal),
        "zeros between": np.where(rng.random(shape) < 0.5, 0, normal),
        "two values": np.where(normal > 0, 0.02, -0.02),
        "few": np.where(rng.random(shape) < 0.1, normal, 0),
        "tiny": normal * 1e-4,
        "shifted": normal + 0.3,
        "one giant a row": np.where(np.arange(COLUMNS) == 100, 50, normal),
    }
    return made[name].astype(np.float32)


Convert = Callable[..., NDArray[np.uint8]]


@pytest.fixture(scope="session")
def convert() -> Convert:
    """Rows (count, columns) of float32, or of another type's bytes, to the bytes of a type."""
    from engine.checkpoints import TYPE_BY_NAME
    from engine.quantize.rows import RowConverter

    converter = RowConverter()

    def call(rows: NDArray[np.generic], target: str, source: str = "F32") -> NDArray[np.uint8]:
        raw = np.ascontiguousarray(rows).view(np.uint8)
        result = converter.convert(raw, TYPE_BY_NAME[source], TYPE_BY_NAME[target])
        return result.reshape(len(rows), -1).copy()

    return call


@pytest.fixture
def sample() -> Callable[..., NDArray[np.float32]]:
    """See weights."""
    return weights


@pytest.fixture(params=SAMPLES)
def sample_name(request: pytest.FixtureRequest) -> str:
    """Each of SAMPLES."""
    return str(request.param)
