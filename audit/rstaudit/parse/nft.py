"""Parsers of what nftables says: its JSON and its listing, and the kernel's list of tables."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Any, NamedTuple

from rstaudit.parse.errors import ParseError

#: Statements that translate addresses (libnftables-json(5)).
_NAT = frozenset({"masquerade", "snat", "dnat", "redirect"})

#: Statements and `meta` keys that leave a rule meant for all TCP packets of an interface.
_HARMLESS = frozenset({"counter", "log", "drop", "comment"})
_INTERFACE = frozenset({"iif", "iifname", "oif", "oifname", "iifgroup", "oifgroup"})

#: Base chains at these hooks see a packet before the host's own stack could answer it.
_BEFORE_STACK = frozenset({"prerouting", "input", "forward", "ingress", None})


class Place(NamedTuple):
    """Where a rule stands; its handle is unique in its table."""

    family: str
    table: str
    chain: str
    handle: int


class Ruleset(NamedTuple):
    """What a ruleset does that bears on resets.

    ``rejects`` are rules that answer with a TCP reset; ``xt`` is True where it holds rules of
    iptables whose meaning the JSON leaves out.
    """

    rejects: tuple[Place, ...]
    nat: bool
    drops_invalid: bool
    xt: bool


class TableReply(NamedTuple):
    """The kernel's first answer to a dump of tables: is there one, or the errno of a refusal."""

    any: bool
    error: int


_HEADER = struct.Struct("=IHHII")  # struct nlmsghdr (include/uapi/linux/netlink.h)
_NLMSG_ERROR, _NLMSG_DONE = 2, 3
_GETTABLE, _NEWTABLE = 0x0A01, 0x0A00  # NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_*
_DUMP_REQUEST = 0x301  # NLM_F_REQUEST | NLM_F_DUMP

#: A request for all tables of this network namespace: header and an empty struct nfgenmsg.
TABLES_REQUEST = _HEADER.pack(_HEADER.size + 4, _GETTABLE, _DUMP_REQUEST, 1, 0) + bytes(4)


def parse_tables(reply: bytes) -> TableReply:
    """Read the first message of the answer to `TABLES_REQUEST`; raises ParseError."""
    if len(reply) < _HEADER.size + 4:
        raise ParseError(f"an answer of {len(reply)} bytes from nf_tables")
    kind = _HEADER.unpack_from(reply)[1]
    if kind == _NEWTABLE:
        return TableReply(True, 0)
    code = struct.unpack_from("=i", reply, _HEADER.size)[0]
    if kind not in (_NLMSG_ERROR, _NLMSG_DONE) or code > 0:
        raise ParseError(f"an answer of kind {kind:#x} from nf_tables")
    return TableReply(False, -code)


def parse_ruleset(text: bytes) -> Ruleset:
    """Read ``nft -j list ruleset`` (libnftables-json(5)); raises ParseError."""
    items = _items(text)
    hooks = {
        (chain.get("family"), chain.get("table"), chain.get("name")): chain.get("hook")
        for chain in _objects(items, "chain")
        if all(_is_name(chain.get(key)) for key in ("family", "table", "name"))
    }
    rejects: list[Place] = []
    nat = drops = xt = False
    for rule in _objects(items, "rule"):
        place, statements = _rule(rule)
        if any(_resets(statement) for statement in statements):
            rejects.append(place)
        names = {name for statement in statements for name in statement}
        nat = nat or not names.isdisjoint(_NAT)
        xt = xt or "xt" in names
        if hooks.get(place[:3]) in _BEFORE_STACK:
            drops = drops or drops_invalid(statements)
    return Ruleset(tuple(rejects), nat, drops, xt)


