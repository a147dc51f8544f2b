"""Groups of resets in words, for every kind of report."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from shlex import quote

from rstaudit.catalogue.causes import causes
from rstaudit.model.capture import CaptureSummary, Unreadable
from rstaudit.model.rule import Confidence, Finding
from rstaudit.report.finding import evidence
from rstaudit.report.moment import rfc3339
from rstaudit.report.pcap_groups import OTHERS, Group

#: Addresses named before "and N more".
_NAMED = 3

#: Sentences of a group before "and N other reasons".
_STORIES = 5


def how_sure(sure: dict[Confidence, int], *, benign: bool = False) -> str:
    """``certain``, or ``2,980 certain, 20 possible``; with ``, harmless`` where it is."""
    kind = ", harmless" if benign else ""
    if len(sure) == 1:
        return next(iter(sure)).value + kind
    degrees = [f"{sure[degree]:,} {degree.value}" for degree in Confidence if degree in sure]
    return ", ".join(degrees) + kind


def who(group: Group) -> str:
    """From where to where they go: ``from server 192.0.2.5:80 to 12 clients (...)``."""
    if group.count == 1:
        reset = group.best()[1]
        ends = ("client", "server") if group.from_client else ("server", "client")
        return f"from {ends[0]} {reset.src} to {ends[1]} {reset.dst}"
    servers = _names("server", group.servers)
    clients = _names("client", group.clients)
    ends = (clients, servers) if group.from_client else (servers, clients)
    return f"from {ends[0]} to {ends[1]}"


def when(group: Group) -> str:
    """The time of the first and of the last, UTC."""
    first, last = (f"{rfc3339(time_ns)[:26]}Z" for time_ns in (group.first_ns, group.last_ns))
    return first if group.count == 1 else f"{first} to {last}"


def alternatives(group: Group) -> list[str]:
    """What else it could be: ``firewall-reject (A packet filter answers with a reset)``."""
    known = causes()
    return [f"{other} ({known[other].name})" for other in group.alternatives() if other in known]


def reasons(group: Group) -> list[tuple[str, str]]:
    """Each story with how sure it is and how often it is told, and the evidence not in it."""
    stories = group.told()
    found = []
    for story in stories[:_STORIES]:
        _, reset = story.examples[0]
        why, figures = reset.diagnosis.why, reset.diagnosis.evidence
        label = f"{story.count:,} {story.confidence.value}: " if len(stories) > 1 else ""
        found.append((label + why, evidence(Finding(why, "", "", figures))))
    if rest := stories[_STORIES:]:
        resets = number(sum(story.count for story in rest), "reset")
        found.append((f"and {number(len(rest), 'other reason')} for {resets}", ""))
    return found


def frames(group: Group, *, several: bool) -> str:
    """``frames 3, 7 and 2,998 more``; with the file's name before each where there are several."""
    parts = [f"{file}:{frame}" if several else str(frame) for file, frame in group.frames]
    rest = group.count - len(parts)
    noun = "frame" if group.count == 1 else "frames"
    return f"{noun} {', '.join(parts)}" + (f" and {rest:,} more" if rest else "")


def ladder_command(group: Group) -> str:
    """The command that draws the flow of the group's example; empty for standard input."""
    file, reset = group.best()
    if file == "-":
        return ""
    return f"rstaudit pcap {quote(file)} --ladder --flow {reset.frame}"


def notes(summaries: Iterable[CaptureSummary], unreadable: Iterable[Unreadable]) -> list[str]:
    """One line for stderr for each capture that could not be read to its end, or at all."""
    cut = [summary for summary in summaries if summary.truncated is not None]
    return [
        *(f"{one.file}: {one.reason}" for one in unreadable),
        *(f"{one.file}: {one.truncated}; what comes before is reported" for one in cut),
    ]


def together(summaries: Sequence[CaptureSummary]) -> CaptureSummary:
    """All captures as one."""
    if len(summaries) == 1:
        return summaries[0]
    return CaptureSummary(
        f"{len(summaries)} captures",
        sum(one.packets for one in summaries),
        sum(one.tcp_packets for one in summaries),
        sum(one.flows for one in summaries),
        sum(one.resets for one in summaries),
        forgotten=sum(one.forgotten for one in summaries),
        skipped=sum((Counter(one.skipped) for one in summaries), Counter()),
    )


def more(groups: Sequence[Group]) -> str:
    """What the limit left out; empty where it left nothing out."""
    if not groups:
        return ""
    resets = sum(group.count for group in groups)
    kinds = "1 more kind" if len(groups) == 1 else f"{len(groups)} more kinds"
    return f"and {kinds} with {number(resets, 'reset')} (--limit 0 shows all)"


def _names(kind: str, counts: dict[str, int]) -> str:
    """``server 10.0.0.5:80``, or ``12 clients (10.0.0.9, 10.0.0.8, 10.0.0.7, ...)``."""
    names = [name for name in counts if name != OTHERS]
    if len(counts) == 1:
        return f"{kind} {names[0]}"
    most = sorted(names, key=lambda name: -counts[name])[:_NAMED]
    dots = ", ..." if len(counts) > _NAMED else ""
    more = " or more" if OTHERS in counts else ""
    return f"{len(names):,} {kind}s{more} ({', '.join(most)}{dots})"


def number(count: int, noun: str) -> str:
    """``1 reset``, ``3,000 resets``."""
    return f"{count:,} {noun}" + ("" if count == 1 else "s")
