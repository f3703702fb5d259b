"""What tests/tui/pictures keeps, drawn in this terminal; or as SVG files, to be looked at in a browser.

.venv/bin/python bench/pictures.py chat settings --size 80x24 --theme textual-light
.venv/bin/python bench/pictures.py --svg /tmp/pictures

Without names: all of them. `make pictures` takes them anew.
"""

from __future__ import annotations

import argparse
import io
import sys
from pathlib import Path

from rich.console import Console
from rich.style import Style
from rich.text import Text

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from tests.tui.written_screen import Look, read_looks, runs_of  # noqa: E402

PICTURES = ROOT / "tests" / "tui" / "pictures"


def drawn(look: Look) -> Text:
    """A screen in its colours."""
    return Text.assemble(*[Text(text, Style.parse(style or "none")) for text, style in runs_of(look)], end="")


def main() -> None:
    """Draw."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*")
    parser.add_argument("--size", help="only 80x24, 120x40 or 200x60")
    parser.add_argument("--theme", help="only textual-dark, textual-light or ansi-dark")
    parser.add_argument("--svg", type=Path, metavar="FOLDER", help="write files in place of drawing here")
    wanted = parser.parse_args()
    for name in wanted.names or sorted(file.stem for file in PICTURES.glob("*.txt")):
        for (size, theme), look in read_looks(PICTURES / f"{name}.txt").items():
            size = size.replace("×", "x")
            if wanted.size not in (None, size) or wanted.theme not in (None, theme):
                continue
            width = int(size.partition("x")[0])
            # A quiet console would record nothing.
            file = None if wanted.svg is None else io.StringIO()
            console = Console(width=width, record=bool(wanted.svg), file=file, highlight=False)
            title = f"{name} {size} {theme}"
            if wanted.svg is None:
                console.rule(title)
            console.print(drawn(look), soft_wrap=True)
            if wanted.svg is not None:
                wanted.svg.mkdir(parents=True, exist_ok=True)
                console.save_svg(str(wanted.svg / f"{name}-{size}-{theme}.svg"), title=title)


if __name__ == "__main__":
    main()
