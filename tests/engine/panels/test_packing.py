"""What packing needs is known before anything is packed."""

from __future__ import annotations

from engine.panels.packing import functions_for


def test_each_type_has_a_kernel_of_its_own():
    assert [each.title for each in functions_for(["Q4_K", "F16", "Q4_0", "Q4_K"])] == [
        "pack.pack_f16",
        "pack.pack_quants-Q4_0",
        "pack.pack_quants-Q4_K",
    ]


def test_a_type_that_does_not_run_is_refused_elsewhere():
    assert [each.title for each in functions_for(["IQ2_XXS", "Q8_0"])] == ["pack.pack_quants-Q8_0"]
