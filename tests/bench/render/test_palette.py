"""Test that readers with any form of colour blindness can distinguish what is shown together.

A simulated reader sees colours through the matrices of Machado, Oliveira & Fernandes, "A
Physiologically-based Model for Simulation of Color Vision Deficiency" (2009), for a complete
deficiency. A difference of colours is a distance in OKLab (Ottosson 2020), times 100: 2 is about
the least that the eye sees of two colours side by side.
"""

import itertools
import re
from collections.abc import Iterable
from dataclasses import asdict

import numpy as np
import numpy.typing as npt
import pytest

from bench.echo import picture
from bench.render.palette import COLOURS, DARK, LIGHT, MARKERS, THEMES, Theme, css
from bench.render.plot import choose_distinct_looks, choose_look, list_own_looks
from research import pictures

Numbers = npt.NDArray[np.float64]

READERS = {
    "usual": np.eye(3),
    "protanopia": np.array(
        [
            [0.152286, 1.052583, -0.204868],
            [0.114503, 0.786281, 0.099216],
            [-0.003882, -0.048116, 1.051998],
        ]
    ),
    "deuteranopia": np.array(
        [
            [0.367322, 0.860646, -0.227968],
            [0.280085, 0.672501, 0.047413],
            [-0.011820, 0.042940, 0.968881],
        ]
    ),
    "tritanopia": np.array(
        [
            [1.255528, -0.076749, -0.178779],
            [-0.078411, 0.930809, 0.147602],
            [0.004733, 0.691367, 0.303900],
        ]
    ),
}

LEAST = 8.0
"""Smallest difference of two colours that are told apart by colour alone."""


def linear(colour: str) -> Numbers:
    """Return the linear red, green and blue of ``#RRGGBB``."""
    channels = np.array([int(colour[place : place + 2], 16) for place in (1, 3, 5)]) / 255
    return np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)


def oklab(rgb: Numbers) -> Numbers:
    cones = np.cbrt(
        np.array(
            [
                [0.4122214708, 0.5363325363, 0.0514459929],
                [0.2119034982, 0.6806995451, 0.1073969566],
                [0.0883024619, 0.2817188376, 0.6299787005],
            ]
        )
        @ rgb
    )
    return np.asarray(
        np.array(
            [
                [0.2104542553, 0.7936177850, -0.0040720468],
                [1.9779984951, -2.4285922050, 0.4505937099],
                [0.0259040371, 0.7827717662, -0.8086757660],
            ]
        )
        @ cones
    )


def difference(one: str, other: str, reader: str) -> float:
    seen = [oklab(np.clip(READERS[reader] @ linear(each), 0, 1)) for each in (one, other)]
    return float(100 * np.linalg.norm(seen[0] - seen[1]))


def contrast(one: str, other: str) -> float:
    """Return the contrast of two colours as WCAG defines it."""
    weights = np.array([0.2126, 0.7152, 0.0722])
    low, high = sorted(float(weights @ linear(each)) for each in (one, other))
    return (high + 0.05) / (low + 0.05)


def list_confused(pairs: Iterable[tuple[str, str]], reader: str) -> list[tuple[str, str, float]]:
    """Return the pairs of colours that a reader cannot distinguish, with their difference."""
    found = [(one, other, difference(one, other, reader)) for one, other in pairs]
    return [each for each in found if each[2] < LEAST]


def test_simulated_readers_confuse_what_they_are_known_to_confuse() -> None:
    # Red and green of equal lightness, and for tritanopia blue and green.
    assert difference("#9b6500", "#5a7a00", "usual") > LEAST
    assert difference("#9b6500", "#5a7a00", "deuteranopia") < LEAST
    assert difference("#00797b", "#0073a8", "usual") > LEAST
    assert difference("#00797b", "#0073a8", "tritanopia") < LEAST
    for reader in READERS:
        assert difference("#000000", "#ffffff", reader) == pytest.approx(100, abs=1)


@pytest.mark.parametrize("reader", READERS)
def test_colours_of_backends_differ_for_every_reader(reader: str) -> None:
    assert list_confused(itertools.combinations(COLOURS, 2), reader) == []


@pytest.mark.parametrize("reader", READERS)
def test_backends_of_one_picture_differ_in_marker_or_visibly_in_colour(reader: str) -> None:
    names = [
        *list_own_looks(),
        *(f"stranger_{number}" for number in range(64 - len(list_own_looks()))),
    ]
    looks = choose_distinct_looks(names)
    pairs = [
        (one.colour, other.colour)
        for one, other in itertools.combinations(looks, 2)
        if one.marker == other.marker
    ]
    assert len(pairs) > 200  # of 64 looks with eight markers
    assert list_confused(pairs, reader) == []


@pytest.mark.parametrize("reader", READERS)
def test_colours_of_the_echo_picture_differ_for_every_reader(reader: str) -> None:
    shown = (picture.INPUT, picture.TARGET, picture.PREDICTION, picture.WRONG)
    assert list_confused(itertools.combinations(shown, 2), reader) == []


def test_lines_of_the_study_differ_in_marker_or_dashes() -> None:
    looks = [(marker, str(dashes)) for marker, dashes in pictures.LINES]
    assert len(set(looks)) == len(looks) >= len(pictures.COUNTS)


@pytest.mark.parametrize("theme", THEMES.values(), ids=THEMES)
def test_colours_have_contrast_on_the_background(theme: Theme) -> None:
    for colour in (*COLOURS, theme.edge, theme.focus):
        assert contrast(colour, theme.back) >= 3, colour  # WCAG for parts of pictures
    for colour in (theme.text, theme.dim, theme.good, theme.bad, theme.unclear):
        for back in (theme.back, theme.band):
            assert contrast(colour, back) >= 4.5, (colour, back)  # WCAG for text


@pytest.mark.parametrize("reader", READERS)
def test_colours_of_faster_and_slower_differ_for_every_reader(reader: str) -> None:
    for theme in THEMES.values():
        assert list_confused([(theme.faster, theme.slower)], reader) == []


def test_css_has_both_themes_and_prints_the_light_one() -> None:
    text = css()
    light, dark, printed = re.findall(r":root \{([^}]*)\}", text)
    for name, colour in asdict(LIGHT).items():
        assert f"--{name}: {colour};" in light
        assert f"--{name}: {colour};" in printed
    for name, colour in asdict(DARK).items():
        assert f"--{name}: {colour};" in dark
    assert "color-scheme: light;" in printed


def test_look_of_a_backend_is_of_the_palette() -> None:
    look = choose_look("keras")
    assert look.colour in COLOURS
    assert look.marker in MARKERS
