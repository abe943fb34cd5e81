"""What is captured is what runs: writes through views, branches on the exporter, the messages of what is refused."""

import time
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lab.errors import GraphError
from lab.graph import capture, load, save
from lab.models import LabNet, SeedNet, SprintNet

Step = Callable[["Net", Tensor], Tensor]


class Net(nn.Module):
    """A small network whose `step` is between its pooling and its linear layer: (B, 8, 6, 6) -> (B, 8, 6, 6)."""

    def __init__(self) -> None:
        super().__init__()
        self.c1 = nn.Conv2d(1, 8, 3)
        self.b1 = nn.BatchNorm2d(8)
        self.d = nn.Dropout(0.1)
        self.fc = nn.Linear(288, 10)
        self.big = nn.Sequential(nn.Flatten(), nn.Linear(784, 50), nn.ReLU(), nn.Linear(50, 10))
        self.head = nn.Conv2d(8, 10, 6)
        self.squeeze = nn.Linear(8, 8)

    def step(self, x: Tensor) -> Tensor:
        return x

    def forward(self, x: Tensor) -> Tensor:
        x = F.max_pool2d(F.relu(self.b1(self.c1(x))), 4)
        return self.fc(self.d(self.step(x).flatten(1)))


def with_step(step: Step) -> Net:
    return type("Net", (Net,), {"step": step})()


def with_forward(forward: Callable[[Net, Tensor], object]) -> Net:
    return type("Net", (Net,), {"forward": forward})()


# -- writes ------------------------------------------------------------------------------------------------------------


def _row(net: Net, x: Tensor) -> Tensor:
    x[:, 0] = 0
    return x


def _through_flatten(net: Net, x: Tensor) -> Tensor:
    x.flatten(1).mul_(2)
    return x


def _earlier_view(net: Net, x: Tensor) -> Tensor:
    seen = x.flatten(1)
    x.mul_(2)
    return seen


def _masked(net: Net, x: Tensor) -> Tensor:
    x[x > 0.5] = 0
    return x


def _out(net: Net, x: Tensor) -> Tensor:
    y = x * 1
    view = y.view(-1, 288)
    torch.add(x, 1, out=y)
    return view


def _chunk(net: Net, x: Tensor) -> Tensor:
    x.chunk(2, 1)[0].mul_(3)
    return x


def _transposed(net: Net, x: Tensor) -> Tensor:
    x.transpose(2, 3).add_(1)
    return x


def _under_no_grad(net: Net, x: Tensor) -> Tensor:
    with torch.no_grad():
        x[:, 0] = 0
    return x


def _data(net: Net, x: Tensor) -> Tensor:
    x.data[:, 0] = 0
    return x


WRITES = [_row, _through_flatten, _earlier_view, _masked, _out, _chunk, _transposed, _under_no_grad, _data]


@pytest.mark.parametrize("step", WRITES, ids=lambda step: step.__name__)
def test_a_write_that_another_tensor_shares_is_refused_or_kept(step: Step) -> None:
    with pytest.raises(GraphError):
        capture(with_step(step))


@pytest.mark.parametrize("branch", ["big", "head"])
def test_an_answer_that_is_overwritten_is_refused_with_its_line(branch: str) -> None:
    def forward(net: Net, x: Tensor) -> Tensor:
        hidden = net.big(x)
        x = F.max_pool2d(F.relu(net.b1(net.c1(x))), 4)
        y = net.fc(x.flatten(1))
        y[:] = hidden if branch == "big" else net.head(x).flatten(1)
        return y

    with pytest.raises(GraphError, match=r"line \d+: `y\[:\] = .*another tensor shares"):
        capture(with_forward(forward))


def test_the_border_of_the_images_can_not_be_written_to() -> None:
    def forward(net: Net, x: Tensor) -> Tensor:
        x[:, :, 0] = 0
        return Net.forward(net, x)

    with pytest.raises(GraphError, match=r"x\[:, :, 0\] = 0"):
        capture(with_forward(forward))


def _relu(net: Net, x: Tensor) -> Tensor:
    return x.sub_(0.1).relu_()


def _on_a_view(net: Net, x: Tensor) -> Tensor:
    return F.dropout(x.flatten(1), 0.3, net.training, inplace=True)


def _on_a_copy(net: Net, x: Tensor) -> Tensor:
    copy = x.clone()
    copy += 1
    return x * copy


HARMLESS = [_relu, _on_a_view, _on_a_copy]


@pytest.mark.parametrize("step", HARMLESS, ids=lambda step: step.__name__)
def test_a_write_that_nobody_else_reads_is_captured(step: Step) -> None:
    net = with_step(step).eval()
    x = torch.randn(4, 1, 28, 28)
    torch.testing.assert_close(capture(net).build().eval()(x), net(x))


