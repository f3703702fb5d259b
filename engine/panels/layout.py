"""The place of each matrix among the panels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from engine.checkpoints import TensorInfo
from engine.errors import UnsupportedModelError
from engine.kernels.formats import FORMATS
from engine.kernels.number_formats import PanelFormat
from engine.kernels.sizes import BLOCK, LANES

LAYOUT_VERSION = 2
"""To be raised whenever the same tensors would give other panel bytes."""

ALIGNMENT = 4096
"""Each matrix begins on a page."""


@dataclass(frozen=True, slots=True)
class MatrixPlan:
    """One matrix in panels, made of the rows of one or more tensors of the same type, one below the other."""

    name: str
    format: PanelFormat
    sources: tuple[TensorInfo, ...]
    rows: int
    columns: int

    @property
    def n_panels(self) -> int:
        """Panels of LANES rows; the last one is filled with zeros."""
        return -(-self.rows // LANES)

    @property
    def n_blocks(self) -> int:
        """Blocks of 32 columns in a row; the last one is filled with zeros."""
        return -(-self.columns // BLOCK)

    @property
    def panel_bytes(self) -> int:
        """Bytes of a panel."""
        return self.format.panel_bytes(self.n_blocks)

    @property
    def n_bytes(self) -> int:
        """Bytes of all panels, rounded up to the alignment."""
        return -(-self.n_panels * self.panel_bytes // ALIGNMENT) * ALIGNMENT


@dataclass(frozen=True, slots=True)
class Matrix:
    """A matrix in panels, where it lies in memory."""

    plan: MatrixPlan
    address: int

    @property
    def where(self) -> tuple[int, int, int]:
        """Address, blocks of a row and bytes of a panel, as steps have them among their parameters."""
        return self.address, self.plan.n_blocks, self.plan.panel_bytes

    @property
    def rows(self) -> int:
        """Output size."""
        return self.plan.rows

    @property
    def columns(self) -> int:
        """Input size."""
        return self.plan.columns


def plan_matrix(name: str, *sources: TensorInfo) -> MatrixPlan:
    """The plan of a matrix from tensors (rows, columns) of one type.

    Raises UnsupportedModelError for a type that has no panels.
    """
    first = sources[0]
    kind = first.type.name
    if kind not in FORMATS:
        raise UnsupportedModelError(
            f"{first.path}: {first.name} is stored as {kind}, which this engine does not run.",
            f"These run: {', '.join(FORMATS)}.",
        )
    rows = sum(source.shape[0] for source in sources)
    return MatrixPlan(name, FORMATS[kind], sources, rows, first.shape[1])


def plan_side_by_side(name: str, *sources: TensorInfo) -> list[MatrixPlan]:
    """Tensors that read the same input, as few matrices as their types allow, in order."""
    groups: list[list[TensorInfo]] = []
    for source in sources:
        if groups and groups[-1][0].type == source.type:
            groups[-1].append(source)
        else:
            groups.append([source])
    return [plan_matrix(f"{name}.{i}" if len(groups) > 1 else name, *group) for i, group in enumerate(groups)]


def total_bytes(plans: Sequence[MatrixPlan]) -> int:
    """Bytes of all matrices one after the other, and room for reading a little past the end."""
    return sum(plan.n_bytes for plan in plans) + ALIGNMENT
