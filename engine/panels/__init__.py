"""Weights in panels: which tensors make which matrices, and the prepared file that they are mapped from."""

from engine.panels.layout import Matrix, MatrixPlan, plan_matrix
from engine.panels.store import PanelFolder, PanelStore, open_panels

__all__ = ["Matrix", "MatrixPlan", "PanelFolder", "PanelStore", "open_panels", "plan_matrix"]
