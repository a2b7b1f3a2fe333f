"""How a version becomes champion: gates, the decision and its record, the alias, and the way back."""

from pipelines.promotion.champion import Rollback, promote, rollback
from pipelines.registry.decisions import Decision, Gate

__all__ = ["Decision", "Gate", "Rollback", "promote", "rollback"]
