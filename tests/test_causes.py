"""The catalogue of causes and errors: whole, consistent, and found by what people paste."""

from __future__ import annotations

import errno
import os
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rstaudit.catalogue.causes import causes, causes_of, errors, find_error
from rstaudit.model.cause import Cause, Error
from rstaudit.rules.registry import rules

#: The contract: diagnoses print these ids and scripts match them.
IDS = [
    "closed-port", "firewall-reject", "listen-overflow", "connect-abort", "syn-scan",
    "connect-timeout", "handshake-timeout", "unsolicited-segment", "invalid-segment",
    "stale-connection", "app-abort", "close-unread", "linger-abort", "listener-closed",
    "admin-destroy", "disconnect", "linger2-abort", "memory-pressure", "finwait2-timeout",
    "data-to-closed", "late-segment", "half-open", "keepalive-timeout", "retransmit-timeout",
    "idle-timeout", "injected", "proxied-reset", "nat-invalid", "timewait-overflow",
    "mptcp-fastclose", "mptcp-reset", "undetermined",
]  # fmt: skip

#: Sets of causes that no capture can tell apart.
SAME_ON_THE_WIRE = [
    {"closed-port", "firewall-reject"},
    {"connect-abort", "syn-scan"},
    {"data-to-closed", "timewait-overflow"},
    {"close-unread", "linger-abort", "listener-closed", "admin-destroy", "disconnect"},
]

BENIGN = {"syn-scan", "unsolicited-segment", "late-segment"}

#: What a next step may tell people to run: this program as it is now, and standard tools.
COMMANDS = re.compile(
    r"rstaudit( --only RST\d{3}(,RST\d{3})*| --path-idle \d+)?|ss -\w+( state [a-z-]+)?"
    r"|rstaudit watch( --cause [a-z0-9-]+)?|nstat -az( (Tcp|MPTcp)\w+)+|nft list ruleset"
    r"|tcpdump (-nn\w*( icmp| '[^']+')?|-w \w+\.pcap tcp)"
)

SIDES, CALLS = {"resetter", "reset", "waiting"}, {"read", "write", "connect"}
PHRASES = {"ok", "data", "0 (end of file)"}

every_cause = pytest.mark.parametrize("cause", causes().values(), ids=lambda cause: cause.id)
every_error = pytest.mark.parametrize("error", errors(), ids=lambda error: error.name)


def test_every_cause_of_the_contract_is_there() -> None:
    """No id is missing and none was made up."""
    assert sorted(causes()) == sorted(IDS)


def test_the_harmless_causes_are_marked() -> None:
    """What nobody needs to act on, and nothing else."""
    assert {cause.id for cause in causes().values() if cause.benign} == BENIGN


def test_causes_that_look_alike_name_each_other() -> None:
    """`equals` is symmetric and holds exactly the sets that the wire cannot tell apart."""
    expected = {name: group - {name} for group in SAME_ON_THE_WIRE for name in group}
    found = {cause.id: set(cause.equals) for cause in causes().values() if cause.equals}
    assert found == expected


@every_cause
def test_a_parent_is_a_cause_without_a_parent(cause: Cause) -> None:
    """One level of classes, and none dangling."""
    assert cause.parent is None or causes()[cause.parent].parent is None
    assert cause.parent != cause.id


@every_cause
def test_a_cause_says_everything_about_itself(cause: Cause) -> None:
    """Words, a fix, a reference and a source of knowledge: nobody is left without a next step."""
    prose = (cause.name, cause.summary, cause.apart, cause.wire, cause.kernel, cause.verified)
    assert all(text.strip() and text.isascii() for text in prose)
    assert cause.summary.endswith(".")
    assert cause.apart.endswith((".", "?"))
    assert all(cause.fixes)
    assert cause.fixes
    assert all(cause.references)
    assert cause.references


@every_cause
def test_reports_use_the_words_of_the_model(cause: Cause) -> None:
    """Sides and calls are of the fixed lists; results are phrases or errnos of this system."""
    for report in cause.reports:
        assert report.side in SIDES
        assert report.call in CALLS
        assert report.result in PHRASES or hasattr(errno, report.result)
    assert len(set(cause.reports)) == len(cause.reports)


@every_cause
def test_counters_are_named_as_the_collector_names_them(cause: Cause) -> None:
    """``TcpExt.TCPAbortOnClose``: the group, a dot, and the kernel's name."""
    for counter in (*cause.counters, *cause.peer_counters):
        assert re.fullmatch(r"(Tcp|TcpExt|MPTcpExt)\.[A-Za-z0-9]+", counter)


@pytest.mark.parametrize("entry", [*causes().values(), *errors()], ids=lambda entry: entry[0])
def test_the_next_step_can_be_run_today(entry: Cause | Error) -> None:
    """Only commands and options that exist, and rules that exist."""
    command, comment, words = entry.next_step.partition("    # ")
    assert COMMANDS.fullmatch(command), command
    assert not comment or words
    known = {rule.id for rule in rules()}
    named = {*re.findall(r"RST\d{3}", entry.next_step), *getattr(entry, "rules", ())}
    assert named <= known
    assert {*re.findall(r"--cause ([a-z0-9-]+)", command)} <= causes().keys()


