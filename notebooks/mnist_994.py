# %% [markdown]
# # 99.4 % on MNIST with fewer than 20,000 parameters
#
# [![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/github/the-994-lab/the-994-lab/blob/main/notebooks/mnist_994.ipynb)
#
# A network that names handwritten digits is easy to make: a million parameters and an afternoon of training will do.
# A *small* one that is right 994 times in 1,000 has to be understood. In this notebook you build one, and at every
# step you look at three things: what each layer **sees**, what it **costs**, and what it **gains**.
#
# **The assignment.** On the 10,000 MNIST test images, which you read once and at the very end:
#
# | | |
# |---|---|
# | accuracy | at least 99.4 % |
# | parameters | fewer than 20,000 |
# | epochs | fewer than 20 |
# | executed in the network | batch normalization, dropout, a fully connected layer |
#
# Each section makes one claim, measures it, and leaves you something to do. **Predict a number before you run a
# cell**; being wrong is where the learning is. Cells that begin with `# EXERCISE` are yours; the cell after each one
# checks it. A check that fails says what it got and what it wants; for most exercises it gives a plainer hint every
# time you run it. On two cores the computer needs three minutes for the whole notebook, one of them for the run in
# section 13; you will need an evening.

# %% tags=["parameters"]
seed = 0
epochs = None  # of the final run; None: 12, or 2 if it is a quick one
train_limit = None  # use only so many training images; None: all, or 12,000 in a quick run
quick = None  # a short run, to see that everything works; None: if the environment's LAB_QUICK is on

# %% tags=["setup"]
from importlib.util import find_spec

if not find_spec("lab"):  # on Colab: fetch the lab, and replace nothing that is there
    get_ipython().run_line_magic("pip", "install -q --no-deps git+https://github.com/the-994-lab/the-994-lab@main")
    assert find_spec("lab"), "pip could not fetch the lab: is there a network? Run this cell again."

import lab.classroom

lab.classroom.set_up()  # is everything there? And two common mistakes are told in one line

# %% tags=["setup"]
import torch
import torch.nn.functional as F
from torch import nn

from lab import checks, models, plots, receptive, train

print("the lab,", lab.__version__, "on torch", torch.__version__.split("+")[0])

# %% [markdown]
# ## 1. The data
#
# **Claim: what looks like one task is ten thousand handwritings.** MNIST has 60,000 training images and 10,000 test
# images, 28x28 pixels each. We hold 5,000 training images out for **validation**: every choice below is made on those.
# The test images stay closed until the end. Whoever chooses by the test set has trained on it.

# %%
from lab.data import load
from lab.switches import is_on

quick = is_on("LAB_QUICK") if quick is None else quick
epochs = epochs or (2 if quick else 12)
train_limit = train_limit or (12_000 if quick else 0)
data = load("mnist").split(seed=0)
if train_limit:
    data = data.limit(train_limit)
print(f"{len(data.train):,} images to train on, {len(data.validation):,} to choose by")

# %%
plots.show(plots.digits(data.train.images[:20], [str(int(label)) for label in data.train.labels[:20]]))

# %% [markdown]
# *What to see:* strokes are two or three pixels wide, digits sit in the middle, and people do not agree on how to
# write a 4 or a 7. A network has to find strokes first and shapes later.
#
# *To do:* look at the next twenty (`[20:40]`). Is there one whose label you would not have given?
#
# ## 2. One convolution
#
# **Claim: a convolution asks one question everywhere.** It lays a small kernel on every place of the image and writes
# down how much the pixels under it look like the kernel. Here is one, made by hand, that answers to horizontal edges.

# %%
image = train.to_input(data.train.images[:1])  # (1, 1, 28, 28), mean 0 and deviation 1 over the data set
kernel = torch.tensor([[1.0, 1, 1], [0, 0, 0], [-1, -1, -1]]).view(1, 1, 3, 3)
edges = F.conv2d(image, kernel)  # (1, 1, 26, 26)
plots.show(plots.maps([image[0, 0], kernel[0, 0], edges[0, 0]], ["digit", "kernel", "where it answers"]))

# %% [markdown]
# *What to see:* red where ink is above paper, blue where paper is above ink (to the network, ink is a large number);
# and the map has shrunk from 28 to 26 pixels, because a 3x3 kernel finds only 26 places to stand in a row of 28.
#
# *To do:* turn the kernel by 90 degrees (`kernel.transpose(2, 3)`) and predict which strokes stay.
#
# **Exercise 1.** How large is the output map, for any kernel, stride and padding?


