"""Object files into memory that can be run.

For 64-bit ELF of x86-64, Numba's code needs little of a linker: sections laid one after the other, and absolute
addresses filled in. All else goes through LLVM's own loader, which costs 70 MB.

Source: the System V ABI's AMD64 supplement, chapter 4.
"""

from __future__ import annotations

import ctypes
import mmap
import struct
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

ENTRY = b"entry"
"""The function that others call: `engine.kernels.compiling.ENTRY`."""

MAGIC = b"\x7fELF\x02\x01\x01"
"""64 bits, little-endian, the version that there is."""
RELOCATABLE, X86_64 = 1, 62

SECTION = np.dtype(
    {
        "names": ["name", "kind", "flags", "address", "offset", "size", "link", "info", "align", "entry_bytes"],
        "formats": ["<u4", "<u4", "<u8", "<u8", "<u8", "<u8", "<u4", "<u4", "<u8", "<u8"],
    }
)
SYMBOL = np.dtype(
    [("name", "<u4"), ("info", "u1"), ("other", "u1"), ("section", "<u2"), ("value", "<u8"), ("size", "<u8")]
)
RELOCATION = np.dtype([("offset", "<u8"), ("kind", "<u4"), ("symbol", "<u4"), ("addend", "<i8")])

SYMBOLS, RELOCATIONS, NO_BITS, UNWIND = 2, 4, 8, 0x70000001
IN_MEMORY = 2
UNDEFINED, ABSOLUTE, COMMON = 0, 0xFFF1, 0xFFF2
ADDRESS_64, RELATIVE_32, CALL_32, RELATIVE_64 = 1, 2, 4, 24
"""What a relocation writes: the symbol's address, or its distance."""

READ_EXECUTE = 1 | 4

_kept: list[object] = []
"""Code stays as long as the process."""


class NotLinkable(Exception):
    """The object file has something that this linker does not know."""


def link(code: bytes) -> int:
    """Load an object file; returns the address of its ENTRY. The code stays until the process ends."""
    try:
        return _Linker(code).entry()
    except NotLinkable:
        return link_with_llvm(code)


def link_with_llvm(code: bytes) -> int:
    """Load an object file of any kind that LLVM knows."""
    import llvmlite.binding as llvm

    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    machine = llvm.Target.from_default_triple().create_target_machine(jit=True)
    engine = llvm.create_mcjit_compiler(llvm.parse_assembly(""), machine)
    engine.add_object_file(llvm.ObjectFileRef.from_data(code))
    engine.finalize_object()
    _kept.append(engine)
    return int(engine.get_function_address(ENTRY.decode()))


class _Linker:
    """One object file on its way into memory."""

    def __init__(self, code: bytes) -> None:
        if code[: len(MAGIC)] != MAGIC or struct.unpack_from("<HH", code, 16) != (RELOCATABLE, X86_64):
            raise NotLinkable("not an object file of x86-64")
        if not hasattr(_system(), "mprotect"):
            raise NotLinkable("no way to make memory executable")
        self._code = code
        at, count = struct.unpack_from("<Q", code, 40)[0], struct.unpack_from("<H", code, 60)[0]
        self._sections = np.frombuffer(code, SECTION, count, at)
        table = self._sections[self._sections["kind"] == SYMBOLS][0]
        self._symbols = self._table(table, SYMBOL)
        self._names = int(self._sections[table["link"]]["offset"])
        self._size = 0
        self._placed = {i: self._room(s["size"], s["align"]) for i, s in enumerate(self._sections) if _is_loaded(s)}
        self._common = {
            i: self._room(s["size"], s["value"]) for i, s in enumerate(self._symbols) if s["section"] == COMMON
        }

    def _table(self, section: Any, kind: np.dtype[Any]) -> NDArray[Any]:
        return np.frombuffer(self._code, kind, int(section["size"]) // kind.itemsize, int(section["offset"]))

    def _room(self, size: Any, align: Any) -> int:
        """Where the next part begins, from the start of the memory."""
        start = -(-self._size // max(1, int(align))) * max(1, int(align))
        self._size = start + int(size)
        return start

    def entry(self) -> int:
        """Fill memory, make it executable, and tell where ENTRY is."""
        memory = mmap.mmap(-1, self._size, flags=mmap.MAP_PRIVATE)
        self._base = ctypes.addressof(ctypes.c_char.from_buffer(memory))
        for index, start in self._placed.items():
            section = self._sections[index]
            if section["kind"] != NO_BITS:
                offset = int(section["offset"])
                memory[start : start + int(section["size"])] = self._code[offset : offset + int(section["size"])]
        for section in self._sections:
            if section["kind"] == RELOCATIONS and int(section["info"]) in self._placed:
                for relocation in self._table(section, RELOCATION):
                    self._relocate(memory, self._placed[int(section["info"])], relocation)
        if _system().mprotect(ctypes.c_void_p(self._base), ctypes.c_size_t(self._size), READ_EXECUTE):
            raise NotLinkable("the system does not let memory be executed")
        _kept.append(memory)
        return next(self._address(i) for i in range(len(self._symbols)) if self._name(i) == ENTRY)

    def _relocate(self, memory: mmap.mmap, start: int, relocation: Any) -> None:
        at = start + int(relocation["offset"])
        value = self._address(int(relocation["symbol"])) + int(relocation["addend"])
        kind = int(relocation["kind"])
        if kind == ADDRESS_64:
            struct.pack_into("<Q", memory, at, value)
        elif kind in (RELATIVE_32, CALL_32) and abs(value - self._base - at) < 1 << 31:
            struct.pack_into("<i", memory, at, value - self._base - at)
        elif kind == RELATIVE_64:
            struct.pack_into("<q", memory, at, value - self._base - at)
        else:
            raise NotLinkable(f"a relocation of kind {kind}")

    def _address(self, index: int) -> int:
        symbol = self._symbols[index]
        section, value = int(symbol["section"]), int(symbol["value"])
        if section == UNDEFINED:
            return _external(self._name(index))
        if section == ABSOLUTE:
            return value
        if section == COMMON:
            return self._base + self._common[index]
        return self._base + self._placed[section] + value

    def _name(self, index: int) -> bytes:
        start = self._names + int(self._symbols[index]["name"])
        return self._code[start : self._code.index(b"\0", start)]


def _is_loaded(section: Any) -> bool:
    """Whether a section is needed at run time; nothing unwinds the stack of a kernel."""
    return bool(section["flags"] & IN_MEMORY and section["size"] and section["kind"] != UNWIND)


@cache
def _system() -> ctypes.CDLL:
    return ctypes.CDLL(None)


@cache
def _external(name: bytes) -> int:
    """The address of a function of the C library, or of its mathematics."""
    for library in (None, "libm.so.6"):
        try:
            found = getattr(ctypes.CDLL(library), name.decode())
        except (AttributeError, OSError):
            continue
        return int(ctypes.cast(found, ctypes.c_void_p).value or 0)
    raise NotLinkable(f"{name.decode()} is nowhere to be found")
