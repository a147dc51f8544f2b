"""Why a reset was sent, from the facts of one `Case`."""

from __future__ import annotations

from functools import lru_cache

from rstaudit.resets.wire.case import Case
from rstaudit.resets.wire.closing import decide_closing
from rstaudit.resets.wire.established import decide_established, decide_injected
from rstaudit.resets.wire.handshake import decide_handshake
from rstaudit.resets.wire.opened import decide_opened
from rstaudit.resets.wire.selfdescribing import decide_selfdescribing
from rstaudit.resets.wire.silence import decide_silence
from rstaudit.resets.wire.verdict import Verdict

#: The first that answers decides: what the packet says of itself; the handshake, where it is not
#: over; proof that it is forged; FINs and resets before; probes, retries, silence; the form.
_FAMILIES = (
    decide_selfdescribing,
    decide_handshake,
    decide_injected,
    decide_closing,
    decide_silence,
    decide_opened,
)


@lru_cache(maxsize=65536)
def decide(case: Case) -> Verdict:
    """The cause of the reset with these facts; ``undetermined`` where they do not say."""
    for family in _FAMILIES:
        verdict = family(case)
        if verdict is not None:
            return verdict
    return decide_established(case)
