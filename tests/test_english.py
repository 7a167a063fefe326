"""The prose of the project is plain English: no phrase that reads like a translation."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[1]
FILES = sorted(
    path
    for pattern in ("*.md", "docs/**/*.md", "docs/*.py", "src/**/*.py", "examples/*.py", "benchmarks/**/*.py")
    for path in REPOSITORY.glob(pattern)
    if not {"_build", "generated"} & set(path.parts) and path.name != "sharing_objects.py"
)

INSTEAD = {
    r"(?<!there )is no (?!longer|more|different|faster|slower)[a-z]+": "is not a ...",
    r"anew": "again",
    r"mend(s|ed|ing)?": "fix",
    r"whoever": "anyone who, the caller, another process, the user",
    r"somebody|someone|nobody": "name the actor: another process, the user, no caller",
    r"everybody": "every process, every user",
    r"(?<!anyone )(?<!user )(?<!users )(?<!everyone )(?<!those )who has": "anyone who has",
    r"tells? (of|what|how|whether|why)": "says, reports",
    r"told": "says, reports; or pass it as an argument",
    r"go(es)? on\b": "continues",
    r"going on with": "continuing",
    r"let PAYLOADFS": "set PAYLOADFS_X to ...",
    r"near cop(y|ies)": "cached copy",
    r"far (store|object)s?": "remote store, remote object",
    r"(?-i:Return if)": "raise X if ..., check that ...",
    r"of (its|their|his|your|our|one's) own": "its own X, a separate X",
    r"(?<![\"`])texts(?![\"`])": "strings",
    r"so many": "this many, too many",
    r"it is to be": "it must be",
    r"stands? in (?!for\b)": "is in",
    r"what is asked for": "the request, the requested X",
    r"yours alone": "only you can read or write it",
    r"gives? back": "returns, restores",
    r"put up with": "tolerate",
    r"at once": "immediately, or: at the same time",
    r"for ever": "forever",
    r"for people": "for display",
    r"so long(?! as)": "this long, older than this",
    r"(?<=\w), also (after|by|for|from|if|in|inside|of|those|through|when)": "even, including",
    r"(?-i:Raises) (and costs )?as": "errors are those of, errors and cost are those of",
    r"gets? lost": "is lost",
    r"wins? over": "takes precedence over",
    r"(is|are|was|were) said": "is logged, is reported",
    r"never (is|are|was|were)": "is never",
    r"must name (it )?again": "must pass it again",
}
"""Patterns that must not occur, and what to write instead."""

FORBIDDEN = re.compile("|".join(rf"(?P<p{n}>\b(?:{pattern})\b)" for n, pattern in enumerate(INSTEAD)), re.IGNORECASE)


def phrases(text: str) -> list[tuple[int, str, str]]:
    """Return line, phrase and advice of each forbidden phrase, also of those that a line break splits."""
    # One character for one, so that positions stay right; comment signs at the start of a line are no word.
    flat = re.sub(r"\n[ ]*#?", lambda match: " " * len(match[0]), text)
    squeezed = re.compile(r"\s+")
    positions = [
        position for position, _ in enumerate(flat) if not (position and flat[position - 1 : position + 1].isspace())
    ]
    one_space = squeezed.sub(" ", flat)
    advice = list(INSTEAD.values())
    return [
        (text.count("\n", 0, positions[match.start()]) + 1, match[0], advice[int(str(match.lastgroup)[1:])])
        for match in FORBIDDEN.finditer(one_space)
    ]


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(REPOSITORY)))
def test_plain_english(path: Path) -> None:
    name = path.relative_to(REPOSITORY)
    found = phrases(path.read_text(encoding="utf-8"))
    assert not found, "\n".join(
        ["", *(f"{name}:{line}: {phrase!r}; write instead: {advice}" for line, phrase, advice in found)]
    )


def test_a_phrase_across_two_lines_is_found() -> None:
    assert phrases("one\n\n    # This goes\n    # on without end.\n") == [(3, "goes on", "continues")]
    assert phrases("A plain sentence.") == []