def drops_invalid(statements: list[dict[str, Any]]) -> bool:
    """Whether a rule drops every TCP packet of state INVALID, if only on some interface."""
    if any(_vmap_drops(statement.get("vmap")) for statement in statements):
        return all(_harmless(s) or "vmap" in s for s in statements)
    return (
        any("drop" in statement for statement in statements)
        and any(_matches_invalid(statement.get("match")) for statement in statements)
        and all(_harmless(s) or _matches_invalid(s.get("match")) for s in statements)
    )


def parse_listing(text: str) -> dict[tuple[str, str, int], str]:
    """The text of each rule by family, table and handle, from ``nft -a list ruleset``.

    Never fails: lines it does not know are left out.
    """
    import re  # compiling patterns costs every start, and few hosts have such rules

    a_table = re.compile(r"table (\S+) (\S+) \{", re.ASCII)
    a_rule = re.compile(r"\t\t(.*?)\s+# handle (\d{1,18})$", re.ASCII)
    rules: dict[tuple[str, str, int], str] = {}
    family = table = ""
    for line in text.split("\n"):
        if match := a_table.match(line):
            family, table = match.groups()
        elif match := a_rule.match(line):
            rules.setdefault((family, table, int(match[2])), match[1].strip())
    return rules


def _items(text: bytes) -> list[Any]:
    import json

    try:
        items = json.loads(text)["nftables"]
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise ParseError(f"not the JSON of nft: {type(error).__name__}") from None
    if not isinstance(items, list):
        raise ParseError("not the JSON of nft: no list")
    return items


def _objects(items: list[Any], kind: str) -> Iterator[dict[str, Any]]:
    for item in items:
        if isinstance(item, dict) and isinstance(value := item.get(kind), dict):
            yield value


def _rule(rule: dict[str, Any]) -> tuple[Place, list[dict[str, Any]]]:
    names = [rule.get(key) for key in ("family", "table", "chain")]
    handle, statements = rule.get("handle"), rule.get("expr", [])
    if not all(map(_is_name, names)) or type(handle) is not int or not isinstance(statements, list):
        raise ParseError("not the JSON of nft: a rule without its place")
    family, table, chain = (str(name) for name in names)
    return Place(family, table, chain, handle), [s for s in statements if isinstance(s, dict)]


def _is_name(value: object) -> bool:
    return isinstance(value, str)


def _resets(statement: dict[str, Any]) -> bool:
    reject = statement.get("reject")
    return isinstance(reject, dict) and reject.get("type") == "tcp reset"


def _is_state(expression: object) -> bool:
    if not isinstance(expression, dict):
        return False
    ct = expression.get("ct")
    return isinstance(ct, dict) and ct.get("key") == "state"


def _matches_invalid(match: object) -> bool:
    if not isinstance(match, dict) or match.get("op") not in ("in", "==", None):
        return False
    right = match.get("right")
    if isinstance(right, dict):
        right = right.get("set")
    states = right if isinstance(right, list) else [right]
    return _is_state(match.get("left")) and "invalid" in states


def _vmap_drops(vmap: object) -> bool:
    if not isinstance(vmap, dict) or not _is_state(vmap.get("key")):
        return False
    data = vmap.get("data")
    pairs = data.get("set") if isinstance(data, dict) else None
    return isinstance(pairs, list) and any(
        isinstance(pair, list)
        and len(pair) == 2
        and pair[0] == "invalid"
        and isinstance(pair[1], dict)
        and "drop" in pair[1]
        for pair in pairs
    )


def _harmless(statement: dict[str, Any]) -> bool:
    """Whether a statement leaves the rule in force for all TCP packets of an interface."""
    if statement.keys() <= _HARMLESS:
        return True
    match = statement.get("match")
    meta = match.get("left", {}) if isinstance(match, dict) else None
    meta = meta.get("meta") if isinstance(meta, dict) else None
    if not isinstance(match, dict) or not isinstance(meta, dict):
        return False
    key = meta.get("key")
    return (isinstance(key, str) and key in _INTERFACE) or (
        key == "l4proto" and match.get("op") == "==" and match.get("right") == "tcp"
    )
