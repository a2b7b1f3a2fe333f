"""How a version becomes champion: gates, the decision and its record, the alias, and the way back."""

from pipelines.promotion.champion import Rollback, force_promote, promote, rollback
from pipelines.promotion.decisions import Decision, Gate

__all__ = ["Decision", "Gate", "Rollback", "force_promote", "promote", "rollback"]
