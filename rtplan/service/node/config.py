"""What a node is told to be: the file of ``rtplan serve --config``."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Self
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, field_validator, model_validator

from rtplan.domain.patient import ARMS
from rtplan.dosimetry.protocol import load_protocol, read_model
from rtplan.errors import FormatError, RtplanError, UnknownName
from rtplan.io.tps import load as load_tps

if TYPE_CHECKING:
    from rtplan.case.settings import CaseSettings

#: 1 to 16 printable signs of ASCII without backslash; no space before or after (PS3.5, VR AE).
AETitle = Annotated[str, StringConstraints(pattern=r"^[!-\[\]-~]([ -\[\]-~]{0,14}[!-\[\]-~])?$")]
Seconds = Annotated[float, Field(gt=0.0, le=7 * 86400.0)]
Port = Annotated[int, Field(ge=0, le=65535)]
#: ``NAME=MM`` or ``NAME=L,R,A,P,S,I``, as of ``rtplan run --margin``.
Margin = Annotated[str, StringConstraints(pattern=r"^[^=]+=\d+(\.\d+)?(,\d+(\.\d+)?){0,5}$")]
_CLOSED = ConfigDict(extra="forbid", frozen=True)


class Tls(BaseModel):
    """Certificates: PEM files; relative paths begin at the file of the configuration."""

    model_config = _CLOSED
    cert: Path
    key: Path
    ca: Path


class Timeouts(BaseModel):
    """How long is waited (`rtplan.io.network.parties.Limits`); ``job_s`` is for one run of the pipeline."""

    model_config = _CLOSED
    association_s: Seconds = 15.0
    pdu_s: Seconds = 30.0
    idle_s: Seconds = 60.0
    object_s: Seconds = 900.0
    connect_s: Seconds = 10.0
    answer_s: Seconds = 120.0
    job_s: Seconds = 4 * 3600.0
    stop_s: Seconds = 10.0


class Retry(BaseModel):
    """When what could not be sent is sent again: after ``first_s``, then twice that, until it is given up."""

    model_config = _CLOSED
    first_s: Seconds = 10.0
    longest_s: Seconds = 3600.0
    give_up_h: Annotated[float, Field(gt=0.0)] = 72.0
    runs: Annotated[int, Field(ge=1, le=10)] = 3


class NodeSettings(BaseModel):
    """The node itself; ``port = 0`` takes any free port."""

    model_config = _CLOSED
    ae_title: AETitle
    host: str = "127.0.0.1"
    port: Port = 11112
    folder: Path
    max_associations: Annotated[int, Field(ge=1, le=256)] = 8
    max_object_mib: Annotated[float, Field(gt=0.0, le=2048.0)] = 512.0
    max_pdu_kib: Annotated[int, Field(ge=4, le=1024)] = 128
    disk_reserve_mib: Annotated[float, Field(ge=0.0)] = 1024.0
    tls: Tls | None = None
    storage_commitment: bool = True
    metrics_host: str = "127.0.0.1"
    metrics_port: Port | None = 11180
    device: str = "cpu"
    threads: Annotated[int, Field(ge=0)] = 0
    timeouts: Timeouts = Timeouts()
    retry: Retry = Retry()


class PeerSettings(BaseModel):
    """Who may call; with a port results may go there too."""

    model_config = _CLOSED
    ae_title: AETitle
    address: Annotated[str, StringConstraints(min_length=1, max_length=253)]
    port: Annotated[int, Field(ge=1, le=65535)] | None = None
    tls: bool = False
    hostname: str = ""
    certificate: str = ""
    may_call: bool = True
    storage_commitment: bool = False


class WebSettings(BaseModel):
    """A DICOMweb server that results may go to (STOW-RS) or come from (QIDO-RS, WADO-RS)."""

    model_config = _CLOSED
    name: AETitle
    url: Annotated[str, StringConstraints(pattern=r"^https?://[^\s?#@]+$")]
    user: str = ""
    password_file: Path | None = None
    ca: Path | None = None


class FetchSettings(BaseModel):
    """What is fetched before the pipeline runs: other series of the study."""

    model_config = _CLOSED
    source: AETitle = Field(alias="from")
    modalities: Annotated[tuple[str, ...], Field(min_length=1)] = ("CT", "RTSTRUCT")
    by: Annotated[str, StringConstraints(pattern="^(move|get|web)$")] = "move"


class RuleSettings(BaseModel):
    """When which pipeline runs; the first rule that fits a study wins."""

    model_config = _CLOSED
    modality: Annotated[str, StringConstraints(pattern=r"^[A-Z]{2,16}$")]
    description: str = ""
    calling: tuple[AETitle, ...] = ()
    min_instances: Annotated[int, Field(ge=1)] = 1
    quiet_s: Seconds = 30.0
    longest_s: Seconds = 6 * 3600.0
    protocol: str
    arms: tuple[str, ...] = ARMS
    tps: str = "common"
    margins: tuple[Margin, ...] = ()
    allow_unverified: bool = False
    seed: int = 1
    fetch: FetchSettings | None = None
    send_to: tuple[AETitle, ...] = ()
    send: tuple[str, ...] = ()

    @field_validator("description")
    @classmethod
    def _is_pattern(cls, text: str) -> str:
        try:
            re.compile(text)
        except re.error as wrong:
            raise ValueError(f"it is no regular expression ({wrong})") from None
        return text

    def case_settings(self, device: str) -> CaseSettings:
        """Return what the pipeline is asked; the pipeline itself is imported by this call."""
        from rtplan.case.settings import CaseSettings, parse_margin

        return CaseSettings(
            protocol=self.protocol,
            arms=self.arms,
            tps=self.tps,
            margins=dict(parse_margin(text) for text in self.margins),
            allow_unverified=self.allow_unverified,
            seed=self.seed,
            device=device,
        )


class NodeConfig(BaseModel):
    """The whole file."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)
    schema_: Annotated[int, Field(alias="schema", ge=1, le=1)]
    node: NodeSettings
    peer: Annotated[tuple[PeerSettings, ...], Field(min_length=1)]
    web: tuple[WebSettings, ...] = ()
    rule: tuple[RuleSettings, ...] = ()

    @model_validator(mode="after")
    def _names_agree(self) -> Self:
        names = [peer.ae_title for peer in self.peer] + [web.name for web in self.web]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"{twice[0]} stands twice among the peers")
        reached = {peer.ae_title for peer in self.peer if peer.port} | {web.name for web in self.web}
        for rule in self.rule:
            for name in rule.send_to:
                _demand(name in reached, f"send_to: {name} is no peer with a port and no web server")
            for name in rule.calling:
                _demand(name in names, f"calling: {name} is no peer")
            if rule.fetch is not None:
                _demand(rule.fetch.source in reached, f"fetch: {rule.fetch.source} cannot be reached")
                webs = {web.name for web in self.web}
                _demand(
                    (rule.fetch.by == "web") == (rule.fetch.source in webs), "fetch: by does not fit from"
                )
        for web in self.web:
            safe = web.url.startswith("https://") or urlsplit(web.url).hostname in ("127.0.0.1", "localhost")
            _demand(not web.user or safe, f"{web.name}: a password goes over https only")
        for peer in self.peer:
            _demand(not (peer.tls or peer.certificate) or self.node.tls is not None, "tls needs [node] tls")
        return self

    def peer_named(self, name: str) -> PeerSettings | None:
        """Return a peer by its AE title."""
        return next((peer for peer in self.peer if peer.ae_title == name), None)

    def web_named(self, name: str) -> WebSettings | None:
        """Return a DICOMweb server by its name."""
        return next((web for web in self.web if web.name == name), None)


