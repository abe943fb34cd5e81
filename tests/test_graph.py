"""capture, save, load and rebuild: the network as data."""

import json
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
import torchvision
from torch import Tensor, nn

from lab import graph as graphs
from lab.errors import GraphError
from lab.graph import Graph, capture, load, save
from lab.models import LabNet, SeedNet
from lab.operations import BatchNorm, Conv2d, Dropout


def outputs(model: nn.Module, x: Tensor, training: bool) -> Tensor:
    """The output with the same dropout every time, and the model's buffers as they were."""
    state = {name: value.clone() for name, value in model.state_dict().items()}
    torch.manual_seed(0)
    out = model.train(training)(x)
    model.load_state_dict(state)
    return out.detach()


def assert_same(model: nn.Module, rebuilt: nn.Module, x: Tensor) -> None:
    for training in (True, False):
        torch.testing.assert_close(outputs(rebuilt, x, training), outputs(model, x, training), atol=2e-5, rtol=1e-4)


def shaken(model: nn.Module) -> nn.Module:
    """Batch norm's statistics and parameters away from 0 and 1, so that a mix-up shows."""
    torch.manual_seed(1)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d) and module.running_mean is not None and module.affine:
            for tensor in (module.running_mean, module.running_var, module.weight, module.bias):
                nn.init.uniform_(tensor, 0.5, 1.5)
    return model


