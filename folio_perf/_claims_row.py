# SPDX-License-Identifier: BSD-3-Clause
"""One claim and what became of it. Public names are in `folio_perf.claims`."""

from __future__ import annotations

from dataclasses import dataclass

from folio_perf.schemes import SchemeSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """One claim of the mail, held against the model.

    Parameters
    ----------
    id : str
        Number, as in docs/claims.md.
    claim : str
        What is claimed.
    scheme : str
        Design and kernel.
    reconstructed : bool
        The public description of the design is incomplete and was completed.
    expected, got : str
        What the claim says, and what the model gave.
    ok : bool
    method : str
        ``run``: the model ran it; ``extrapolated``: it ran one step of what nobody can afford to run whole.
    """

    id: str
    claim: str
    scheme: str
    reconstructed: bool
    expected: str
    got: str
    ok: bool
    method: str


def row(
    number: str,
    claim: str,
    spec: SchemeSpec,
    expected: object,
    got: object,
    *,
    ok: bool | None = None,
    within: float | None = None,
    method: str = "run",
) -> Claim:
    """Make a row; equal texts are ok, or numbers within a share of what is expected."""
    if within is not None and isinstance(got, float):
        target = float(str(expected).split()[0])
        ok = abs(got - target) <= within * target
    text = f"{got:.1f}".removesuffix(".0") if isinstance(got, float) else str(got)
    return Claim(
        id=number,
        claim=claim,
        scheme=str(spec),
        reconstructed=spec.info.reconstructed,
        expected=str(expected),
        got=text,
        ok=str(expected) == text if ok is None else ok,
        method=method,
    )
