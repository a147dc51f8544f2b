"""Why a reset was sent: from packets and from kernel events."""
