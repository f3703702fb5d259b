"""Take new texts into the catalogues, and compile them: `make texts`, before and after translating.

What is no longer in the sources goes; what is new is there without a translation, and named at the end.
"""

from __future__ import annotations

import sys
from pathlib import Path

from babel.messages.catalog import Catalog
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po, write_po
from found_texts import CHECKOUT, all_texts

LOCALE_DIR = CHECKOUT / "tui" / "locale"
HEADER = "# llm-tui in other languages: `make texts` takes new texts in and compiles this file.\n#"


def updated(po: Path) -> Catalog:
    """The catalogue in a file with exactly the texts that the sources have now."""
    with po.open("rb") as file:
        before = read_po(file, locale=po.parents[1].name)
    now = Catalog(
        locale=before.locale, domain=po.stem, header_comment=HEADER, fuzzy=False, creation_date=before.creation_date
    )
    now.revision_date, now.project, now.version = before.revision_date, "llm-tui", "1"
    now.last_translator = now.language_team = now.msgid_bugs_address = "llm-tui"
    for text in all_texts():
        key = (text.message, text.plural) if text.plural else text.message
        known = before.get(text.message, text.context or None)
        now.add(key, known.string if known else None, [(text.file, None)], context=text.context or None)
    return now


def main() -> int:
    """Update and compile every language; 1 where texts are left to translate."""
    n_missing = 0
    for po in sorted(LOCALE_DIR.glob("*/LC_MESSAGES/*.po")):
        catalog = updated(po)
        with po.open("wb") as file:
            write_po(file, catalog, width=118, include_lineno=False)
        with po.with_suffix(".mo").open("wb") as file:
            write_mo(file, catalog)
        missing = [message for message in catalog if message.id and not message_is_translated(message.string)]
        n_missing += len(missing)
        for message in missing:
            sys.stderr.write(f"{po.relative_to(CHECKOUT)} lacks: {message.id}\n")
    return 1 if n_missing else 0


def message_is_translated(string: str | tuple[str, ...] | list[str]) -> bool:
    """Whether every form of a text is there."""
    return bool(string) and all([string] if isinstance(string, str) else string)


if __name__ == "__main__":
    sys.exit(main())
