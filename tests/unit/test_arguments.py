"""What callers in Python give: numbers of any kind, agents, environments, workers."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pytest

from closerlook.agents.agent import Regime
from closerlook.agents.loading import load
from closerlook.arguments import MOST, environment_id, with_plain_values
from closerlook.diagnostics.common.checks import as_agents, find_environment
from closerlook.diagnostics.gradients import gradient_quality
from closerlook.diagnostics.values import value_prediction
from closerlook.errors import InputError
from closerlook.execution import crew_of
from closerlook.training.settings import TrainSettings
from misbehaving import corridor
from small_measurements import ASKED
from tiny_environments import Corridor

AGENT = replace(corridor(), regime=Regime(1, 64))


@dataclass(frozen=True)
class Asked:
    """Every sort of number a diagnostic takes."""

    pairs: int = 4
    most: int | None = None
    sizes: Sequence[int] | None = None
    lambdas: Sequence[float] = ()
    range: tuple[float, float] = (0.0, 1.0)
    name: str = "kept"
    names: Sequence[str] = ()
    seed: int = 0


def test_numbers_of_any_kind_become_python_s_own() -> None:
    given = Asked(
        pairs=2e5,  # type: ignore[arg-type]
        most=np.int64(3),  # type: ignore[arg-type]
        sizes=np.array([1, 2]),  # type: ignore[arg-type]
        lambdas=0.5,  # type: ignore[arg-type]
        range=[0, 3],  # type: ignore[arg-type]
        names="zero",
        seed=np.uint64(2**62),  # type: ignore[arg-type]
    )
    found = with_plain_values(given)
    assert found == Asked(200_000, 3, (1, 2), (0.5,), (0.0, 3.0), "kept", ("zero",), 2**62)
    assert [type(one) for one in with_plain_values(Asked(lambdas=[1, 1.0, np.float32(1)])).lambdas] == [
        int,
        float,
        float,
    ]
    assert {type(found.pairs), type(found.most), type(found.sizes[0]), type(found.seed)} == {int}
    assert with_plain_values(Asked()) == Asked()


@dataclass(frozen=True)
class Around:
    inner: Asked
    maybe: Asked | None = None


def test_dataclasses_within_are_converted_too() -> None:
    found = with_plain_values(Around(Asked(most=np.int64(3), sizes=[1, 2])))
    assert found == Around(Asked(most=3, sizes=(1, 2)))
    assert type(found.inner.most) is int
    with pytest.raises(InputError, match=r"pairs must be a whole number \(got 1\.5\)"):
        with_plain_values(Around(Asked(), Asked(pairs=1.5)))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"pairs": 1.5}, r"pairs must be a whole number \(got 1\.5\)"),
        ({"pairs": True}, r"pairs must be a number \(got True\)"),
        ({"pairs": "5"}, r"pairs must be a number \(got '5'\)"),
        ({"pairs": 10**30}, r"pairs is out of bounds \(got 1e\+30\); give 1e\+11 at most"),
        ({"pairs": 10**400}, r"pairs is out of bounds \(got a far larger number\); give 1e\+11 at most"),
        ({"pairs": -(10**400)}, r"give 1e\+11 at most"),
        ({"lambdas": [b"1"]}, r"lambdas must be a number \(got b'1'\)"),
        ({"pairs": None}, r"pairs must be a number \(got None\)"),
        ({"pairs": float("nan")}, r"pairs must be a whole number \(got nan\)"),
        ({"pairs": 1e300}, r"pairs is out of bounds \(got 1e\+300\); give 1e\+11 at most"),
        ({"range": (0.0, 1.0, 2.0)}, r"range must be 2 values \(got \(0\.0, 1\.0, 2\.0\)\)"),
        ({"sizes": [32, 1.5]}, r"sizes must be a whole number \(got 1\.5\)"),
        ({"seed": None}, r"seed must be a number \(got None\)"),
        ({"seed": 2**63}, r"seed is out of bounds \(got 9\.22337e\+18\); give one from -2\*\*63 to 2\*\*63 - 1"),
        ({"seed": -(2**63) - 1}, r"seed is out of bounds \(got -9\.22337e\+18\); give one"),
        ({"seed": 10**5000}, r"seed is out of bounds \(got a far larger number\); give one"),
        ({"seed": "3"}, r"seed must be a number \(got '3'\)"),
        ({"seed": 1.5}, r"seed must be a whole number \(got 1\.5\)"),
        ({"seed": float("inf")}, r"seed must be a whole number \(got inf\)"),
    ],
)
def test_what_is_no_number_is_named(changes: dict, message: str) -> None:
    assert MOST == 10**11
    with pytest.raises(InputError, match=message):
        with_plain_values(Asked(**changes))


@pytest.mark.parametrize("name", ["hopper", "Ant", "HALFCHEETAH", "Hopper-v5"])
def test_environments_have_short_names_everywhere(name: str) -> None:
    known = {"hopper": "Hopper-v5", "ant": "Ant-v5", "halfcheetah": "HalfCheetah-v5"}
    expected = known.get(name.lower(), name)
    assert environment_id(name) == find_environment([AGENT], name).id == expected
    assert TrainSettings(environment=name).spec.id == load(AGENT, env=name).environment.id == expected


def test_a_measurement_takes_numpy_s_numbers_and_gives_the_same() -> None:
    asked = ASKED["gradient_quality"]
    plain = gradient_quality(AGENT, **asked, seed=3, workers=1)
    other = {"pairs": 1024.0, "sizes": np.array([32]), "estimates": np.int32(4)}
    same = gradient_quality([AGENT], **other, seed=np.int64(3), workers=np.int64(1))
    assert same["pairwise_cosine"].values.ravel().tolist() == plain["pairwise_cosine"].values.ravel().tolist()


def test_what_is_no_agent_no_environment_and_no_crew_is_named() -> None:
    with pytest.raises(InputError, match=r"a str was given for an agent; give what closerlook\.load"):
        as_agents("runs/hopper")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="a Corridor was given for an environment; name it"):
        find_environment([AGENT], Corridor())
    for workers in (0, -1, 1.5):
        with pytest.raises(InputError, match="workers must be at least 1"):
            crew_of(workers)  # type: ignore[arg-type]
    with pytest.raises(InputError, match=r"workers must be at least 1 \(got 0\)"):
        value_prediction(AGENT, **ASKED["value_prediction"], workers=0)
