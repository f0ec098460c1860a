"""The report as one self-contained HTML page: no script, no request to anywhere."""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping
from functools import cache
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from rtplan.domain import Patient
from rtplan.report.assemble import assemble
from rtplan.report.content import Content, Picture
from rtplan.report.plots import Curves
from rtplan.report.problems import SEVERITIES
from rtplan.report.words import tied

#: A DOI in a text: letters, digits and the few signs that need no quoting.
_DOI = re.compile(r"doi:(10\.[0-9]{4,9}/[A-Za-z0-9._/()-]*[A-Za-z0-9)])")


def render(patient: Patient, provenance: Mapping[str, Any], curves: Curves | None = None) -> str:
    """Return a patient's report as HTML.

    Parameters
    ----------
    patient : Patient
        With findings, notices, doses and whatever else the steps gave it.
    provenance : mapping
        The manifest as in ``formats.md``; may be empty.
    curves : mapping, optional
        Arm to structure to (dose in Gy, volume in %), cumulative, each shape (n,).

    Returns
    -------
    str
        One page with styles and pictures inside. Names are text, never markup; the patient is named by
        ``patient.key`` alone.
    """
    return page_of(assemble(patient, provenance, curves))


def page_of(content: Content) -> str:
    """Return assembled content as HTML (to make page and document from one assembly)."""
    return filled("page.html", content=content)


def filled(template: str, **values: Any) -> str:
    """Return one of our templates with its values; texts are escaped, never markup."""
    return _environment().get_template(template).render(**values)


def data_uri(picture: Picture) -> str:
    """Return a picture for the screen as a data URI."""
    if picture.svg:
        return "data:image/svg+xml;base64," + base64.b64encode(picture.svg.encode()).decode()
    return "data:image/png;base64," + base64.b64encode(picture.png).decode()


def prose(text: str) -> Markup:
    """Return a text as safe HTML: units stay with numbers, options (``--out``) stay whole, DOIs are links.

    Examples
    --------
    >>> prose("<b> by --structures FILE")
    Markup('&lt;b&gt; by <span class="whole">--structures</span> FILE')
    """
    safe = str(escape(tied(text)))
    safe = re.sub(r"--[a-z][a-z-]*", r'<span class="whole">\g<0></span>', safe)
    return Markup(_DOI.sub(r'<a href="https://doi.org/\g<1>">\g<0></a>', safe))


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("rtplan.report", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["data_uri"] = data_uri
    environment.filters["prose"] = prose
    environment.filters["severity"] = SEVERITIES.__getitem__
    return environment
