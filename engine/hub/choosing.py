"""Which files of a repository make one model that opens here: a GGUF with all its parts, or a folder."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from engine.checkpoints.finding import BY_AUTO_GPTQ, COMPANIONS, PART
from engine.errors import DownloadError
from engine.hub.reference import HubReference

PREFERRED = (
    "Q4_K_M", "Q4_0", "Q4_K_S", "Q4_1", "Q5_K_M", "Q5_K_S", "Q5_0", "Q5_1", "Q6_K", "Q8_0", "MXFP4", "Q3_K_M",
    "Q3_K_L", "Q3_K_S", "Q2_K", "TQ2_0", "TQ1_0", "F16", "BF16", "F32",
)  # fmt: skip
"""Types by how well they serve where nobody said which: of good quality for their size and quick here, first."""

MAX_NAMED = 12
"""So many files are named in an error."""

_TYPE = re.compile(
    r"(?<![A-Za-z0-9])((?:I?Q|TQ)\d(?:_[A-Z0-9]+)*|BF16|FP?16|FP?32|MXFP4)(?![A-Za-z0-9])", re.IGNORECASE
)
_MADE_HOW = re.compile(r"(?<![A-Za-z0-9])(UD|i1|imat)(?![A-Za-z0-9])", re.IGNORECASE)
"""Marks of how a file was quantised, beside its type."""

_NO_MODEL = re.compile(r"(.*[-._])?(mmproj|imatrix|clip)([-._].*)?", re.IGNORECASE)
_OLD_GGML = re.compile(r"(?!pytorch_model).*(ggml|gpt4all|[-._]q\d(_\d)?\b).*\.bin", re.IGNORECASE)
_FOLDER_WEIGHTS = (
    re.compile(r"model(-\d+-of-\d+)?\.safetensors"),
    BY_AUTO_GPTQ,
    re.compile(r"pytorch_model(-\d+-of-\d+)?\.bin"),
    re.compile(r"consolidated\.\d\d\.pth"),
)
_ADAPTER_WEIGHTS = ("adapter_model.safetensors", "adapter_model.bin")


@dataclass(frozen=True, kw_only=True)
class HubFile:
    """A file of a repository. size: -1 where the hub does not tell.

    sha256: of the large ones; blob: of the small ones, git's name for what is in them. "" where the hub has none.
    """

    path: str
    size: int = -1
    sha256: str = ""
    blob: str = ""

    @property
    def name(self) -> str:
        """Without its folders."""
        return PurePosixPath(self.path).name

    @property
    def folder(self) -> str:
        """Its folder in the repository, "" for the uppermost one."""
        parent = str(PurePosixPath(self.path).parent)
        return "" if parent == "." else parent


@dataclass(frozen=True, kw_only=True)
class Choice:
    """What to fetch. folder: the name of the folder that they make together, "" for files that stand alone."""

    files: tuple[HubFile, ...]
    folder: str = ""


def choose(files: Sequence[HubFile], wanted: HubReference) -> Choice:
    """The files of the model that is wanted. Raises DownloadError that names what there is."""
    if wanted.file:
        return _named(files, wanted)
    models = _groups(files)
    if wanted.type:
        models = [group for group in models if type_of(group[0].name) == _plain_type(wanted.type)]
        if not models:
            raise _which(f"{wanted.repo} has no GGUF file of type {wanted.type}", files, wanted)
    if models:
        return Choice(files=_preferred(models, wanted))
    folder = _folder(files, "", wanted)
    if folder is not None:
        return folder
    old = [(file,) for file in files if _OLD_GGML.fullmatch(file.name)]
    if old:
        return Choice(files=_preferred(old, wanted))
    raise _which(
        f"{wanted.repo} has no model that opens here: no GGUF, and no weights beside a config.json", files, wanted
    )


def type_of(name: str) -> str:
    """The quantisation in a file's name, in the usual spelling; "" where there is none."""
    found = _TYPE.findall(name)
    return _plain_type(found[-1]) if found else ""


def _plain_type(name: str) -> str:
    return {"FP16": "F16", "FP32": "F32"}.get(name.upper(), name.upper())


def _title(name: str) -> str:
    """A file's name without what differs between the types of one model."""
    part = PART.fullmatch(name)
    stem = part["stem"] if part else name.rpartition(".")[0]
    return re.sub(r"[-._]", "", _MADE_HOW.sub("", _TYPE.sub("", stem))).casefold()


