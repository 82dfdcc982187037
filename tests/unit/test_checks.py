"""What is checked of agents and environments before anything is simulated."""

import pytest

from closerlook.diagnostics.common.checks import require_fit
from closerlook.errors import InputError
from small_agents import categorical_agent, gaussian_agent

BOX = {"type": "Box", "shape": [2]}
DISCRETE = {"type": "Discrete", "n": 2}


@pytest.mark.parametrize(
    ("agent", "space", "size", "message"),
    [
        (gaussian_agent(3, 2), BOX, 4, "have 4 components, the agent's policy takes 3"),
        (gaussian_agent(3, 2), DISCRETE, 3, "chooses continuous actions of size 2, X takes discrete actions of size 2"),
        (gaussian_agent(3, 1), BOX, 3, "chooses continuous actions of size 1, X takes continuous actions of size 2"),
        (categorical_agent(3, 3), DISCRETE, 3, "chooses discrete actions of size 3, X takes discrete"),
    ],
)
def test_an_agent_of_another_environment_is_refused(agent, space, size, message):
    with pytest.raises(InputError, match=message):
        require_fit([agent], {"id": "X", "observation_size": size, "action_space": space})


def test_an_agent_that_fits_passes():
    require_fit([gaussian_agent(3, 2)], {"id": "X", "observation_size": 3, "action_space": BOX})
    require_fit([categorical_agent(3, 2)], {"id": "X", "observation_size": 3, "action_space": DISCRETE})