def _demand(holds: bool, words: str) -> None:
    if not holds:
        raise ValueError(words)


def load_config(path: Path) -> NodeConfig:
    """Read the configuration; relative paths in it begin at its own folder.

    Raises
    ------
    FormatError
        If it is no TOML, a key is unknown or missing, or a value cannot be; the message names the key.
    UnknownName
        If a rule names a protocol, an arm or a planning system that is not there.
    """
    if not path.is_file():
        raise FormatError("There is no such file.", where=str(path), action="give --config FILE.toml.")
    config = _placed(read_model(NodeConfig, path), path.resolve().parent)
    for number, rule in enumerate(config.rule, 1):
        try:
            load_protocol(rule.protocol)
            load_tps(rule.tps)
            unknown = [name for name in rule.arms if name not in ARMS]
            if unknown:
                raise UnknownName(f"There is no arm {unknown[0]!r}. Known: {', '.join(ARMS)}.")
        except RtplanError as wrong:
            raise type(wrong)(
                f"Rule {number}: {wrong.message}", where=wrong.where or path.name, action=wrong.action
            ) from None
    return config


def _placed(config: NodeConfig, base: Path) -> NodeConfig:
    """Return the configuration with absolute paths; a protocol that is a file beside it too."""
    node = config.node
    tls = node.tls and Tls(cert=base / node.tls.cert, key=base / node.tls.key, ca=base / node.tls.ca)
    webs = tuple(
        web.model_copy(
            update={
                name: base / path
                for name, path in (("password_file", web.password_file), ("ca", web.ca))
                if path is not None
            }
        )
        for web in config.web
    )
    rules = tuple(
        rule.model_copy(update={"protocol": str(base / rule.protocol)})
        if rule.protocol.endswith(".toml")
        else rule
        for rule in config.rule
    )
    placed = node.model_copy(update={"folder": base / node.folder, "tls": tls})
    return config.model_copy(update={"node": placed, "web": webs, "rule": rules})
