"""What a repository of the hub holds, asked through huggingface_hub, which knows the user's endpoint and token."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from engine.address import public
from engine.download import check_environment, said_of
from engine.errors import DownloadError
from engine.hub.choosing import HubFile
from engine.hub.reference import HubReference

ANSWER_S = 30.0
"""How long the hub may take to tell what it has."""

GATED = "GatedRepo"
"""The hub's name for what has terms to be accepted."""

_SHA256 = re.compile(r"[0-9a-f]{64}")
_BLOB = re.compile(r"[0-9a-f]{40}")


@dataclass(frozen=True, kw_only=True)
class Listing:
    """A repository at one commit. headers: what the hub wants to hear with every request, like the user's token."""

    files: tuple[HubFile, ...]
    commit: str
    headers: Mapping[str, str]


def list_files(wanted: HubReference) -> Listing:
    """What a repository holds now. Raises DownloadError."""
    library = _library()
    check_environment()
    errors = library.errors
    endpoint = public(_endpoint() or "huggingface.co")
    api = library.HfApi(endpoint=_endpoint(), library_name="llm-tui")
    try:
        info = api.model_info(wanted.repo, revision=wanted.revision or None, files_metadata=True, timeout=ANSWER_S)
        siblings = info.siblings or []
        files = tuple(HubFile(path=s.rfilename, size=_size(s), sha256=_sha256(s), blob=_blob(s)) for s in siblings)
        commit = info.sha or wanted.revision or "main"
        return Listing(files=files, commit=commit, headers=library.utils.build_hf_headers(library_name="llm-tui"))
    except errors.HfHubHTTPError as error:
        raise refusal(wanted, error.response.status_code, error.response.headers.get("X-Error-Code", "")) from error
    except errors.HFValidationError as error:
        raise DownloadError(f"{wanted.repo} is no name of a model on the hub.", "Write hf:OWNER/NAME.") from error
    except errors.OfflineModeIsEnabled as error:
        raise DownloadError(
            f"{wanted} is not looked for: HF_HUB_OFFLINE is set.", "Unset it, then try again."
        ) from error
    except (errors.HTTPError, OSError) as error:
        raise DownloadError(
            f"The hub at {endpoint} cannot be reached: {said_of(error)}.",
            "Check the network connection and HF_ENDPOINT, then try again.",
        ) from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DownloadError(
            f"What answers at {endpoint} does not speak the hub's language.",
            "Check HF_ENDPOINT.",
        ) from error


def url_of(file: HubFile, wanted: HubReference, commit: str) -> str:
    """Where a file is fetched from."""
    url: str = _library().hf_hub_url(wanted.repo, file.path, revision=commit, endpoint=_endpoint())
    return url


def refusal(wanted: HubReference, status: int, code: str = "") -> DownloadError:
    """What an answer of the hub means that is not what was asked for. code: the hub's own name for it."""
    page = f"https://huggingface.co/{wanted.repo}"
    if code == GATED or status == 403:
        return DownloadError(
            f"{wanted.repo} is not open to everyone: the hub answers {status}.",
            f"Accept its terms at {page}, make a token at https://huggingface.co/settings/tokens, "
            "and set HF_TOKEN to it.",
        )
    if code == "RevisionNotFound":
        return DownloadError(f"{wanted.repo} has no revision {wanted.revision}.", f"{page} shows which it has.")
    if status == 401 and _has_token():
        return DownloadError(
            f"The hub does not let you have {wanted.repo} with your token: there is none of that name, it is private, "
            "or the token has expired.",
            "Check the name; check HF_TOKEN, or make a new one at https://huggingface.co/settings/tokens.",
        )
    if status in (401, 404):
        return DownloadError(
            f"There is no model {wanted.repo} on the hub that everyone may see.",
            "Check the name. If it is private or wants its terms accepted, set HF_TOKEN to a token of yours.",
        )
    if status == 429:
        return DownloadError("The hub was asked too often from here: it answers 429.", "Wait some minutes.")
    return DownloadError(f"The hub answers {status} for {wanted.repo}.", "Try again later.")


def _library() -> Any:
    try:
        import huggingface_hub
        import huggingface_hub.errors
        import huggingface_hub.utils
    except ImportError:
        raise DownloadError(
            "Fetching from the Hugging Face hub needs the package huggingface_hub, which is not installed.",
            "Install it: pip install 'llm-tui[hf]'.",
        ) from None
    library: Any = huggingface_hub
    # What it has to say it would write over the app's screen.
    library.utils.logging.set_verbosity_error()
    return library


def _endpoint() -> str | None:
    return os.environ.get("HF_ENDPOINT", "").rstrip("/") or None


def _has_token() -> bool:
    return bool(_library().get_token())


def _size(sibling: Any) -> int:
    size = sibling.lfs.size if sibling.lfs else sibling.size
    return size if isinstance(size, int) and size >= 0 else -1


def _sha256(sibling: Any) -> str:
    found = sibling.lfs.sha256 if sibling.lfs else None
    return found if isinstance(found, str) and _SHA256.fullmatch(found) else ""


def _blob(sibling: Any) -> str:
    # Of a large file git has a pointer only.
    found = None if sibling.lfs else sibling.blob_id
    return found if isinstance(found, str) and _BLOB.fullmatch(found) else ""
