# %% [markdown]
# # Clothes instead of digits
#
# [![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/github/the-994-lab/the-994-lab/blob/v0.2.0/notebooks/fashion.ipynb)
#
# Fashion-MNIST (Zalando Research, 2017) was made to take the place of MNIST: as many images, as large, in ten
# classes, but of clothes. You bring a network that can read digits, find out what it can't do here, and design one
# that can do more within the same budget.
#
# **The assignment.** On the 10,000 test images, which you open once and at the very end:
#
# | | |
# |---|---|
# | accuracy | at least 91.5 % |
# | parameters | fewer than 20,000 |
# | epochs | fewer than 20 |
# | executed in the network | batch normalization, dropout, a fully connected layer |
#
# Cells that begin with `# EXERCISE` are yours; the cell after each one checks it. Receptive fields, parameters and
# the schedule are explained in the lab's first notebook, `mnist_994.ipynb`.

# %% tags=["parameters"]
seed = 0
epochs = None  # of the final run; None: 10, or 2 if it is a quick one
train_limit = None  # use only so many training images; None: all, or 12,000 in a quick run
quick = None  # a short run, to see that everything works; None: if the environment's LAB_QUICK is on

# %% tags=["setup"]
from importlib.util import find_spec

if not find_spec("lab"):  # on Colab: fetch the lab, and replace nothing that is there
    get_ipython().run_line_magic("pip", "install -q --no-deps git+https://github.com/the-994-lab/the-994-lab@v0.2.0")
    assert find_spec("lab"), "pip could not fetch the lab: is there a network? Run this cell again."

import lab.classroom

lab.classroom.set_up()  # is everything there? And two common mistakes are told in one line

# %% tags=["setup"]
from dataclasses import replace

import torch
from torch import nn

from lab import checks, models, plots, train

print("the lab,", lab.__version__, "on torch", torch.__version__.split("+")[0])

# %% [markdown]
# ## 1. Look at the data
#
# A digit is a bright stroke on an empty page. A garment fills the frame, and is grey: its outline says whether it is
# a shoe or a dress, and its texture what kind of shirt it is.

# %%
from lab.data import load
from lab.switches import is_on

quick = is_on("LAB_QUICK") if quick is None else quick
epochs = epochs or (2 if quick else 10)
train_limit = train_limit or (12_000 if quick else 0)
data = load("fashion_mnist").split(seed=0)
if train_limit:
    data = data.limit(train_limit)
for name, part in (("digits", load("mnist").train), ("clothes", data.train)):
    print(f"{name}: {(part.images > 0).float().mean():.0%} of the pixels are not background")

# %%
some, labels = data.train.images[:20], data.train.labels[:20]
plots.show(plots.digits(some, [data.classes[label] for label in labels]))

# %% [markdown]
# *What to see:* shoes, trousers and bags have outlines of their own; T-shirts, pullovers, coats and shirts share one.
#
# *To think about:* cover the titles, and name the twenty garments. How many of the tops did you get right?
#
# ## 2. Which classes are hard?
#
# `LabNet`, the lab's own network, reads more than 99 of 100 digits. Here it is on clothes, after a short training. One figure for all classes hides that some are easy and some are hard.

# %%
from lab.runs import fresh, trials
from lab.train import Recipe, fit

short = Recipe(epochs=1 if quick else 4, augment=None, averaging=0, seed=seed)
few = data.limit(2_000 if quick else 10_000)
reader = fresh(models.LabNet, seed)
fit(reader, replace(few, validation=None), short)
print(f"{train.accuracy(reader, data.validation):.1%} of the validation images classified correctly")


# %%
def confusion(network, part):
    """How often each class (row) was taken for each other one (column): (10, 10), in images."""
    answers = train.predict(network, part.images).argmax(1)
    return torch.bincount(part.labels * 10 + answers, minlength=100).view(10, 10)


matrix = confusion(reader, data.validation)
plots.show(plots.confusion(matrix, data.classes))

# %% [markdown]
# *What to see:* two groups. Tops are taken for other tops and shoes for other shoes, hardly ever one for the other; and
# about half of all mistakes have a shirt in them, as the label or as the answer.
#
# **Exercise 1.** From such a table to the part of each class (each row) that was classified correctly.


# %% nbgrader={"grade": false, "grade_id": "share-right", "locked": false, "schema_version": 3, "solution": true}
# EXERCISE 1, one line
def share_right(matrix):
    """(C, C) counts, a row for each class -> (C,) shares, 0..1, that were classified correctly."""
    ### BEGIN SOLUTION
    return matrix.diagonal() / matrix.sum(1)
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "share-right-check", "locked": true, "points": 1, "schema_version": 3, "solution": false} tags=["nbval-check-output"]
checks.share_right(share_right)

