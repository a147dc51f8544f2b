"""What the packets say of one reset, small enough that equal resets are equal values.

The words used here are explained in `rstaudit.resets.wire.facts`.
"""

from __future__ import annotations

from typing import NamedTuple

from rstaudit.resets.wire.facts import (
    IDLE_LIMITS,
    Ack,
    After,
    Content,
    Df,
    Earlier,
    Fit,
    Gap,
    IdHabit,
    Idle,
    IpId,
    Late,
    Mptcp,
    Pace,
    Payload,
    PeerAfter,
    Scan,
    Seq,
    Side,
    Stack,
    Trigger,
    Ttl,
    Window,
)

__all__ = [
    "IDLE_LIMITS",
    "Ack",
    "After",
    "Case",
    "Content",
    "Df",
    "Earlier",
    "Fit",
    "Gap",
    "IdHabit",
    "Idle",
    "IpId",
    "Late",
    "Mptcp",
    "Numbers",
    "Pace",
    "Payload",
    "PeerAfter",
    "Scan",
    "Seq",
    "Side",
    "Stack",
    "Trigger",
    "Ttl",
    "Window",
]


class Case(NamedTuple):
    """The facts that decide.

    Every field is a small integer - a count (capped as said), 0 or 1, or a value of its
    enumeration - so that columns of them can be told apart in one pass.
    """

    #: Segments before the reset without RST, of either side: 0 to 3 (3: or more).
    sender_segments: int = 0
    peer_segments: int = 0
    #: The handshake. SYNs without ACK and SYN-ACKs before the reset, by side: 0 to 3 (or more).
    sender_syns: int = 0
    peer_syns: int = 0
    sender_synacks: int = 0
    peer_synacks: int = 0
    #: 1: the side that sent the SYN sent a segment with ACK, without SYN and RST, which
    #: acknowledges exactly the other side's SYN-ACK or more of its data.
    handshake: int = 0
    #: The time from the first SYN to the first SYN-ACK of the other side. NONE: no such pair.
    synack_wait: int = Idle.NONE
    #: 1: the trigger is a SYN-ACK whose echoed timestamp lies outside those of the sender's SYNs
    #: (first to last, all with the option); 0 where either has no timestamp.
    tsecr_off: int = 0
    #: 1: the client's SYN (either side) has a window below 5000 and no options but MSS.
    bare_syn: int = 0
    scan: int = Scan.UNKNOWN
    #: 1: the capture has an earlier flow of the same four-tuple.
    reused: int = 0
    #: Which sides sent data before the reset, and whose first new data came last of all.
    sender_data: int = 0
    peer_data: int = 0
    peer_spoke_last: int = 0
    #: 1: that side's ``nxt`` is above its ``acked`` (0 where either is unknown).
    sender_unacked: int = 0
    peer_unacked: int = 0
    #: 1: the other side acknowledged more than the capture holds of this one (lost or unseen).
    sender_missing: int = 0
    peer_missing: int = 0
    #: 1: the last window of the sender's (peer's) segments without SYN and RST is 0.
    sender_zero_window: int = 0
    peer_zero_window: int = 0
    #: The reset itself.
    seq: int = Seq.UNKNOWN
    seq_zero: int = 0
    #: 1: the sequence number is the ACK of one of the peer's last 4 segments without RST (that
    #: have the ACK flag), or the reset has none of those before it, no ACK: 0.
    seq_echo: int = 0
    ack: int = Ack.NONE
    #: 1: with ACK flag, and the number is ``end`` of one of those 4 (of any, ACK flag or not).
    ack_echo: int = 0
    #: 1: the acknowledgement number is the trigger's sequence number, and its ``end`` is not.
    ack_short: int = 0
    window: int = Window.ZERO
    #: 1: the window is a code of `rstaudit.resets.wire.device_codes` and not Window.SAME.
    device_code: int = 0
    #: 1: the reset has a timestamp option; 1: all the sender's segments without SYN and RST have.
    timestamp: int = 0
    sender_timestamps: int = 0
    #: 1: the reset has TCP options beside timestamps and MPTCP's.
    other_options: int = 0
    mptcp: int = Mptcp.NONE
    payload: int = Payload.NONE
    ttl: int = Ttl.UNKNOWN
    #: Where ``ttl`` is UNKNOWN, the same against the SYNs and SYN-ACKs that came from the address
    #: in all flows of the capture before.
    host_ttl: int = Ttl.UNKNOWN
    ip_id: int = IpId.UNKNOWN
    id_habit: int = IdHabit.UNKNOWN
    df: int = Df.UNKNOWN
    stack: int = Stack.UNKNOWN
    #: The trigger.
    trigger: int = Trigger.NONE
    fit: int = Fit.NO_ACK
    gap: int = Gap.NONE
    #: The same from the first segment of the peer's run. NONE: the peer has no run.
    run_gap: int = Gap.NONE
    #: 1: the sender acknowledged ``end`` of the trigger before the reset, in a segment after it.
    trigger_acked: int = 0
    #: Segments without RST the sender sent after the trigger: 0 to 3 (or more).
    sender_since: int = 0
    #: Silences, RSTs passed over. ``idle``: ahead of the first segment of the peer's run that is
    #: more than an ACK (kind `Trigger.ACK`), or of the trigger where none is; where the peer has no
    #: run, ahead of the reset. ``quiet``: ahead of the reset. ``fin_idle``: ahead of the sender's
    #: first FIN.
    idle: int = Idle.NONE
    quiet: int = Idle.NONE
    fin_idle: int = Idle.NONE
    #: Closing. First FINs before the reset; whether the other side acknowledged them; from the
    #: sender's first FIN to the reset.
    fins: int = Side.NOBODY
    sender_fin_acked: int = 0
    peer_fin_acked: int = 0
    since_fin: int = Idle.NONE
    late: int = Late.NOTHING
    content: int = Content.NONE
    #: RSTs before, by side: 0 to 3 (or more). 1: the sender sent something NEW after its first
    #: (as in `After`).
    sender_resets: int = 0
    peer_resets: int = 0
    spoke_after_reset: int = 0
    first_reset: int = Earlier.NONE
    #: 1: the sender's last RST before this one has another sequence number.
    reset_moved: int = 0
    #: Nobody answers: probes and retries (also repeated SYNs) at the end of the last run of that
    #: side: 0 to 15 (or more), and the pace of all of them together.
    sender_probes: int = 0
    sender_retries: int = 0
    sender_pace: int = Pace.NONE
    peer_probes: int = 0
    peer_retries: int = 0
    peer_pace: int = Pace.NONE
    #: 1: the sender's last two segments without RST are probes, answered or not, and the time from
    #: the second to the reset is 0.93 to 1.1 times that from the first to the second.
    probe_rhythm: int = 0
    #: Afterwards, and at the same time.
    after: int = After.NOTHING
    peer_after: int = PeerAfter.NOTHING
    #: 1: a RST of the peer within 20 ms before or after the reset.
    both_reset: int = 0
    #: Other flows whose first RST comes from the same address and port within 20 ms: 0 to 3.
    burst: int = 0


