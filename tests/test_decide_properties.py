"""What holds of every decision, whatever the facts."""

from __future__ import annotations

import random
import re
from enum import IntEnum

from hypothesis import given, settings
from hypothesis import strategies as st

from rstaudit.catalogue.causes import causes
from rstaudit.catalogue.load import devices
from rstaudit.model.diagnosis import Diagnosis
from rstaudit.model.rule import Confidence
from rstaudit.resets.wire import facts
from rstaudit.resets.wire.case import Case, Numbers
from rstaudit.resets.wire.decide import decide
from rstaudit.resets.wire.explain import explain_case
from rstaudit.resets.wire.facts import IDLE_LIMITS, After
from rstaudit.resets.wire.shape import foreign_marks, own_fin
from rstaudit.resets.wire.stories import STORIES

#: The fields that are values of an enumeration; counts; all others are 0 or 1.
ENUMS: dict[str, type[IntEnum]] = {
    "seq": facts.Seq, "ack": facts.Ack, "window": facts.Window, "ttl": facts.Ttl,
    "host_ttl": facts.Ttl, "ip_id": facts.IpId, "id_habit": facts.IdHabit, "df": facts.Df,
    "stack": facts.Stack, "payload": facts.Payload, "mptcp": facts.Mptcp,
    "trigger": facts.Trigger, "fit": facts.Fit, "gap": facts.Gap, "run_gap": facts.Gap,
    "idle": facts.Idle, "quiet": facts.Idle, "fin_idle": facts.Idle, "since_fin": facts.Idle,
    "synack_wait": facts.Idle, "scan": facts.Scan, "fins": facts.Side, "late": facts.Late,
    "content": facts.Content, "first_reset": facts.Earlier, "sender_pace": facts.Pace,
    "peer_pace": facts.Pace, "after": facts.After, "peer_after": facts.PeerAfter,
}  # fmt: skip
COUNTS = {
    "sender_segments": 3, "peer_segments": 3, "sender_syns": 3, "peer_syns": 3,
    "sender_synacks": 3, "peer_synacks": 3, "sender_since": 3, "sender_resets": 3,
    "peer_resets": 3, "burst": 3, "sender_probes": 15, "sender_retries": 15, "peer_probes": 15,
    "peer_retries": 15,
}  # fmt: skip


def values(field: str) -> list[int]:
    """What a field of a case may be."""
    if field in ENUMS:
        return [int(value) for value in ENUMS[field]]
    return list(range(COUNTS.get(field, 1) + 1))


VALUES = [values(field) for field in Case._fields]
DEFAULTS = list(Case())


def any_case(seed: int) -> Case:
    """A case at random, of which all, half or few of the fields differ from their defaults."""
    draw = random.Random(seed)
    share = draw.choice((1.0, 0.5, 0.2))
    pairs = zip(VALUES, DEFAULTS, strict=True)
    return Case(*(draw.choice(some) if draw.random() < share else one for some, one in pairs))


CASES = st.integers(0, 2**64).map(any_case)
FLOATS = st.none() | st.floats(-1, 1e6, allow_nan=False)
WHOLE = st.integers(0, 2**32 - 1)
NUMBERS = st.builds(
    Numbers,
    seq_off=st.none() | st.integers(-(2**31), 2**31),
    gap=FLOATS, idle=FLOATS, quiet=FLOATS, fin_idle=FLOATS, since_fin=FLOATS, synack_wait=FLOATS,
    sender_tries_for=FLOATS, peer_tries_for=FLOATS, probe_interval=FLOATS,
    ttl_low=st.none() | st.integers(0, 255), ttl_high=st.none() | st.integers(0, 255),
    trigger_frame=st.none() | WHOLE, window=st.integers(0, 65535), ttl=st.integers(0, 255),
    peer_late_bytes=WHOLE, peer_unacked=WHOLE, sender_syns=WHOLE, sender_synacks=WHOLE,
    sender_retries=WHOLE, sender_probes=WHOLE, after_segments=WHOLE, targets=WHOLE, burst=WHOLE,
    mptcp_reason=st.none() | st.integers(0, 255), payload=st.binary(max_size=64),
)  # fmt: skip


def explained(case: Case, numbers: Numbers) -> Diagnosis:
    """What is said of it."""
    return explain_case(case, numbers, decide(case))


@given(case=CASES, numbers=NUMBERS)
@settings(max_examples=300, deadline=None)
def test_every_case_is_decided_in_the_catalogue_s_words(case: Case, numbers: Numbers) -> None:
    """Ids exist, alternatives are others and named once, and the sentence is one."""
    found = explained(case, numbers)
    assert {found.cause, *found.alternatives} <= set(causes())
    assert found.cause not in found.alternatives
    assert len(set(found.alternatives)) == len(found.alternatives)
    assert found.why.endswith((".", '"', '".'))
    assert "undetermined" not in found.alternatives


@given(case=CASES, numbers=NUMBERS)
@settings(max_examples=300, deadline=None)
def test_every_number_in_the_sentence_stands_in_the_evidence(case: Case, numbers: Numbers) -> None:
    """Nothing is said that the evidence does not hold."""
    found = explained(case, numbers)
    said = re.sub(r'"[^"]*"', "", found.why)
    stands = " ".join(str(value) for value in found.evidence.values())
    for number in re.findall(r"-?\d[\d,]*(?:\.\d+)?", said):
        value = float(number.replace(",", ""))
        held = [float(one) for one in re.findall(r"-?\d+(?:\.\d+)?(?:e[-+]?\d+)?", stands)]
        assert value in held, (number, found)


@given(case=CASES)
@settings(max_examples=300, deadline=None)
def test_certainty_leaves_no_alternative_and_doubt_names_some(case: Case) -> None:
    """Certain excludes the others; possible and undetermined say what else it may be."""
    verdict = decide(case)
    if verdict.confidence is Confidence.CERTAIN:
        assert not verdict.alternatives
        assert verdict.cause != "undetermined"
    if verdict.confidence is Confidence.POSSIBLE:
        assert verdict.alternatives


@given(case=CASES)
@settings(max_examples=300, deadline=None)
def test_certain_never_contradicts_the_facts(case: Case) -> None:
    """What is certain has its proof among the facts."""
    verdict = decide(case)
    if verdict.confidence is not Confidence.CERTAIN:
        return
    proof = {
        "mptcp-fastclose": case.mptcp == facts.Mptcp.FASTCLOSE,
        "mptcp-reset": case.mptcp == facts.Mptcp.TCPRST,
        "proxied-reset": case.payload == facts.Payload.DIAGNOSTIC,
        "injected": case.after == After.NEW and foreign_marks(case) >= 4,
        "stale-connection": bool(case.sender_syns) and not case.handshake,
        "invalid-segment": bool(case.tsecr_off),
        "data-to-closed": own_fin(case) and case.late == facts.Late.DATA,
        "late-segment": bool(case.sender_resets) or own_fin(case) or bool(case.first_reset),
        "keepalive-timeout": case.sender_probes >= 2 and not case.peer_zero_window,
    }
    assert proof[verdict.cause], (verdict, case)


def test_the_idle_limits_hold_those_of_the_known_devices() -> None:
    """A silence is measured against every device of the catalogue."""
    assert {device.idle_seconds for device in devices()} <= set(IDLE_LIMITS)


def test_every_story_is_one_plain_sentence() -> None:
    """They begin with a capital, end without a stop, and hold no digits of their own."""
    for name, story in STORIES.items():
        text = re.sub(r"\{\w+\}", "", story)
        assert text[0].isupper(), name
        assert not text.endswith("."), name
        assert not re.search(r"\d", text), name
