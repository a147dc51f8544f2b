"""Parser of ``iptables-save`` and ``ip6tables-save``, of either variant."""

from __future__ import annotations

from rstaudit.model.names import Firewall, RejectRule
from rstaudit.parse.errors import ParseError

#: Targets of the nat table that translate addresses (iptables-extensions(8)).
_NAT = frozenset({"MASQUERADE", "SNAT", "DNAT", "REDIRECT", "NETMAP"})

#: Options that leave a rule meant for all TCP packets of an interface, with their argument.
_HARMLESS = {"-i": None, "-o": None, "-m": None, "--comment": None, "-p": "tcp"}
_STATES = ("--ctstate", "--state")
_AFTER_STACK = ("OUTPUT", "POSTROUTING")


def parse_save(text: str, source: str) -> Firewall:
    """What the rules do that bears on resets; ``source`` is the command they come from.

    Raises ParseError on lines that iptables-save does not write.
    """
    rejects: list[RejectRule] = []
    nat = drops = False
    table = None
    for line in text.split("\n"):
        if not line or line.startswith(("#", ":", "COMMIT")):
            continue
        if line.startswith("*"):
            table = line[1:].strip()
            continue
        chain, options = _rule(line, table)
        target = _argument(options, "-j")
        if target == "REJECT" and _argument(options, "--reject-with") == "tcp-reset":
            rejects.append(RejectRule(source, f"{table} {chain}", _without_counters(line)))
        nat = nat or (table == "nat" and target in _NAT)
        drops = drops or (target == "DROP" and chain not in _AFTER_STACK and _all_invalid(options))
    return Firewall((source,), tuple(rejects), nat, drops)


def _rule(line: str, table: str | None) -> tuple[str, list[str]]:
    """Chain and options of an ``-A`` line."""
    import shlex  # rare: only hosts with iptables rules pay for it

    try:
        words = shlex.split(_without_counters(line))
    except ValueError as error:
        raise ParseError(f"{line[:60]!r}: {error}") from None
    if table is None or len(words) < 2 or words[0] not in ("-A", "-I"):
        raise ParseError(f"{line[:60]!r} is not a line of iptables-save")
    return words[1], words[2:]


def _without_counters(line: str) -> str:
    """Drop the ``[packets:bytes]`` that ``iptables-save -c`` puts in front."""
    return line.partition("] ")[2] if line.startswith("[") else line


def _argument(options: list[str], name: str) -> str | None:
    """What stands behind option ``name``; None where it is missing."""
    return options[options.index(name) + 1] if name in options[:-1] else None


def _all_invalid(options: list[str]) -> bool:
    """Whether the rule is for every TCP packet of state INVALID, if only on some interface."""
    found = False
    index = 0
    while index < len(options) - 1:
        option, value = options[index : index + 2]
        if option in _STATES and "INVALID" in value.split(","):
            found = True
        elif option == "!" and value in ("-i", "-o"):
            index += 1
            continue
        elif option != "-j" and (option not in _HARMLESS or _HARMLESS[option] not in (None, value)):
            return False
        index += 2
    return found
