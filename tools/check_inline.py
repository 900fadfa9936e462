#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""Fail if code that runs inside the loop makes an indirect call.

    check_inline.py [-v] OBJECT...

mm calls a mapcount scheme through one table of function pointers, once per run of pages; csrc/sources.mk names the
files that do so. Inside a hook, and everywhere else in mm, functions are inlined or called by name. An indirect call is

* x86-64: `call` or `jmp` through a register or memory, or to a retpoline thunk. Not one: a call through the GOT, which
  names its target (-fno-plt).
* aarch64: `blr` or `br`, also in their pointer-authenticated forms.

The objects are compiled without jump tables, so no indirect jump is a switch. The program also fails if it finds
nothing to check. It runs $OBJDUMP, or objdump.
"""

from __future__ import annotations

import argparse
import os
import re
import shlex
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

FUNCTION = re.compile(r"^[0-9a-f]+ <(?P<name>[^>]+)>:$")
INSTRUCTION = re.compile(r"^\s*[0-9a-f]+:\s+(?P<text>\S.*?)\s*$")
RELOCATION = re.compile(r"^\s*[0-9a-f]+:\s+R_(?P<kind>(?:X86_64|AARCH64)_\w+)\s+(?P<symbol>\S+)")
CALL = re.compile(r"^(?:callq?|bl)\s")
TRANSFER = re.compile(r"^(?:(?:notrack|bnd)\s+)*(?:callq?|jmpq?|bl?|bl?ra?[ab]*z?)\s")
INDIRECT = re.compile(
    r"^(?:(?:notrack|bnd)\s+)*(?:(?:call|jmp)q?\s+\*|(?:call|jmp)q?\s.*__(?:x86_indirect_thunk|llvm_retpoline)_|bl?ra?[ab]*z?\s)"
)
THROUGH_GOT = re.compile(r".*X86_64_(?:REX_)?GOTPCREL")
THUNK = re.compile(r"^__(?:x86_indirect_thunk|llvm_retpoline)_")


@dataclass
class Function:
    """What one function of an object calls."""

    name: str
    indirect: list[str] = field(default_factory=list)
    direct: Counter[str] = field(default_factory=Counter)


def functions(lines: Iterable[str]) -> Iterator[Function]:
    """Parse what ``objdump -d -r --no-show-raw-insn`` prints."""
    function: Function | None = None
    text = ""  # latest call or jump, until the line after it has shown whether it has a relocation
    for line in [*lines, ""]:
        relocation = RELOCATION.match(line)
        if function and text:
            symbol = re.sub(r"[-+]0x[0-9a-f]+$", "", relocation["symbol"]) if relocation else ""
            if THUNK.match(symbol) or (INDIRECT.match(text) and not (relocation and THROUGH_GOT.match(relocation[0]))):
                function.indirect.append(f"{text} {symbol}".rstrip())
            elif symbol:
                function.direct[symbol] += 1
            elif CALL.match(text):
                function.direct[text.split()[-1].strip("<>")] += 1
        text = ""
        head = FUNCTION.match(line)
        instruction = INSTRUCTION.match(line)
        if head:
            if function:
                yield function
            function = Function(head["name"])
        elif instruction and not relocation and TRANSFER.match(instruction["text"]):
            text = instruction["text"]
    if function:
        yield function


def disassemble(path: Path) -> list[Function]:
    """All functions of one object."""
    command = [*shlex.split(os.environ.get("OBJDUMP", "objdump")), "-d", "-r", "--no-show-raw-insn", str(path)]
    return list(functions(subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()))


def main() -> int:
    """Check the objects named on the command line; return the exit status."""
    parser = argparse.ArgumentParser(description="Fail if an object makes an indirect call.")
    parser.add_argument("-v", "--verbose", action="store_true", help="also list what each function calls by name")
    parser.add_argument("objects", nargs="+", type=Path, metavar="OBJECT")
    options = parser.parse_args()
    nr_functions = nr_indirect = 0
    for path in options.objects:
        for function in disassemble(path):
            nr_functions += 1
            for text in function.indirect:
                nr_indirect += 1
                print(f"{path}: {function.name}: indirect call: {text}")
            if options.verbose:
                called = ", ".join(f"{name} {times}x" for name, times in sorted(function.direct.items()))
                print(f"{path}: {function.name}: {called or 'calls nothing'}")
    print(f"check-inline: {len(options.objects)} objects, {nr_functions} functions, {nr_indirect} indirect calls")
    return 0 if nr_functions and not nr_indirect else 1


if __name__ == "__main__":
    sys.exit(main())
