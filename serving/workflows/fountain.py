"""Screenplays in Fountain (fountain.io, syntax 1.1): scene headings, action, dialogue.

    scenes = parse(text)    # scenes[0].heading == "EXT. HARBOUR - NIGHT"

What only matters on paper (sections, synopses, page breaks, boneyards, emphasis) is left out.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

HEADING = re.compile(r"(INT|EXT|EST|INT\./EXT|INT/EXT|I/E)[. ]", re.IGNORECASE)
SCENE_NUMBER = re.compile(r" ?#([\w.-]{1,20})#$")
# Every pattern is bounded: a hostile script must not take more time than a long one.
NOTE = re.compile(r"\[\[([^\[\]]{0,500})\]\]")
EMPHASIS = re.compile(r"(?<!\\)(\*{1,3}|_)(?=\S)(.{1,150}?)(?<=\S)\1")
TITLE_KEY = re.compile(r"[A-Za-z ]{1,30}:")
TRANSITION = re.compile(r"[^a-z]+ TO:|FADE (IN|OUT|TO BLACK)[.:]?")
EXTENSION = re.compile(r"\([^()]*\)|\^")
SECONDS = re.compile(r"(?<!\d)(\d{1,3}(?:\.\d{1,3})?) ?s(?:ec(?:onds?)?)?\b", re.IGNORECASE)
LONGEST_NAME = 80


@dataclass(frozen=True)
class Line:
    """Words that a character says."""

    character: str
    words: str


@dataclass
class Beat:
    """A paragraph of action and what is said after it; `seconds` from a note such as [[4 s]]."""

    action: str
    lines: list[Line] = field(default_factory=list)
    seconds: float | None = None


@dataclass
class Scene:
    """`heading` as it is written, without its number."""

    heading: str
    number: str = ""
    beats: list[Beat] = field(default_factory=list)


def parse(text: str) -> list[Scene]:
    """The scenes of a script that have something in them.

    Action before the first heading is a scene without a heading.
    """
    text = _without_boneyard(text.replace("\r\n", "\n").replace("\r", "\n").expandtabs(4))
    scenes = [Scene("")]
    for block in _blocks(_without_title_page(text)):
        _add(scenes, block)
    return [scene for scene in scenes if scene.beats]


def _without_boneyard(text: str) -> str:
    """Without what stands between /* and */; one that is never closed is text."""
    kept, at = [], 0
    while (start := text.find("/*", at)) >= 0 and (end := text.find("*/", start + 2)) >= 0:
        kept.append(text[at:start])
        at = end + 2
    return "".join([*kept, text[at:]])


def _without_title_page(text: str) -> str:
    head, _, rest = text.lstrip("\ufeff\n ").partition("\n\n")
    first = head.partition("\n")[0]
    is_title = TITLE_KEY.match(first) and not TRANSITION.fullmatch(first.strip())
    return rest if is_title else text.lstrip("\ufeff")


def _blocks(text: str) -> Iterator[list[str]]:
    """Lines between blank ones. A line of two spaces is not blank: dialogue goes on over it."""
    block: list[str] = []
    for line in text.split("\n"):
        if line.strip() or (block and line.startswith("  ")):
            block.append(line)
        elif block:
            yield block
            block = []
    if block:
        yield block


def _add(scenes: list[Scene], block: list[str]) -> None:
    """Put a block of lines where it belongs."""
    first = " ".join(block[0].split())
    if _is_heading(first):
        number = SCENE_NUMBER.search(first)
        heading = SCENE_NUMBER.sub("", first.removeprefix("."))
        scenes.append(Scene(_plain(heading), number[1] if number else ""))
        if len(block) > 1:  # not Fountain, but meant
            _add(scenes, block[1:])
        return
    if first.startswith(("#", "=")) or _is_transition(first):
        if len(block) > 1:
            _add(scenes, block[1:])
        return
    beats = scenes[-1].beats
    if _is_character(first) and len(block) > 1:
        spoken = _dialogue(block[1:])
        if not beats:
            beats.append(Beat(""))
        if spoken:
            beats[-1].lines.append(Line(_character(first), spoken))
        return
    action, seconds = _action(block)
    if action:
        beats.append(Beat(action, seconds=seconds))
    elif seconds is not None and beats:
        beats[-1].seconds = seconds


def _is_heading(line: str) -> bool:
    forced = line.startswith(".") and len(line) > 1 and line[1].isalnum()
    return forced or HEADING.match(line) is not None


def _is_transition(line: str) -> bool:
    if line.startswith(">"):
        return not line.endswith("<")
    return TRANSITION.fullmatch(line) is not None


def _is_character(line: str) -> bool:
    if line.startswith("@"):
        return True
    if line.startswith(("!", "~", ">", "[", "(")):
        return False
    if len(line) > LONGEST_NAME:
        return False
    name = EXTENSION.sub("", line)
    return name == name.upper() and any(char.isalpha() for char in name)


def _character(line: str) -> str:
    return _plain(EXTENSION.sub("", line.removeprefix("@"))).strip()


def _dialogue(lines: list[str]) -> str:
    """What is said, without the parentheticals of how."""
    spoken = [line.strip() for line in lines]
    words = " ".join(line for line in spoken if line and not re.fullmatch(r"\(.*\)", line))
    return " ".join(_plain(NOTE.sub("", words)).split())


def _action(block: list[str]) -> tuple[str, float | None]:
    text = "\n".join(block)
    seconds = None
    for note in NOTE.findall(text):
        found = SECONDS.search(note)
        seconds = float(found[1]) if found else seconds
    lines = (line.strip() for line in NOTE.sub("", text).split("\n"))
    kept = (line for line in lines if not line.startswith(("#", "=")))
    words = " ".join(line.strip("><").removeprefix("!").removeprefix("~") for line in kept)
    return " ".join(_plain(words).split()), seconds


def _plain(text: str) -> str:
    """Without marks of emphasis; escaped ones stay as themselves."""
    for _ in range(3):  # bold within italics within underline
        text, found = EMPHASIS.subn(r"\2", text)
        if not found:
            break
    return re.sub(r"\\([*_])", r"\1", text)
