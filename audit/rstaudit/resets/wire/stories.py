"""The sentences that say why, one for each story a `Verdict` names.

``{gap}`` is the field of `Numbers` of that name. A part in brackets is left out where a number in
it is not known or 0. "The sender" sent the reset; a sentence may begin with "It" for the same.
Where the packets tell, both ends are called client and server in the end. Each is one sentence.
"""

from __future__ import annotations

STORIES = {
    # The packet says it.
    "fastclose": "The reset carries the MPTCP option MP_FASTCLOSE: the program aborted the whole"
    " MPTCP connection",
    "mptcp_reason": "The reset carries the MPTCP option MP_TCPRST[ with reason {mptcp_reason}]:"
    " one subflow was reset",
    "diagnostic": "The reset carries a diagnostic payload with its reason",
    "text": "The reset carries text as payload, which says who sent it and why",
    "payload": "The reset has a payload, which no common kernel adds",
    "device_code": "The window of the reset, {window}, is a code of NetScaler",
    # Before the handshake is over.
    "refused": "The SYN was answered with a reset[ after {gap} s], as a host does where nothing"
    " listens on the port",
    "refused_oddly": "The SYN was answered with a reset[ after {gap} s] that differs from the"
    " usual one for a closed port (no sequence number, no window, at once)",
    "refused_elsewhere": "The SYN was answered with a reset of TTL {ttl}, while other packets of"
    " that address arrive with TTL {host_ttl}",
    "odd_refusal": "The SYN was answered with a reset without ACK, which no host sends for a"
    " closed port",
    "wrong_refusal": "The SYN was answered with a reset that does not acknowledge it, which no"
    " host sends and every client ignores",
    "refusal_options": "The reset that answers the SYN has TCP options, which no host sends for a"
    " closed port",
    "synack_after": "A reset came for the SYN, and then the SYN-ACK of the true server",
    "wrong_final": "The segment that should end the handshake acknowledges a number that was never"
    " sent, and the reset repeats that number",
    "wrong_final_elsewhere": "The handshake looks complete here, but the reset answers another"
    " acknowledgement number than the one seen",
    "no_final": "It sent its SYN-ACK {sender_synacks} times without an answer, then reset",
    "half_handshake": "The reset comes in the middle of a handshake, and nothing seen before it"
    " explains it",
    "no_synack": "It sent {sender_syns} SYNs[ over {sender_tries_for} s], nobody answered, and it"
    " gave up with a reset",
    "syn_alone": "It sent a SYN and then a reset, and no answer to the SYN was seen",
    "stale": "The sender's SYN was answered with an acknowledgement of another, older"
    " connection, which it"
    " reset",
    "wrong_synack": "The answer to the sender's SYN acknowledges a number that it never sent,"
    " and it reset"
    " that",
    "wrong_echo": "The SYN-ACK echoes a timestamp that the sender never sent, so it reset that",
    "synack_unfit": "It reset the SYN-ACK and sent its SYN again, so it still waited, and something"
    " in the SYN-ACK did not fit",
    "synack_elsewhere": "It reset the SYN-ACK, but answers another acknowledgement number than the"
    " one seen here",
    "scan": "It answered the SYN-ACK with a reset, and the SYN was a scanner's: a small window and"
    " no options but MSS",
    "scan_many": "It answered the SYN-ACK with a reset, and had sent SYNs to {targets} addresses or"
    " ports within seconds",
    "late_synack": "The SYN-ACK came[ {synack_wait} s] after the first SYN, when the sender's"
    " socket was"
    " gone already",
    "synack_refused": "It answered the SYN-ACK[, which came {synack_wait} s after the SYN,] with a"
    " reset: no socket waited for it any more",
    "stray_synack": "A SYN-ACK came in for which no SYN had been sent, as far as the capture shows",
    # Forged.
    "went_on": "The sender went on after its reset as if it had not sent it (segments within two"
    " seconds: {after_segments}), so somebody else sent it",
    "forged": "The reset does not fit the sender's other packets",
    "ladder": "It is one of several resets with different sequence numbers[, {seq_off} away from"
    " the next in order], as tools that guess send them",
    # After a FIN or a reset.
    "after_reset": "It had reset the connection before, and this answers a segment of the other"
    " end that was still on its way",
    "after_peer_reset": "The other end had reset the connection before, and this answers a segment"
    " that came all the same",
    "data_to_closed": "It had closed[ {since_fin} s] before, and data of the other end["
    " ({peer_late_bytes} bytes)] came after its FIN",
    "goodbye_to_closed": "It had closed[ {since_fin} s] before, and what came then was a TLS"
    " close_notify or another last alert[ ({peer_late_bytes} bytes)]",
    "last_to_closed": "It had closed[ {since_fin} s] before; the other end's last data["
    " ({peer_late_bytes} bytes)] and FIN came after that, and both are done",
    "data_crossed_close": "It closed[ {since_fin} s] before, while {peer_unacked} bytes of the"
    " other end were on their way",
    "retry_to_closed": "It had closed[ {since_fin} s] before, and the other end repeated data or a"
    " FIN that it had not acknowledged",
    "fin_to_closed": "It had closed[ {since_fin} s] before, and even the other end's FIN is"
    " answered with a reset, so nothing was left to take it",
    "gone_after_fin": "It had closed[ {since_fin} s] before, and even a segment without data is"
    " answered with a reset, so nothing of the connection was left",
    "straggler": "Both ends were done, and a late segment of the other end was answered with a"
    " reset",
    "ack_of_fin": "The mere acknowledgement of its FIN was answered with a reset, so it did not"
    " wait for the other end to close",
    "abort_after_fin": "It had closed its sending side[ {since_fin} s] before, and then aborted"
    " what was left",
    "abort_after_peer_fin": "The other end had closed its sending side, and it aborted instead of"
    " closing",
    "fin_then_silence": "The sender's FIN was acknowledged, the other end never closed, and after"
    " {quiet} s of silence it reset",
    "fin_unanswered": "It had closed, and reset after {sender_retries} retransmissions without an"
    " answer",
    # Probes, retransmissions, silence.
    "probes_failed": "It sent {sender_probes} keepalive probes[ over {sender_tries_for} s] without"
    " an answer, then reset",
    "probes_one_sided": "It sent {sender_probes} keepalive probes and then reset; whether anybody"
    " answered them is not in the capture",
    "probe_rhythm": "It sent keepalive probes every {probe_interval} s and reset just when the"
    " next was due, so the answers seen here did not reach it",
    "retries_failed": "It retransmitted {sender_retries} times[ over {sender_tries_for} s] without"
    " an answer, then reset",
    "gave_up_retrying": "It retransmitted {sender_retries} times[ over {sender_tries_for} s]"
    " without an answer and then reset; Linux sends no reset when retransmissions run out, so the"
    " program closed",
    "window_closed": "The other end's window was closed[ for {sender_tries_for} s], and it gave up",
    "spoke_too_late": "It had retransmitted {sender_retries} times[ over {sender_tries_for} s]"
    " without an answer, and when the other end spoke at last it knew the connection no more",
    "both_after_silence": "Both ends were reset at the same instant after {quiet} s of silence",
    "known_silence": "The reset came by itself after {quiet} s of silence, a common idle timeout",
    "silence_elsewhere": "The reset came by itself after {quiet} s of silence, with another TTL[,"
    " {ttl},] than that end's packets[ ({ttl_before})]",
    # Just after the handshake.
    "overflow": "The handshake was complete for the client, and the first segment after the"
    " SYN-ACK was answered with a reset",
    "request_forgotten": "It had sent its SYN-ACK {sender_synacks} times, so it never took the"
    " last ACK, and now knows nothing of the connection",
    # In between.
    "alone": "The capture has nothing of this connection but resets; it would take the segments"
    " before them",
    "one_sided": "The capture shows one direction only; it would take the other end's segments",
    "begins_late": "The capture has nothing of the sender before its reset; it would take the"
    " beginning of the connection",
    "gaps": "The capture lacks segments of the sender[ ({seq_off} bytes before this reset)]; it"
    " would take those to know whether it had closed",
    "stray_ack": "A lone ACK came in for a connection that the capture does not have, and was"
    " answered with a reset",
    "stray_probe": "A segment with neither SYN nor ACK came in, which only scanners send, and was"
    " answered as for a port where nothing listens",
    "forgotten": "A segment of the other end[, {idle} s after the one before,] was answered as if"
    " there had never been a connection, and no FIN or reset came before",
    "forgotten_plainly": "A segment of the other end[, {idle} s after the one before,] was answered"
    " with a reset of the right numbers but no window or options, which fits a lost connection and"
    " an abort",
    "after_both_fins": "Both ends had closed, and then it reset what was over already",
    "forgotten_idle": "After {idle} s of silence a segment was answered as if there had never been"
    " a connection",
    "answered_elsewhere": "A segment was answered as if there had never been a connection, with"
    " TTL {ttl} where that end's packets have {ttl_before}",
    "bare_after_ack": "It reset without ACK, although it had acknowledged the other end's last"
    " segment before",
    "aborted": "It reset a connection that it knows: its next sequence number, its acknowledgement"
    " and a window or timestamp are in the reset",
    "aborted_one_sided": "It reset with a window or timestamp that only a host with the connection"
    " knows; the other direction is not in the capture",
    "closed_one_sided": "It had closed[ {since_fin} s] before, and the reset answers a segment that"
    " is not in the capture",
    "aborted_plainly": "It reset with the right numbers, no window and no options, as Windows and"
    " others do when a program aborts",
    "unstamped": "The reset has the right numbers but no timestamp, which all other packets of"
    " that Linux host have",
    "odd_abort": "The reset has neither the form of an abort nor that of an answer to the other"
    " end's last segment",
    "bare_beyond_acked": "The reset has no ACK, as answers have, but the other end had not"
    " acknowledged its sequence number yet, so it answers nothing",
    "by_itself": "The reset has the form of an answer, but came by itself[ after {quiet} s of"
    " silence]",
    "strange_numbers": "The sequence number of the reset[, {seq_off} away from the next in order,]"
    " fits nothing that the sender sent",
}