# %% nbgrader={"grade": false, "grade_id": "out-size", "locked": false, "schema_version": 3, "solution": true}
# EXERCISE 1, one line
def out_size(n, kernel, stride=1, pad=0):
    """Side of the output map, in pixels, for an input of n pixels with `pad` added on both sides."""
    ### BEGIN SOLUTION
    return (n + 2 * pad - kernel) // stride + 1
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "out-size-check", "locked": true, "points": 1, "schema_version": 3, "solution": false} tags=["nbval-check-output"]
checks.out_size(out_size)

# %% [markdown]
# ## 3. What a layer sees
#
# **Claim: depth and pooling, not large kernels, let a unit see a digit.** One 3x3 convolution sees 3x3 pixels. A
# second one on top sees 3x3 of *those*, so 5x5 pixels. Pooling doubles the distance between neighbours, the **jump**,
# so that everything after it grows twice as fast. What a unit sees of the image is its **receptive field**.
#
# **Exercise 2.** One more layer: from the size of the field and the jump before it, to both after it.


# %% nbgrader={"grade": false, "grade_id": "grow", "locked": false, "schema_version": 3, "solution": true}
# EXERCISE 2, one line
def grow(size, jump, kernel, stride=1):
    """(size, jump) of the receptive field, in pixels, after a layer with this kernel and stride."""
    ### BEGIN SOLUTION
    return size + (kernel - 1) * jump, jump * stride
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "grow-check", "locked": true, "points": 1, "schema_version": 3, "solution": false} tags=["nbval-check-output"]
checks.grow(grow)

# %% [markdown]
# **Exercise 3.** Now on paper, for the five layers of this small network: how many pixels wide is what each sees?

# %% tags=["nbval-check-output"]
print(checks.by_hand())


# %% nbgrader={"grade": false, "grade_id": "by-hand", "locked": false, "schema_version": 3, "solution": true}
# EXERCISE 3, five numbers
def my_fields():
    """What each of the five layers sees: the side of its receptive field, in pixels."""
    ### BEGIN SOLUTION
    return [3, 4, 8, 12, 20]
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "by-hand-check", "locked": true, "points": 1, "schema_version": 3, "solution": false} tags=["nbval-check-output"]
checks.fields(my_fields)

# %% [markdown]
# From here on nobody types receptive fields by hand: `lab.receptive` reads them off what the network executes. This is
# the lab's own network, layer by layer, on a real digit.

# %% tags=["readme-picture"]
net = models.LabNet()
fields = receptive.receptive_fields(net)
pools_and_convs = [field for field in fields if field.name in ("0", "1", "4", "7", "8", "11", "14", "15")]
plots.show(plots.growing_boxes(data.train.images[1], pools_and_convs))

# %% tags=["nbval-check-output"]
from lab.graph import capture
from lab.layers import layer_table

graph = capture(net)
print("layer  kind        sees  jump  on a map of")
for layer in layer_table(graph):
    if layer.kind in ("conv 3x3", "max_pool"):
        size, jump, side = layer.field.size[0], layer.field.jump[0], layer.field.units[0]
        print(f"{layer.name:>5}  {layer.kind:8}  {size:>2} x {size:>2}  {jump!s:>4}  {side} x {side}")

# %% [markdown]
# *What to see:* the first layers can tell a stroke from paper and no more. From layer 11 on (22x22 pixels) the box
# holds a whole digit; after it, it is larger than the image (30x30, 34x34) and is cut at its edge.
#
# Is the arithmetic right? A second way to the same number: follow the gradient of one unit back to the pixels. Those
# with any gradient are exactly the ones it sees.

# %% tags=["nbval-check-output"]
for name in ("4", "8", "14"):
    rows, columns = receptive.footprint(graph, name)
    height, width = receptive.receptive_field(graph, name).clipped
    print(f"layer {name}: by gradient {rows.size}x{columns.size}, by arithmetic {height}x{width}")

# %% [markdown]
# *To do:* which layers see less, and which see more, without the first pooling? Predict, then print
# `receptive.receptive_fields(nn.Sequential(*[layer for i, layer in enumerate(net[:18]) if i != 1]))`.
#
# ## 4. What a layer costs
#
# **Claim: where time goes is not where parameters sit.** Predict first: how many numbers does a convolution learn, and
# how often does it multiply?
#
# **Exercise 4.** The parameters of a convolution.


# %% nbgrader={"grade": false, "grade_id": "conv-parameters", "locked": false, "schema_version": 3, "solution": true}
# EXERCISE 4, one line
def conv_parameters(c_in, c_out, kernel, bias=True):
    """Parameters of a convolution from c_in to c_out channels with a kernel x kernel window."""
    ### BEGIN SOLUTION
    return c_out * (c_in * kernel * kernel + bias)
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "conv-parameters-check", "locked": true, "points": 1, "schema_version": 3, "solution": false} tags=["nbval-check-output"]
checks.conv_parameters(conv_parameters)

