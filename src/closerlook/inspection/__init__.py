"""Whether an agent that was read from a file is the one that was trained: what it earns, sees and expects."""

from closerlook.inspection.inspect import Inspection, inspect

__all__ = ["Inspection", "inspect"]
