"""Where in a person's code something happened, and what a failure means for who wrote the network."""

import difflib
import os
import re
import sysconfig
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any

import torch
from torch import nn
from torch.fx import Node

_FRAME = re.compile(r'File "([^"]+)", line (\d+), in [^\n]*(?:\n\s+(.*))?')
_HERE = Path(__file__).parent
_LIBRARIES = (
    str(Path(torch.__file__).parent) + os.sep,
    sysconfig.get_paths()["stdlib"] + os.sep,  # site-packages too, outside a virtual environment
    str(_HERE) + os.sep,
    *(str(_HERE.parent / name) for name in ("graph.py", "operations.py", "targets.py")),
)


def target_name(node: Node) -> str:
    """aten.conv2d.default -> conv2d; operator.getitem -> getitem."""
    target = node.target
    if isinstance(target, torch._ops.OpOverload):
        return target._schema.name.split("::")[-1]
    return str(getattr(target, "__name__", target))


def where(node: Node) -> str:
    """Who called the operation: "net.py, line 12: `x = self.drop(x)`", with the layer where the line alone is vague."""
    line, layer = line_of(node), _layer_of(node)
    return ", ".join(filter(None, (line, layer))) or f"in {target_name(node)}"


def line_of(node: Node) -> str:
    """The person's line that called the operation; empty where it was called by libraries alone."""
    for file, number, text in reversed(_FRAME.findall(node.meta.get("stack_trace") or "")):
        if not is_library(file):
            return _line(file, int(number), text)
    if isinstance(node.target, torch._ops.HigherOrderOperator):  # its own nodes know where it came from
        inner = [getattr(node.graph.owning_module, str(n.target), None) for n in node.all_input_nodes]
        nodes = [n for module in inner if module is not None for n in module.graph.nodes if n.op == "call_function"]
        return next(filter(None, map(line_of, nodes)), "")
    return ""


def _layer_of(node: Node) -> str:
    """The innermost layer, where a container calls it: the line of `self.body(x)` does not say which one it is."""
    modules = modules_of(node)
    vague = not line_of(node) or (len(modules) > 1 and _is_torchs(modules[-2][1]))
    if not modules or not modules[-1][0] or not vague:
        return ""
    path, kind = modules[-1]
    return f"layer {path!r} ({kind.rsplit('.', 1)[-1]})"


def modules_of(node: Node) -> list[tuple[str, str]]:
    """The modules that call the operation, from the outside in: path, and class ("torch.nn.modules.conv.Conv2d")."""
    return [
        (path.split("@")[0], str(kind))
        for path, kind in (node.meta.get("nn_module_stack") or {}).values()
        if not path.startswith("_empty_nn_module_stack")
    ]


_LISTED = {
    *("Conv2d", "Linear", "BatchNorm1d", "BatchNorm2d", "GroupNorm", "LayerNorm", "Dropout", "Dropout2d"),
    *("MaxPool2d", "AvgPool2d", "AdaptiveAvgPool2d", "AdaptiveMaxPool2d", "Flatten", "Unflatten", "Upsample"),
    *("ZeroPad2d", "ConstantPad2d", "Softmax", "LogSoftmax", "PReLU"),
}


def unlisted_layer(node: Node) -> str:
    """The layer of PyTorch's own that calls the operation, if the lab's list has no such layer: "nn.LSTM 'rnn'"."""
    path, kind = (modules_of(node) or [("", "")])[-1]
    name = kind.rsplit(".", 1)[-1]
    if not path or not _is_torchs(kind) or ".container." in kind or name in _LISTED:
        return ""
    return f"nn.{name} {path!r}" if kind.startswith("torch.nn.modules") else f"{name.strip('_')} {path!r}"


def _is_torchs(kind: str) -> bool:
    return kind.startswith("torch.")


def is_library(file: str) -> bool:
    """Is it PyTorch's, Python's or the lab's own machinery, and not a person's code?"""
    return file.startswith(_LIBRARIES) or "_dynamo" in file


def _line(file: str, number: int, text: str | None) -> str:
    if not (text or "").strip():
        return ""
    name = "this cell" if "ipykernel" in file or file.startswith("<") else Path(file).name
    return f"{name}, line {number}: `{(text or '').strip()}`"[:300]


def students_line(trace: TracebackType | None) -> str:
    """The last line of a traceback that is not a library's; empty where there is none."""
    for frame in reversed(traceback.extract_tb(trace)):
        if not is_library(frame.filename):
            line = _line(frame.filename, frame.lineno or 0, frame.line)
            if line:
                return line
    return ""


def first_line(error: BaseException) -> str:
    """The first line of an error's text, or its kind where it has none."""
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__


# -- a forward that fails ----------------------------------------------------------------------------------------------