# %% [markdown]
# **Exercise 5.** Its multiply-adds: how often is a weight multiplied with a number and added, for one image?


# %% nbgrader={"grade": false, "grade_id": "conv-multiply-adds", "locked": false, "schema_version": 3, "solution": true}
# EXERCISE 5, one line
def conv_multiply_adds(c_in, c_out, kernel, side):
    """Multiply-adds of a convolution whose output map has side x side places; the bias is not multiplied."""
    ### BEGIN SOLUTION
    return c_out * c_in * kernel * kernel * side * side
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "conv-multiply-adds-check", "locked": true, "points": 1, "schema_version": 3, "solution": false} tags=["nbval-check-output"]
checks.conv_multiply_adds(conv_multiply_adds)

# %% [markdown]
# Then measure. This lab grew from a student's network, `SeedNet`. torchsummary lists its twenty layers:

# %% tags=["nbval-check-output"]
from torchsummary import summary

seed_net = models.SeedNet()
summary(seed_net, (1, 28, 28), device="cpu")

# %%
plots.show(plots.budget(layer_table(capture(seed_net))))

# %% [markdown]
# *What to see:* three convolutions from 16 to 32 channels hold three quarters of the parameters, equally. But the
# first of them does most of the work, because it runs at 28x28 places and the last at 3x3. The 1x1 convolutions
# (`squeeze`) are nearly free, and make what follows cheaper.
#
# MNIST's digits fill a square of 20x20 pixels. Predict: which layer of `SeedNet` is the first to see one whole? What
# changes the field, in order (every convolution has stride 1, every pooling stride 2):

# %% tags=["nbval-check-output"]
sliding = [
    f"{layer.name}: {layer.kind}" for layer in layer_table(capture(seed_net)) if layer.kind[:4] in ("conv", "max_")
]
print("\n".join(sliding))

# %% tags=["nbval-check-output"]
first = next(layer for layer in layer_table(capture(seed_net)) if min(layer.field.clipped) >= 20)
print(f"{first.name}, a {first.kind} with {first.shape[0]} channels, sees {first.field.size[0]} pixels")

# %% [markdown]
# *To do:* `lab inspect lab.models:SeedNet` prints the whole table in a terminal. Which layer would you make smaller to
# save time, and which to save parameters?
#
# ## 5. A flaw in the seed
#
# **Claim: one ReLU too many silences the network.** `SeedNet` ends like this. Can you see what is wrong?
#
# ```python
# logits = F.relu(self.fc(self.features(x)))
# return F.log_softmax(logits, dim=1)
# ```
#
# The ReLU cuts every negative logit to zero. A wrong class can be pushed down to zero and no further; and where the ReLU
# cuts, no gradient flows: a right class whose logit is negative can't be pushed up again. If all ten are negative, the
# network says "one in ten" for each, and learns nothing from that image.
#
# **Exercise 6.** Write `forward` without the flaw. Everything else stays: `self.features(x)` gives the 72 numbers
# that the fully connected layer `self.fc` reads.


# %% nbgrader={"grade": false, "grade_id": "without-flaw", "locked": false, "schema_version": 3, "solution": true}
# EXERCISE 6, one line
class Unsilenced(models.SeedNet):
    """SeedNet without the ReLU on its logits: log-probabilities, (B, 1, 28, 28) -> (B, 10)."""

    def forward(self, x):
        ### BEGIN SOLUTION
        return F.log_softmax(self.fc(self.features(x)), dim=1)
        ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "without-flaw-check", "locked": true, "points": 2, "schema_version": 3, "solution": false} tags=["nbval-check-output"]
checks.without_flaw(Unsilenced)

# %% [markdown]
# What does it cost? Not an opinion, an experiment: the same short training for both, three times each with other
# first weights, on validation images. `trial` is the tool for all the experiments that follow.

# %%
from dataclasses import replace

from lab.runs import trials
from lab.train import Recipe, fit

short = Recipe(epochs=1 if quick else 2, augment=None, averaging=0)
few = data.limit(2_000 if quick else 8_000)


def trial(build, recipe, images=few):
    """Validation accuracy after a short training, once for each of three seeds."""
    return trials(build, images, recipe, seeds=range(1 if quick else 3))


# %%
fewer = data.limit(1_000 if quick else 4_000)  # SeedNet is slow
flaw = {"ReLU on the logits": trial(models.SeedNet, short, fewer), "without it": trial(Unsilenced, short, fewer)}
plots.show(plots.comparison(flaw))

