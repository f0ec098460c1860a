"""What ``rtplan serve`` shows at its start: where it listens, who may call, and its rules."""

from __future__ import annotations

import sys

import typer
from rich.console import Console
from rich.table import Table

from rtplan.errors import FormatError
from rtplan.service.node.addresses import callers_of
from rtplan.service.node.config import NodeConfig, PeerSettings, RuleSettings
from rtplan.service.node.journal import AUDIT_FILE, broken_lines
from rtplan.service.node.node import Node, contexts_of


def checked(config: NodeConfig) -> None:
    """Raise a named error unless addresses and certificates can be used."""
    for rule in config.rule:
        rule.case_settings(config.node.device)
    callers_of(config.peer)
    contexts_of(config.node)
    trail = config.node.folder / AUDIT_FILE
    if trail.is_file() and (count := broken_lines(trail)):
        raise FormatError(
            f"{count} lines of the audit trail do not follow from the line before.",
            where=str(trail),
            action="compare it with a copy; a single one can be a crash, others were changed or taken out.",
        )


def print_node(config: NodeConfig, node: Node | None) -> None:
    """Print a table of peers and one of rules."""
    settings = config.node
    port = settings.port if node is None else node.port
    metrics = settings.metrics_port if node is None else node.metrics_port
    tls = "TLS with client certificates" if settings.tls else "no TLS"
    typer.echo(f"{settings.ae_title} listens on {settings.host}, port {port} ({tls}).")
    if metrics is not None:
        typer.echo(f"Health and metrics: http://{settings.metrics_host}:{metrics}/health and /metrics")
    typer.echo(
        f"At most {settings.max_associations} associations, objects up to {settings.max_object_mib:g} MiB; "
        f"{settings.disk_reserve_mib:g} MiB of the disk stay free."
    )
    console = Console(width=None if sys.stdout.isatty() else 110, highlight=False)
    console.print(_peers(config))
    console.print(_rules(config) if config.rule else "No rules: what comes is kept, and nothing is run.")
    sys.stdout.flush()


def _peers(config: NodeConfig) -> Table:
    table = Table("peer", "address", "may call", "results may go there", title="Peers", title_justify="left")
    for peer in config.peer:
        to = f"port {peer.port}{', TLS' if peer.tls else ''}" if peer.port else "–"
        if peer.port and peer.storage_commitment:
            to += ", with storage commitment"
        table.add_row(peer.ae_title, peer.address, _may(peer), to)
    for web in config.web:
        table.add_row(web.name, web.url, "–", "DICOMweb")
    return table


def _may(peer: PeerSettings) -> str:
    if not peer.may_call:
        return "no"
    return f"with a certificate for {peer.certificate}" if peer.certificate else "yes"


def _rules(config: NodeConfig) -> Table:
    table = Table(
        "", "when a study holds", "and is quiet", "run", "send to", title="Rules", title_justify="left"
    )
    for number, rule in enumerate(config.rule, 1):
        table.add_row(
            str(number), _when(rule), f"{rule.quiet_s:g} s", rule.protocol, ", ".join(rule.send_to) or "–"
        )
    return table


def _when(rule: RuleSettings) -> str:
    words = f"a series {rule.modality}"
    if rule.description:
        words += f" like {rule.description!r}"
    if rule.min_instances > 1:
        words += f" of {rule.min_instances} objects or more"
    if rule.calling:
        words += f" from {', '.join(rule.calling)}"
    return words
