"""A run to watch: its curves, drawn anew in place after every epoch, with the time that is left."""

import statistics
import uuid

from matplotlib.figure import Figure
from torch import nn

from lab import plots
from lab.train import History, Watcher, is_watched


def live_curves(target: float) -> Watcher:
    """For `fit(..., watchers=[live_curves(0.994)])` in a notebook; draws nothing where nobody watches.

    When the run is over, the picture makes room for one line: what comes next is `plots.curves` of the whole history.
    """
    display_id = uuid.uuid4().hex

    def watch(history: History, model: nn.Module) -> None:
        from IPython.display import display

        over = len(history.epochs) == history.recipe.epochs
        content = {"text/plain": _in_words(history)} if over else _picture(history, target)
        display(content, raw=True, display_id=display_id, update=len(history.epochs) > 1)

    return watch if is_watched() else lambda history, model: None


def _picture(history: History, target: float) -> dict[str, str]:
    axis = plots.curves(history, target)
    axis.set_xlim(0.5, history.recipe.epochs + 0.5)
    figure = axis.get_figure()
    assert isinstance(figure, Figure)
    figure.axes[0].set_title(_in_words(history), fontsize=10)  # above both panels: between them are ticks
    figure.tight_layout()
    return plots.bundle(axis)


def _in_words(history: History) -> str:
    """'epoch 3 of 15, about 41 s left'."""
    done, all_epochs = len(history.epochs), history.recipe.epochs
    if done == all_epochs:
        return f"{done} epochs in {history.seconds:.0f} s"
    left = (all_epochs - done) * statistics.median(epoch.seconds for epoch in history.epochs)
    return f"epoch {done} of {all_epochs}, about {left:.0f} s left"
