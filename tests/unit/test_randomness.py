"""Named draws: the same name gives the same numbers, two names share none."""

import itertools

import numpy as np

from closerlook.randomness import derive_seed, generator


def test_the_same_name_gives_the_same_numbers():
    one, two = (generator(3, "gradients", stream=5, episode=2, kind="action").random(8) for _ in range(2))
    np.testing.assert_array_equal(one, two)


def test_every_part_of_the_name_matters():
    base = {"seed": 1, "purpose": "a", "stream": 2, "episode": 3, "kind": "action"}
    other = {"seed": 2, "purpose": "b", "stream": 3, "episode": 4, "kind": "reset"}
    draws = [generator(**base).random()] + [generator(**{**base, name: other[name]}).random() for name in base]
    assert len(set(draws)) == len(draws)


def test_neighboring_names_do_not_overlap():
    """Counters of neighboring streams and episodes are 2**64 blocks apart, so sequences never run into each other."""
    names = itertools.product(range(3), range(3), ("reset", "action"))
    draws = [generator(0, "p", stream=s, episode=e, kind=k).integers(2**63, size=500) for s, e, k in names]
    assert len(np.unique(np.concatenate(draws))) == 500 * len(draws)


def test_reading_in_pieces_gives_the_same_sequence():
    whole = generator(0, "p").standard_normal((12, 3))
    source = generator(0, "p")
    pieces = [source.standard_normal((n, 3)) for n in (1, 4, 7)]
    np.testing.assert_array_equal(whole, np.concatenate(pieces))


def test_derived_seeds_suit_gymnasium_and_any_integer_is_a_root():
    seeds = {derive_seed(root, "p", kind="reset") for root in (-1, 0, 1, 2**64 - 2, 2**70 + 5)}
    assert len(seeds) == 5
    assert all(0 <= seed < 2**63 for seed in seeds)
