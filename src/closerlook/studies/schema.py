"""Every variable that any dataset may hold: those of the diagnostics, and those that studies come to."""

from closerlook.diagnostics import all_diagnostics
from closerlook.results.schema import by_name
from closerlook.results.variables import Variable
from closerlook.studies import regime_variables, training_variables


def every_variable() -> dict[str, Variable]:
    """Return every variable by its name.

    Raises
    ------
    ValueError
        Where a name has two definitions.
    """
    measured = [variable for diagnostic in all_diagnostics().values() for variable in diagnostic.variables]
    return by_name([*measured, *regime_variables.VARIABLES, *training_variables.VARIABLES])
