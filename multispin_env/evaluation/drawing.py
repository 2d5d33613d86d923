"""Colours of pictures, and their files."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from multispin_env.checks import missing_package
from multispin_env.files import replace_file

BLUE, ORANGE, GREEN, RED = "#0072B2", "#E69F00", "#009E73", "#D55E00"
PURPLE, SKY, BLACK = "#CC79A7", "#56B4E9", "#000000"
"""Okabe and Ito's palette, safe for colour-blind readers."""

SETTINGS: dict[Any, Any] = {"svg.hashsalt": "multispin_env", "font.size": 9.0, "axes.grid": True, "grid.alpha": 0.3}


def check_matplotlib() -> None:
    """Raise ``ModuleNotFoundError`` with the name of the extra if matplotlib is missing."""
    try:
        import matplotlib  # noqa: F401
    except ImportError as error:
        raise missing_package("matplotlib", "render") from error


def save(
    draw: Callable[[Any], None], size: tuple[float, float], stem: Path, kinds: Sequence[str] = (".png", ".svg")
) -> None:
    """Draw a figure (size in inches) and save it as ``stem.png`` and ``stem.svg``, or one of them, without a date."""
    check_matplotlib()
    from matplotlib import rc_context
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with rc_context(SETTINGS):
        figure = Figure(figsize=size, dpi=92, layout="constrained")
        FigureCanvasAgg(figure)
        draw(figure)
        for kind in kinds:
            with replace_file(Path(f"{stem}{kind}")) as file:
                figure.savefig(file, metadata={"Date": None} if kind == ".svg" else None)
