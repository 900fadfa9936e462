# SPDX-License-Identifier: BSD-3-Clause
"""Build libfperf once as a static library, then the Cython modules that link it.

Objects go where the Makefile puts them (build/c/release), under the same rule: an object is out of date if it is older
than a file it was made from (gcc's .d file) or than `flags`, which changes with compiler and options. So `make ctest`
and `pip install .` compile each file once between them.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from Cython.Build import cythonize
from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

TOP = Path(__file__).resolve().parent
OUT = Path("build/c/release")


def source_lists() -> dict[str, list[str]]:
    """Read csrc/sources.mk: its names and their words, globs not yet expanded."""
    lists = {}
    for line in Path("csrc/sources.mk").read_text().splitlines():
        if ":=" in line and not line.startswith("#"):
            name, words = line.split(":=", 1)
            lists[name.strip()] = words.split()
    return lists


def expand(globs: list[str]) -> set[Path]:
    return {path for glob in globs for path in Path().glob(glob)}


def compiler() -> list[str]:
    """Return $CC, or the first C compiler there is, as the Makefile does."""
    if os.environ.get("CC"):
        return shlex.split(os.environ["CC"])
    for name in ("cc", "gcc", "clang"):
        if shutil.which(name):
            return [name]
    sys.exit("folio_perf: no C compiler found; on Debian: apt install build-essential")


def prerequisites(depfile: Path) -> list[Path]:
    """Files a .d file of gcc or clang names to the right of its first colon (later rules are -MP's phony ones)."""
    rule = depfile.read_text().replace("\\\n", " ").split("\n", 1)[0]
    return [Path(word) for word in rule.partition(": ")[2].split()]


def out_of_date(target: Path, flags: Path) -> bool:
    try:
        age = target.stat().st_mtime_ns
        return any(path.stat().st_mtime_ns > age for path in [flags, *prerequisites(target.with_suffix(".d"))])
    except FileNotFoundError:
        return True


def build_libfperf() -> Path:
    """Compile what is out of date, in parallel, and archive it; return the library."""
    lists = source_lists()
    cc = compiler()
    cflags = list(lists["FPERF_CFLAGS"])
    machine = subprocess.run([*cc, "-dumpmachine"], check=True, capture_output=True, text=True).stdout
    if machine.startswith("x86_64"):
        cflags += lists["FPERF_CFLAGS_X86_64"]

    OUT.mkdir(parents=True, exist_ok=True)
    flags = OUT / "flags"
    flags_text = f"{shlex.join(cc)} {' '.join(cflags)}\n"
    if not flags.exists() or flags.read_text() != flags_text:
        flags.write_text(flags_text)

    per_backend = expand(lists["FPERF_PER_BACKEND"])
    no_indirect = expand(lists["FPERF_NO_INDIRECT"])
    objects, commands = [], []
    for source in sorted(expand(lists["FPERF_SOURCES"]) - expand(lists["FPERF_NOT_SOURCES"])):
        extra = lists["FPERF_NO_INDIRECT_CFLAGS"] if source in no_indirect else []
        for backend in lists["FPERF_BACKENDS"] if source in per_backend else [None]:
            target = OUT / source.relative_to("csrc").with_suffix(f".{backend}.o" if backend else ".o")
            define = [f"-DFPERF_BACKEND_{backend.upper()}"] if backend else []
            objects.append(target)
            if out_of_date(target, flags):
                target.parent.mkdir(parents=True, exist_ok=True)
                depend = ["-MMD", "-MP", "-MF", str(target.with_suffix(".d"))]
                commands.append([*cc, *cflags, *extra, *define, *depend, "-c", str(source), "-o", str(target)])

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for command, done in zip(commands, pool.map(subprocess.run, commands), strict=True):
            if done.returncode:
                sys.exit(f"folio_perf: this failed: {shlex.join(command)}")

    library = OUT / "libfperf.a"
    members = OUT / "members"
    members_text = "".join(f"{path}\n" for path in objects)
    newest = max(path.stat().st_mtime_ns for path in objects)
    stale = not library.exists() or library.stat().st_mtime_ns < newest
    if stale or not members.exists() or members.read_text() != members_text:
        library.unlink(missing_ok=True)
        subprocess.run([os.environ.get("AR", "ar"), "rcs", str(library), *map(str, objects)], check=True)
        members.write_text(members_text)
    return library


class BuildExt(build_ext):
    """Build the library before the modules that link it."""

    def run(self) -> None:
        if self.inplace:
            # Editable installs would build in a temporary directory: each module twice, there and for --inplace.
            self.build_lib, self.build_temp = "build/inplace/lib", "build/inplace/temp"
        super().run()

    def build_extensions(self) -> None:
        library = str(build_libfperf())
        for extension in self.extensions:
            extension.extra_objects = [library]
            extension.depends = [*extension.depends, library]
        self.parallel = os.cpu_count()
        super().build_extensions()


os.chdir(TOP)
# Before setuptools reads its defaults: the compiler Python was built with may not be on this machine.
os.environ["CC"] = shlex.join(compiler())

setup(
    ext_modules=cythonize(
        [
            Extension(
                f"folio_perf._native.{path.stem}",
                [str(path)],
                include_dirs=["csrc"],
                extra_compile_args=["-std=c11", "-D_GNU_SOURCE", "-O1", "-g0"],
                extra_link_args=["-pthread"],
            )
            for path in sorted(Path("folio_perf/_native").glob("*.pyx"))
        ],
        build_dir="build/cython",
        compiler_directives={"language_level": 3, "embedsignature": True},
    ),
    cmdclass={"build_ext": BuildExt},
)