def _thrown_away(net: Net, x: Tensor) -> Tensor:
    net.d(x)  # draws random numbers before the dropout that counts
    return x


def _thrown_away_in_training(net: Net, x: Tensor) -> Tensor:
    if net.training:
        net.head(x)
    return x


@pytest.mark.parametrize("step", [_thrown_away, _thrown_away_in_training], ids=lambda step: step.__name__)
def test_what_is_thrown_away_does_not_spoil_the_proof(step: Step) -> None:
    assert capture(with_step(step)).parameters == capture(Net()).parameters


# -- the proof ---------------------------------------------------------------------------------------------------------


def _exporting(net: Net, x: Tensor) -> Tensor:
    return x if torch.compiler.is_exporting() else x * 2


def _compiling(net: Net, x: Tensor) -> Tensor:
    return x if torch.compiler.is_compiling() else x.sin()


def _symbolic(net: Net, x: Tensor) -> Tensor:
    return x * 2 if isinstance(x.shape[0], int) else x


def _fake(net: Net, x: Tensor) -> Tensor:
    return x if type(x) is not Tensor else x + 1


def _training_alone(net: Net, x: Tensor) -> Tensor:
    return x * 2 if net.training and not torch.compiler.is_exporting() else x


@pytest.mark.parametrize("step", [_exporting, _compiling, _symbolic, _fake, _training_alone], ids=lambda s: s.__name__)
def test_a_network_that_knows_when_it_is_looked_at_is_refused(step: Step) -> None:
    with pytest.raises(GraphError, match="computes something else"):
        capture(with_step(step))


def test_a_forward_that_is_exchanged_while_it_is_exported_is_refused() -> None:
    class Two(Net):
        def __getattribute__(self, name: str) -> object:
            if name == "forward" and not torch.compiler.is_exporting():
                return lambda x: x.flatten(1) @ torch.ones(784, 10)
            return super().__getattribute__(name)

    with pytest.raises(GraphError, match="in eval mode"):
        capture(Two())


def test_a_state_between_calls_is_refused() -> None:
    def step(net: Net, x: Tensor) -> Tensor:
        net.calls = getattr(net, "calls", 0) + 1
        return x * net.calls

    with pytest.raises(GraphError):
        capture(with_step(step))


@pytest.mark.parametrize("cut", [Tensor.detach, lambda x: x.detach() * 2])
def test_a_gradient_that_is_cut_off_is_refused(cut: Callable[[Tensor], Tensor]) -> None:
    with pytest.raises(GraphError, match=r"'c1\.\w+' gets no gradient: forward cuts it off"):
        capture(with_step(lambda net, x: cut(x)))


def test_a_class_derived_from_the_labs_own_graph_network_is_not_believed() -> None:
    net = capture(Net()).build()
    net.__class__ = type("Mine", (type(net),), {"forward": lambda self, x, until=None: x.flatten(1)[:, :10]})
    assert capture(net).parameters == 0  # what it executes, not what it says that it is


def test_a_capture_leaves_the_network_as_it_was() -> None:
    net = Net().train()
    net.b1.eval()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    capture(net)
    assert torch.rand(1) == expected
    assert net.training
    assert not net.b1.training
    assert all(torch.equal(before[name], value) for name, value in net.state_dict().items())
    assert all(p.grad is None for p in net.parameters())


@pytest.mark.parametrize("make", [SeedNet, LabNet, SprintNet])
def test_the_proof_of_the_labs_networks_takes_under_50_ms(
    make: Callable[[], nn.Module], monkeypatch: pytest.MonkeyPatch
) -> None:
    from lab._capture import proof

    spent, prove = [], proof.prove

    def timed(*args: object) -> None:
        started = time.perf_counter()
        prove(*args)  # type: ignore[arg-type]
        spent.append(time.perf_counter() - started)

    monkeypatch.setattr(proof, "prove", timed)
    net = make()
    for _ in range(5):
        capture(net)
    assert min(spent) < 0.05, spent


# -- what is harmless --------------------------------------------------------------------------------------------------

DEVICE = torch.device("cpu")
ACCEPTED: dict[str, Step] = {
    "to a device": lambda net, x: x.to(DEVICE),
    "float": lambda net, x: x.float(),
    "to like another": lambda net, x: x.type_as(net.fc.weight),
    "cpu": lambda net, x: x.cpu(),
    "channels last": lambda net, x: x.to(memory_format=torch.channels_last),
    "whole slice": lambda net, x: x[:, :],
    "gate": lambda net, x: x * torch.sigmoid(net.squeeze(x.mean((2, 3))))[:, :, None, None],
}