class Everything(nn.Module):
    """Every kind of operation that a graph may hold."""

    def __init__(self) -> None:
        super().__init__()
        self.same = nn.Conv2d(1, 8, (4, 3), padding="same")
        self.grouped = nn.Conv2d(8, 8, 3, stride=(1, 2), padding=(1, 0), groups=4, bias=False)
        self.dilated = nn.Conv2d(8, 8, 3, padding=2, dilation=2)
        self.bn = nn.BatchNorm2d(8)
        self.frozen = nn.BatchNorm2d(8, affine=False)
        self.batch_only = nn.BatchNorm2d(8, track_running_stats=False)
        self.gn = nn.GroupNorm(4, 8)
        self.ln = nn.LayerNorm([8, 12, 11])
        self.prelu = nn.PReLU(8)
        self.relu = nn.ReLU(inplace=True)
        self.drop = nn.Dropout(0.3)
        self.drop2d = nn.Dropout2d(0.2)
        self.avg = nn.AvgPool2d(2, 1, 1, count_include_pad=False)
        self.gate = nn.Conv2d(8, 8, 1)
        self.scale = nn.Parameter(torch.tensor(1.5))
        self.register_buffer("mask", torch.rand(1, 8, 1, 1))
        self.fc = nn.Linear(16 * 3 * 2, 20)
        self.fc2 = nn.Linear(20, 10, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        x = 1 - (x - 0.13) / 0.31
        x = self.relu(self.bn(self.same(x)))
        x = self.prelu(self.frozen(self.grouped(x)))  # (B, 8, 28, 13)
        x = F.max_pool2d(x, 3, (2, 1), 1, ceil_mode=True)  # (B, 8, 15, 13)
        x = F.gelu(self.batch_only(self.dilated(x)), approximate="tanh") + F.elu(x, 0.7)
        x = self.drop2d(self.avg(x))  # (B, 8, 16, 14)
        x = F.leaky_relu(F.pad(x, (-1, -2, 1, -5), value=0.5), 0.2)  # (B, 8, 12, 11)
        x = F.silu(self.ln(self.gn(x)))
        gate = torch.sigmoid(self.gate(x.mean((2, 3), keepdim=True)))
        x = x * gate * self.scale + x * self.mask
        x += F.hardtanh(x, -0.5, 2.0)
        half = F.max_pool2d(x, 2)  # (B, 8, 6, 5)
        up = F.interpolate(half, size=(12, 11), mode="bilinear", align_corners=False)
        near = F.interpolate(F.interpolate(half, scale_factor=2), size=(12, 11))
        x = torch.cat([x - 0.5 * up, F.softplus(near) + 2], dim=1)  # (B, 16, 12, 11)
        x = F.adaptive_max_pool2d(x, (6, 5)) + F.adaptive_avg_pool2d(x, (6, 5))
        x = F.softmax(F.adaptive_avg_pool2d(x, (3, 2)), dim=1)
        x = self.drop(x).view(x.size(0), -1)
        return F.log_softmax(self.fc2(F.mish(self.fc(x))), dim=1)


@pytest.mark.filterwarnings("ignore:Using padding")  # torch warns of the copy that an even kernel costs
def test_every_operation_survives_capture_save_load_and_rebuild(tmp_path: Path) -> None:
    model, x = shaken(Everything()), torch.randn(5, 1, 28, 28)
    graph = capture(model)
    assert_same(model, graph.build(), x)
    again = load(save(graph, tmp_path))
    assert again.operations == graph.operations
    assert again.tensors == graph.tensors
    assert again.idle == graph.idle
    assert_same(model, again.build(), x)
    kinds = {op.kind for op in graph.operations}
    assert kinds >= {"conv2d", "linear", "batch_norm", "group_norm", "layer_norm", "activation", "prelu", "max_pool"}
    assert kinds >= {"avg_pool", "adaptive_pool", "dropout", "reshape", "mean", "scale", "add", "mul", "cat", "pad"}
    assert kinds >= {"interpolate", "softmax"}


def test_where_a_default_device_was_named_a_saved_graph_can_be_read(tmp_path: Path) -> None:
    torch.set_default_device("cpu")  # as a notebook may; from here on functions that make tensors ask for it
    try:
        folder = save(capture(nn.Sequential(nn.AdaptiveMaxPool2d(2), nn.Flatten(), nn.Linear(4, 10))), tmp_path)
        assert load(folder).parameters == 50
    finally:
        torch.set_default_device(None)


@pytest.mark.parametrize("build", [SeedNet, LabNet])
def test_the_labs_networks_rebuild_exactly(build: type[nn.Module]) -> None:
    model = shaken(build())
    assert_same(model, capture(model).build(), torch.randn(7, 1, 28, 28))


@pytest.mark.parametrize(("name", "side"), [("resnet18", 64), ("squeezenet1_1", 64), ("mobilenet_v2", 64)])
def test_torchvision_networks_rebuild(name: str, side: int) -> None:
    model = shaken(getattr(torchvision.models, name)())
    graph = capture(model, (3, side, side))
    assert graph.parameters == sum(p.numel() for p in model.parameters())
    x = torch.randn(2, 3, side, side)
    torch.testing.assert_close(outputs(graph.build(), x, False), outputs(model, x, False), atol=1e-4, rtol=1e-3)


def test_a_rebuilt_network_trains_like_the_original() -> None:
    model = LabNet(dropout=0.0)
    rebuilt, x, y = capture(model).build(), torch.randn(16, 1, 28, 28), torch.arange(16) % 10
    for net in (model, rebuilt):
        optimizer = torch.optim.SGD(net.parameters(), 0.1)
        for _ in range(3):
            optimizer.zero_grad()
            F.cross_entropy(net(x), y).backward()
            optimizer.step()
    trained = rebuilt.snapshot().weights
    assert set(trained) == {n for n in model.state_dict() if "num_batches" not in n}
    for name, value in trained.items():
        torch.testing.assert_close(value, model.state_dict()[name])


def test_capture_leaves_the_model_as_it_was() -> None:
    model = SeedNet()
    model.bn1.eval()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    capture(model)
    assert model.training
    assert not model.bn1.training
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())


def test_capturing_a_rebuilt_network_gives_its_weights_as_they_are_now() -> None:
    rebuilt = capture(LabNet()).build()
    with torch.no_grad():
        dict(rebuilt.named_parameters())["tensor:20%2Ebias"].fill_(3)
    again = capture(rebuilt)
    assert again.operations == rebuilt.graph.operations
    assert again.weights["20.bias"].tolist() == [3.0] * 10
    assert rebuilt.graph.weights["20.bias"].tolist() != [3.0] * 10


# -- names, counts, what is used --------------------------------------------------------------------------------------


def test_operations_carry_the_modules_names_and_the_students_lines() -> None:
    graph = capture(SeedNet())
    assert [op.name for op in graph.operations[:3]] == ["conv1", "bn1", "relu"]
    assert graph["conv1"].line.startswith("models.py, line ")
    assert graph["fc"].line.endswith("# the flaw: no logit can be negative`")


