"""Class colours for drawn images and plots."""

from __future__ import annotations

RGB = tuple[int, int, int]

# Okabe and Ito's colours, then Paul Tol's muted ones: distinguishable with any colour vision.
PALETTE: tuple[RGB, ...] = (
    (230, 159, 0),
    (86, 180, 233),
    (0, 158, 115),
    (240, 228, 66),
    (0, 114, 178),
    (213, 94, 0),
    (204, 121, 167),
    (51, 34, 136),
    (68, 170, 153),
    (136, 34, 85),
    (221, 204, 119),
    (170, 68, 153),
)


def colour_of(label: int) -> RGB:
    """Return the RGB colour (0..255) of a class, the same in every image."""
    return PALETTE[label % len(PALETTE)]


def ink_on(colour: RGB) -> RGB:
    """Return black or white, whichever is more readable on `colour`."""
    luminance = (0.2126 * colour[0] + 0.7152 * colour[1] + 0.0722 * colour[2]) / 255
    return (0, 0, 0) if luminance > 0.42 else (255, 255, 255)
