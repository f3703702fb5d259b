"""Models whose heads think less of distant positions, in the place of turning."""

from __future__ import annotations

import numpy as np
import pytest

from engine.forward.alibi import head_slopes
from engine.loading import load
from engine.protocol import Load
from tests.engine import reference, tiny_models

pytestmark = pytest.mark.slow

IDS = np.random.default_rng(9).integers(3, 705, 600).tolist()


def test_slopes_of_heads() -> None:
    """Those of 8 heads are the paper's; of 6, the first four are those of 4, the others lie between them."""
    np.testing.assert_array_equal(head_slopes(8, 8.0), 0.5 ** np.arange(1, 9))
    np.testing.assert_array_equal(head_slopes(6, 8.0), [2.0**-2, 2.0**-4, 2.0**-6, 2.0**-8, 2.0**-1, 2.0**-3])
    np.testing.assert_array_equal(head_slopes(1, 8.0), [2.0**-8])


@pytest.mark.parametrize(("name", "changes"), [("refact", {}), ("bloom", {"heads": 6, "dim": 96, "head_count_kv": 6})])
def test_distances_over_several_ranges_of_the_cache(tmp_path, name, changes):
    path = tiny_models.write_tiny(tmp_path / "tiny.gguf", name, context_length=1024, **changes)
    expected = reference.ReferenceModel(path).logits(IDS)[-40:]
    model = load(Load(path=str(path), threads=2), lambda *_: None)
    together = np.array(model.transformer.evaluate_last(IDS, 0, 40))
    assert np.abs(together - expected).mean() < 3e-4 * expected.std()
    for start in range(560, 600, 5):
        logits = model.evaluate(IDS[start : start + 5], start)
    np.testing.assert_array_equal(logits, together[-1])
    model.close()
