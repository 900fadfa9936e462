# SPDX-License-Identifier: BSD-3-Clause
"""Parameters of workloads: what each may be, read from values or from text, and the registry that lists them.

A generator declares its parameters once, in its signature; defaults, rules, documentation and error messages all come
from there.
"""

from __future__ import annotations

import difflib
import inspect
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import wraps
from operator import index
from typing import Final, Literal, ParamSpec, SupportsFloat, SupportsIndex, TypeAlias, get_type_hints

from folio_perf.geometry import Geometry, format_size, parse_size
from folio_perf.scenario import Scenario
from folio_perf.workloads._script import Script

Value: TypeAlias = int | float | str
Size: TypeAlias = int | str
"""Bytes, or a size as people write it: 65536, ``64K``."""

P = ParamSpec("P")

DEFAULT_GEOMETRY: Final = Geometry()
MAX_SEED: Final = (1 << 63) - 1
MAX_SIZE_BYTES: Final = 1 << 46
"""Half of the user address space, so that what stands beside it has room."""
EXIT_ORDERS: Final = ("fork", "reverse", "random")
PAGE_ORDERS: Final = ("ascending", "descending", "random")

_GEOMETRY: Final = "geometry"
_ORDER: Final = re.compile(r"order([0-9]{1,2})", re.ASCII)
_WHOLE: Final = re.compile(r"[0-9]{1,19}", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameter:
    """One parameter of a workload.

    Attributes
    ----------
    name : str
    type : {"int", "float", "size", "folio", "choice"}
        ``size`` is bytes, or text such as ``64M``; ``folio`` is a size, ``pmd`` or ``orderN``.
    default : int, float or str
    unit : str
        Of what the number is; empty where there is nothing to say.
    help : str
        One line.
    minimum, maximum : int or float
        Bounds of a number or size, both allowed.
    choices : tuple of str
        Values of a choice.
    """

    name: str = ""
    type: Literal["int", "float", "size", "folio", "choice"]
    default: Value = 0
    unit: str = ""
    help: str
    minimum: float = 0
    maximum: float = 0
    choices: tuple[str, ...] = ()

    @property
    def rule(self) -> str:
        """What a value must be."""
        if self.type == "choice":
            return f"one of {', '.join(self.choices)}"
        if self.type == "folio":
            return "a size such as 64K, orderN such as order4, or pmd"
        if self.type == "size":
            low, high = format_size(int(self.minimum)), format_size(int(self.maximum))
            return f"a size of {low} to {high} bytes, such as 4096, 64K or 2M"
        kind = "a whole number" if self.type == "int" else "a number"
        return f"{kind} from {self.minimum:,} to {self.maximum:,}"

    def read(self, value: object) -> Value:
        """Return the value in its one form: sizes as bytes, numbers as numbers.

        Raises
        ------
        ValueError
            If it breaks the rule; the message names parameter, value and rule.
        """
        try:
            found = None if isinstance(value, bool) else _READERS[self.type](self, value)
        except (ValueError, OverflowError):
            found = None
        if found is None:
            shown = repr(value) if isinstance(value, str) else str(value)
            raise ValueError(f"{self.name} {shown} must be {self.rule}")
        return found

    def text(self, value: Value) -> str:
        """Write a value that `read` returned so that `read` understands it."""
        return format_size(value) if self.type == "size" and isinstance(value, int) else str(value)


def _whole(parameter: Parameter, value: object) -> int | None:
    if isinstance(value, str) and _WHOLE.fullmatch(value):
        value = int(value)
    if not isinstance(value, SupportsIndex):
        return None
    number = index(value)
    return number if parameter.minimum <= number <= parameter.maximum else None


def _number(parameter: Parameter, value: object) -> float | None:
    if not isinstance(value, str | SupportsFloat | SupportsIndex):
        return None
    number = float(value)
    return number if math.isfinite(number) and parameter.minimum <= number <= parameter.maximum else None


def _bytes(parameter: Parameter, value: object) -> int | None:
    return _whole(parameter, parse_size(value) if isinstance(value, str) else value)


def _folio(_: Parameter, value: object) -> str | None:
    if isinstance(value, str) and (value == "pmd" or _ORDER.fullmatch(value)):
        return value
    if isinstance(value, str):
        value = parse_size(value)
    return format_size(index(value)) if isinstance(value, SupportsIndex) and index(value) > 0 else None


def _choice(parameter: Parameter, value: object) -> str | None:
    return value if isinstance(value, str) and value in parameter.choices else None


_READERS: Final[Mapping[str, Callable[[Parameter, object], Value | None]]] = {
    "int": _whole,
    "float": _number,
    "size": _bytes,
    "folio": _folio,
    "choice": _choice,
}


# ---- what stands in signatures ---------------------------------------------------------------------------------------


def count(unit: str, minimum: int, maximum: int, text: str) -> Parameter:
    """Declare a whole number of something."""
    return Parameter(type="int", unit=unit, minimum=minimum, maximum=maximum, help=text)


def share(text: str) -> Parameter:
    """Declare a part of a whole, 0 to 1."""
    return Parameter(type="float", unit="share", minimum=0, maximum=1, help=text)


def size(text: str, *, minimum: int = 1) -> Parameter:
    """Declare memory, rounded up to whole pages."""
    return Parameter(type="size", unit="bytes", minimum=minimum, maximum=MAX_SIZE_BYTES, help=text)


def folio_size(text: str) -> Parameter:
    """Declare a folio size."""
    return Parameter(type="folio", unit="bytes", help=text)


def choice(choices: tuple[str, ...], text: str) -> Parameter:
    """Declare one of several words."""
    return Parameter(type="choice", choices=choices, help=text)


SEED: Final = Parameter(type="int", minimum=0, maximum=MAX_SEED, help="of all random choices")
CPUS: Final = Parameter(type="int", unit="CPUs", minimum=1, maximum=256, help="process N runs on CPU N modulo this")
SKEW: Final = Parameter(
    type="int", minimum=1, maximum=16, help="1: all memory alike; k: the hottest x of it gets x^(1/k) of the writes"
)


def folio_order(value: Size, geometry: Geometry, *, anonymous: bool) -> int:
    """Return the order of a folio that a ``folio`` parameter asks for.

    Raises
    ------
    ValueError
        If this geometry has no such folio.
    """
    text = str(value)
    if text == "pmd":
        return geometry.pmd_order
    said, match = f"folio {text}", _ORDER.fullmatch(text)
    if match:
        order = int(match[1])
    else:
        nr_bytes = parse_size(text)
        order = max(nr_bytes // geometry.page_size_bytes, 1).bit_length() - 1
        if nr_bytes != geometry.page_size_bytes << order:
            page = format_size(geometry.page_size_bytes)
            raise ValueError(f"{said} must be a power of two, and {page} (a page) at least")
    if order > geometry.max_order or (anonymous and order == 1):
        page = format_size(geometry.page_size_bytes)
        largest = f"{format_size(geometry.pmd_size_bytes)} (order {geometry.max_order})"
        # As FolioPolicy: the deferred-split list needs the third struct page.
        rule = f"anonymous folios have order 0, or 2 to {geometry.max_order}" if anonymous else f"largest is {largest}"
        raise ValueError(f"{said} is order {order} with {page} pages; {rule}")
    return order


# ---- the registry ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """A generator and what it declares."""

    name: str
    description: str
    parameters: Mapping[str, Parameter]
    write: Callable[..., Script]

    def scenario(self, geometry: Geometry, settings: Mapping[str, object]) -> Scenario:
        """Check settings and make the scenario."""
        values = self.read(settings)
        called = self.call(values)
        try:
            script = self.write(geometry=geometry, **values)
            return script.scenario(called, self.description, f"workload {called}")
        except ValueError as error:
            raise ValueError(f"{self.name}: {error}") from error

    def read(self, settings: Mapping[str, object]) -> dict[str, Value]:
        """Check settings; return a value for every parameter, in the order of the signature."""
        for name in settings:
            if name not in self.parameters:
                close = difflib.get_close_matches(name, self.parameters, n=1)
                hint = f"did you mean {close[0]}? " if close else ""
                raise ValueError(f"{self.name} has no parameter {name!r}; {hint}there are {', '.join(self.parameters)}")
        try:
            return {
                name: parameter.read(settings.get(name, parameter.default))
                for name, parameter in self.parameters.items()
            }
        except ValueError as error:
            raise ValueError(f"{self.name}: {error}") from None

    def call(self, settings: Mapping[str, Value]) -> str:
        """Write the settings that differ from the defaults: ``fork_server(children=1000)``."""
        defaults = self.read({})
        changed = [
            f"{name}={self.parameters[name].text(value)}" for name, value in settings.items() if value != defaults[name]
        ]
        return f"{self.name}({', '.join(changed)})" if changed else self.name


REGISTRY: Final[dict[str, Workload]] = {}


def generator(description: str) -> Callable[[Callable[P, Script]], Callable[P, Scenario]]:
    """Make a function that writes a script into a public generator of scenarios, and register it under its name.

    Each parameter but ``geometry`` is keyword-only and annotated with its `Parameter`. The function gets checked values
    in one form (sizes as bytes); its docstring gets the list of parameters.
    """

    def register(write: Callable[P, Script]) -> Callable[P, Scenario]:
        hints = get_type_hints(write, include_extras=True)
        signature = inspect.signature(write).parameters
        declared = {
            name: replace(hints[name].__metadata__[0], name=name, default=each.default)
            for name, each in signature.items()
            if name != _GEOMETRY
        }

        workload = Workload(name=write.__name__, description=description, parameters=declared, write=write)

        @wraps(write)
        def generate(*args: P.args, **kwargs: P.kwargs) -> Scenario:
            settings: dict[str, object] = dict(kwargs)
            geometry = settings.pop(_GEOMETRY, DEFAULT_GEOMETRY)
            if args or not isinstance(geometry, Geometry):
                raise TypeError(f"{workload.name}: geometry must be a Geometry, and all parameters given by name")
            return workload.scenario(geometry, settings)

        plain = get_type_hints(write) | {"return": Scenario}
        generate.__annotations__ = plain
        generate.__signature__ = inspect.Signature(  # type: ignore[attr-defined]  # what help() shows
            [each.replace(annotation=plain[name]) for name, each in signature.items()], return_annotation=Scenario
        )
        generate.__doc__ = f"{inspect.cleandoc(write.__doc__ or '')}\n\n{_sections(workload)}"
        REGISTRY[workload.name] = workload
        return generate

    return register


def _sections(workload: Workload) -> str:
    lines = [
        "Parameters",
        "----------",
        f"{_GEOMETRY} : Geometry, optional",
        "    Base pages and PMD size; default 4 KiB pages.",
    ]
    for parameter in workload.parameters.values():
        unit = f", {parameter.unit}" if parameter.unit else ""
        lines.append(f"{parameter.name} : {_TYPES[parameter.type]}{unit}, default {parameter.default}")
        lines.append(f"    {parameter.help[0].upper()}{parameter.help[1:]}; {parameter.rule}.")
    lines += [
        "",
        "Returns",
        "-------",
        "Scenario",
        "    Equal arguments give equal events, on all machines.",
        "",
        "Raises",
        "------",
        "ValueError",
        "    If a value breaks its rule; the message names parameter, value and rule.",
    ]
    return "\n".join(lines) + "\n"


_TYPES: Final = {"int": "int", "float": "float", "size": "int or str", "folio": "int or str", "choice": "str"}
