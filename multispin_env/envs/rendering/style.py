"""Colours, from the colour-blind safe palette of Okabe and Ito, and font sizes."""

from multispin_env.envs.rendering.canvas import Colour

PAPER: Colour = (255, 255, 255)
INK: Colour = (34, 34, 34)
FAINT: Colour = (226, 226, 226)
GREY: Colour = (120, 120, 120)

DRAFTING: Colour = (0, 114, 178)
UPLOADING: Colour = (230, 159, 0)
WAITING: Colour = (208, 208, 208)
VERIFYING: Colour = (0, 158, 115)

ACCEPTED: Colour = (0, 114, 178)
DRAFTED: Colour = (86, 180, 233)
REFUSED: Colour = (213, 94, 0)
SERVER_TOKEN: Colour = (0, 158, 115)

TITLE, BODY, SMALL = 22, 18, 16
"""Sizes of pygame's default font; capital letters are about half as high."""