def explain(model: nn.Module, error: BaseException, input_shape: tuple[int, ...]) -> str:
    """What a failed export means for the person who wrote `model`.

    A network that fails on real images, too, is told by PyTorch's own error, which has real numbers in it.
    """
    plain = _fails_on(model, torch.zeros(BATCH, *input_shape))
    if plain is not None:
        return plain
    text, kind = str(error), type(error).__name__
    line = students_line(error.__traceback__) or "forward"
    if "DataDependent" in kind or "data-dependent" in text or "Could not guard" in text:
        lines = [_line(file, int(n), code) for file, n, code in _FRAME.findall(text) if not is_library(file)]
        return (
            f"{lines[-1] if lines else line}: what happens next depends on the numbers in a tensor (if, while, "
            ".item(), float(...)). A network executes the same operations for every image; compute both and combine "
            "them, or drop it."
        )
    if "onstraint" in kind or "onstraint" in text or "specializ" in text.lower():
        return (
            "the network works for one batch size only. Let the batch stay free: x.flatten(1), or "
            "x.view(x.size(0), -1), and no fixed number of images."
        )
    if "fake tensor" in text or "FakeTensor" in text:
        return (
            f"{line}: this takes a tensor's numbers past PyTorch's eyes (x.data, x.numpy(), a list of numbers). "
            "Compute with the tensor x itself."
        )
    if overridden := [name for name in _LOOKUPS if getattr(type(model), name) is not getattr(nn.Module, name)]:
        return (
            f"{type(model).__name__} overrides {overridden[0]}(): that is where its weights are looked up. Take it out."
        )
    return f"{line}: PyTorch can't write down what forward does here: {without_symbols(first_line(error))}"


_LOOKUPS = ("parameters", "named_parameters", "buffers", "named_buffers", "modules", "named_modules", "state_dict")


BATCH = 3
"""Images in the batch on which a network is tried: one or two could be taken for a special case."""


def _fails_on(model: nn.Module, x: torch.Tensor) -> str | None:
    """Why `model` fails on the batch x (B, C, H, W), with the line and the layer; None where it does not fail."""
    device = next((t.device for t in nn.Module.parameters(model)), x.device)
    path: list[str] = []
    try:
        with torch.no_grad(), kept_buffers(model), _followed(model, path):
            model(x.to(device))
    except (Exception, SystemExit, GeneratorExit) as error:  # whatever forward raises has to become a message
        size = "x".join(map(str, x.shape[1:]))
        layer = f", layer {path[-1]}" if path else ""
        line = students_line(error.__traceback__)
        place = f"{line}{layer}" if line else layer.removeprefix(", ") or "forward"
        if isinstance(error, SystemExit | GeneratorExit):
            return f"{place}: forward ends Python itself ({type(error).__name__}). Take that out."
        kind = "" if isinstance(error, RuntimeError | ValueError) else f"{type(error).__name__}: "
        return (
            f"{place}: forward fails on a batch of {size} images: "
            f"{kind}{first_line(error)}.{_advice(str(error), len(x))}"
        )
    return None


def _advice(text: str, batch: int) -> str:
    sizes = re.search(r"\((\d+)x(\d+) and (\d+)x(\d+)\)", text)
    if sizes and int(sizes[2]) == batch * int(sizes[3]):
        return " The images of a batch were joined into one row: keep the batch apart, x.flatten(1)."
    if sizes and sizes[2] != sizes[3]:
        return f" The layer gets {sizes[2]} numbers an image: give it that many inputs."
    if "invalid for input of size" in text:
        return " Leave the number of images free: x.flatten(1), or x.view(x.size(0), -1)."
    return ""


def without_symbols(text: str) -> str:
    """An exporter's text with B for its symbols of the batch (`s77`) and without its references to itself."""
    return re.sub(r"\b[su]\d+\b", "B", text).split("Please file an issue")[0].strip()


@contextmanager
def _followed(model: nn.Module, path: list[str]) -> Iterator[None]:
    """While it runs, `path` holds the layers that are being executed, from the outside in."""
    hooks = []
    for name, module in nn.Module.named_modules(model):
        if name and type(module).__module__.startswith("torch."):  # a person's own module is told by its line
            label = f"{name!r} ({type(module).__name__})"
            hooks.append(module.register_forward_pre_hook(lambda *_, label=label: path.append(label)))
            hooks.append(module.register_forward_hook(lambda *_: path.pop() and None))
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


@contextmanager
def kept_buffers(model: nn.Module) -> Iterator[None]:
    """The network's buffers (running statistics) are afterwards what they were."""
    buffers = [(buffer, buffer.detach().clone()) for _, buffer in nn.Module.named_buffers(model)]
    try:
        yield
    finally:
        with torch.no_grad():
            for buffer, value in buffers:
                buffer.copy_(value)


# -- what is no network ------------------------------------------------------------------------------------------------


def missing_forward(model: nn.Module) -> str:
    """What to say of a module without a `forward`; empty where it has one."""
    if type(model).forward is not nn.Module.forward:
        return ""
    name = type(model).__name__
    own = [name for kind in type(model).__mro__ if not _is_torchs(kind.__module__ + ".") for name in vars(kind)]
    close = difflib.get_close_matches("forward", own, 1, 0.7)
    advice = f"it has {close[0]!r}: write `def forward(self, x)`." if close else "write `def forward(self, x)` in it."
    return f"{name} has no forward: {advice}"


def list_of_layers(model: nn.Module) -> str:
    """The attribute of a module in which a Python list, tuple or dict holds layers; empty where there is none."""
    for path, module in nn.Module.named_modules(model):
        for name, value in vars(module).items():
            if name.startswith("_") or not isinstance(value, list | tuple | dict):
                continue
            held: Any = value.values() if isinstance(value, dict) else value
            if any(isinstance(item, nn.Module) for item in held):
                kind = "nn.ModuleDict" if isinstance(value, dict) else "nn.ModuleList"
                return (
                    f"{'.'.join(filter(None, ('self', path, name)))} is a Python {type(value).__name__} of layers: the "
                    f"network does not know them, and nothing trains them. Make it an {kind}."
                )
    return ""
