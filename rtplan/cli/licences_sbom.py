"""A software bill of materials in CycloneDX 1.6 JSON: the same installation gives the same bytes."""

from __future__ import annotations

import json
import uuid
from typing import Any

from packaging.licenses import InvalidLicenseExpression, canonicalize_license_expression

from rtplan.cli.licences_read import NOT_STATED, Inventory, Network, Package


def sbom(found: Inventory) -> str:
    """Return the bill of materials of an inventory.

    Notes
    -----
    It bears no time, and its serial number is drawn from its content (UUID 5): two equal installations have
    equal bills. Licences that are SPDX expressions stand as such, others in the words of the package's
    metadata; where a package states none there is none.

    References
    ----------
    OWASP CycloneDX 1.6 (ECMA-424).
    """
    content: dict[str, Any] = {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {"component": _library(found.itself) | {"type": "application"}},
        "components": [_library(p) for p in found.packages] + [_network(n, found) for n in found.networks],
        "dependencies": _dependencies(found),
    }
    digest = uuid.uuid5(uuid.NAMESPACE_URL, json.dumps(content, sort_keys=True))
    content["serialNumber"] = f"urn:uuid:{digest}"
    return json.dumps(content, indent=2, sort_keys=True, ensure_ascii=False) + "\n"


def _purl(package: Package) -> str:
    return f"pkg:pypi/{package.name}@{package.version.replace('+', '%2B')}"


def _library(package: Package) -> dict[str, Any]:
    component: dict[str, Any] = {
        "type": "library",
        "bom-ref": _purl(package),
        "name": package.name,
        "version": package.version,
        "purl": _purl(package),
    }
    if package.wanted_by:
        component["properties"] = [{"name": "rtplan:wanted_by", "value": " ".join(package.wanted_by)}]
    if package.licence != NOT_STATED:
        component["licenses"] = _licences(package.licence)
    return component


def _licences(words: str) -> list[dict[str, Any]]:
    try:
        return [{"expression": str(canonicalize_license_expression(words))}]
    except InvalidLicenseExpression:
        return [{"license": {"name": words}}]


def _network(network: Network, found: Inventory) -> dict[str, Any]:
    return {
        "type": "machine-learning-model",
        "bom-ref": f"rtplan:model/{network.name}",
        "name": network.name,
        "version": found.itself.version,
        "hashes": [{"alg": "SHA-256", "content": network.sha256}],
        "licenses": _licences(network.licence),
        "modelCard": {"modelParameters": {"datasets": [{"type": "dataset", "name": network.data}]}},
    }


def _dependencies(found: Inventory) -> list[dict[str, Any]]:
    refs = {package.name: _purl(package) for package in (found.itself, *found.packages)}
    direct = [
        {"ref": refs[package.name], "dependsOn": [refs[name] for name in package.needs if name in refs]}
        for package in (found.itself, *found.packages)
    ]
    models = [f"rtplan:model/{network.name}" for network in found.networks]
    direct[0]["dependsOn"] = [*direct[0]["dependsOn"], *models]
    return direct + [{"ref": ref, "dependsOn": []} for ref in models]
