"""What is wrong with an agent, and what to change: layers of checks, cheapest first, within a budget.

A check is a pure function from named numbers (`case`) to a finding (`answer`); from where on a number is no longer that
of a healthy agent is data (``limits.yaml``). `numbers` come from what workers answer (`sampling`); `plan` turns minutes
into sizes of pools, and `run` spends them where a verdict is open.
"""

from closerlook.checkups.answer import Checkup, Finding
from closerlook.checkups.run import checkup

__all__ = ["Checkup", "Finding", "checkup"]