class Numbers(NamedTuple):
    """The figures behind a `Case`, for the evidence. Times in seconds; None: not known."""

    frame: int = 0
    seq: int = 0
    ack: int | None = None
    window: int = 0
    ttl: int = 0
    #: Lowest and highest of the sender's segments without RST before.
    ttl_low: int | None = None
    ttl_high: int | None = None
    host_ttl: int | None = None
    ip_id: int | None = None
    last_ip_id: int | None = None
    #: The reset's sequence number less ``nxt(sender)``, signed.
    seq_off: int | None = None
    #: Likewise the acknowledgement number, less ``nxt(peer)``.
    ack_off: int | None = None
    gap: float | None = None
    rtt: float | None = None
    idle: float | None = None
    quiet: float | None = None
    fin_idle: float | None = None
    since_fin: float | None = None
    synack_wait: float | None = None
    trigger_frame: int | None = None
    trigger_length: int = 0
    sender_bytes: int = 0
    peer_bytes: int = 0
    sender_unacked: int = 0
    peer_unacked: int = 0
    peer_late_bytes: int = 0
    sender_syns: int = 0
    peer_syns: int = 0
    sender_synacks: int = 0
    peer_synacks: int = 0
    sender_resets: int = 0
    peer_resets: int = 0
    sender_probes: int = 0
    sender_retries: int = 0
    peer_probes: int = 0
    peer_retries: int = 0
    #: From the first to the last of that side's probes and retries.
    sender_tries_for: float | None = None
    peer_tries_for: float | None = None
    #: Between the sender's last two segments, where both are probes.
    probe_interval: float | None = None
    #: Segments (not RSTs) the sender sent within 2 s after the reset; RSTs likewise.
    after_segments: int = 0
    after_resets: int = 0
    burst: int = 0
    targets: int = 0
    mptcp_reason: int | None = None
    payload: bytes = b""
