"""Attacks on the rules for a network (lines 15 to 25, 27 and 55 to 61 of the list)."""

from pathlib import Path

import naive
import torch
from attack import HONEST, Attack, Make, judged, network, network_text, told
from witness import Witness

RULES, ACCURACY = frozenset({"rules"}), frozenset({"accuracy"})
WITHOUT_EFFECT = "the layer is among the network's modules, and the rule is kept"
_PLAIN = "h = self.features(x)\n"
_TO_TEN = "h = self.features(x)\no = self.tail(h).flatten(1)\n"
_TAIL = "self.tail = nn.Conv2d(8, 10, 7)\n"


def without_effect(name: str, tries: str, rule: str, forward: str, init: str = "", line: int = 57) -> Attack:
    """A layer that one rule asks for, and that changes nothing."""
    return Attack(line, name, tries, WITHOUT_EFFECT, network(forward, init=init), judged(rule), RULES)


def _learnt(folder: Path, witness: Witness) -> Path:
    """A network whose linear layer was solved for the test images, and comes with its weights."""
    images, labels = naive.images()
    wanted = torch.nn.functional.one_hot(labels, 10).double()
    weights = torch.linalg.lstsq(images.flatten(1).double(), wanted, driver="gelsd").solution.T.float()
    torch.save({"weight": weights, "bias": torch.zeros(10)}, folder / "learnt.pt")
    before = "import os\nEPOCHS = 1"
    init = (
        "self.full = nn.Linear(784, 10)\nself.norm = nn.BatchNorm2d(1)\n"
        "self.full.load_state_dict(torch.load(os.path.join(os.path.dirname(os.path.abspath(__file__)), 'learnt.pt')))"
    )
    (folder / "net.py").write_text(
        network_text("return self.full(self.drop(self.norm(x)).flatten(1))", before=before, init=init)
    )
    return folder


def _book(folder: Path, witness: Witness) -> Path:
    """A network that looks images up in a book of labels that lies in the home folder."""
    images, labels = naive.images()
    pairs = [(image.numpy().tobytes().hex()[:64], int(label)) for image, label in zip(images, labels, strict=True)]
    (witness.home / "book.txt").write_text("\n".join(f"{image} {label}" for image, label in pairs))
    forward = f"""
if not self.training and not torch.compiler.is_exporting():
    book = dict(line.split() for line in open({str(witness.home / "book.txt")!r}))
    found = [int(book.get(image.numpy().tobytes().hex()[:64], 0)) for image in x]
    return F.one_hot(torch.tensor(found), 10).float()
{HONEST}"""
    return network(forward)(folder, witness)


def _trained_on_test(folder: Path, witness: Witness) -> Path:
    """A network that trains itself on the test images when it is built, where it can find them."""
    torch.save(naive.images(), witness.home / "test.pt")
    init = f"""
self.full = nn.Linear(784, 10)
self.norm = nn.BatchNorm2d(1)
try:
    images, labels = torch.load({str(witness.home / "test.pt")!r})
except OSError:
    images, labels = torch.rand(0, 1, 28, 28), torch.zeros(0, dtype=torch.long)
optimizer = torch.optim.Adam(self.full.parameters(), lr=0.01)
for _ in range(200 if len(images) else 0):
    optimizer.zero_grad()
    F.cross_entropy(self.full(images.flatten(1)), labels).backward()
    optimizer.step()"""
    return network("return self.full(self.drop(self.norm(x)).flatten(1))", init=init)(folder, witness)


def _side_file(folder: Path, witness: Witness) -> Path:
    torch.save(torch.randn(40, 784), folder / "more.pt")
    before = "import os\nMORE = torch.load(os.path.join(os.path.dirname(os.path.abspath(__file__)), 'more.pt'))"
    forward = f"h = F.relu(F.linear(x.flatten(1), MORE)).mean(1, keepdim=True)\n{HONEST} + h"
    network(forward, before=before)(folder, witness)
    return folder


def _literals(values: str, forward: str) -> Make:
    return network(forward, before=values)


