"""Whether a file holds machine code of an architecture, by the header of its format."""

from __future__ import annotations

import struct

MACHINES = {"x86_64": 62, "aarch64": 183}  # e_machine in an ELF file's header
HEADER_BYTES = 20  # up to the end of e_machine


def is_elf(code: bytes, architecture: str) -> bool:
    """Say whether `code`, or its first bytes, is an ELF file of the architecture."""
    return (
        len(code) >= HEADER_BYTES
        and code[:4] == b"\x7fELF"
        and struct.unpack_from("<H", code, 18)[0] == MACHINES[architecture]
    )
