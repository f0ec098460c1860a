"""Numbers, units, arms and verdicts as a person reads them."""

from __future__ import annotations

import re
from collections.abc import Iterable
from types import MappingProxyType

from rtplan.domain import Finding

MINUS, NO_BREAK = "\N{MINUS SIGN}", "\N{NO-BREAK SPACE}"
NOT_EVALUABLE = "n.e."
NO_INTERVAL = "no published interval"

#: What each arm is, for a reader who has never met one.
ARM_WORDS: MappingProxyType[str, str] = MappingProxyType(
    {
        "CT": "the planning CT",
        "CT0": "water everywhere inside the body",
        "CTpop": "one population density everywhere inside the body",
        "CTpop_bone": "one population density for soft tissue, another for bone",
        "CTstrat": "one density for each tissue class",
        "SynCT": "synthetic CT, made from the MR by a network",
    }
)

#: Verdict to its sign and word; the sign alone is never the whole message.
VERDICTS: MappingProxyType[str, tuple[str, str]] = MappingProxyType(
    {
        "met": ("✓", "limit met"),
        "wish_met": ("★", "wish met"),
        "missed": ("✗", "limit missed"),
        "equivalent": ("≈", "equivalent"),
        "different": ("≠", "different"),
        "cannot_tell": ("?", "cannot tell"),
        "not_evaluable": ("", "not evaluable"),
        "none": ("", "no verdict"),
    }
)

#: Beginnings of metrics that compare two arms without a direction.
UNDIRECTED = ("Gamma", "MAE", "DoseMAE", "PSNR", "Dice", "SSIM", "MeanDoseSpread")
#: Decimals by unit.
DECIMALS: MappingProxyType[str, int] = MappingProxyType(
    {"Gy": 2, "%": 1, "cc": 1, "HU": 1, "mm": 1, "dB": 1, "1": 3}
)


def number(value: float, decimals: int = 1, *, sign: bool = False) -> str:
    """Return a number with a true minus sign; never ``−0.0``.

    Examples
    --------
    >>> number(-1.25, 1), number(0.04, 1, sign=True), number(2.0, 1, sign=True)
    ('−1.2', '0.0', '+2.0')
    """
    text = f"{abs(value):.{decimals}f}"
    if float(text) == 0.0:
        return text
    return (MINUS if value < 0 else "+" if sign else "") + text


def amount(value: float, unit: str, *, sign: bool = False) -> str:
    """Return a value with the decimals of its unit, without the unit."""
    return number(value, DECIMALS.get(unit, 2), sign=sign)


def risk(fraction: float) -> str:
    """Return a probability in percent.

    Examples
    --------
    >>> risk(0.0521), risk(0.00004)
    ('5.21 %', '< 0.01 %')
    """
    if 0 < fraction < 0.00005:
        return "< 0.01 %"
    return f"{number(100.0 * fraction, 2)} %"


def points(fraction: float) -> str:
    """Return a difference of probabilities in percentage points.

    Examples
    --------
    >>> points(-0.0004), points(0.0)
    ('−0.04 pp', '0.00 pp')
    """
    return f"{number(100.0 * fraction, 2, sign=True)} pp"


def risk_interval(finding: Finding) -> str:
    """Return the 95 % interval of a probability or of a difference, or why there is none."""
    if finding.interval95 is None:
        return finding.reason or finding.interval_method or NO_INTERVAL
    sign = finding.quantity == "difference"
    low, high = (number(100.0 * end, 2, sign=sign) for end in finding.interval95)
    return f"{low} to {high} {'pp' if sign else '%'}"


def is_signed(finding: Finding) -> bool:
    """Whether a finding has a direction: a difference, but no pass rate and no mean of absolute values."""
    return finding.quantity == "difference" and not finding.metric.startswith(UNDIRECTED)


