"""Recipes that a person writes: a preset's name, a file, or a few settings in place of the defaults.

    with_settings(Recipe(), ["averaging=0.999", "augment.degrees=15"])      # as the command line takes them
    load_recipe("recipe.toml")                                              # epochs = 10, or an [augment] table

What a recipe is made of, and what each setting means, is `lab.train.Recipe`'s.
"""

import difflib
import json
import sys
from collections.abc import Iterable, Mapping
from dataclasses import asdict, fields, replace
from pathlib import Path
from types import NoneType
from typing import Any, Literal, TypeVar, get_args, get_origin, get_type_hints

from pydantic import TypeAdapter, ValidationError

from lab.augment import Affine
from lab.errors import LabError
from lab.presets import preset_or_default
from lab.rules import Rubric
from lab.train import Recipe, check_recipe

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

NONE = "none"
"""How a setting is left out on the command line and in TOML, which has no null."""

_Settings = TypeVar("_Settings", Recipe, Affine)


class RecipeError(LabError):
    """A recipe that can't be read, or a setting that a recipe has not."""


def changed(recipe: Recipe, changes: Mapping[str, Any]) -> Recipe:
    """The recipe with some settings changed: {"epochs": 10, "augment": {"degrees": 15}}.

    `augment` takes "none" or some of Affine's limits; the others stay as the recipe has them, or are Affine's own
    where it had none. Raises RecipeError for a name or a kind of value that a recipe has not, and TrainingError for a
    value that no training can follow.
    """
    made = _changed(recipe, changes, "")
    check_recipe(made)
    return made


def with_settings(recipe: Recipe, settings: Iterable[str]) -> Recipe:
    """The recipe with settings as a person types them, in order: "averaging=0.999", "augment=none".

    Raises as `changed` does, and RecipeError for a setting without "=".
    """
    for setting in settings:
        name, equals, value = (part.strip() for part in setting.partition("="))
        if not (name and equals and value):
            raise RecipeError(f"{setting!r} is no setting: write NAME=VALUE, such as averaging=0.999.")
        outer, *inner = name.split(".", 1)
        recipe = _changed(recipe, {outer: {inner[0]: value} if inner else value}, "")
    check_recipe(recipe)
    return recipe


def load_recipe(path: str | Path) -> Recipe:
    """The recipe in a TOML or JSON file (by its name's end): what it leaves out is the lab's default.

    Raises as `changed` does, and RecipeError for a file that can't be read.
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8-sig")
        changes = json.loads(text) if path.suffix == ".json" else tomllib.loads(text)
    except OSError as error:
        raise RecipeError(f"cannot read the recipe {path}: {error.strerror or error}.") from error
    except (ValueError, RecursionError) as error:
        kind = "JSON" if path.suffix == ".json" else "TOML"
        raise RecipeError(f"{path} is not a {kind} file: {error}") from error
    if not isinstance(changes, dict):
        raise RecipeError(f"{path} must hold a table of settings; it holds {type(changes).__name__}.")
    try:
        return changed(Recipe(), changes)
    except LabError as error:
        raise RecipeError(f"{path}: {error}") from error


def recipe_of(rubric: Rubric) -> Recipe:
    """How an assignment's networks are trained where nobody says otherwise: as its rubric says, or the lab's default.

    Raises PresetError or RecipeError for what the rubric names and the lab has not.
    """
    if isinstance(rubric.recipe, str):
        return preset_or_default(rubric.recipe).recipe
    return changed(Recipe(), rubric.recipe)


def settings_of(recipe: Recipe) -> list[str]:
    """What the recipe changes in the lab's default, as `with_settings` takes it: ["epochs=19", "augment=none"]."""
    own, default = asdict(recipe), asdict(Recipe())
    shown = []
    for name, value in own.items():
        if name == "augment" and value is not None:
            limits = {limit: size for limit, size in value.items() if size != default[name][limit]}
            shown += [f"augment.{limit}={size!r}" for limit, size in limits.items()]
        elif value != default[name]:
            shown.append(f"{name}={NONE if value is None else value}")
    return shown


def _changed(settings: _Settings, changes: Mapping[str, Any], above: str) -> _Settings:
    """The same for a recipe, and for what is nested in it, whose names begin with `above`."""
    hints = get_type_hints(type(settings))
    known = [field.name for field in fields(settings)]
    values: dict[str, Any] = {}
    for name, value in changes.items():
        if name not in known:
            raise RecipeError(_unknown(above + name, known, above))
        if isinstance(value, Mapping) and Affine in get_args(hints[name]):
            values[name] = _changed(getattr(settings, name) or Affine(), value, f"{above}{name}.")
        else:
            values[name] = _read(above + name, value, hints[name])
    return replace(settings, **values)


def _unknown(name: str, known: list[str], above: str) -> str:
    close = difflib.get_close_matches(name.removeprefix(above), known, n=1)
    which = f"did you mean {above + close[0]!r}?" if close else f"it has {', '.join(above + one for one in known)}."
    return f"a recipe has no setting {name!r}: {which}"


def _read(name: str, value: Any, hint: Any) -> Any:
    """A value of the kind that a setting has. A text stands for the number or nothing that it spells."""
    kinds = get_args(hint) if get_origin(hint) is not Literal else (hint,)
    if value is None or (isinstance(value, str) and value.lower() == NONE):
        if NoneType in kinds:
            return None
    else:
        adapter = TypeAdapter(hint)
        try:
            return (
                adapter.validate_strings(value)
                if isinstance(value, str)
                else adapter.validate_python(value, strict=True)
            )
        except ValidationError:
            pass
    raise RecipeError(f"a recipe's `{name}` is {_in_words(hint)}; not {value!r}.")


def _in_words(hint: Any) -> str:
    if get_origin(hint) is Literal:
        return f"one of {', '.join(get_args(hint))}"
    words = {int: "a whole number", float: "a number", Affine: "some limits (augment.degrees=10)", NoneType: NONE}
    return " or ".join(words[kind] for kind in get_args(hint) or (hint,))
