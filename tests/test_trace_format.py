from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rstaudit.parse.errors import ParseError
from rstaudit.parse.trace_format import parse_format, parse_header_page
from support.trace_pages import FOLDER, KERNELS, layouts

RECORDED = (FOLDER / "6.18" / "tcp_send_reset.format").read_text()


def words(kernel: str) -> list[str]:
    """The reasons of a kernel in the order of their numbers."""
    (send,) = (layout for layout in layouts(kernel) if layout.name == "tcp_send_reset")
    reasons = send.symbols.get("reason", {})
    return [reasons[number] for number in sorted(reasons)]


@pytest.mark.parametrize("kernel", KERNELS)
def test_every_kernels_events_have_sockets_and_addresses(kernel: str) -> None:
    """The formats of all versions are understood, whatever their fields are."""
    names = {layout.name for layout in layouts(kernel)}
    assert {"tcp_send_reset", "tcp_receive_reset", "tcp_destroy_sock"} <= names
    for layout in layouts(kernel):
        assert layout.id > 0
        assert layout.size >= 36
        if layout.name != "kfree_skb":
            assert {"saddr", "daddr", "common_pid"} <= layout.fields.keys()


def test_reasons_are_read_not_known() -> None:
    """The numbers of the reasons moved between 6.11 and 6.12; before 6.10 there are none."""
    assert words("6.8") == []
    assert words("6.11")[11] == "MPTCP_RST_EUNSPEC"
    assert words("6.12")[11] == "TCP_ABORT_ON_CLOSE"
    assert words("6.12") == words("6.18")


def test_a_field_has_its_place() -> None:
    """Offset, size and sign are those of the file."""
    fields = parse_format(RECORDED).fields
    assert fields["state"] == (24, 4, True)
    assert fields["saddr"] == (32, 28, False)


def test_names_without_a_number_are_left_out() -> None:
    """Kernels print states by names that their format file does not explain."""
    assert parse_format(RECORDED).symbols["state"] == {}


@pytest.mark.parametrize("line", ["name: tcp_send_reset", "ID: ", "common_flags", "common_pid"])
def test_a_format_without_what_every_event_has_is_refused(line: str) -> None:
    """A file that lacks its name, its number or a common field is a ParseError."""
    text = "\n".join(part for part in RECORDED.split("\n") if line not in part)
    with pytest.raises(ParseError):
        parse_format(text)


def test_the_page_layout_is_read() -> None:
    """Size of the page, the commit field, and where the records begin."""
    layout = parse_header_page((FOLDER / "6.18" / "header_page").read_text())
    assert (layout.size, layout.data, layout.commit) == (4096, 16, (8, 8, True))


@pytest.mark.parametrize(
    ("old", "new"),
    [("commit", "other"), ("size:4080", "size:99999"), ("offset:16", "offset:9"), ("8;", "7;")],
)
def test_an_absurd_page_layout_is_refused(old: str, new: str) -> None:
    """What cannot be the ring buffer's page is a ParseError."""
    text = (FOLDER / "header_page").read_text().replace(old, new)
    with pytest.raises(ParseError):
        parse_header_page(text.replace("size:99999", "size:9999999"))


@given(st.text(st.sampled_from('field:offset;size 018{},"\n\tREC->_pinymbolc()'), max_size=300))
def test_any_text_is_a_layout_or_an_error(text: str) -> None:
    """No text makes the parsers raise anything but ParseError."""
    for parse in (parse_format, parse_header_page):
        try:
            parse(RECORDED[: len(text) * 5] + text)
        except ParseError:
            continue
