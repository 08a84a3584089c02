"""Pictures of networks: what they are made of, how they learn, and what they see.

They are drawn with matplotlib (`pip install matplotlib`). Every function returns a `matplotlib.figure.Figure` of its
own, and pyplot and its global state are never touched: that works without a display, in a notebook (which shows a
returned figure) and in threads. Save one with `figure.savefig`.
"""

from convc.plot._architecture import architecture
from convc.plot._demo import demo
from convc.plot._filters import activation_maps, feature_maps, filters
from convc.plot._learning import training_curves
from convc.plot._receptive import effective_receptive_field, receptive_field
from convc.plot._saliency import saliency

__all__ = [
    "activation_maps",
    "architecture",
    "demo",
    "effective_receptive_field",
    "feature_maps",
    "filters",
    "receptive_field",
    "saliency",
    "training_curves",
]