# %% [markdown]
# *What to see:* how far the dots of one line lie apart (that is luck), and how far the two lines lie apart (that is
# the flaw). A difference smaller than the luck is no difference.
#
# *To do:* how many of the ten logits does an untrained `SeedNet` silence? Predict, then look at
# `F.relu(seed_net.fc(seed_net.features(image)))`.
#
# ## 6. Batch normalization
#
# **Claim: with its inputs kept at mean 0 and deviation 1, a network learns far faster.** After batch norm, no layer
# has to follow the moods of the one before, so the learning rate can be much higher.
#
# **Exercise 7.** The heart of it: give every channel mean 0 and deviation 1 over the batch.


# %% nbgrader={"grade": false, "grade_id": "normalize", "locked": false, "schema_version": 3, "solution": true}
# EXERCISE 7, one to three lines
def normalize(x):
    """(B, C, H, W) -> (B, C, H, W): each channel with mean 0 and deviation 1 over all images and places."""
    ### BEGIN SOLUTION
    return (x - x.mean((0, 2, 3), keepdim=True)) / x.std((0, 2, 3), keepdim=True)
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "normalize-check", "locked": true, "points": 2, "schema_version": 3, "solution": false} tags=["nbval-check-output"]
checks.normalize(normalize)

# %% [markdown]
# `nn.BatchNorm2d` adds a scale and a shift for each channel, which are learnt, and remembers a running mean and
# deviation for later, when images come one by one.
#
# **Exercise 8.** The building block of nearly every network since 2015: a 3x3 convolution that keeps the size, batch
# norm, ReLU. Leave out the convolution's bias: batch norm would take it away again.


# %% nbgrader={"grade": false, "grade_id": "conv-block", "locked": false, "schema_version": 3, "solution": true}
# EXERCISE 8, one to three lines
def conv_block(c_in, c_out):
    """3x3 convolution, batch norm, ReLU, as an nn.Sequential: (B, c_in, H, W) -> (B, c_out, H, W)."""
    ### BEGIN SOLUTION
    convolution = nn.Conv2d(c_in, c_out, 3, padding=1, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(c_out), nn.ReLU())
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "conv-block-check", "locked": true, "points": 1, "schema_version": 3, "solution": false} tags=["nbval-check-output"]
checks.conv_block(conv_block)

# %%
plain = trial(models.LabNet, short)  # what the next experiments compare with


def without_batch_norm():
    """LabNet with every batch norm taken out, and the convolutions' biases put back."""
    layers = [layer for layer in models.LabNet() if not isinstance(layer, nn.BatchNorm2d)]
    for layer in layers:
        if isinstance(layer, nn.Conv2d):
            layer.bias = nn.Parameter(torch.zeros(layer.out_channels))
    return nn.Sequential(*layers)


plots.show(plots.comparison({"with batch norm": plain, "without": trial(without_batch_norm, short)}))

# %% [markdown]
# *What to see:* at this learning rate the network without batch norm is far behind, or has not started at all.
#
# *To do:* give the network without batch norm a chance: `replace(short, learning_rate=0.002)`. Does it catch up?
#
# ## 7. Dropout
#
# **Claim: a small network has little to spare.** Dropout sets numbers to zero at random while training, so that no
# unit can rely on one other. It was made for networks with millions of parameters. Ours has fewer parameters than
# MNIST has images: how much does it want?
#
# **Exercise 9.** Dropout itself: each number becomes zero with probability p; the others grow, so that the mean stays.


# %% nbgrader={"grade": false, "grade_id": "drop", "locked": false, "schema_version": 3, "solution": true}
# EXERCISE 9, one line
def drop(x, p):
    """x with each number set to zero with probability p, the others scaled by 1 / (1 - p)."""
    ### BEGIN SOLUTION
    return x * (torch.rand_like(x) >= p) / (1 - p)
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "drop-check", "locked": true, "points": 1, "schema_version": 3, "solution": false}
checks.drop(drop)

# %%
none, half = (trial(models.LabNet, replace(short, dropout=p)) for p in (0.0, 0.5))
plots.show(plots.comparison({"p = 0": none, "p = 0.05": plain, "p = 0.5": half}))

# %% [markdown]
# *What to see:* a little dropout makes no difference that three seeds could show. The mean of p = 0.5 is the lowest;
# are its dots clear of the others, or is that luck, too?
#
# *To do:* dropout wants long training. Does p = 0.5 look better after 8 epochs (`replace(short, epochs=8, ...)`)?
#
# ## 8. A small head
#
# **Claim: pool before the fully connected layer, or it eats the budget.** It has a weight for *every* number of the
# last map and every class. Predict before you run: how many parameters do ten classes need on maps of 24 channels, at
# 28x28, 14x14, 7x7 and 3x3?

# %% tags=["nbval-check-output"]
for side in (28, 14, 7, 3):
    head = nn.Linear(24 * side * side, 10)
    print(f"24 x {side} x {side} -> 10: {head.weight.numel() + head.bias.numel():>7,} parameters")


