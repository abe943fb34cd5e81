"""Recipes that a person writes: what they may say, and how a mistake is told."""

import json
from dataclasses import asdict, fields, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lab.augment import Affine
from lab.presets import PRESETS, PresetError
from lab.recipes import RecipeError, changed, load_recipe, recipe_of, settings_of, with_settings
from lab.rules import RUBRICS, load_rubric
from lab.train import Recipe, TrainingError, check_recipe

SHARE = st.floats(0, 0.99)
LIMITS = st.builds(Affine, st.floats(0, 9), st.floats(0, 90), SHARE, SHARE)
RECIPES = st.builds(
    Recipe,
    epochs=st.integers(1, 99),
    batch_size=st.integers(2, 999),
    optimizer=st.sampled_from(["adamw", "sgd"]),
    learning_rate=st.floats(1e-9, 10),
    schedule=st.sampled_from(["triangle", "cosine", "constant"]),
    warmup=SHARE,
    dropout=st.none() | SHARE,
    augment=st.none() | LIMITS,
    averaging=SHARE,
    precision=st.sampled_from(["auto", "float32", "bfloat16"]),
    seed=st.integers(0, 2**32),
)


@given(RECIPES)
def test_what_a_recipe_says_makes_it_again(recipe):
    assert with_settings(Recipe(), settings_of(recipe)) == recipe
    assert changed(Recipe(), json.loads(json.dumps(asdict(recipe)))) == recipe


def test_the_default_says_nothing():
    assert settings_of(Recipe()) == []


@pytest.mark.parametrize("preset", PRESETS.values(), ids=PRESETS)
def test_the_presets_can_be_typed(preset):
    assert with_settings(Recipe(), settings_of(preset.recipe)) == preset.recipe


def test_settings_change_what_they_name_in_order():
    peak = PRESETS["peak"].recipe
    made = with_settings(peak, ["augment.degrees=3", "dropout=None", " epochs = 2 ", "epochs=3"])
    assert made == replace(peak, augment=replace(peak.augment, degrees=3), dropout=None, epochs=3)
    assert with_settings(peak, ["augment=none"]).augment is None
    assert with_settings(peak, ["augment=none", "augment.shift=1"]).augment == Affine(shift=1)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("averaging", "'averaging' is no setting: write NAME=VALUE, such as averaging=0.999."),
        ("=3", "'=3' is no setting"),
        ("epochs=", "'epochs=' is no setting"),
        ("epoch=3", "a recipe has no setting 'epoch': did you mean 'epochs'?"),
        ("colour=3", "a recipe has no setting 'colour': it has epochs, batch_size, optimizer, "),
        ("augment.degree=3", "a recipe has no setting 'augment.degree': did you mean 'augment.degrees'?"),
        ("augment.x=3", "a recipe has no setting 'augment.x': it has augment.shift, augment.degrees, "),
        ("epochs.degrees=3", "a recipe's `epochs` is a whole number; not {'degrees': '3'}."),
        ("epochs=1.5", "a recipe's `epochs` is a whole number; not '1.5'."),
        ("epochs=none", "a recipe's `epochs` is a whole number; not 'none'."),
        ("dropout=much", "a recipe's `dropout` is a number or none; not 'much'."),
        ("optimizer=adam", "a recipe's `optimizer` is one of adamw, sgd; not 'adam'."),
        ("augment=yes", "a recipe's `augment` is some limits (augment.degrees=10) or none; not 'yes'."),
    ],
)
def test_a_setting_that_no_recipe_has_is_told(setting, message):
    with pytest.raises(RecipeError) as error:
        with_settings(Recipe(), [setting])
    assert str(error.value).startswith(message)


@pytest.mark.parametrize("value", ["nan", "inf", "-1"])
@pytest.mark.parametrize("name", ["learning_rate", "averaging", "augment.shift", "augment.scale", "dropout", "gamma"])
def test_a_value_that_no_training_can_follow_is_told(name, value):
    with pytest.raises(TrainingError, match="a recipe"):
        with_settings(Recipe(), [f"{name}={value}"])


@pytest.mark.parametrize("seed", [-1, 2**63])
def test_a_seed_is_a_whole_number_that_torch_takes(seed):
    with pytest.raises(TrainingError, match="a recipe's `seed` is a whole number from 0"):
        check_recipe(Recipe(seed=seed))


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.toml", "epochs = ", "is not a TOML file: "),
        ("a.json", "{", "is not a JSON file: "),
        ("a.json", "[1]", "must hold a table of settings; it holds list."),
        ("a.json", '{"epochs": true}', "a recipe's `epochs` is a whole number; not True."),
        ("a.json", '{"epochs": null}', "a recipe's `epochs` is a whole number; not None."),
        ("a.toml", "epoch = 3", "a recipe has no setting 'epoch': did you mean 'epochs'?"),
        ("a.toml", "averaging = 2", "a recipe's `averaging` is at least 0 and less than 1"),
        ("a.toml", "augment = {degrees = 'x'}", "a recipe's `augment.degrees` is a number; not 'x'."),
    ],
)
def test_a_file_that_is_no_recipe_is_told_by_its_name(tmp_path, name, text, message):
    (tmp_path / name).write_text(text)
    with pytest.raises(RecipeError) as error:
        load_recipe(tmp_path / name)
    assert str(tmp_path / name) in str(error.value)
    assert message in str(error.value)


def test_a_file_that_is_not_there_is_told(tmp_path):
    with pytest.raises(RecipeError, match=r"cannot read the recipe .*gone\.toml: No such file"):
        load_recipe(tmp_path / "gone.toml")


@pytest.mark.parametrize("path", sorted(RUBRICS.glob("*.toml")), ids=lambda path: path.stem)
def test_every_rubrics_recipe_keeps_its_epochs(path):
    rubric = load_rubric(path)
    assert recipe_of(rubric).epochs < rubric.limit("epochs")


def test_a_rubric_that_names_no_preset_is_told():
    with pytest.raises(PresetError, match="there is no preset 'fast'"):
        recipe_of(load_rubric().model_copy(update={"recipe": "fast"}))


def test_every_setting_of_a_recipe_can_be_typed():
    """A new kind of field would need words for a wrong value."""
    for field in fields(Recipe):
        with pytest.raises((RecipeError, TrainingError), match=f"`{field.name}` is "):
            with_settings(Recipe(), [f"{field.name}=?"])