def test_one_module_called_twice_is_two_operations_with_one_weight() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(1, 1, 3, padding=1)

        def forward(self, x: Tensor) -> Tensor:
            return self.conv(self.conv(x)).flatten(1)

    graph = capture(Twice())
    assert [op.name for op in graph.operations] == ["conv", "conv#2", "flatten"]
    assert graph.parameters == 10


def test_a_weight_tied_between_two_layers_counts_once(tmp_path: Path) -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(784, 784), nn.ReLU(), nn.Linear(784, 784), nn.Linear(784, 10))
    model[3].weight = model[1].weight
    graph = load(save(capture(model), tmp_path))
    assert graph.parameters == 784 * 784 + 2 * 784 + 7850
    assert_same(model, graph.build(), torch.randn(3, 1, 28, 28))


def test_buffers_count_and_batch_norms_statistics_do_not() -> None:
    class Masked(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.bn = nn.BatchNorm2d(1)
            self.register_buffer("table", torch.rand(784, 10))
            self.register_buffer("hidden", torch.rand(10), persistent=False)

        def forward(self, x: Tensor) -> Tensor:
            return F.linear(self.bn(x).flatten(1), self.table.t()) + self.hidden

    with pytest.raises(GraphError, match="the operation 't' is outside the lab's list"):
        capture(Masked())

    class Stored(Masked):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("table", torch.rand(10, 784))

        def forward(self, x: Tensor) -> Tensor:
            return F.linear(self.bn(x).flatten(1), self.table) + self.hidden

    assert capture(Stored()).parameters == 7840 + 10 + 2  # the mean and the variance are left out


def test_a_statistic_that_serves_as_a_weight_too_is_counted() -> None:
    class Smuggler(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.bn = nn.BatchNorm2d(10, affine=False)
            self.conv = nn.Conv2d(1, 10, 28, bias=False)

        def forward(self, x: Tensor) -> Tensor:
            return self.bn(self.conv(x)).flatten(1) + self.bn.running_mean

    assert capture(Smuggler()).parameters == 7840 + 10

    class Frozen(Smuggler):
        def __init__(self) -> None:
            super().__init__()
            self.bn.eval()
            self.bn.train = lambda mode=True: self.bn  # type: ignore[method-assign]

        def forward(self, x: Tensor) -> Tensor:
            return self.bn(self.conv(x)).flatten(1)

    assert capture(Frozen()).parameters == 7840 + 20  # it gathers nothing: these are numbers like any others


def test_a_class_that_overrides_its_parameters_and_modules_is_seen_through() -> None:
    class Liar(nn.Sequential):
        def parameters(self, recurse: bool = True):
            return iter([1])

        def modules(self):
            return iter([])

    assert capture(Liar(nn.Flatten(), nn.Linear(784, 10))).parameters == 7850


def test_what_has_no_effect_is_left_out_and_named() -> None:
    class Idle(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.never = nn.Linear(784, 784)
            self.drop = nn.Dropout(0.5)
            self.fc = nn.Linear(784, 10)

        def forward(self, x: Tensor) -> Tensor:
            x = x.flatten(1)
            self.drop(x)
            x.abs().sum().item  # noqa: B018 (a useless line, as students leave them)
            return self.fc(x)

    graph = capture(Idle())
    assert [op.name for op in graph.operations] == ["flatten", "fc"]
    assert graph.parameters == 7850
    assert [(idle.kind, idle.name) for idle in graph.idle] == [("dropout", "drop"), ("Linear", "never")]
    assert graph.idle[0].text == "dropout 'drop': executed, its output thrown away"
    assert graph.idle[1].text == "Linear 'never': declared, and the output does not depend on it"


def test_an_in_place_activation_changes_what_is_read_later() -> None:
    class InPlace(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(1, 2, 3)

        def forward(self, x: Tensor) -> Tensor:
            x = self.conv(x)
            y = F.relu(x, inplace=True)
            F.relu6(x, inplace=True)  # the result is dropped, the change stays
            copy = x.clone()
            copy += 1  # x stays as it is
            return (x * 2 + y * copy).flatten(1)

    model = InPlace()
    assert_same(model, capture(model).build(), 9 * torch.randn(4, 1, 28, 28))


def test_modes_of_dropout_and_batch_norm_are_recorded() -> None:
    class Modes(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.bn = nn.BatchNorm2d(1)

        def forward(self, x: Tensor) -> Tensor:
            x = F.dropout(self.bn(x), 0.1)
            x = F.dropout(x, 0.2, self.training)
            return F.dropout(x, 0.3, False).flatten(1)

    graph = capture(Modes())
    assert [(op.p, op.training) for op in graph.operations if isinstance(op, Dropout)] == [
        (0.1, "always"),
        (0.2, "follow"),
        (0.3, "never"),
    ]
    assert [op.training for op in graph.operations if isinstance(op, BatchNorm)] == ["follow"]


# -- networks that can't be written down ------------------------------------------------------------------------------


class Net(nn.Module):
    """A base for small faulty networks: `step` is what the fault replaces."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 4, 3)
        self.fc = nn.Linear(4 * 26 * 26, 10)
        self.register_buffer("table", torch.rand(4, 1, 1))

    def step(self, x: Tensor) -> Tensor:
        return x

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.step(self.conv(x)).flatten(1))


FAULTS = {
    "outside the list": (lambda self, x: x.cumsum(1), ["test_graph.py, line", "cumsum", "outside the lab's list"]),
    "advice": (lambda self, x: x - x.sum(1, keepdim=True), ["sum", "instead"]),
    "if on data": (
        lambda self, x: x * 2 if x.sum() > 0 else x,
        ["depends on the numbers in a tensor", "test_graph.py"],
    ),
    "item": (lambda self, x: x * x.mean().item(), ["number that it takes from a tensor", ".item()"]),
    "lifted constant": (lambda self, x: x * torch.tensor([1.0, 2, 3, 4]).view(4, 1, 1), ["constant tensor", "counted"]),
    "made constant": (lambda self, x: x + torch.ones(4, 1, 1), ["constant tensor (ones)", "nn.Parameter"]),
    "random": (lambda self, x: x + torch.rand(4, 1, 1), ["draws random numbers (rand)", "dropout"]),
    "across the batch": (lambda self, x: x.softmax(0), ["across the batch"]),
    "batch moved": (
        lambda self, x: x.reshape(-1, 26, 26).reshape(-1, 4, 26, 26),
        ["batch does not stay the first axis"],
    ),
    "wrong channels": (lambda self, x: F.conv2d(x, self.conv.weight), ["forward fails", "test_graph.py, line"]),
    "computed weight": (lambda self, x: F.conv2d(x, x[0:1].mean(0, keepdim=True)), ["test_graph.py, line"]),
    "stored changed": (lambda self, x: x * self.table.add_(1), ["changes the stored tensor 'table' in place"]),
    "stored changed before": (
        lambda self, x: (self.table.add_(1), x * self.table)[1],
        ["changes the stored tensor 'table' in place"],
    ),
    "eval is another": (lambda self, x: x.relu() if self.training else x.tanh(), ["in eval mode"]),
    "only in eval": (lambda self, x: x if self.training else x.relu(), ["in eval mode"]),
    "dropout in eval": (lambda self, x: F.dropout(x, 0.5, not self.training), ["in eval mode and not in training"]),
    "half": (lambda self, x: x.half().float(), ["float32"]),
    "in place on a view": (lambda self, x: x.flatten(2).relu_().view(-1, 4, 26, 26) + x, ["inplace=True"]),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_network_outside_the_rules_gets_a_message(fault: str) -> None:
    step, words = FAULTS[fault]
    with pytest.raises(GraphError) as error:
        capture(type("Faulty", (Net,), {"step": step})())
    for word in words:
        assert word in str(error.value), str(error.value)
    assert len(str(error.value)) < 600


def test_a_fixed_batch_size_gets_a_message() -> None:
    class Fixed(Net):
        def forward(self, x: Tensor) -> Tensor:
            return self.fc(self.conv(x).view(3, -1))

    with pytest.raises(GraphError, match=r"one batch size only|batch does not stay"):
        capture(Fixed())


def test_two_outputs_and_no_operation_get_messages() -> None:
    class Two(Net):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x), x  # type: ignore[return-value]

    with pytest.raises(GraphError, match="returns a tuple of 2 values; it must return one tensor"):
        capture(Two())
    with pytest.raises(GraphError, match="executes nothing"):
        capture(nn.Identity())


def test_an_exercise_that_is_not_done_is_no_graph_error() -> None:
    class Stub(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            raise NotImplementedError("exercise 1")

    with pytest.raises(NotImplementedError, match="exercise 1"):
        capture(Stub())
    with pytest.raises(GraphError, match="forward"):
        capture(nn.Module())  # torch's own way to say that there is no forward


def test_the_wrong_input_size_names_the_line() -> None:
    with pytest.raises(GraphError, match=r"1x32x32 images: .*(mat1 and mat2|reduction dim)"):
        capture(SeedNet(), (1, 32, 32))


# -- hostile and broken files -----------------------------------------------------------------------------------------


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    return save(capture(LabNet()), tmp_path)


def change(folder: Path, edit: str) -> None:
    """Run `edit` on the JSON document `d` and write it back."""
    document = json.loads((folder / "graph.json").read_text())
    exec(edit, {"d": document})
    (folder / "graph.json").write_text(json.dumps(document))


@pytest.mark.parametrize(
    ("edit", "words"),
    [
        ("d['extra'] = 1", "extra"),
        ("d['version'] = 3", "version"),
        ("d['version'] = 1; d['idle'] = [3]", "version 1 has a list of sentences"),
        ("d['operations'][0]['kind'] = 'exec'", "operations"),
        ("d['operations'][0]['stride'] = [0, 1]", "stride"),
        ("d['operations'][0]['stride'] = ['1', 1]", "stride"),
        ("d['operations'][0]['stride'] = [10**12, 1]", "stride"),
        ("d['operations'][0]['groups'] = 3", "can't be computed"),
        ("d['operations'][0]['kernel'] = [5, 5]", "kernel"),
        ("d['operations'][4]['inputs'] = ['nowhere']", "nothing before it computes"),
        ("d['operations'][0]['inputs'] = ['20']", "nothing before it computes"),
        ("d['operations'][4]['inputs'] = ['3', '0']", "names 2 inputs and computes with 1"),
        ("d['operations'][1]['name'] = '0'", "two operations"),
        ("d['operations'][0]['name'] = 'input'", "two operations"),
        ("d['operations'][1]['shape'] = [16, 13, 13]", "declared"),
        ("d['operations'] = []", "operations"),
        ("d['operations'] *= 101", "operations"),
        ("d['operations'][19]['p'] = 1.5", "p"),
        ("d['tensors']['0.weight']['shape'] = [16, 1, 3, 4]", "0.weight"),
        ("d['tensors']['spare'] = {'shape': [3], 'learnable': True}", "spare"),
        ("del d['tensors']['0.weight']", "0.weight"),
        ("d['input_shape'] = [1, 10**9, 28]", "input_shape"),
        ("d['operations'][18]['shape'] = [215]", "can't be computed"),
    ],
)
def test_a_document_that_capture_would_not_write_is_refused(saved: Path, edit: str, words: str) -> None:
    change(saved, edit)
    with pytest.raises(GraphError, match=words):
        load(saved)


@pytest.mark.parametrize(
    "text",
    ["", "null", "[" * 100_000, '{"version": NaN}', '{"a": 1, "a": 2}', "\xff", '{"format": 1e999}', " " * (5 * 2**20)],
)
def test_json_that_is_no_document_is_refused(saved: Path, text: str) -> None:
    (saved / "graph.json").write_text(text, encoding="latin-1")
    with pytest.raises(GraphError, match=r"graph\.json"):
        load(saved)


def test_weights_that_do_not_fit_are_refused(saved: Path) -> None:
    from safetensors.torch import load_file, save_file

    path = saved / "weights.safetensors"
    good = load_file(path)
    for name, bad in {
        "NaN or infinity": good | {"0.weight": torch.full((16, 1, 3, 3), float("nan"))},
        "float64": good | {"0.weight": torch.zeros(16, 1, 3, 3, dtype=torch.float64)},
        r"\(16, 9\)": good | {"0.weight": torch.zeros(16, 9)},
        "different tensors": good | {"more": torch.zeros(1)},
    }.items():
        save_file(bad, path)
        with pytest.raises(GraphError, match=name):
            load(saved)
    path.write_bytes(b"\x80\x04 a pickle")
    with pytest.raises(GraphError, match="not a safetensors file"):
        load(saved)
    path.unlink()
    with pytest.raises(GraphError, match="cannot read"):
        load(saved)


def renamed(folder: Path, names: dict[str, str]) -> None:
    """Call tensors of a saved LabNet something else, in both files."""
    from safetensors.torch import load_file, save_file

    weights = load_file(folder / "weights.safetensors")
    save_file({names.get(name, name): value for name, value in weights.items()}, folder / "weights.safetensors")
    for old, new in names.items():
        role = f"d['operations'][{old.split('.')[0]}][{old.split('.')[1]!r}]"
        change(folder, f"d['tensors'][{new!r}] = d['tensors'].pop({old!r}); {role} = {new!r}")


@pytest.mark.parametrize(
    "names",
    [{"20.bias": "a", "20.weight": "a.b"}, {"20.bias": "a.b", "20.weight": "a%2Eb"}]
    + [{"20.bias": name} for name in ("__class__.x", "a..b", "forward.x", "graph", "training", "_modules.x", "train")]
    + [{"20.bias": name} for name in ("snapshot", "_c1.bias", "_body", "tensor:20", ".", "%", "T_destination")],
)
def test_whatever_a_tensor_is_called_it_is_a_tensor_and_nothing_else(
    saved: Path, tmp_path: Path, names: dict[str, str]
) -> None:
    plain, x = load(saved), torch.randn(3, 1, 28, 28)
    renamed(saved, names)
    graph = load(save(load(saved), tmp_path / "again"))
    network = graph.build().eval()
    torch.testing.assert_close(network(x), plain.build().eval()(x))
    assert set(network.snapshot().weights) == {names.get(name, name) for name in plain.weights}
    assert network.snapshot().parameters == sum(p.numel() for p in network.parameters()) == plain.parameters


def test_a_graph_saved_over_an_old_one_replaces_it_whole(saved: Path) -> None:
    save(capture(SeedNet()), saved)
    assert load(saved).parameters == 18242
    assert sorted(path.name for path in saved.iterdir()) == ["graph.json", "weights.safetensors"]


def test_a_folder_that_cannot_be_made_says_so(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(GraphError, match="cannot make the folder"):
        save(capture(LabNet()), tmp_path / "file" / "graph")


def test_a_name_that_is_not_there_lists_those_that_are() -> None:
    graph: Graph = capture(LabNet())
    assert isinstance(graph["0"], Conv2d)
    with pytest.raises(GraphError, match="no operation is called 'conv9'; there are: 0, 1"):
        graph["conv9"]
    with pytest.raises(GraphError, match="conv9"):
        graph.build()(torch.zeros(2, 1, 28, 28), until="conv9")
    assert graphs.MAX_OPERATIONS == 2000


# -- its steps --------------------------------------------------------------------------------------------------------


def test_every_step_gives_what_the_network_s_layer_gives():
    model, x = shaken(LabNet()).eval(), torch.randn(2, 1, 28, 28)
    net = capture(model).build().eval()
    steps, value = list(net.steps(x)), x
    assert [name for name, _ in steps] == [str(place) for place in range(len(model))]
    for layer, (name, given) in zip(model, steps, strict=True):
        value = layer(value)
        torch.testing.assert_close(given, value, atol=2e-5, rtol=1e-4)
        torch.testing.assert_close(net(x, until=name), given)


def test_until_an_operation_that_there_is_not():
    with pytest.raises(GraphError, match="no operation is called 'nowhere'"):
        capture(LabNet()).build()(torch.zeros(1, 1, 28, 28), until="nowhere")


class DropsBehind(nn.Module):
    """Random numbers, and running statistics, are drawn behind the output, and thrown away."""

    def __init__(self) -> None:
        super().__init__()
        self.drop, self.fc, self.bn = nn.Dropout(0.5), nn.Linear(784, 10), nn.BatchNorm1d(10)

    def forward(self, x: Tensor) -> Tensor:
        out = self.fc(self.drop(x.flatten(1)))
        self.drop(self.bn(out))
        return out


def test_what_is_executed_behind_the_output_is_not_the_output():
    model = DropsBehind()
    graph = capture(model)
    assert graph.operations[-1].name == "fc"
    assert_same(model, graph.build(), torch.randn(4, 1, 28, 28))
