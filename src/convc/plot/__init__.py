"""Pictures of networks: what they are made of, how they learn, and what they see.

They are drawn with matplotlib (`pip install convc[plot]`). Every function returns a `matplotlib.figure.Figure` of its
own, and pyplot and its global state are never touched: that works without a display, in a notebook (which shows a
returned figure) and in threads. Save one with `figure.savefig`.
"""

from convc.plot._demo import demo
from convc.plot._filters import activation_maps, filters
from convc.plot._learning import training_curves

__all__ = ["activation_maps", "demo", "filters", "training_curves"]
