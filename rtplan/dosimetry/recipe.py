"""The grammar of derived structures: ``Ring = (PTV + 10) - PTV``, parsed to a tree; nothing is evaluated."""

from __future__ import annotations

import re
from dataclasses import dataclass

from rtplan.dosimetry.caret import Reader
from rtplan.dosimetry.protocol import Derive

#: Directions of a margin: the patient's left, right, anterior, posterior, superior, inferior.
SIDES = ("L", "R", "A", "P", "S", "I")
#: Greatest margin, mm, and deepest nesting of brackets.
MOST_MM = 100.0
DEEPEST = 30

_NAME = re.compile(r"[A-Za-z_~][A-Za-z0-9_~^.]*")
_QUOTED = re.compile(r'"([^"\n]+)"')
_SIDE = re.compile(r"[LRAPSI]")
_ACTION = (
    "write for example: Ring = (PTV + 10) - PTV, or Near = Rectum & (CTV + (5, P 3)); see docs/dosimetry."
)


@dataclass(frozen=True)
class Name:
    """A structure by its name."""

    name: str


@dataclass(frozen=True)
class Isodose:
    """Where the dose is at least a level, Gy."""

    level_gy: float


@dataclass(frozen=True)
class Wall:
    """The inner shell of a hollow organ in axial planes, its thickness in mm."""

    of: Tree
    thickness_mm: float


@dataclass(frozen=True)
class Grown:
    """A margin in the six directions of `SIDES`, mm; below 0 it shrinks."""

    of: Tree
    margin_mm: tuple[float, float, float, float, float, float]


@dataclass(frozen=True)
class Joined:
    """Two structures joined by ``|`` (either), ``&`` (both) or ``-`` (the first without the second)."""

    sign: str
    left: Tree
    right: Tree


Tree = Name | Isodose | Wall | Grown | Joined