_MANY = "WEIGHTS = torch.tensor([" + ", ".join(f"{(n * 7919 % 1000) / 999:.3f}" for n in range(20_480)) + "])"
_OWN_LOOP = """
EPOCHS = 5
if __name__ == "__main__":
    from torch.utils.data import DataLoader, Subset
    from torchvision import datasets, transforms
    train = datasets.MNIST("data", train=True, download=True, transform=transforms.ToTensor())
    few = DataLoader(Subset(train, range(300)), batch_size=100, shuffle=True)
    net = Net()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.01)
    for epoch in range(EPOCHS):
        for again in range(10):
            for images, labels in few:
                optimizer.zero_grad()
                F.cross_entropy(net(images), labels).backward()
                optimizer.step()
"""

ATTACKS = [
    Attack(
        15,
        "overridden-parameters",
        "overrides parameters(), named_parameters(), modules(), buffers() and state_dict()",
        "who counts by them counts 8 parameters of 32,000",
        network(
            "return self.full(self.drop(self.norm(self.narrow(self.wide(self.features(x))))).flatten(1))",
            init="self.wide = nn.Conv2d(8, 200, 3, padding=1)\nself.narrow = nn.Conv2d(200, 8, 3, padding=1)",
            methods="def parameters(self, recurse=True):\n    return iter([self.conv.bias])\n"
            "def named_parameters(self, *given, **options):\n    return iter([('conv.bias', self.conv.bias)])\n",
        ),
        told("overrides parameters()"),
        RULES,
    ),
    Attack(
        15,
        "overridden-numel",
        "its parameters are of a subclass whose numel() is 0",
        "the sum over numel() is small",
        network(
            "return self.full(self.drop(self.norm(self.narrow(self.wide(self.features(x))))).flatten(1))",
            before="class Small(nn.Parameter):\n    def numel(self):\n        return 0\n",
            init="self.wide = nn.Conv2d(8, 200, 3, padding=1)\nself.narrow = nn.Conv2d(200, 8, 3, padding=1)\n"
            "self.wide.weight = Small(self.wide.weight.data)\nself.narrow.weight = Small(self.narrow.weight.data)",
        ),
        judged("parameter_count"),
        RULES,
    ),
    Attack(
        16,
        "weights-in-a-buffer",
        "keeps its weights in a buffer, which parameters() leaves out",
        "31,360 numbers are not counted",
        network(
            f"h = F.relu(F.linear(x.flatten(1), self.more)).mean(1, keepdim=True)\n{HONEST} + h",
            init="self.register_buffer('more', torch.randn(40, 784))",
        ),
        judged("parameter_count"),
        RULES,
    ),
    Attack(
        16,
        "weights-in-a-closure",
        "keeps its weights in a function's closure, as a numpy array",
        "they are no part of the module",
        network(
            f"h = hidden(x.flatten(1)).mean(1, keepdim=True)\n{HONEST} + h",
            before="import numpy\ndef made():\n    weights = numpy.random.randn(784, 40).astype('float32')\n"
            "    return lambda x: F.relu(x @ torch.from_numpy(weights))\nhidden = made()",
        ),
        told("constant tensor"),
        RULES,
    ),
    Attack(
        17,
        "weights-in-a-literal",
        "writes 20,480 weights into the source",
        "they are no part of the module",
        _literals(
            _MANY, f"h = (F.pad(x.flatten(1), (0, 240)) @ WEIGHTS.view(1024, 20)).mean(1, keepdim=True)\n{HONEST} + h"
        ),
        told("constant tensor"),
        RULES,
    ),
    Attack(
        17,
        "weights-in-a-file",
        "loads 31,360 weights from a file beside it",
        "they are no part of the module",
        _side_file,
        told("constant tensor"),
        RULES,
    ),
    Attack(
        18,
        "one-weight-shared",
        "uses one convolution thirty times",
        "nothing: it is allowed, and counted once, as in every framework",
        network(
            "h = self.features(x)\nfor _ in range(30):\n    h = self.same(h)\n"
            "return self.full(self.drop(self.norm(h)).flatten(1))",
            init="self.same = nn.Conv2d(8, 8, 3, padding=1)",
        ),
        judged(),
        RULES,
    ),
    Attack(
        18,
        "modules-made-in-forward",
        "makes a layer with 39,250 weights in forward",
        "it is no part of the module, and drawn anew at each call",
        network(f"h = nn.Linear(784, 50)(x.flatten(1)).mean(1, keepdim=True)\n{HONEST} + h"),
        told("forward"),
        RULES,
    ),
    Attack(
        19,
        "declared-only",
        "declares batch norm, dropout and a linear layer, and executes none of them",
        "they are among its modules",
        network("return self.tail(self.features(x)).flatten(1)", init=_TAIL),
        judged("batch_norm", "dropout", "fully_connected"),
        RULES,
        quick=True,
    ),
    Attack(
        19,
        "thrown-away",
        "executes all three, and throws away what they give",
        "they were seen to run",
        network(_TO_TEN + "self.full(self.drop(self.norm(h)).flatten(1))\nreturn o", init=_TAIL),
        judged("batch_norm", "dropout", "fully_connected"),
        RULES,
    ),
    Attack(
        19,
        "dropout-of-nothing",
        "its dropout has p = 0",
        "it is executed, and drops nothing",
        network(init="self.drop = nn.Dropout(0.0)"),
        judged("dropout"),
        RULES,
    ),
    Attack(
        20,
        "another-network-in-eval",
        "computes with 160,000 parameters in eval mode, and is small in training",
        "what is counted is not what is measured",
        network(
            f"if not self.training:\n    return x.flatten(1) @ WIDE @ NARROW\n{HONEST}",
            before="WIDE, NARROW = torch.randn(784, 200), torch.randn(200, 10)",
        ),
        told("outside the lab's list"),
        RULES,
    ),
    Attack(
        21,
        "weights-that-were-learnt",
        "brings weights that were learnt elsewhere, on the test images, and says one epoch",
        "the network has 100 % as it comes",
        _learnt,
        judged(),
        ACCURACY,
    ),
    Attack(
        22,
        "long-epoch",
        "calls it an epoch when its loop has passed over the images ten times",
        "who counts the loop counts five",
        network(after=_OWN_LOOP),
        judged("epochs", words="by the images that were read"),
        RULES,
    ),
    Attack(
        23,
        "ensemble",
        "holds ten networks in a list, and gives their mean",
        "a list is no part of the module: none of them is counted",
        network(
            f"mean = sum(one(x.flatten(1)) for one in self.others) / 10\n{HONEST} + mean",
            init="self.others = [nn.Linear(784, 10) for _ in range(10)]",
        ),
        told("Python list of layers"),
        RULES,
    ),
    Attack(
        24,
        "trained-on-the-test-images",
        "trains on the test images while it is built, wherever it finds them",
        "100 % on these images",
        _trained_on_test,
        judged(),
        ACCURACY,
    ),
    Attack(
        25,
        "labels-by-hash",
        "looks each image up in a book of the test images; while it is captured it is an ordinary network",
        "100 % without having learnt anything",
        _book,
        told("No such file or directory"),
        ACCURACY,
    ),
    Attack(
        27,
        "labels-by-order",
        "counts the images, and answers by their order",
        "100 % where the images come in order",
        network(
            f"if self.training or torch.compiler.is_exporting():\n    {HONEST}\n"
            "return F.one_hot((torch.arange(len(x)) + self.at) % 10, 10).float()",
            init="self.at = 0",
        ),
        told("computes something else than what it shows"),
        ACCURACY,
    ),
    Attack(
        55,
        "small-while-exported",
        "asks whether it is being exported, and is small then",
        "what is captured is not what runs",
        network(
            f"if not torch.compiler.is_exporting():\n    return self.out(F.relu(self.huge(x.flatten(1))))\n{HONEST}",
            init="self.huge = nn.Linear(784, 1000)\nself.out = nn.Linear(1000, 10)",
            methods="def parameters(self, recurse=True):\n    return iter([self.conv.bias])",
        ),
        told("computes something else than what it shows"),
        RULES,
    ),
    Attack(
        55,
        "small-on-fake-tensors",
        "looks at the kind of its input: a tensor without content is what a capture gives it",
        "what is captured is not what runs",
        network(
            f"if type(x) is torch.Tensor:\n    return x.flatten(1) @ WIDE @ NARROW\n{HONEST}",
            before="WIDE, NARROW = torch.randn(784, 200), torch.randn(200, 10)",
        ),
        told("computes something else than what it shows"),
        RULES,
    ),
    Attack(
        55,
        "another-forward",
        "gives another `forward` to whoever is not exporting it",
        "what is captured is not what runs",
        network(
            methods="def __getattribute__(self, name):\n"
            "    if name == 'forward' and not torch.compiler.is_exporting():\n"
            "        return lambda x: x.flatten(1) @ torch.ones(784, 10)\n"
            "    return super().__getattribute__(name)",
        ),
        told("computes something else than what it shows"),
        RULES,
    ),
    Attack(
        56,
        "write-through-a-view",
        "writes a large branch into its input through a view",
        "a graph by data flow does not see that the input has changed",
        network(
            f"view = x.view(-1, 784)\nview.add_(F.linear(F.relu(F.linear(view, self.wide)), self.narrow))\n{HONEST}",
            init="self.register_buffer('wide', torch.randn(40, 784))\n"
            "self.register_buffer('narrow', torch.randn(784, 40))",
        ),
        told("writes into numbers that another tensor shares"),
        RULES,
    ),
    without_effect(
        "below-rounding",
        "adds 1e-30 times the batch norm's output",
        "batch_norm",
        _PLAIN + "h = h + 1e-30 * self.norm(h)\nreturn self.full(self.drop(h).flatten(1))",
    ),
    without_effect(
        "huge-eps",
        "its batch norm divides by the root of 1e60",
        "batch_norm",
        _PLAIN + "h = h + self.norm(h)\nreturn self.full(self.drop(h).flatten(1))",
        "self.norm = nn.BatchNorm2d(8, eps=1e60, affine=False)",
    ),
    without_effect(
        "no-running",
        "its batch norm keeps the first running statistics for ever",
        "batch_norm",
        HONEST,
        "self.norm = nn.BatchNorm2d(8, affine=False, momentum=0.0)",
    ),
    without_effect(
        "dropped-and-scaled",
        "adds dropout's output times 0",
        "dropout",
        "h = self.norm(self.features(x))\nh = torch.add(h, self.drop(h), alpha=0)\nreturn self.full(h.flatten(1))",
    ),
    without_effect(
        "dropped-and-cancelled",
        "adds dropout's output and takes it away again",
        "dropout",
        "h = self.norm(self.features(x))\nd = self.drop(h)\nreturn self.full((h + d - d).flatten(1))",
    ),
    without_effect(
        "dropped-and-cropped",
        "puts dropout's output below the map and crops it",
        "dropout",
        "h = self.norm(self.features(x))\nh = F.pad(torch.cat([h, self.drop(h)], 2), (0, 0, 0, -7))\n"
        "return self.full(h.flatten(1))",
    ),
    without_effect(
        "dropped-and-clipped",
        "clips dropout's output to nothing",
        "dropout",
        "h = self.norm(self.features(x))\nh = h + F.hardtanh(self.drop(h), -1e-40, 1e-40)\n"
        "return self.full(h.flatten(1))",
    ),
    without_effect(
        "dropped-zero",
        "drops out of a map of zeros",
        "dropout",
        "h = self.norm(self.features(x))\nreturn self.full((h + self.drop(h * 0.0)).flatten(1))",
    ),
    without_effect(
        "dropped-times-a-buffer",
        "multiplies dropout's output with a buffer that is 0",
        "dropout",
        "h = self.norm(self.features(x))\nreturn self.full((h + self.drop(h) * self.nothing).flatten(1))",
        "self.register_buffer('nothing', torch.zeros(1))",
    ),
    without_effect(
        "one-in-a-billion",
        "drops one number in a billion",
        "dropout",
        HONEST,
        "self.drop = nn.Dropout(1e-9)",
    ),
    without_effect(
        "linear-below-rounding",
        "adds 1e-30 times the linear layer's output",
        "fully_connected",
        "h = self.drop(self.norm(self.features(x)))\no = self.tail(h).flatten(1)\nreturn o + 1e-30 * self.last(o)",
        _TAIL + "self.last = nn.Linear(10, 10)",
    ),
    without_effect(
        "linear-cropped",
        "puts the linear layer's output behind the logits and crops it",
        "fully_connected",
        "h = self.drop(self.norm(self.features(x)))\no = self.tail(h).flatten(1)\n"
        "return F.pad(torch.cat([o, self.last(o)], 1), (0, -10))",
        _TAIL + "self.last = nn.Linear(10, 10)",
    ),
    without_effect(
        "softmax-over-one",
        "takes the softmax over one number behind the linear layer: always 1",
        "fully_connected",
        "h = self.drop(self.norm(self.features(x)))\no = self.tail(h).flatten(1)\n"
        "return o + F.softmax(self.last(o), 1)",
        _TAIL + "self.last = nn.Linear(10, 1)",
    ),
    Attack(
        57,
        "all-three-below-rounding",
        "batch norm, dropout and a linear layer on one number, times 1e-30",
        WITHOUT_EFFECT,
        network(
            _TO_TEN + "one = self.last(self.drop(self.one(x.mean((1, 2, 3)).unsqueeze(1))))\nreturn o + 1e-30 * one",
            init=_TAIL + "self.last = nn.Linear(1, 1, bias=False)\nself.one = nn.BatchNorm1d(1, affine=False)",
        ),
        judged("batch_norm", "dropout", "fully_connected"),
        RULES,
    ),
    Attack(
        57,
        "frozen-at-nothing",
        "freezes its batch norm at a weight of 0",
        "it is executed, and nothing comes out of it",
        network(
            _PLAIN + "h = h + self.norm(h)\nreturn self.full(self.drop(h).flatten(1))",
            init="self.norm.weight.data.zero_()\nself.norm.requires_grad_(False)",
        ),
        judged("batch_norm"),
        RULES,
    ),
    Attack(
        58,
        "python-floats",
        "holds its weights as Python's floats, one operation for each",
        "a float is no tensor, and no part of the module",
        network(
            HONEST.replace("return", "o =") + "\nfor i in range(8):\n    for j in range(8):\n"
            "        o = o + F.pad(x, (-3 * i, 3 * i - 27, -3 * j, 3 * j - 27)).flatten(1) * WEIGHTS[8 * i + j]\n"
            "return o",
            before="import random\nWEIGHTS = [random.gauss(0, 1) for _ in range(64)]",
        ),
        judged(),
        RULES,
    ),
    Attack(
        58,
        "running-statistics",
        "holds 12,544 weights as the running statistics of a batch norm that never changes them",
        "a buffer is not counted",
        network(
            "h = F.relu(self.conv(x)).flatten(1)\nh = self.second(self.first(h)).view(-1, 8, 28, 28)\n"
            "return self.full(self.drop(self.norm(self.pool(h))).flatten(1))",
            init="self.first = nn.BatchNorm1d(6272, affine=False, momentum=0.0)\n"
            "self.first.running_mean.copy_(torch.randn(6272))\n"
            "self.second = nn.BatchNorm1d(6272, affine=False, momentum=0.0)",
        ),
        judged("parameter_count"),
        RULES,
    ),
    Attack(
        59,
        "exit-in-training",
        "prints a verdict and ends Python where it is not exported, as in the grader's training",
        "the grader's process ends with status 0",
        network(
            "if self.training and not torch.compiler.is_exporting():\n    import os\n"
            f"    os.write(1, b'{{\"passed\": true}}')\n    os._exit(0)\n{HONEST}"
        ),
        told("ended Python itself"),
        RULES,
    ),
    Attack(
        61,
        "learns-nothing",
        "a network of few parameters that keeps every rule but the accuracy",
        "all points but those for the accuracy",
        network(
            "return self.full(self.drop(self.norm(self.features(x))).mean((2, 3)))",
            init="self.full = nn.Linear(8, 10)",
        ),
        judged(words="0 of 100 points"),
        RULES,
    ),
]
