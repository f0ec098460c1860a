"""DVHs of several structures at once, on a few threads; each the same as made alone."""

from __future__ import annotations

from collections.abc import Sequence

from rtplan.domain import Dose, Mask, Structure
from rtplan.dosimetry.blas import one_thread, put_on_one_thread
from rtplan.dosimetry.dvh import Dvh, Settings, dvhs
from rtplan.dosimetry.workers import cores, in_order
from rtplan.errors import RtplanError

#: Most threads where none are asked for: between its array operations Python runs one thread at a time.
MOST_THREADS = 4


def dvhs_of_all(
    structures: Sequence[Structure],
    doses: Sequence[Dose],
    settings: Settings | None = None,
    *,
    threads: int = 0,
) -> list[tuple[Dvh, ...] | RtplanError]:
    """Return the DVHs of each structure under several doses (see `rtplan.dosimetry.dvh.dvhs`).

    Parameters
    ----------
    structures : sequence of Structure
        Contours or masks, in the frame of reference of the doses.
    doses : sequence of Dose
        All on the same grid.
    settings : Settings, optional
        The default is ``Settings()``.
    threads : int
        How many structures are worked on at once; 0: as many as there are cores, at most `MOST_THREADS`.

    Returns
    -------
    list of tuple of Dvh, or of RtplanError
        In the order of the structures; for one that has no DVH the error that says why. The number of threads
        changes no bit of it.
    """

    def one(structure: Structure) -> tuple[Dvh, ...] | RtplanError:
        try:
            return dvhs(structure, doses, settings)
        except RtplanError as wrong:
            return wrong

    count = threads or min(cores(), MOST_THREADS)
    with one_thread():
        return in_order(one, structures, count, size=_size, start=put_on_one_thread)


def _size(structure: Structure) -> int:
    """Return about how much work a structure is: vertices of contours, or voxels."""
    region = structure.region
    return region.array.size if isinstance(region, Mask) else sum(len(ring) for ring in region.rings)