# %%
shares = share_right(matrix)
for label in shares.argsort():
    print(f"{data.classes[label]:12} {shares[label]:.0%}")

# %% [markdown]
# ## 3. What is a shirt?
#
# Here are shirts that the network took for something else, with what it took them for.

# %%
answers = train.predict(reader, data.validation.images).argmax(1)
shirts = data.validation.labels == data.classes.index("Shirt")
missed = (shirts & (answers != data.validation.labels)).nonzero().flatten()[:20]
plots.show(plots.digits(data.validation.images[missed], [data.classes[answer] for answer in answers[missed]]))

# %% [markdown]
# *What to see:* where there is a collar or a row of buttons, it is one or two pixels wide; others have neither, and are
# called shirts all the same.
#
# *To think about:* count those that you would have called a shirt yourself. Not all that is missing here is the network's fault:
# that is why the limit is not 99.4 %.
#
# ## 4. Which changes leave a garment what it is?
#
# A mirrored 3 is no digit; a mirrored shirt is a shirt. A digit may be written aslant; clothes are photographed
# upright. So what helped with digits has to be tried again.
#
# **Exercise 2.** Change left and right.


# %% nbgrader={"grade": false, "grade_id": "mirror", "locked": false, "schema_version": 3, "solution": true}
# EXERCISE 2, one line
def mirror(images):
    """(N, rows, columns) -> the same images with left and right changed."""
    ### BEGIN SOLUTION
    return images.flip(2)
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "mirror-check", "locked": true, "points": 1, "schema_version": 3, "solution": false} tags=["nbval-check-output"]
checks.mirror(mirror)

# %% [markdown]
# The experiment: three seeds each, and as many steps for all. With the mirror, every image is there twice, and is
# seen half as often.

# %%
from lab.augment import Affine
from lab.data import Labelled


def with_mirror(part):
    """Every image of `part` once as it is, and once mirrored."""
    return Labelled(torch.cat([part.images, mirror(part.images)]), part.labels.repeat(2))


def trial(data_used, passes, augment):
    """Validation accuracy after a short training, once for each seed."""
    return trials(models.LabNet, data_used, replace(short, epochs=passes, augment=augment), range(1 if quick else 3))


# %%
passes = 2 if quick else 8
shifts = Affine(shift=2, degrees=0, scale=0, shear=0)
changes = {
    "as they are": trial(few, passes, None),
    "mirrored": trial(replace(few, train=with_mirror(few.train)), passes // 2, None),
    "shifted": trial(few, passes, shifts),
    "turned, too: as for digits": trial(few, passes, Affine()),
}
plots.show(plots.comparison(changes))

# %% [markdown]
# *What to see:* what helps with digits does harm here, shifts a little and turns more: all these photographs are
# centred and upright, in the test set too, and a small network has nothing to spare for what never happens. The
# mirror's difference is smaller than the luck of the seeds: no difference.
#
# *To do:* move half as far, `Affine(1, 5, 0.05, 0.05)`. Is that closer to the digits' line, or to the first?

# %% tags=["to-do"]
# To do: moved half as far

# %% [markdown]
# <details><summary>An answer</summary>
#
# ```python
# changes["half as far"] = trial(few, passes, Affine(1, 5, 0.05, 0.05))
# plots.show(plots.comparison(changes))
# ```
#
# </details>
#
# ## 5. Your network
#
# **Exercise 3.** The building block: a 3x3 convolution without a bias that keeps the size, batch norm, ReLU.


# %% nbgrader={"grade": false, "grade_id": "conv-block", "locked": false, "schema_version": 3, "solution": true}
# EXERCISE 3, one to three lines
def conv_block(c_in, c_out):
    """3x3 convolution, batch norm, ReLU, as an nn.Sequential: (B, c_in, H, W) -> (B, c_out, H, W)."""
    ### BEGIN SOLUTION
    return nn.Sequential(*models.conv_block(c_in, c_out))
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "conv-block-check", "locked": true, "points": 1, "schema_version": 3, "solution": false} tags=["nbval-check-output"]
checks.conv_block(conv_block)

# %%
from lab.design import Log, Version

log = Log(data, short)

# %% [markdown]
# **Exercise 4.** A network of your own within the rules, with a target, a prediction and, after the run, an analysis.
# Three stages, each ended by a pooling, are a good start. Texture is fine detail, which pooling throws away: is it worth
# it to pool later? On validation images, two convolutions before the first pooling took twice the time and gained
# nothing.