@dataclass(frozen=True)
class Recipe:
    """How one structure is made.

    Parameters
    ----------
    make : str
        Name of the new structure.
    tree : Tree
        What it is made of.
    text : str
        As it was written.
    """

    make: str
    tree: Tree
    text: str

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the structures it starts from, each once."""
        return tuple(dict.fromkeys(node.name for node in nodes(self.tree) if isinstance(node, Name)))

    @property
    def levels_gy(self) -> tuple[float, ...]:
        """Isodoses it starts from, Gy."""
        return tuple(node.level_gy for node in nodes(self.tree) if isinstance(node, Isodose))

    @property
    def reach_mm(self) -> float:
        """How far it can reach beyond its sources, mm."""
        return _reach(self.tree)


def nodes(tree: Tree) -> tuple[Tree, ...]:
    """Return a tree and all that is below it."""
    if isinstance(tree, Wall | Grown):
        return (tree, *nodes(tree.of))
    if isinstance(tree, Joined):
        return (tree, *nodes(tree.left), *nodes(tree.right))
    return (tree,)


def parse_recipe(text: str) -> Recipe:
    """Read how a structure is made.

    Parameters
    ----------
    text : str
        ``NAME = EXPRESSION``. From tight to loose: margins ``+ 10``, ``- 3``, ``+ (5, P 3)``,
        ``+ (L 7, R 7, A 7, P 5, S 7, I 7)`` in mm; ``&`` (both); ``|`` (either) and ``-`` (without), from the
        left. Brackets group; ``isodose(57)`` is where the dose is at least 57 Gy; ``wall(Rectum, 3)`` an
        inner shell of 3 mm. A name with other characters than letters, digits and ``_~^.`` stands in double
        quotes.

    Raises
    ------
    FormatError
        If it does not parse; the message points at the character.

    Examples
    --------
    >>> recipe = parse_recipe("Ring = (PTV + 10) - PTV")
    >>> recipe.make, recipe.names, recipe.reach_mm
    ('Ring', ('PTV',), 10.0)
    """
    reader = Reader(text, "A derived structure", _ACTION)
    reader.skip_blanks()
    make = _name(reader, "the name of the new structure")
    _sign(reader, "=")
    tree = _sum(reader, 0)
    reader.end()
    return Recipe(make, tree, text.strip())


def recipe_of(rule: Derive) -> Recipe:
    """Return a protocol's rule as a recipe: union of its sources, margin, then ``within`` and ``minus``.

    Examples
    --------
    >>> rule = Derive.model_validate({"make": "PTV", "from": "CTV", "minus": "Rectum"})
    >>> recipe_of(rule).text
    'PTV = CTV - Rectum'
    """
    tree: Tree = Name(rule.sources[0])
    text = " | ".join(rule.sources)
    if len(rule.sources) > 1 and (rule.margin_mm or rule.within or rule.minus):
        text = f"({text})"
    for name in rule.sources[1:]:
        tree = Joined("|", tree, Name(name))
    if rule.margin_mm:
        sides = [rule.margin_mm[side] for side in SIDES]
        tree = Grown(tree, (sides[0], sides[1], sides[2], sides[3], sides[4], sides[5]))
        said = ", ".join(f"{side} {mm:g}" for side, mm in zip(SIDES, sides, strict=True))
        text = f"{text} + ({said})"
    for sign, other in (("&", rule.within), ("-", rule.minus)):
        if other:
            tree, text = Joined(sign, tree, Name(other)), f"{text} {sign} {other}"
    return Recipe(rule.make, tree, f"{rule.make} = {text}")


def _reach(tree: Tree) -> float:
    if isinstance(tree, Grown):
        return _reach(tree.of) + max(0.0, *tree.margin_mm)
    if isinstance(tree, Wall):
        return _reach(tree.of)
    if isinstance(tree, Joined):
        return max(_reach(tree.left), _reach(tree.right))
    return 0.0


def _sign(reader: Reader, sign: str) -> None:
    reader.skip_blanks()
    reader.literal(sign)
    reader.skip_blanks()


def _sum(reader: Reader, depth: int) -> Tree:
    tree = _both(reader, depth)
    while reader.at("|") or reader.at("-"):
        sign = reader.text[reader.place]
        _sign(reader, sign)
        tree = Joined(sign, tree, _both(reader, depth))
    return tree


def _both(reader: Reader, depth: int) -> Tree:
    tree = _grown(reader, depth)
    while reader.at("&"):
        _sign(reader, "&")
        tree = Joined("&", tree, _grown(reader, depth))
    return tree


def _grown(reader: Reader, depth: int) -> Tree:
    tree = _atom(reader, depth)
    reader.skip_blanks()
    while reader.at("+") or _shrinks(reader):
        sign = -1.0 if reader.at("-") else 1.0
        _sign(reader, "-" if sign < 0 else "+")
        tree = Grown(tree, _margin(reader, sign))
        reader.skip_blanks()
    return tree


def _shrinks(reader: Reader) -> bool:
    """Whether a minus with a number comes next, rather than with a structure."""
    rest = reader.text[reader.place :]
    return re.match(r"-[ \t]*([0-9]|\([ \t]*([LRAPSI][ \t]+)?[0-9])", rest) is not None


def _margin(reader: Reader, sign: float) -> tuple[float, float, float, float, float, float]:
    if not reader.at("("):
        all_round = sign * _millimetres(reader)
        return (all_round,) * 6
    _sign(reader, "(")
    sides: dict[str, float] = {}
    rest = _millimetres(reader) if reader.at_number() else None
    more = rest is None
    while more or reader.at(","):
        if not more:
            _sign(reader, ",")
        more = False
        start = reader.place
        side = reader.take(_SIDE, "a direction L, R, A, P, S or I")
        if side in sides:
            reader.place = start
            reader.refuse("another direction: this one is given already")
        reader.skip_blanks()
        sides[side] = _millimetres(reader)
    if rest is None and len(sides) < len(SIDES):
        reader.refuse(f"all six directions, or one number for the rest first: {_lacking(sides)} missing")
    _sign(reader, ")")
    left, right, front, back, up, down = (sign * sides.get(side, rest or 0.0) for side in SIDES)
    return left, right, front, back, up, down


def _lacking(sides: dict[str, float]) -> str:
    return ", ".join(side for side in SIDES if side not in sides)


def _millimetres(reader: Reader) -> float:
    start = reader.place
    number = reader.number("a margin in mm")
    if number > MOST_MM:
        reader.place = start
        reader.refuse(f"at most {MOST_MM:g} mm")
    reader.skip_blanks()
    if reader.at("mm"):
        reader.literal("mm")
        reader.skip_blanks()
    return number


def _atom(reader: Reader, depth: int) -> Tree:
    if depth > DEEPEST:
        reader.refuse(f"at most {DEEPEST} brackets in one another")
    if reader.at("("):
        _sign(reader, "(")
        tree = _sum(reader, depth + 1)
        _sign(reader, ")")
        return tree
    quoted = reader.at('"')
    name = _name(reader, "a structure, isodose(…), wall(…) or a bracket")
    if quoted or not reader.at("(") or name not in ("isodose", "wall"):
        return Name(name)
    _sign(reader, "(")
    if name == "isodose":
        start = reader.place
        level = reader.number("a dose in Gy")
        if level <= 0:
            reader.place = start
            reader.refuse("a dose above 0 Gy")
        reader.skip_blanks()
        if reader.at("Gy"):
            reader.literal("Gy")
        _sign(reader, ")")
        return Isodose(level)
    of = _sum(reader, depth + 1)
    _sign(reader, ",")
    thickness = _millimetres(reader)
    _sign(reader, ")")
    return Wall(of, thickness)


def _name(reader: Reader, wanted: str) -> str:
    if reader.at('"'):
        return reader.take(_QUOTED, "a name that ends with a double quote")[1:-1]
    return reader.take(_NAME, wanted)