@every_error
def test_an_error_is_the_systems_own(error: Error) -> None:
    """Name, number and the C library's words agree with this system."""
    assert getattr(errno, error.name) == error.number
    assert os.strerror(error.number) in error.words


@every_error
def test_an_error_leads_somewhere(error: Error) -> None:
    """To causes or to rules; the likely causes do give that error."""
    giving = {cause.id for cause, _ in causes_of(error)}
    assert set(error.causes) <= giving
    assert len(set(error.causes)) == len(error.causes)
    assert error.causes or error.rules


def test_causes_of_an_error_come_likeliest_first_and_hold_only_its_reports() -> None:
    """The order is the error's; which causes there are is read from the reports."""
    error = find_error("ECONNRESET")
    assert error is not None
    found = causes_of(error)
    assert tuple(cause.id for cause, _ in found)[: len(error.causes)] == error.causes
    assert {report.result for _, reports in found for report in reports} == {"ECONNRESET"}
    holding = {c.id for c in causes().values() if any(r.result == error.name for r in c.reports)}
    assert {cause.id for cause, _ in found} == holding


def test_every_error_that_a_report_names_can_be_explained() -> None:
    """Except that of a socket which was never connected, which is a mistake of its own."""
    named = {report.result for cause in causes().values() for report in cause.reports}
    assert named - PHRASES - {error.name for error in errors()} == {"ENOTCONN"}


LINES = {
    "ECONNRESET": [
        "ECONNRESET", "econnreset", "104", "-104", "Connection reset by peer", "connection  RESET",
        "recv() failed (104: Connection reset by peer) while reading response header",
        "ConnectionResetError: [Errno 104] Connection reset by peer",
        "('Connection aborted.', ConnectionResetError(104, 'Connection reset by peer'))",
        "java.net.SocketException: Connection reset",
        "read tcp 10.0.0.5:42310->10.0.0.9:443: read: connection reset by peer",
        "Error: socket hang up", "curl: (56) Recv failure: Connection reset by peer",
        "Connection reset by peer (os error 104)", "{error,econnreset}", "errno=104",
        "kex_exchange_identification: read: Connection reset by peer",
        "(104)Connection reset by peer: AH01102", "failed, error 104",
    ],
    "EPIPE": [
        "EPIPE", "32", "Broken pipe", "write() failed (32: Broken pipe)",
        "java.io.IOException: Broken pipe",
        "BrokenPipeError: [Errno 32] Broken pipe", "write: broken pipe", "os error 32",
    ],
    "ETIMEDOUT": [
        "110", "connect() failed (110: Connection timed out) while connecting to upstream",
        "dial tcp 10.0.0.9:443: connect: connection timed out", "TimeoutError: [Errno 110]",
    ],
    "ECONNREFUSED": [
        "111", "connect ECONNREFUSED 127.0.0.1:5432", "dial tcp: connect: connection refused",
        "java.net.ConnectException: Connection refused (Connection refused)",
    ],
    "EADDRNOTAVAIL": [
        "99", "connect() to 10.0.0.9:80 failed (99: Cannot assign requested address)",
        "java.net.NoRouteToHostException: Cannot assign requested address",
    ],
    "EADDRINUSE": ["98", "bind: address already in use", "listen EADDRINUSE: :::3000"],
    "ECONNABORTED": ["Software caused connection abort", "ECONNABORTED"],
    "EHOSTUNREACH": ["No route to host", "java.net.NoRouteToHostException: No route to host"],
    "ENETUNREACH": ["connect: network is unreachable"],
    "EINPROGRESS": ["Operation now in progress"],
}  # fmt: skip


@pytest.mark.parametrize(
    ("name", "line"), [(name, line) for name, lines in LINES.items() for line in lines]
)
def test_a_pasted_line_finds_its_error(name: str, line: str) -> None:
    """By name, number or phrase, in any case, within whatever stands around it."""
    found = find_error(line)
    assert found is not None
    assert found.name == name


@pytest.mark.parametrize(
    "line",
    ["", " ", "nothing", "200 OK", "port 104", "1104", "104ms", "sshd[104]", "10.0.0.32:80",
     "EPIPES", "XECONNRESET", "connection resets", "upstream prematurely closed connection"],
)  # fmt: skip
def test_a_line_without_an_error_finds_none(line: str) -> None:
    """A number alone in the middle of a line, or part of a word, is no error."""
    assert find_error(line) is None


@given(st.text())
def test_any_text_is_answered(text: str) -> None:
    """Whatever is pasted, surrogates and control characters too, gives an error or None."""
    assert find_error(text) is None or find_error(text) in errors()