# %% nbgrader={"grade": false, "grade_id": "my-version", "locked": false, "schema_version": 3, "solution": true}
# EXERCISE 4
class MyNet(nn.Sequential):
    """(B, 1, 28, 28) -> (B, 10) logits."""

    def __init__(self):
        ### BEGIN SOLUTION
        super().__init__(
            *models.conv_pool_block(1, 12),  # (B, 12, 14, 14)
            conv_block(12, 16),
            *models.conv_pool_block(16, 24),  # (B, 24, 7, 7)
            conv_block(24, 24),
            *models.conv_pool_block(24, 28),  # (B, 28, 3, 3)
            nn.Flatten(),
            nn.Dropout(0.05),
            nn.Linear(28 * 3 * 3, 10),
        )
        ### END SOLUTION


def my_version():
    """Version(MyNet, target="…", parameters=…, field=…, accuracy=…, analysis="…"); an accuracy such as 0.92."""
    ### BEGIN SOLUTION
    return Version(
        MyNet,
        target="the digits' plan with more channels late, where parts become garments",
        parameters=19_000,
        field=34,
        accuracy=0.92,
        analysis="It tells shoes from bags without fail; what is missing are shirts, and no budget will mend their labels.",
    )
    ### END SOLUTION


# %%
from lab.graph import capture
from lab.layers import layer_table
from lab.timing import milliseconds

my_graph = capture(my_version().build())
plots.show(plots.budget(layer_table(my_graph), milliseconds(my_graph)))

# %% [markdown]
# *What to see:* the last two convolutions hold more than half of the parameters; the one before them does the most
# work, because it runs at four times as many places.
#
# ## 6. The run
#
# One recipe; without augmentation, for which section 4 speaks. The network after the last epoch counts.

# %%
recipe = Recipe(epochs=epochs, augment=None, seed=seed)


def my_run():
    """Your network, trained with the recipe as it is now; once, however often the cells below ask for it."""
    return log.train(my_version(), recipe)


print(f"{len(my_run().history.epochs)} epochs in {my_run().history.seconds:.0f} s, {my_run().history.threads} threads")
log

# %% nbgrader={"grade": true, "grade_id": "my-version-check", "locked": true, "points": 3, "schema_version": 3, "solution": false} tags=["trains"]
checks.version(log, my_version, recipe=recipe, rubric="fashion")

# %% nbgrader={"grade": true, "grade_id": "my-version-91-check", "locked": true, "points": 3, "schema_version": 3, "solution": false} tags=["trains"]
checks.reaches(log, my_version, recipe, 0.91, "fashion")

# %%
from lab.rules import judge, load_rubric

rubric = load_rubric("fashion")
plots.show(plots.curves(my_run().history, target=rubric.limit("accuracy")))

# %% [markdown]
# *What to see:* halfway, the training accuracy overtakes the validation accuracy, and from there on it rises alone:
# images that are the same each time begin to be learnt by heart. More epochs would not help.
#
# *To do:* train longer (19 epochs are allowed) with a little augmentation. Which of the two curves gains?

# %% tags=["to-do"]
# To do: a longer run, with augmentation

# %% [markdown]
# <details><summary>An answer</summary>
#
# ```python
# longer = replace(recipe, epochs=2 if quick else 19, augment=Affine(1, 0, 0, 0))
# plots.show(plots.curves(log.train(my_version(), longer).history, target=rubric.limit("accuracy")))
# ```
#
# The training accuracy falls, because no image comes twice as it was, and the validation accuracy hardly moves.
#
# </details>
#
# ## 7. The test, once
#
# Everything is decided. Now, and only now, the test images. Opening them is counted and dated.

# %%
opened = lab.open_test(my_run().model, "my network, chosen on validation images", data)
print(opened)

# %%
plots.show(plots.confusion(confusion(my_run().model, data.test), data.classes))

# %% [markdown]
# *What to see:* the same two groups as in section 2, paler. Nearly a quarter of the shirts are still taken for something
# else, about twice as many as of any other class. On 10,000 images, 92 % has a margin of ±0.5 from the choice of the
# images alone: a difference of 0.2 between two networks, measured once, says nothing.
#
# ## 8. The rules, point by point

# %%
history, my_graph = my_run().history, capture(my_run().model)
verdicts = judge(rubric, my_graph, len(history.epochs), opened.accuracy, len(opened.openings))
for verdict in verdicts:
    print(verdict.line())
print(f"{sum(v.points for v in verdicts):g} of {sum(v.max_points for v in verdicts):g} points")

# %% [markdown]
# *To think about:* a lab of your own. This one is `notebooks/fashion.py` and `lab/rubrics/fashion.toml`, and nothing else;
# `lab.data` knows two more sets, `kmnist` and `qmnist`.

# %% [markdown]
# ## Hand it in
#
# One file is what you hand in: your network as data, with its weights, your recipe, and the text of the cells that you
# have run.

# %%
lab.hand_in(MyNet, recipe, rubric="fashion")

# %%
from lab.notebook import hand_over

hand_over({"accuracy": opened.accuracy, "parameters": my_graph.parameters, "epochs": len(history.epochs)})