# %%
def large_head():
    """LabNet without its last pooling: the fully connected layer reads 24 maps of 7x7."""
    layers = list(models.LabNet())
    del layers[15]
    layers[-1] = nn.Linear(24 * 7 * 7, 10)
    return nn.Sequential(*layers)


for build in (models.LabNet, large_head):
    print(f"{build.__name__}: {capture(build()).parameters:,} parameters")
plots.show(plots.comparison({"pooled to 3x3": plain, "not pooled, 7x7": trial(large_head, short)}))

# %% [markdown]
# *What to see:* the larger head is somewhat better after so short a training; and with it the network is over the
# budget, by 8,250 parameters. A budget asks another question: what would the same parameters do elsewhere?
#
# *To do:* the other extreme, one number a channel: in place of the last pooling, `nn.AdaptiveAvgPool2d(1)`, and
# `nn.Linear(24, 10)` at the end.
#
# ## 9. Squeeze
#
# **Claim: a 1x1 convolution is a cheap way to make the next layer cheap.** It mixes channels and looks at no
# neighbours: 32 channels become 8 for 264 parameters, and the 3x3 convolution after it costs a quarter.


# %%
def stages(squeeze):
    """Three 3x3 convolutions with pooling, and 1x1 convolutions to 8 channels between them or not."""
    a, b = (nn.Conv2d(24, 8, 1), nn.Conv2d(32, 8, 1)) if squeeze else (nn.Identity(), nn.Identity())
    one, two = (8, 8) if squeeze else (24, 32)
    first, second, third = (models.conv_pool_block(*c) for c in ((1, 24), (one, 32), (two, 24)))
    return nn.Sequential(*first, a, *second, b, *third, nn.Flatten(), nn.Dropout(0.05), nn.Linear(216, 10))


squeezed = {f"{capture(stages(s)).parameters:,} parameters": trial(lambda s=s: stages(s), short) for s in (True, False)}
plots.show(plots.comparison(squeezed))

# %% [markdown]
# *What to see:* less than half of the parameters, and a mean that is lower by a fraction of a percent, hardly more than
# the luck of the seeds: a good bargain where parameters are short.
#
# *To do:* spend what was saved: squeeze, and make the 3x3 convolutions twice as wide.
#
# ## 10. Augmentation
#
# **Claim: a digit that is moved a little is a new digit for free.** We show each image a little differently every
# time: another random shift, rotation, scale and shear for each, all computed for the whole batch at once.

# %%
from lab.augment import Affine, random_affine

digit = train.to_input(data.train.images[5:6]).repeat(20, 1, 1, 1)  # (20, 1, 28, 28), all the same
moved = random_affine(digit, Affine(), torch.Generator().manual_seed(0))
plots.show(plots.digits(moved[:, 0]))

# %%
longer = replace(short, epochs=1 if quick else 8)
as_is = trial(models.LabNet, longer, fewer)
plots.show(
    plots.comparison(
        {"as they are": as_is, "moved a little": trial(models.LabNet, replace(longer, augment=Affine()), fewer)}
    )
)

# %% [markdown]
# *What to see:* compare the distance between the two means with the spread of the dots: three seeds make it likely, not
# certain. Here 4,000 images are seen eight times each; the longer the training, the more it matters that no image comes
# twice in the same place.
#
# *To do:* how much is too much? Try `Affine(degrees=45)`. Which digits turn into each other?
#
# ## 11. The schedule, and averaging
#
# **Claim: a high learning rate moves fast and never settles; let it fall.** Climb, then fall to zero in a straight
# line.
#
# **Exercise 10.** The learning rate as a share of its peak, when the part `done` (0 to 1) of the run is over.


# %% nbgrader={"grade": false, "grade_id": "triangle", "locked": false, "schema_version": 3, "solution": true}
# EXERCISE 10, one to three lines
def triangle(done, warmup):
    """From 0 at the start up to 1 at `warmup`, then down to 0 at the end."""
    ### BEGIN SOLUTION
    return done / warmup if done < warmup else (1 - done) / (1 - warmup)
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "triangle-check", "locked": true, "points": 1, "schema_version": 3, "solution": false} tags=["nbval-check-output"]
checks.triangle(triangle)

# %%
plots.show(plots.schedule([triangle(part / 100, 0.2) for part in range(101)]))

# %% [markdown]
# There is a second way to settle: keep moving, and take the **average** of the weights along the way.

# %%
constant = replace(short, schedule="constant")
averaged = trial(models.LabNet, replace(constant, averaging=0.995))
settled = {"constant": trial(models.LabNet, constant), "constant, averaged": averaged, "falling": plain}
plots.show(plots.comparison(settled))

