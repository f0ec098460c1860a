"""Which dose is that of the whole course: one that says so, or the sum of all beams or fraction groups."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from rtplan.domain import Dose, Notice
from rtplan.domain.notice import Severity
from rtplan.io.rtdose import ReadDose
from rtplan.io.rtplan import PlanSummary

#: Largest difference between the dose of a plan and the sum of its beams, as a share of the maximum.
SUM_TOLERANCE = 0.01
#: No course gives more, Gy; a higher value is cGy under another name.
PLAUSIBLE_GY = 200.0
#: Parts of a plan that make the whole: DoseSummationType to what it is the dose of.
PARTS = {"BEAM": "beams", "FRACTION": "fraction groups"}
WHOLE = "export the dose of the whole plan (DoseSummationType PLAN)."


@dataclass
class Course:
    """The choice among the doses of one patient in one frame; ``notices`` says what became of each.

    Parameters
    ----------
    plans : mapping of str to PlanSummary
        By SOPInstanceUID.
    chosen : tuple of ReadDose
        What the dose of the course was made of, after `choose`.
    """

    plans: Mapping[str, PlanSummary]
    chosen: tuple[ReadDose, ...] = ()
    notices: list[Notice] = field(default_factory=list)

    def choose(self, found: Sequence[ReadDose]) -> Dose | None:
        """Return the physical dose of the whole course, None with the reason in ``notices``.

        One dose of a plan is taken as it is; without one, the dose of several plans together; without that,
        the sum of the doses of all beams, or of all fraction groups, of one plan: each exactly once, on one
        grid, checked against the plan's own list. Effective doses are never mixed with physical ones.
        """
        for item in found:
            self._plausible(item)
        physical = [item for item in found if item.dose.kind == "physical"]
        for item in found:
            if item not in physical:
                message = "An effective dose is left out: it is never mixed with physical dose."
                self._say("DOSE_EFFECTIVE", "warn", message, "export physical dose.", item)
        whole = [item for item in physical if item.summation == "PLAN"]
        several = [item for item in physical if item.summation == "MULTI_PLAN"]
        if len(whole) == 1 and not several:
            self._passed_over(physical, whole[0])
            self.chosen = (whole[0],)
            return self._with_fractions(whole[0])
        if len(several) == 1 and {uid for item in whole for uid in item.plan_uids} <= set(
            several[0].plan_uids
        ):
            return self._of_several_plans(several[0], physical)
        if whole or several:
            self._refuse_several(whole + several)
            return None
        return self._summed(physical)

    def _say(self, code: str, severity: Severity, message: str, action: str, item: ReadDose) -> None:
        uid = item.dose.source.sop_uids[0]
        self.notices.append(Notice(code, severity, message, action, file=str(item.path), uid=uid))

    def _plausible(self, item: ReadDose) -> None:
        top = float(item.dose.array.max())
        if top > PLAUSIBLE_GY:
            message = f"The dose reaches {top:.0f} Gy: that looks like cGy under the name of Gy."
            self._say("DOSE_IMPLAUSIBLE", "warn", message, "check DoseUnits and DoseGridScaling.", item)

    def _with_fractions(self, item: ReadDose) -> Dose:
        """Return the dose with the fractions of its plan, where it has one plan of one fraction group."""
        plan = self.plans.get(item.plan_uids[0]) if len(set(item.plan_uids)) == 1 else None
        fractions = item.dose.fractions or (plan.fractions if plan else None)
        return replace(item.dose, fractions=fractions)

    def _passed_over(self, found: Sequence[ReadDose], taken: ReadDose) -> None:
        parts: dict[str, list[ReadDose]] = {}
        for item in found:
            if item is not taken:
                what = item.summation or "unknown sum"
                message = f"A dose of {what} is left out; that of the plan is taken."
                self._say("DOSE_CHOSEN", "info", message, "", item)
                parts.setdefault(what, []).append(item)
        for kind, items in parts.items():
            if kind in PARTS and self._hindrance(kind, items) is None:
                self._compare(taken, items, PARTS[kind])

    def _compare(self, taken: ReadDose, items: Sequence[ReadDose], what: str) -> None:
        total = _sum(items)
        if not total.grid.same_as(taken.dose.grid):
            return
        off = float(np.abs(total.array - taken.dose.array).max())
        top = float(taken.dose.array.max())
        if off > SUM_TOLERANCE * top:
            message = (
                f"The doses of its {what} add up to another dose than that of the plan: {off:.2f} Gy off, of "
                f"{top:.2f} Gy."
            )
            self._say("DOSE_PARTS_DIFFER", "warn", message, "export the doses of one calculation.", taken)

    def _of_several_plans(self, taken: ReadDose, found: Sequence[ReadDose]) -> Dose:
        message = (
            f"The dose is that of {len(set(taken.plan_uids))} plans together: its fractions are not known, "
            "so nothing that depends on them is evaluable."
        )
        self._say("DOSE_MULTI_PLAN", "warn", message, "give the fractions where they are asked for.", taken)
        for item in found:
            if item is not taken:
                message = f"A dose of {item.summation} is left out; that of all plans together is taken."
                self._say("DOSE_CHOSEN", "info", message, "", item)
        self.chosen = (taken,)
        return replace(taken.dose, fractions=None)

    def _refuse_several(self, found: Sequence[ReadDose]) -> None:
        plans = {uid for item in found for uid in item.plan_uids}
        for item in found:
            message = (
                f"{len(found)} doses of whole plans are here ({len(plans) or 'no'} plans named); whether "
                "they add up or compete is not said, so none is taken."
            )
            self._say("DOSE_SEVERAL", "warn", message, "leave the dose of one plan, or their sum.", item)

    def _summed(self, found: Sequence[ReadDose]) -> Dose | None:
        reasons = {}
        for kind, what in PARTS.items():
            items = [item for item in found if item.summation == kind]
            if not items:
                continue
            reasons[kind] = self._hindrance(kind, items)
            if reasons[kind] is None:
                message = (
                    f"{len(items)} doses of all {what} of the plan are added up: none of the whole is here."
                )
                self._say("DOSE_SUMMED", "info", message, "", items[0])
                self.chosen = tuple(items)
                return replace(_sum(items), fractions=self._with_fractions(items[0]).fractions)
        for item in found:
            code, why = reasons.get(item.summation) or (
                "DOSE_NOT_WHOLE",
                f"DoseSummationType says {item.summation or 'nothing'}",
            )
            self._say(code, "warn", f"A dose is left out: {why}.", WHOLE, item)
        return None

    def _hindrance(self, kind: str, items: Sequence[ReadDose]) -> tuple[str, str] | None:
        """Return the code and the reason why these parts are not the whole of one plan; None: they are."""
        uids = {uid for item in items for uid in item.plan_uids}
        if len(uids) != 1:
            return "DOSE_NOT_WHOLE", f"{len(items)} doses of {PARTS[kind]} name {len(uids) or 'no'} plans"
        plan = self.plans.get(uids.pop())
        if plan is None:
            return (
                "DOSE_PLAN_ABSENT",
                f"the plan whose {PARTS[kind]} it is of is not here, so none can be missed",
            )
        wanted = plan.delivered if kind == "BEAM" else frozenset(plan.groups)
        given = Counter(n for item in items for n in (item.beams if kind == "BEAM" else item.groups))
        missing = sorted(wanted - set(given))
        extra = sorted(n for n in given if n not in wanted)
        twice = sorted(n for n in given if given[n] > 1)
        for what, numbers in (
            ("has no dose", missing),
            ("is not delivered", extra),
            ("has two doses", twice),
        ):
            if numbers:
                listed = ", ".join(map(str, numbers))
                return "DOSE_PARTS_INCOMPLETE", f"of the plan's {PARTS[kind]}, number {listed} {what}"
        if any(not item.dose.grid.same_as(items[0].dose.grid) for item in items):
            return "DOSE_GRIDS_DIFFER", f"the doses of the {PARTS[kind]} lie on different grids"
        return None


def _sum(items: Sequence[ReadDose]) -> Dose:
    total: NDArray[np.float64] = np.zeros(items[0].dose.grid.shape)
    for item in items:
        total += item.dose.array
    return replace(items[0].dose, array=total)
