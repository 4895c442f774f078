"""What running Renode can fail with."""

from __future__ import annotations

from andon_workbench.rungs.bench import RungError


class RenodeError(RungError):
    """Renode refused a command, does not answer, or ended."""