# %% [markdown]
# *What to see:* the same network, the same number of steps, the same peak. With a constant rate it is luck where the
# run happens to stop. After so few steps three seeds can hardly tell the three apart; the lab's benchmark, with longer
# runs and more of them, finds a third of a point between the constant rate and the falling one.
#
# *To do:* the recipe of the lab does both. Try `replace(short, averaging=0.995)`.
#
# ## 12. Your network
#
# **Claim: with what you know now, 20,000 parameters are plenty.**
#
# **Exercise 11.** Put it together. Fewer than 20,000 parameters; batch norm, dropout and a fully connected layer,
# executed; ten logits. A plan that works: three stages, each ended by a pooling that halves the map, and a small
# head. Pool right after a convolution, and batch norm and ReLU have a quarter of the pixels to work on.
#
# The stub is an `nn.Sequential`: hand the layers to `super().__init__(...)`, in order. An `nn.Module` with `__init__`
# and `forward` is as welcome. Your `conv_block` is a layer like any other.


# %% nbgrader={"grade": false, "grade_id": "my-net", "locked": false, "schema_version": 3, "solution": true}
# EXERCISE 11
class MyNet(nn.Sequential):
    """(B, 1, 28, 28) -> (B, 10) logits."""

    def __init__(self):
        ### BEGIN SOLUTION
        super().__init__(
            *models.conv_pool_block(1, 16),  # (B, 16, 14, 14)
            conv_block(16, 16),
            *models.conv_pool_block(16, 24),  # (B, 24, 7, 7)
            conv_block(24, 24),
            *models.conv_pool_block(24, 24),  # (B, 24, 3, 3)
            nn.Flatten(),
            nn.Dropout(0.05),
            nn.Linear(24 * 3 * 3, 10),
        )
        ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "my-net-check", "locked": true, "points": 3, "schema_version": 3, "solution": false} tags=["nbval-check-output"]
checks.design(MyNet)

# %%
plots.show(plots.budget(layer_table(capture(MyNet()))))

# %% [markdown]
# *What to see:* is there a layer that takes far more than its share of the parameters, or of the work? That is where
# to look first when you change something.
#
# Step through your own network: what each layer sees of a digit, and what it makes of it. In a running notebook you
# can choose a layer, point at a unit of its maps, and drag the digit.

# %%
lab.explore(MyNet())

# %% [markdown]
# ## 13. The run
#
# **Claim: a printed recipe and a seed are the whole experiment.** Anyone can repeat it. It was chosen on validation
# images; the network you see after the last epoch is the one that counts, not the best one on the way.

# %%
recipe = Recipe(epochs=epochs, seed=seed)
recipe

# %%
from functools import cache

from lab.watch import live_curves


@cache  # trained once for each network and recipe, however often the cells below ask for it
def run_once(build, recipe):
    torch.manual_seed(recipe.seed)
    net, named_right = build(), []  # after each epoch: which validation images, (5000,) bool

    def remember(history, net):
        named_right.append(train.predict(net, data.validation.images).argmax(1) == data.validation.labels)

    history = fit(net, data, recipe, progress=False, watchers=[live_curves(0.994), remember])
    return net, history, torch.stack(named_right)


# %%
def my_run():
    """Your network, its history, and what it named right: of the network and the recipe as they are now."""
    return run_once(MyNet, recipe)


my_net, history, _ = my_run()
print(f"{len(history.epochs)} epochs in {history.seconds:.0f} s, {history.threads} threads, {history.device}")

# %%
_, history, _ = my_run()
plots.show(plots.curves(history, target=0.994))

# %% [markdown]
# *What to see:* at first the training accuracy is below the validation accuracy. That is no mistake: the training
# images are moved about, the others are not. After a third of the run the network is nearly as good as it will be; the
# rest buys the last tenths of a percent, which is where the assignment is decided.
#
# ### Why not report the best epoch?
#
# **Claim: whoever picks the best epoch on the test set reports luck as skill.** Your own run can show it. Cut the
# validation images into two random halves, a thousand times. One half plays the test set: report the best epoch on it.
# The other half knows how good that network really is.

# %%
from lab import stats

_, _, named_right = my_run()
plots.show(plots.reports(stats.optimism(named_right)))

# %% [markdown]
# *What to see:* both reports scatter, that is the luck of the images. But the report of the last epoch is right on
# average, and that of the best epoch is too good: by about a tenth of a point, in an assignment that tenths decide.
# It grows with every epoch and every variant that is tried on the same images.
#
# *To do:* `named_right[-3:]` chooses among three epochs only. Predict the bias, then measure it.
#
# ### What did it learn?

