"""Licences and the bill of materials: against the published schema, the installed metadata and the cards."""

import json
import tomllib
from email.message import Message

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

from rtplan.cli import _run
from rtplan.cli.licences_read import (
    NOT_STATED,
    Inventory,
    Network,
    Package,
    inventory,
    licence_of,
    wheels_in,
)
from rtplan.cli.licences_sbom import sbom
from rtplan.errors import OutputError
from rtplan.resources import find


class Told:
    """A distribution that says of its licence what it is told to."""

    def __init__(self, *fields):
        self.metadata = Message()
        for name, value in fields:
            self.metadata[name] = value


@pytest.mark.parametrize(
    ("fields", "licence"),
    [
        ([("License-Expression", "MIT OR Apache-2.0"), ("License", "other")], "MIT OR Apache-2.0"),
        ([("Classifier", "License :: OSI Approved :: MIT License")], "MIT"),
        ([("Classifier", "License :: OSI Approved")], NOT_STATED),
        ([("Classifier", "License :: OSI Approved :: BSD License")], "BSD License"),
        (
            [("Classifier", "License :: OSI Approved :: BSD License"), ("License", "BSD-2-Clause")],
            "BSD-2-Clause",
        ),
        ([("Classifier", "License :: OSI Approved :: BSD License"), ("License", "as stated")], "BSD License"),
        (
            [
                ("Classifier", "License :: OSI Approved :: MIT License"),
                ("Classifier", "License :: Public Domain"),
            ],
            "MIT / Public Domain",
        ),
        ([("License", "Copyright 2020\n\nPermission is hereby granted")], NOT_STATED),
        ([("License", "UNKNOWN")], NOT_STATED),
        ([], NOT_STATED),
    ],
)
def test_a_licence_is_what_the_metadata_surely_says(fields, licence):
    assert licence_of(Told(*fields)) == licence


@pytest.fixture(scope="module")
def here():
    return inventory()


def test_what_is_here_reaches_through_dependencies(here):
    packages = {p.name: p for p in here.packages}
    # kiwisolver comes with matplotlib alone; pytest is a maker's tool and reaches nobody's desk.
    assert packages["kiwisolver"].wanted_by == ("runtime",)
    assert "kiwisolver" in packages["matplotlib"].needs
    assert "pytest" not in packages
    assert here.missing == ()
    assert here.itself.licence == "Apache-2.0"
    assert [p.name for p in here.packages] == sorted(packages)


def test_every_network_stands_with_the_licences_of_its_card(here):
    assert {"dose_openkbp", "pelvis_bones", "synct_mr_pelvis"} <= {n.name for n in here.networks}
    for network in here.networks:
        card = tomllib.loads(find("models", network.name).read_text(encoding="utf-8"))
        assert network.sha256 == card["weights"]["sha256"]
        assert NOT_STATED not in (network.licence, network.data)


def test_the_bill_is_valid_by_the_published_schema_and_the_same_twice(here):
    text = sbom(here)
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(text) is None
    assert sbom(inventory()) == text
    bill = json.loads(text)
    refs = [component["bom-ref"] for component in bill["components"]]
    assert len(set(refs)) == len(refs) == len(here.packages) + len(here.networks)
    known = {*refs, bill["metadata"]["component"]["bom-ref"]}
    assert {entry["ref"] for entry in bill["dependencies"]} == known
    assert all(set(entry["dependsOn"]) <= known for entry in bill["dependencies"])


def test_words_that_are_no_expression_stand_as_a_name():
    odd = Inventory(
        Package("rtplan", "1", "Apache-2.0", ("b",)),
        (Package("b", "2+cpu", "BSD License / as is", (), ("runtime",)), Package("c", "3", NOT_STATED)),
        (Network("net", "Apache-2.0", "nobody's", "0" * 64),),
    )
    text = sbom(odd)
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(text) is None
    b, c, net = json.loads(text)["components"]
    assert b["licenses"] == [{"license": {"name": "BSD License / as is"}}]
    assert b["purl"] == "pkg:pypi/b@2%2Bcpu"
    assert "licenses" not in c
    assert net["licenses"] == [{"expression": "Apache-2.0"}]


def test_the_command_lists_and_writes_once(tmp_path, capsys):
    path = tmp_path / "rtplan.cdx.json"
    assert _run(["licences", "--sbom", str(path)], debug=True) == 0
    told = capsys.readouterr().out
    assert "matplotlib" in told
    assert "weights: CC-BY-4.0" in told
    assert _run(["licences", "--sbom", str(path)], debug=False) == 1
    assert "already" in capsys.readouterr().err
    assert [p.name for p in tmp_path.iterdir()] == ["rtplan.cdx.json"]
    assert _run(["licences", "--json"], debug=True) == 0
    assert json.loads(capsys.readouterr().out)["itself"]["name"] == "rtplan"


def test_a_folder_without_rtplan_is_refused(tmp_path):
    with pytest.raises(OutputError, match="not installed"):
        inventory(wheels_in(tmp_path))