@pytest.mark.parametrize("step", ACCEPTED.values(), ids=ACCEPTED)
def test_what_changes_nothing_is_accepted(step: Step) -> None:
    net, x = with_step(step).eval(), torch.randn(4, 1, 28, 28)
    torch.testing.assert_close(capture(net).build().eval()(x), net(x))


def test_stochastic_depth_is_absent_in_eval_mode() -> None:
    def step(net: Net, x: Tensor) -> Tensor:
        for keep in (0.8, 0.5):  # one after the other, and nothing between them in eval mode
            if net.training:
                x = x * x.new_empty(x.shape[0], 1, 1, 1).bernoulli_(keep).div_(keep)
        return x

    graph = capture(with_step(step))
    assert [op.kind for op in graph.operations].count("stochastic_depth") == 2
    x, built = torch.randn(64, 1, 28, 28), graph.build()
    left_out = built(x, until="stochastic_depth").flatten(1).eq(0).all(1)
    assert 0 < left_out.sum() < 40
    assert torch.equal(built.eval()(x), built(x))


def test_noise_that_is_not_divided_by_its_probability_is_refused() -> None:
    def step(net: Net, x: Tensor) -> Tensor:
        return x * torch.empty(x.shape[0], 1, 1, 1).bernoulli_(0.8) if net.training else x

    with pytest.raises(GraphError, match="draws random numbers"):
        capture(with_step(step))


@pytest.mark.parametrize(
    ("name", "parameters"),
    [("efficientnet_b0", 5_288_548), pytest.param("shufflenet_v2_x1_0", 2_278_604, marks=pytest.mark.slow)],
)
def test_published_networks_keep_their_counts(name: str, parameters: int) -> None:
    import torchvision

    assert capture(getattr(torchvision.models, name)(), (3, 64, 64)).parameters == parameters


def test_a_wrapped_network_is_the_network() -> None:
    net = Net()
    names, compiled = set(capture(net).tensors), torch.compile(net, backend="eager")
    assert set(capture(nn.DataParallel(net)).tensors) == names
    assert set(capture(compiled).tensors) == names
    assert set(capture(nn.DataParallel(compiled)).tensors) == names


def test_lazy_layers_get_their_sizes() -> None:
    net = Net()
    net.fc = nn.LazyLinear(10)
    assert capture(net).parameters == capture(Net()).parameters
    unused = Net()
    unused.other = nn.LazyLinear(10)
    with pytest.raises(GraphError, match=r"'other\.weight' is of a lazy layer that forward never calls"):
        capture(unused)


def test_a_forward_of_any_number_of_inputs() -> None:
    class Star(Net):
        def forward(self, *inputs: Tensor) -> Tensor:
            (x,) = inputs
            return super().forward(x)

    assert capture(Star()).parameters == capture(Net()).parameters


def test_a_train_that_returns_nothing() -> None:
    class Silent(Net):
        def train(self, mode: bool = True) -> None:
            super().train(mode)

    assert capture(Silent()).operations == capture(Net()).operations


def test_batch_norm_with_a_cumulative_average_keeps_it() -> None:
    net = Net()
    net.b1.momentum = None
    assert capture(net).parameters == capture(Net()).parameters
    assert net.b1.momentum is None


# -- messages ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wrap", "what"),
    [
        (lambda y: {"logits": y}, "a dict of 1 value"),
        (lambda y: (y,), "a tuple of 1 value"),
        (lambda y: [y, y], "a list of 2 values"),
        (lambda y: None, "nothing: is a `return` missing"),
        (lambda y: 3, "3"),
    ],
)
def test_a_network_returns_one_tensor(wrap: Callable[[Tensor], object], what: str) -> None:
    with pytest.raises(GraphError, match=f"returns {what}"):
        capture(with_forward(lambda net, x: wrap(Net.forward(net, x))))


def test_a_misspelt_forward_is_named() -> None:
    class Misspelt(nn.Module):
        def foward(self, x: Tensor) -> Tensor:
            return x

    with pytest.raises(GraphError, match="Misspelt has no forward: it has 'foward'"):
        capture(Misspelt())
    with pytest.raises(GraphError, match="has no forward: write"):
        capture(nn.Module())


@pytest.mark.parametrize(
    ("held", "wanted"),
    [
        (lambda layers: layers, "list of layers.*nn.ModuleList"),
        (tuple, "tuple of layers.*nn.ModuleList"),
        (lambda layers: dict(enumerate(layers)), "dict of layers.*nn.ModuleDict"),
    ],
)
def test_a_python_list_of_layers_is_named(held: Callable[[list[nn.Module]], object], wanted: str) -> None:
    class Listed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layers = held([nn.Flatten(), nn.Linear(784, 10)])

        def forward(self, x: Tensor) -> Tensor:
            for layer in self.layers.values() if isinstance(self.layers, dict) else self.layers:  # type: ignore[attr-defined]
                x = layer(x)
            return x

    with pytest.raises(GraphError, match=rf"self\.layers is a Python {wanted}"):
        capture(Listed())


