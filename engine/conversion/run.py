"""Carrying out a plan: threads that take pieces one after the other, read, convert and write them in place."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, wait

from engine.checkpoints.rows import read_rows
from engine.conversion.messages import ConversionProgress, Stage
from engine.conversion.plan import Piece, Plan, check_sources, write_error
from engine.conversion.stopping import Stop
from engine.errors import ModelFileError, UnsupportedModelError
from engine.new_file import NewFile
from engine.quantize.rows import NotFiniteError, RowConverter, TooLargeError, compile_for
from engine.thread_pool import thread_pool

REPORT_PERIOD_S = 0.2
SPEED_WINDOW_S = 5.0
"""The speed that is told is that of the last seconds."""

ReportConversion = Callable[[ConversionProgress], None]


class _Speed:
    """Progress with the speed of the last seconds and the time that is left."""

    def __init__(self, total: int) -> None:
        self._total = total
        self._seen: deque[tuple[float, int]] = deque()

    def at(self, stage: Stage, done: int) -> ConversionProgress:
        now_s = time.monotonic()
        self._seen.append((now_s, done))
        while now_s - self._seen[0][0] > SPEED_WINDOW_S and len(self._seen) > 2:
            self._seen.popleft()
        since_s, before = self._seen[0]
        speed = (done - before) / (now_s - since_s) if now_s > since_s else 0.0
        return ConversionProgress(
            stage=stage,
            done_bytes=done,
            total_bytes=self._total,
            bytes_per_second=speed,
            left_s=(self._total - done) / speed if speed > 0 else None,
        )


class _Work:
    """The pieces that are left, shared by the threads."""

    def __init__(self, pieces: Sequence[Piece], file: NewFile, stop: Stop) -> None:
        self._left = iter(pieces)
        self._file = file
        self._stop = stop
        self._lock = threading.Lock()
        self._failed = False
        self.done_bytes = 0

    def drain(self) -> None:
        """Take pieces until none is left, the end is asked for, or another thread has failed."""
        converter = RowConverter()
        try:
            while (piece := self._next()) is not None:
                self._stop.check()
                _convert(piece, converter, self._file)
                with self._lock:
                    self.done_bytes += piece.n_bytes
        except BaseException:
            self._failed = True
            raise

    def _next(self) -> Piece | None:
        with self._lock:
            return None if self._failed else next(self._left, None)


def run(plan: Plan, threads: int, stop: Stop, report: ReportConversion) -> None:
    """Write the new file. Raises EngineError; then nothing of the file is left."""
    speed = _Speed(plan.bytes_in)

    def compiling() -> None:
        report(speed.at("compiling", 0))
        stop.check()

    compiling()
    compile_for(plan.type_pairs, lambda _done, _total, _name: compiling())
    try:
        with NewFile(plan.target, replace=plan.force) as file:
            file.write_at(0, plan.layout.header)
            _convert_all(_Work(plan.pieces, file, stop), threads, lambda done: report(speed.at("converting", done)))
            # Behind the last tensor the file ends at a multiple of the alignment, as between tensors.
            file.end_at(plan.layout.size)
            report(speed.at("saving", plan.bytes_in))
            file.sync()
            stop.check()
            check_sources(plan)
            file.keep()
    except BrokenPipeError:
        # Of the report, to which nobody listens any more.
        raise
    except OSError as error:
        raise write_error(plan.target, error) from error


def _convert_all(work: _Work, threads: int, report: Callable[[int], None]) -> None:
    pool = thread_pool(threads, "convert")
    if pool is None:
        work.drain()
        report(work.done_bytes)
        return
    with pool:
        running: set[Future[None]] = {pool.submit(work.drain) for _ in range(threads)}
        while running:
            ended, running = wait(running, REPORT_PERIOD_S, FIRST_EXCEPTION)
            report(work.done_bytes)
            for future in ended:
                future.result()


def _convert(piece: Piece, converter: RowConverter, file: NewFile) -> None:
    tensor = piece.tensor
    rows = read_rows(tensor, piece.first, piece.count)
    try:
        result = converter.convert(rows, tensor.type, piece.type)
    except NotFiniteError:
        raise ModelFileError(
            f"{tensor.path}: {tensor.name} has weights that are infinite or no numbers.",
            "The file is damaged or was written wrongly: fetch it again.",
        ) from None
    except TooLargeError as error:
        raise UnsupportedModelError(
            f"{tensor.path}: {tensor.name} has weights of up to {error.size:.3g}, which {piece.type.name} cannot hold.",
            "Convert to BF16 or F32.",
        ) from None
    file.write_at(piece.offset, result.data)
