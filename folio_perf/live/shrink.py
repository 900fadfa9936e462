# SPDX-License-Identifier: BSD-3-Clause
"""The shortest scenario that still shows what a long one shows: delta debugging on its lines, then on its numbers.

Source of the method: A. Zeller, R. Hildebrandt, "Simplifying and Isolating Failure-Inducing Input", IEEE TSE 28 (2002).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Final

__all__ = ["shrink"]

_DECLARATIONS: Final = ("sysfs", "obj", "region")
_NUMBER: Final = re.compile(r"[0-9]+", re.ASCII)


def shrink(text: str, still: Callable[[str], bool], *, tries: int = 400) -> tuple[str, bool]:
    """Shorten a scenario as far as it keeps showing something.

    Parameters
    ----------
    text : str
        One scenario, from its ``scenario`` line to its ``end``.
    still : callable
        Says of a scenario whether it shows it; false of one that breaks the language's rules. `text` must.
    tries : int
        Call it at most so often.

    Returns
    -------
    str
        A scenario that shows it.
    bool
        Whether no line of it can be left out and no number made smaller; false if the tries ran out.
    """
    lines = [line.partition("#")[0].strip() for line in text.strip().splitlines()]
    lines = [line for line in lines if line]
    search = _Search(lines[0], lines[1:-1], still, tries)
    while search.left and (search.drop_lines() or search.lower_numbers()):
        pass
    return search.text(search.body), search.left > 0


class _Search:
    def __init__(self, head: str, body: list[str], still: Callable[[str], bool], tries: int) -> None:
        self.head, self.body, self._still, self.left = head, body, still, tries
        self._refused: set[tuple[str, ...]] = set()

    def text(self, body: list[str]) -> str:
        return "\n".join([self.head, *body, "end", ""])

    def _try(self, body: list[str]) -> bool:
        if not self.left or tuple(body) in self._refused or body == self.body:
            return False
        self.left -= 1
        if not self._still(self.text(body)):
            self._refused.add(tuple(body))
            return False
        self.body = body
        return True

    def drop_lines(self) -> bool:
        """Leave lines out, many at a time, then fewer; whether any could be."""
        before = len(self.body)
        size = max(len(self.body) // 2, 1)
        while size and self.left:
            at = len(self.body)
            while at > 0:
                start = max(at - size, 0)
                self._try(self.body[:start] + self.body[at:])
                at = start
            size //= 2
        return len(self.body) < before

    def lower_numbers(self) -> bool:
        """Make numbers of operations smaller, one at a time; whether any could be."""
        lowered = False
        for at in range(len(self.body)):
            for word in range(1, len(self.body[at].split())):
                while self._lower(at, word):
                    lowered = True
        return lowered

    def _lower(self, at: int, word: int) -> bool:
        words = self.body[at].split()
        if words[0] in _DECLARATIONS or not _NUMBER.fullmatch(words[word]):
            return False
        for smaller in _smaller(int(words[word])):
            line = " ".join([*words[:word], str(smaller), *words[word + 1 :]])
            if self._try([*self.body[:at], line, *self.body[at + 1 :]]):
                return True
        return False


def _smaller(number: int) -> Iterator[int]:
    """Smaller numbers worth trying, the smallest first."""
    yield from sorted(
        {candidate for candidate in (0, 1, number // 2, number & -512, number - 1) if 0 <= candidate < number}
    )
