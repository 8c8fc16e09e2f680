"""Sizes and places learned from annotated boxes: known effects are found again, and only what was seen is a support."""

from __future__ import annotations

import math

import pytest

from negscale.backends.instance_bank import Instance
from negscale.backends.scene_statistics import fit_statistics, largest
from negscale.core.rng import rng_for

SIZE = (1000, 1000)


def instance(image: int, category: str, share: float, bottom: float, x: float = 100.0) -> Instance:
    side = share * 1000
    return Instance(
        f"{image}-{category}-{x}", f"{image}.jpg", str(image), category, (x, bottom * 1000 - side, side, side), SIZE
    )


def test_class_camera_and_height_in_the_picture_are_told_apart() -> None:
    rng = rng_for(0, "world")
    made = []
    for image in range(120):
        closeness = float(rng.normal(0, 0.3))
        for name, effect in (("bus", 0.5), ("dog", 0.0), ("cup", -0.7)):
            bottom = 0.6 + 0.3 * float(rng.random())
            made.append(instance(image, name, math.exp(-2 + effect + closeness + 1.0 * (bottom - 0.5)), bottom))
    found = fit_statistics(made)
    assert found.class_effects["bus"] - found.class_effects["cup"] == pytest.approx(1.2, abs=0.08)
    assert found.slope == pytest.approx(1.0, abs=0.15)
    assert found.spread < 0.12
    near = [instance(999, "dog", math.exp(-2 + 0.6 + 0.2), 0.7)]
    assert 0.1 < found.closeness(near) < 0.6  # one witness is believed in part
    assert found.closeness([*near, *[instance(999, "bus", math.exp(-1.5 + 0.6 + 0.2), 0.7)]]) > found.closeness(near)
    assert found.closeness([]) == 0
    assert found.closeness([instance(999, "spaceship", 0.5, 0.9)]) == 0


def test_the_largest_of_a_class_speaks_for_it() -> None:
    crowd = [instance(1, "sheep", 0.05 * k, 0.9, 10 * k) for k in range(1, 5)] + [instance(1, "dog", 0.01, 0.9)]
    assert [one.id for one in largest(crowd)] == ["1-sheep-40", "1-dog-100.0"]


def test_a_cup_stands_on_tables_and_a_kite_on_nothing() -> None:
    made = []
    for image in range(12):
        made.append(Instance(f"t{image}", f"{image}.jpg", str(image), "dining table", (100, 500, 800, 400), SIZE))
        made.append(instance(image, "cup", 0.08, 0.6, 300 + 20 * image))
        made.append(instance(image, "kite", 0.1, 0.2, 400))
    found = fit_statistics(made)
    (support,) = found.supports["cup"]
    assert support.category == "dining table"
    assert len(support.feet) == 12
    assert all(down == pytest.approx(0.25) for _, down in support.feet)
    assert "kite" not in found.supports
    assert "dining table" not in found.supports
    assert found.grounded("cup")
    assert not found.grounded("kite")


def test_instances_cut_by_the_border_say_nothing_of_sizes() -> None:
    whole = [instance(k, "dog", 0.2, 0.9) for k in range(5)]
    cut = [Instance(f"c{k}", f"{k}.jpg", str(k), "dog", (0, 100, 900, 900), SIZE) for k in range(5)]
    assert fit_statistics([*whole, *cut]) == fit_statistics(whole)
    with pytest.raises(ValueError, match="no instance lies wholly inside"):
        fit_statistics(cut)