# %%
my_net, _, _ = my_run()
kernels = next(weight for weight in my_net.parameters() if weight.dim() == 4)  # of the first convolution
plots.show(plots.maps(list(kernels[:, 0].detach()), [str(n) for n in range(len(kernels))], columns=8))

# %%
my_net, _, _ = my_run()
convs = [op.name for op in capture(my_net).operations if op.label().startswith("conv")]
looking = capture(my_net).build().eval()
five = data.validation.images[data.validation.labels == 5][:1]
answers = looking(train.to_input(five), until=convs[1])[0].detach()  # (channels, rows, columns)
plots.show(plots.maps(list(answers), [str(n) for n in range(len(answers))], columns=8))

# %% [markdown]
# *What to see:* the first filters are edges and blobs in several directions, some of them alike. Below, what the second
# convolution answers to a 5: the bar, the stem and the bow light up in different channels.
#
# Which pixels does a unit of the last convolution really use? The theoretical box says which ones *can* matter; the
# gradient, averaged over real digits, says which ones do (Luo et al. 2016).

# %%
my_net, _, _ = my_run()
torch.manual_seed(seed)
untrained = MyNet()  # the same first weights
some = train.to_input(data.validation.images[:200])  # (200, 1, 28, 28)
before, after = (receptive.effective_field(net, some, convs[-1]) for net in (untrained, my_net))
plots.show(plots.effective_fields(before, after, receptive.receptive_field(my_net, convs[-1])))

# %% [markdown]
# *What to see:* the middle of the box counts most and its corners hardly at all: what a unit *can* see and what it
# *uses* are two things. In Luo et al.'s networks training widened the field that is used; here it does not.
#
# *To do:* the same for `convs[0]` and `convs[2]`.
#
# ## 14. The test, once
#
# Everything is decided. Now, and only now, the test images. Predict the number of mistakes first.
#
# **Exercise 12.** Accuracy, from the logits batch by batch. The last batch may be smaller: every image counts once.


# %% nbgrader={"grade": false, "grade_id": "accuracy", "locked": false, "schema_version": 3, "solution": true}
# EXERCISE 12, two or three lines
def accuracy(batches):
    """Share of the images named right, 0..1; batches: pairs of logits (B, 10) and labels (B,)."""
    ### BEGIN SOLUTION
    right = sum((logits.argmax(1) == labels).sum() for logits, labels in batches)
    return int(right) / sum(len(labels) for _, labels in batches)
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "accuracy-check", "locked": true, "points": 1, "schema_version": 3, "solution": false} tags=["nbval-check-output"]
checks.accuracy(accuracy)


# %%
@cache  # the test set is read once for each network
def read_test(net):
    """The test images, the logits (10000, 10), and which images are named wrong, those it is surest of first."""
    logits = train.predict(net, data.test.images)
    sure, answers = logits.softmax(1).max(1)
    wrong = (answers != data.test.labels).nonzero().flatten()
    return data.test, logits, wrong[sure[wrong].argsort(descending=True)]


# %%
def my_test():
    """The same, for your network as it is now."""
    return read_test(my_run()[0])


test, logits, wrong = my_test()
print(f"{len(test) - len(wrong):,} of {len(test):,} test images named right: {1 - len(wrong) / len(test):.2%}")

# %%
test, logits, _ = my_test()
matrix = torch.bincount(test.labels * 10 + logits.argmax(1), minlength=100).view(10, 10)
plots.show(plots.confusion(matrix, data.classes))

# %% [markdown]
# *What to see:* where the mistakes gather: pairs that share most of their strokes, like 4 and 9.
#
# ### Every mistake
#
# Cover the titles and read them yourself first. To find out which are hard in themselves, and not just for your
# network, three other networks (the lab's quickest, a few seconds each) are asked too.

# %%
from lab.presets import PRESETS
from lab.targets import network

sprint = PRESETS["sprint"]
others, histories = [], []
for other_seed in range(1 if quick else 3):
    torch.manual_seed(other_seed)
    others.append(network(sprint.target))
    histories.append(fit(others[-1], data, replace(sprint.recipe, seed=other_seed)))

# %%
test, logits, wrong = my_test()
missed = sum((train.predict(net, test.images[wrong]).argmax(1) != test.labels[wrong]).int() for net in others)
wrong, missed = wrong[missed.argsort(stable=True)], missed.sort(stable=True).values
pairs = zip(test.labels[wrong], logits[wrong].argmax(1), logits[wrong].softmax(1).max(1).values, missed, strict=True)
titles = [f"{label}, not {answer}\n{sure:.0%}, {n} of {len(others)}" for label, answer, sure, n in pairs]
plots.show(plots.digits(test.images[wrong], titles))