def _named(files: Sequence[HubFile], wanted: HubReference) -> Choice:
    """The file that was named, with whatever it does not open without."""
    path = wanted.file.strip("/")
    found = [file for file in files if file.path == path]
    found = found or [file for file in files if path.casefold() in (file.path.casefold(), file.name.casefold())]
    if not found:
        inside = [file for file in files if file.folder == path]
        models = _groups(inside)
        folder = None if models else _folder(inside, path, wanted)
        if folder is not None:
            return folder
        if models:
            return Choice(files=_preferred(models, wanted))
        raise _which(f"{wanted.repo} has no file {path}", files, wanted)
    if len(found) > 1:
        raise _which(f"{wanted.repo} has {len(found)} files {path}", found, wanted)
    file = found[0]
    if file.name in _ADAPTER_WEIGHTS or any(kind.fullmatch(file.name) for kind in _FOLDER_WEIGHTS):
        # A model of AutoGPTQ's is whole: another one may lie beside it, but never belongs to it.
        beside = [
            other
            for other in files
            if other.folder == file.folder and (other is file or not BY_AUTO_GPTQ.fullmatch(other.name))
        ]
        folder = _folder(beside, file.folder, wanted)
        if folder is not None and file in folder.files:
            return folder
    return Choice(files=next((group for group in _groups(files) if file in group), (file,)))


def _groups(files: Iterable[HubFile]) -> list[tuple[HubFile, ...]]:
    """The GGUF files that are models, the parts of a split one together and in order; incomplete ones are left out."""
    groups: dict[tuple[str, int], list[HubFile]] = {}
    for file in sorted(files, key=lambda file: file.path):
        if file.name.lower().endswith(".gguf") and not _NO_MODEL.fullmatch(file.name[: -len(".gguf")]):
            part = PART.fullmatch(file.path)
            key = (part["stem"], int(part["count"])) if part else (file.path, 1)
            groups.setdefault(key, []).append(file)
    return [tuple(group) for (_, count), group in groups.items() if len(group) == count]


def _preferred(models: Sequence[tuple[HubFile, ...]], wanted: HubReference) -> tuple[HubFile, ...]:
    """The one model, or of several that are one model in several types the preferred one."""
    if len(models) == 1:
        return models[0]
    if len({_title(group[0].name) for group in models}) == 1:
        for kind in PREFERRED:
            of_kind = [group for group in models if type_of(group[0].name) == kind]
            if len(of_kind) == 1:
                return of_kind[0]
    raise _which(f"{wanted.repo} has {len(models)} models", [group[0] for group in models], wanted)


def _folder(files: Iterable[HubFile], folder: str, wanted: HubReference) -> Choice | None:
    """An adapter, or weights with all that lies beside them. Raises DownloadError where they are of several models."""
    here = {file.name: file for file in files if file.folder == folder}
    name = (folder or wanted.repo).rpartition("/")[2]
    small = [file for file_name, file in sorted(here.items()) if COMPANIONS.fullmatch(file_name)]
    if "adapter_config.json" in here:
        weights = [here[file_name] for file_name in _ADAPTER_WEIGHTS if file_name in here][:1]
        return Choice(files=(*small, *weights), folder=name) if weights else None
    for kind in _FOLDER_WEIGHTS:
        says = "params.json" if "pth" in kind.pattern else "config.json"
        weights = [file for file_name, file in sorted(here.items()) if kind.fullmatch(file_name)]
        if kind is BY_AUTO_GPTQ and len(weights) > 1 and says in here:
            raise _which(f"{wanted.repo} has {len(weights)} models", weights, wanted)
        if weights and says in here:
            return Choice(files=(*small, *weights), folder=name)
    return None


def _which(problem: str, files: Iterable[HubFile], wanted: HubReference) -> DownloadError:
    """An error that names the files one could choose: the models first, then whatever there is."""
    paths = sorted(file.path for file in files)
    models = [path for path in paths if re.search(r"\.(gguf|safetensors|bin|pth)$", path, re.IGNORECASE)]
    shown = models or paths
    more = f" and {len(shown) - MAX_NAMED} more" if len(shown) > MAX_NAMED else ""
    there = f"There is {', '.join(shown[:MAX_NAMED])}{more}." if shown else "It is empty."
    return DownloadError(f"{problem}.", f"{there} Choose one: hf:{wanted.repo}/FILE." if models else there)