def test_a_wrong_size_in_a_sequential_names_the_layer() -> None:
    net = nn.Sequential(nn.Conv2d(1, 8, 3), nn.Flatten(), nn.Linear(200, 10))
    with pytest.raises(GraphError, match=r"^layer '2' \(Linear\): .*\. The layer gets 5408 numbers an image"):
        capture(net)


SIZES: dict[str, tuple[Step, str]] = {
    "fixed batch": (lambda net, x: x.view(128, -1), "Leave the number of images free"),
    "flattened with the batch": (lambda net, x: x.flatten(), "keep the batch apart"),
}


@pytest.mark.parametrize(("step", "advice"), SIZES.values(), ids=SIZES)
def test_a_lost_batch_is_told_without_symbols(step: Step, advice: str) -> None:
    with pytest.raises(GraphError, match=advice) as error:
        capture(with_forward(lambda net, x: net.fc(step(net, F.max_pool2d(net.c1(x), 4)))))
    assert "s77" not in str(error.value)
    assert "*" not in str(error.value).split("`")[-1]


OUTSIDE: dict[str, tuple[Callable[[], nn.Module], str]] = {
    "lstm": (lambda: _Recurrent(), r"nn\.LSTM 'rnn' is outside the lab's list"),
    "softsign": (
        lambda: nn.Sequential(nn.Softsign(), nn.Flatten(), nn.Linear(784, 10)),
        r"^nn\.Softsign '0' is outside",
    ),
    "spectral norm": (lambda: _spectral(), r"SpectralNorm 'fc\.parametrizations\.weight\.0' is outside"),
    "no_grad": (lambda: with_step(_no_grad), r"line \d+: `.*: forward computes under torch\.no_grad\(\)"),
    "noise": (lambda: with_step(lambda net, x: x + torch.randn_like(x)), "of those, only dropout and stochastic depth"),
    "whole-number buffer": (lambda: _counted(), r"'k' is stored as torch\.int64.*torch\.tensor\(2\.0\)"),
    "numbers": (lambda: with_step(lambda net, x: x.data), r"x\.data"),
    "exit": (lambda: with_step(lambda net, x: exit(0)), "forward ends Python itself"),
}


class _Recurrent(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.LSTM(28, 16, batch_first=True)
        self.fc = nn.Linear(16, 10)

    def forward(self, x: Tensor) -> Tensor:
        x, _ = self.rnn(x.squeeze(1))
        return self.fc(x[:, -1])


def _spectral() -> nn.Module:
    net = Net()
    nn.utils.parametrizations.spectral_norm(net.fc)
    return net


def _no_grad(net: Net, x: Tensor) -> Tensor:
    with torch.no_grad():
        x = torch.relu(x)
    return x


def _counted() -> nn.Module:
    net = with_step(lambda net, x: x * net.k)  # type: ignore[operator]
    net.register_buffer("k", torch.tensor(2))
    return net


@pytest.mark.parametrize(("make", "message"), OUTSIDE.values(), ids=OUTSIDE)
def test_what_is_outside_the_list_is_told_by_its_cause(make: Callable[[], nn.Module], message: str) -> None:
    with pytest.raises(GraphError, match=message):
        capture(make())


def test_an_overridden_list_of_parameters_is_named() -> None:
    class Few(Net):
        def named_parameters(self, *args: object, **kwargs: object) -> object:  # type: ignore[override]
            return iter([("c1.bias", self.c1.bias)])

    with pytest.raises(GraphError, match=r"Few overrides named_parameters\(\)"):
        capture(Few())


def test_an_error_is_not_its_own_cause() -> None:
    def ends(net: Net, x: Tensor) -> Tensor:
        raise SystemExit

    with pytest.raises(GraphError, match="forward ends Python itself") as caught:
        capture(with_step(ends))
    chain: list[BaseException] = [caught.value]
    while cause := chain[-1].__cause__ or chain[-1].__context__:
        assert all(cause is not error for error in chain)
        chain.append(cause)


def test_a_name_that_a_terminal_would_act_on_is_written_out(tmp_path):
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.add_module("fc\x1b[2J\nPASS", nn.Linear(784, 10))

        def forward(self, x):
            return getattr(self, "fc\x1b[2J\nPASS")(x.flatten(1))

    graph = capture(Net())
    assert graph.operations[-1].name == "fc\\x1b[2J\\nPASS"
    assert set(graph.tensors) == {"fc\\x1b[2J\\nPASS.weight", "fc\\x1b[2J\\nPASS.bias"}
    assert load(save(graph, tmp_path)).operations == graph.operations