# %% [markdown]
# *What to see:* the label, the network's answer and how sure it was, and how many of the other networks miss it too.
# Those at the top are your network's own; at the bottom are the ones that every network misses, and many of those a
# person would miss too; a few are labelled in a way that one may doubt.
#
# *To do:* count the images where you, too, would have said something else than the label. The best that anyone can
# honestly reach is about that far from 100 %.
#
# ### Where it looks
#
# Cover a small square of the image with paper, everywhere in turn, and watch the answer (Zeiler and Fergus 2014).

# %%
from lab.saliency import occlusion

my_net, _, _ = my_run()
shown = wrong[-8:] if len(wrong) >= 8 else torch.arange(8)
said = logits[shown].argmax(1)
heat = occlusion(my_net, test.images[shown], said)
plots.show(plots.looked_at(test.images[shown], heat, [f"why {int(answer)}?" for answer in said]))

# %% [markdown]
# *What to see:* orange where covering takes the (wrong) answer away. Often it is one loop or one gap, the very stroke
# that a person, too, would hesitate over.
#
# *To do:* ask the other way round: `occlusion(my_net, ..., test.labels[shown])`. Which stroke keeps it from the label?
#
# ## 15. The rules, point by point

# %%
from lab.rules import judge, load_rubric

my_net, history, _ = my_run()
share_right = accuracy([(logits, test.labels)])
verdicts = judge(load_rubric("mnist_994"), capture(my_net), len(history.epochs), share_right)
for verdict in verdicts:
    print(verdict.line())
print(f"{sum(v.points for v in verdicts):g} of {sum(v.max_points for v in verdicts):g} points")
if quick:
    print("a quick run: too short for the accuracy")

# %% [markdown]
# With 10,000 images, 99.4 % has a margin of about ±0.15 from the choice of the images alone: a difference of 0.05
# between two networks, measured once, says nothing.
#
# Now try it on your own handwriting. In a running notebook, draw in the square: the network answers as you draw.

# %%
my_net, _, _ = my_run()
lab.draw(my_net)

# %% [markdown]
# ## 16. The record
#
# **Claim: what you learnt here is enough to hold a record.** How fast can 99.4 % be had, how accurate can fewer than
# 20,000 parameters be, and fewer than 4,000? The lab keeps three **presets**, found as you found yours: on held-out
# images. The three quick networks above were the sprint: it looks at few pixels (a stride of 2 in the first
# convolution) and, from the second epoch on, at few images: those that it still finds hard, and a sample of the others.

# %%
for name, preset in PRESETS.items():
    parameters = capture(network(preset.target)).parameters
    print(f"{name:7} {parameters:>7,} parameters, {preset.recipe.epochs:>2} epochs: {preset.aim}")
print(f"\nsprint: {', '.join(f'{h.seconds:.1f}' for h in histories)} s of training")
plots.show(plots.curves(histories, target=0.994))

# %% [markdown]
# *What to see:* three epochs, seconds in all; the thin lines are the seeds. The training accuracy stays far below the
# other one, because the last two epochs train on the hard images for the most part. The validation images are a little
# harder than the test images (compare the two figures of your own run), and 5,000 images hide or add two tenths. The
# record, 99.5 %, is that of ten seeds on the test images, trained on all 60,000 others: `benchmarks/RESULTS.md` has it,
# and what each idea in it gives. `lab train --preset sprint --seeds 10` measures it on your machine.
#
# ## 17. Further levels (optional)
#
# The same 99.4 % with fewer than 8,000 parameters, and with fewer than 5,000. What the lab's smallest network does:
# five 3x3 convolutions of 8 to 10 channels; the first pooling comes after the *second* convolution, so that the few
# channels have many pixels to work on; SiLU for ReLU; almost no dropout, no label smoothing, weaker augmentation (a
# small network has nothing to spare); 19 epochs with a higher learning rate.

# %% tags=["nbval-check-output"]
for rubric in ("mnist_8k", "mnist_5k"):
    checks.design(models.TinyNet, rubric)

# %% [markdown]
# *To do:* design your own: `checks.design(MyTinyNet, "mnist_5k")`. Write it to a file, and let the lab train and judge
# it: `lab check net.py --rubric mnist_5k --train`. Can you go below the lab's 3,833 parameters?
#
# ## Where to go from here
#
# - Change one thing in the recipe, and run it over five seeds: `lab train --seeds 5`.
# - `lab inspect torchvision.models:vgg16 --input 3x224x224` shows what a famous network sees.
# - `notebooks/fashion.ipynb` is the same game with clothes.

# %%
from lab.notebook import hand_over

my_net, history, _ = my_run()
figures = {"accuracy": share_right, "parameters": capture(my_net).parameters, "epochs": len(history.epochs)}
hand_over(figures)
