"""DVHs made once: what a case's steps, its curves and its bands read of the same structures and doses."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from rtplan.domain import Contours, Dose, Mask, Structure
from rtplan.dosimetry.histogram import Dvh, Settings
from rtplan.dosimetry.several import dvhs_of_all
from rtplan.errors import RtplanError

#: What a DVH is made of: the region, the dose on which its cells are refined, the settings.
Ground = tuple[int, "Place", Settings]
#: A dose's voxels and grid, as they lie in memory, and its kind.
Place = tuple[int, int, str]


@dataclass
class _Page:
    """The DVHs of one region whose cells were refined on one dose; or why there are none."""

    region: Contours | Mask
    name: str
    doses: list[Dose] = field(default_factory=list)
    made: dict[Place, Dvh] = field(default_factory=dict)
    wrong: RtplanError | None = None


@dataclass(frozen=True, eq=False)
class Ledger:
    """Remembers DVHs; whoever is handed the same ledger does not make them again.

    It knows structures and doses by their arrays in memory, which nothing of rtplan ever changes, and holds
    on to them. A case makes one, hands it to those who read DVHs, and lets it go.
    """

    _pages: dict[Ground, _Page] = field(default_factory=dict)

    def histograms(
        self,
        structures: Sequence[Structure],
        doses: Mapping[str, Dose],
        settings: Settings | None = None,
        threads: int = 0,
    ) -> list[dict[str, Dvh] | RtplanError]:
        """Return the DVHs of each structure by arm, or the error that says why there are none.

        Parameters
        ----------
        structures : sequence of Structure
            Contours or masks.
        doses : mapping of str to Dose
            All on one grid; the cells are refined on the first.
        settings : Settings, optional
            The default is ``Settings()``.
        threads : int
            How many structures are worked on at once; 0: by the number of cores.

        Returns
        -------
        list
            In the order of the structures; the same, to the bit, as if nothing had been remembered.
        """
        settings, wanted = settings or Settings(), list(doses.values())
        if not wanted:
            return [{} for _ in structures]
        lacking = [s for s in structures if not self._knows(s, wanted, settings)]
        made = dvhs_of_all(lacking, wanted, settings, threads=threads)
        for structure, found in zip(lacking, made, strict=True):
            self._note(structure, wanted, settings, found)
        return [self._read(structure, doses, settings) for structure in structures]

    def _knows(self, structure: Structure, doses: Sequence[Dose], settings: Settings) -> bool:
        page = self._pages.get(_ground(structure, doses[0], settings))
        if page is None:
            return False
        if page.wrong is not None:  # its words name the structure
            return page.name == structure.name and set(map(_place, page.doses)) == set(map(_place, doses))
        return all(_place(dose) in page.made for dose in doses)

    def _note(
        self,
        structure: Structure,
        doses: Sequence[Dose],
        settings: Settings,
        found: tuple[Dvh, ...] | RtplanError,
    ) -> None:
        page = _Page(structure.region, structure.name, list(doses))
        if isinstance(found, RtplanError):
            page.wrong = found
        else:
            page.made = {_place(dose): dvh for dose, dvh in zip(doses, found, strict=True)}
        self._pages[_ground(structure, doses[0], settings)] = page

    def _read(
        self, structure: Structure, doses: Mapping[str, Dose], settings: Settings
    ) -> dict[str, Dvh] | RtplanError:
        page = self._pages[_ground(structure, next(iter(doses.values())), settings)]
        if page.wrong is not None:
            return page.wrong
        return {arm: _under(page.made[_place(dose)], structure, dose) for arm, dose in doses.items()}


def _under(made: Dvh, structure: Structure, dose: Dose) -> Dvh:
    """Return a DVH with the names that it bears here: the structure's, and the fractions of the dose."""
    if (made.name, made.fractions) == (structure.name, dose.fractions):
        return made
    return replace(made, name=structure.name, fractions=dose.fractions)


def _ground(structure: Structure, first: Dose, settings: Settings) -> Ground:
    return id(structure.region), _place(first), settings


def _place(dose: Dose) -> Place:
    return int(dose.array.__array_interface__["data"][0]), id(dose.grid), dose.kind
