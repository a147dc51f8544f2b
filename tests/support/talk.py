"""A TCP connection played packet by packet, sequence numbers kept for both ends."""

from __future__ import annotations

from dataclasses import dataclass, field

from support.wire import Packet, ethernet, flag_bits, ip, linux_syn, tcp

START_NS = 1_700_000_000_000_000_000


@dataclass
class End:
    """One end: address, port, what it sends next, and what its packets look like."""

    address: str
    port: int
    next_seq: int
    ttl: int = 64
    window: int = 502
    ip_id: int = 100


@dataclass
class Talk:
    """Packets between two ends. Each call adds one packet a ``gap`` after the one before.

    ``c`` sends from the client, ``s`` from the server. Sequence and acknowledgment numbers follow
    from what was sent; give ``seq``/``ack`` to have others, which then move nothing.
    """

    client: End = field(default_factory=lambda: End("192.0.2.10", 40000, 1000))
    server: End = field(default_factory=lambda: End("198.51.100.20", 80, 5000, ttl=57))
    gap: float = 0.001
    time_ns: int = START_NS
    packets: list[Packet] = field(default_factory=list)

    def wait(self, seconds: float) -> Talk:
        """Let time pass."""
        self.time_ns += round(seconds * 1e9)
        return self

    def c(self, flags: str | int, payload: bytes = b"", **extra: object) -> Talk:
        """The client sends; ``extra`` as for `send`."""
        return self.send(self.client, self.server, flags, payload, **extra)  # type: ignore[arg-type] # passed on as it came

    def s(self, flags: str | int, payload: bytes = b"", **extra: object) -> Talk:
        """The server sends; ``extra`` as for `send`."""
        return self.send(self.server, self.client, flags, payload, **extra)  # type: ignore[arg-type] # passed on as it came

    def send(
        self,
        source: End,
        target: End,
        flags: str | int,
        payload: bytes = b"",
        *,
        seq: int | None = None,
        ack: int | None = None,
        window: int | None = None,
        options: bytes = b"",
        ttl: int | None = None,
        ip_id: int | None = None,
        df: bool = True,
    ) -> Talk:
        """One packet; what is not given is what that end would send."""
        bits = flag_bits(flags)
        own_seq = source.next_seq if seq is None else seq
        own_ack = (target.next_seq if bits & flag_bits("A") else 0) if ack is None else ack
        segment = tcp(
            source.port, target.port, bits, own_seq, own_ack, payload,
            window=source.window if window is None else window, options=options,
        )  # fmt: skip
        if ip_id is None:
            ip_id = source.ip_id
            source.ip_id = (source.ip_id + 1) & 0xFFFF
        ttl = source.ttl if ttl is None else ttl
        packet = ip(segment, source.address, target.address, ttl=ttl, ip_id=ip_id, df=df)
        self.packets.append(Packet(self.time_ns, ethernet(packet)))
        self.time_ns += round(self.gap * 1e9)
        if seq is None and not bits & flag_bits("R"):
            source.next_seq += len(payload) + bool(bits & 1) + bool(bits & 2)
            source.next_seq &= 0xFFFFFFFF
        return self

    def handshake(self) -> Talk:
        """SYN, SYN-ACK, ACK, with the options of two Linux hosts."""
        self.c("S", options=linux_syn(1), window=64240)
        self.s("SA", options=linux_syn(2, 1), window=65160)
        return self.c("A")