def with_unit(finding: Finding) -> str:
    """Return the value of a finding with its unit; differences signed, those of risks and volumes in pp.

    Examples
    --------
    >>> with_unit(Finding("D98%[Gy]", -0.5, "Gy", "CompareArms", quantity="difference"))
    '−0.50 Gy'
    """
    if finding.value is None:
        return "not evaluable"
    sign = is_signed(finding)
    if finding.unit == "1":
        return points(finding.value) if sign else risk(finding.value)
    unit = "pp" if sign and finding.unit == "%" and finding.metric.startswith("V") else finding.unit
    return f"{amount(finding.value, finding.unit, sign=sign)} {unit}"


def bare(metric: str) -> str:
    """Return a metric without its unit, for a sentence that gives the unit beside the number.

    Examples
    --------
    >>> bare("D98%[Gy]"), bare("NTCP")
    ('D98%', 'NTCP')
    """
    return metric.split("[")[0]


def about(finding: Finding) -> str:
    """Return what a finding is about: structure and metric without unit."""
    return f"{finding.structure or ''} {bare(finding.metric)}".strip()


def judgement(finding: Finding) -> str:
    """Return the verdict, or where none was given how the value would be judged (another arm, unverified)."""
    return finding.verdict if finding.verdict != "none" else str(finding.detail.get("would_be", "none"))


def limit_words(limit: str | None) -> str:
    """Return a limit with its proper sign.

    Examples
    --------
    >>> limit_words("<= 15"), limit_words(None)
    ('≤ 15', '–')
    """
    return (limit or "–").replace("<=", "≤").replace(">=", "≥")


def tied(text: str) -> str:
    """Return a text in which a number and its unit, or a sign and its number, stay on one line.

    Examples
    --------
    >>> tied("5.1 % of >= 2 Gy") == "5.1\N{NO-BREAK SPACE}% of >= 2\N{NO-BREAK SPACE}Gy"
    True
    """
    text = re.sub(r"(?<=\d) (?=(?:%|pp|Gy|HU|cc|mm|MU|percentage)(?:\W|$))", NO_BREAK, text)
    return re.sub(r"(?<=[≤≥<]) (?=\d)", NO_BREAK, text)


def in_words(count: int) -> str:
    """Return a small count as a word.

    Examples
    --------
    >>> in_words(6), in_words(12)
    ('six', '12')
    """
    words = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
    return words[count] if count < len(words) else str(count)


def listed(things: Iterable[str], *, most: int = 0) -> str:
    """Return things as a list in a sentence, shortened beyond ``most`` (0: never).

    Examples
    --------
    >>> listed(["a", "b", "c"]), listed("abcde", most=3)
    ('a, b and c', 'a, b, c and 2 more')
    """
    names = list(things)
    if most and len(names) > most:
        return f"{', '.join(names[:most])} and {len(names) - most} more"
    if len(names) < 2:
        return "".join(names)
    return f"{', '.join(names[:-1])} and {names[-1]}"


def counted(count: int, one: str, many: str = "") -> str:
    """Return a count with its noun.

    Examples
    --------
    >>> counted(1, "slice"), counted(3, "slice")
    ('1 slice', '3 slices')
    """
    return f"{count} {one if count == 1 else many or one + 's'}"


def shortened(name: str, most: int = 26) -> str:
    """Return a name that fits a figure; the middle of a long one is left out.

    Examples
    --------
    >>> shortened("Rectum"), shortened("a_very_long_name_of_a_structure", 11)
    ('Rectum', 'a_ver…cture')
    """
    if len(name) <= most:
        return name
    half = (most - 1) // 2
    return f"{name[:half]}…{name[-half:]}"


def place(point_mm: Iterable[float]) -> str:
    """Return a point or shift in LPS, mm, in the words of the patient.

    Examples
    --------
    >>> place((-12.0, 3.4, 0.0))
    'R 12 mm, P 3 mm, S 0 mm'
    """
    letters = (("L", "R"), ("P", "A"), ("S", "I"))
    parts = [
        f"{pair[1] if value < 0 else pair[0]} {abs(value):.0f} mm"
        for pair, value in zip(letters, point_mm, strict=True)
    ]
    return ", ".join(parts)
