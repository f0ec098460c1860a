"""TPS profiles: what a planning system is known to refuse or demand, as data; and how it bears on export."""

from __future__ import annotations

import tomllib
import unicodedata
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from rtplan import resources
from rtplan.domain import Notice
from rtplan.errors import FormatError

#: The profile of an export for which none was asked.
DEFAULT = "generic"
#: Where the profiles lie (``rtplan/io/profiles``).
SHELF = "io/profiles"
Holes = Literal["plain", "xor", "keyhole"]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Rule(_Strict):
    """Why a profile sets what it sets.

    Parameters
    ----------
    sets : tuple of str
        Names of the settings that follow from the rule; empty for what rtplan does for every system.
    says : str
        What the system refuses or demands.
    source : str
        Where that was seen.
    verified : bool
        Whether the source was read and says it of this system.
    """

    sets: tuple[str, ...] = ()
    says: str
    source: str
    verified: bool


class Settings(_Strict):
    """How objects are written for one system.

    Parameters
    ----------
    holes : str
        ``plain``: a hole is a CLOSED_PLANAR ring inside a ring; ``xor``: the rings of a plane with holes are
        CLOSEDPLANAR_XOR; ``keyhole``: one ring, a channel of no width leads to the hole.
    contours_on_slices : bool
        Contours between the image's slices are brought onto the slices, so that each refers to its image.
    name_length : int
        Longest ROIName, StructureSetLabel and RTPlanLabel.
    ascii_names : bool
        Names are of ASCII letters only (the full one stays in ROIDescription).
    dose_bits : int
        Bits of a stored dose value.
    dvh : bool
        Whether the RTDOSE carries the DVH sequence.
    axial : bool
        Density images and doses on axial slices (ImageOrientationPatient 1 0 0 0 1 0).
    explicit_vr : bool
        Image series in Explicit VR Little Endian; else Implicit.
    """

    holes: Holes = "keyhole"
    contours_on_slices: bool = False
    name_length: int = Field(default=16, ge=4, le=64)
    ascii_names: bool = True
    dose_bits: Literal[16, 32] = 32
    dvh: bool = True
    axial: bool = True
    explicit_vr: bool = True


class Profile(Settings):
    """The settings for one system, and the rules from which they follow.

    Examples
    --------
    >>> load("eclipse").holes, load("generic").axial
    ('keyhole', False)
    """

    schema_: Literal[1] = Field(alias="schema")
    name: str
    system: str
    rule: tuple[Rule, ...]

    def notice(self) -> Notice:
        """Return what the reader of an export must know of the profile."""
        weak = sum(not rule.verified for rule in self.rule)
        rules = f"{len(self.rule)} rules, {weak} of them unverified"
        message = f"Written for {self.system} (profile {self.name}): {rules}."
        return Notice("TPS_PROFILE", "info", message, "import it into a test patient first.")

    def fitting(self, name: str) -> str:
        """Return a name in the letters that the system takes; not yet shortened.

        Examples
        --------
        >>> load("eclipse").fitting("Übergang ½ Rektum")
        'Ubergang 12 Rektum'
        """
        if not self.ascii_names or name.isascii():
            return name
        flat = unicodedata.normalize("NFKD", name.replace("ß", "ss"))
        return "".join(c if c.isascii() else "_" for c in flat if not unicodedata.combining(c) and c != "⁄")


def names() -> tuple[str, ...]:
    """Return the names of the shipped profiles."""
    return resources.names(SHELF)


def load(name: str) -> Profile:
    """Return a shipped profile by name, or one from the path of a TOML file.

    Raises
    ------
    UnknownName
        If there is no such profile.
    FormatError
        If the file does not hold a profile, or its settings and rules do not agree.
    """
    path = resources.find(SHELF, name)
    return _parsed(path.read_text(encoding="utf-8"), str(path))


def _parsed(text: str, where: str) -> Profile:
    try:
        raw: dict[str, Any] = tomllib.loads(text)
        profile = Profile.model_validate(raw)
    except (tomllib.TOMLDecodeError, ValidationError) as broken:
        first = str(broken).splitlines()[:3]
        raise FormatError(f"The TPS profile does not parse: {' '.join(first)}", where=where) from None
    told = {name for rule in profile.rule for name in rule.sets}
    unknown = told - set(Settings.model_fields)
    silent = {name for name in raw if name in Settings.model_fields} - told
    if unknown or silent:
        wrong = ", ".join(sorted(unknown | silent))
        raise FormatError(f"Settings and rules of the TPS profile do not agree on {wrong}.", where=where)
    return profile
