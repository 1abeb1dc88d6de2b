"""`Findings`: what a reader found out about a data set, for the table and for report.json."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

_EXAMPLES = 20  # names kept per reason; counts are always complete


@dataclass(slots=True)
class Findings:
    """Checks with their outcome, and samples skipped with their reason.

    A reader calls `check` and `skip`; whoever runs it looks at `failed` before a byte is written.
    Memory does not grow with the number of samples: per reason a count and the first few names.
    """

    checks: list[dict[str, Any]] = field(default_factory=list)
    skipped: Counter[str] = field(default_factory=Counter)
    examples: dict[str, list[str]] = field(default_factory=dict)
    heard: Callable[[dict[str, Any]], None] | None = None  # is told each check as it is made

    def check(
        self,
        name: str,
        passed: bool,
        detail: str,
        *,
        level: Literal["fail", "warn"] = "fail",
        facts: Mapping[str, Any] | None = None,
    ) -> None:
        """Record a check; `detail` is a sentence with the value, the rule and the next step.

        `facts` are plain values of what was understood, which people are shown in any case.
        """
        made: dict[str, Any] = {"check": name, "outcome": "ok" if passed else level}
        made |= {"detail": detail} | ({} if facts is None else {"facts": dict(facts)})
        self.checks.append(made)
        if self.heard:
            self.heard(made)

    def facts(self, name: str) -> dict[str, Any]:
        """What the check of this name understood; nothing where there is none."""
        found = (check.get("facts") for check in self.checks if check["check"] == name)
        return next(filter(None, found), {})

    def skip(self, reason: str, name: str) -> None:
        """Record that the sample or file `name` is left out."""
        self.skipped[reason] += 1
        names = self.examples.setdefault(reason, [])
        if len(names) < _EXAMPLES:
            names.append(name)

    @property
    def failed(self) -> list[str]:
        """The sentences of the failed checks."""
        return [c["detail"] for c in self.checks if c["outcome"] == "fail"]

    def as_dict(self) -> dict[str, Any]:
        """Plain values for report.json."""
        return {
            "checks": self.checks,
            "skipped": dict(sorted(self.skipped.items())),
            "examples": self.examples,
        }
