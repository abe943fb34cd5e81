"""A runner of GitHub's workflows, as far as this project's go: for tests of what their steps do, in order.

It reads the caller's workflow, the called one and the composite action, evaluates the few expressions in them, and runs
each `run:` step with bash as GitHub does. For `uses:` steps others stand in: a checkout is a clone, a set-up of Python
is this one, an upload is a copy. What steps print is read as GitHub's runner reads it, so that a test sees which
commands took effect.
"""

import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from lab._sources.cache import cache_root

ROOT = Path(__file__).parents[1]
SECRETS = {
    "GITHUB_TOKEN": "a-token-of-the-job",
    "ACTIONS_RUNTIME_TOKEN": "a-token-of-the-runner",
    "ACTIONS_ID_TOKEN_REQUEST_TOKEN": "a-token-of-openid",
    "AWS_SECRET_ACCESS_KEY": "a-secret-of-the-teacher",
}
"""What a job's environment may hold: none of it may come out anywhere."""


@dataclass(frozen=True)
class Command:
    """What a step told the runner to do: "error", with its properties, and a text."""

    name: str
    properties: Mapping[str, str]
    text: str


@dataclass
class Step:
    """A step that was executed."""

    name: str
    outcome: str = "success"
    outputs: dict[str, str] = field(default_factory=dict)
    printed: str = ""
    commands: list[Command] = field(default_factory=list)


@dataclass
class Done:
    """A job that ended."""

    steps: list[Step]
    outputs: dict[str, str]
    summary: str
    artifacts: dict[str, Path]
    workspace: Path

    @property
    def green(self) -> bool:
        return all(step.outcome in ("success", "skipped") for step in self.steps)

    @property
    def commands(self) -> list[Command]:
        return [command for step in self.steps for command in step.commands]

    @property
    def printed(self) -> str:
        return "".join(step.printed for step in self.steps)


Install = Callable[[Path], None]
"""What stands in for the step that installs the lab: makes bin/lab in this folder."""


def run_called(repository: Path, place: Path, install: Install | None, github: Mapping[str, Any] | None = None) -> Done:
    """Run what a push to `repository` starts, in the empty folder `place`. install: None runs the step itself."""
    caller = yaml.safe_load((repository / ".github" / "workflows" / "lab.yml").read_text(encoding="utf-8"))
    job = caller["jobs"]["grade"]
    called = yaml.safe_load((ROOT / ".github" / "workflows" / "grade.yml").read_text(encoding="utf-8"))
    declared = (called.get("on") or called[True])["workflow_call"]["inputs"]  # YAML 1.1 takes "on" for true
    inputs = {name: one["default"] for name, one in declared.items()} | job.get("with", {})
    runner = _Runner(repository, place, install, {"event_name": "push", "repository": "ada/lab"} | dict(github or {}))
    if "if" in job and not runner.true(job["if"], {}):
        return Done([], {}, "", {}, runner.workspace)
    return runner.job(called["jobs"]["grade"], inputs)


class _Runner:
    def __init__(self, repository: Path, place: Path, install: Install | None, github: Mapping[str, Any]) -> None:
        self.repository, self.install, self.github = repository, install, github
        self.workspace, self.temp, self.artifacts = place / "workspace", place / "temp", place / "artifacts"
        for folder in (self.workspace, self.temp, self.artifacts, place / "bin"):
            folder.mkdir(parents=True)
        sudo = place / "bin" / "sudo"
        sudo.write_text("#!/bin/sh\nexit 1\n")  # the machine's settings stay as they are
        sudo.chmod(0o755)
        self.summary = place / "summary.md"
        self.environment = {
            "PATH": f"{place / 'bin'}:/usr/bin:/bin", "HOME": str(place), "CI": "true", "GITHUB_ACTIONS": "true",
            "GITHUB_WORKSPACE": str(self.workspace), "RUNNER_TEMP": str(self.temp), "RUNNER_OS": "Linux",
            "GITHUB_REPOSITORY": "ada/lab", "GITHUB_REPOSITORY_OWNER": "ada", "GITHUB_ACTOR": "ada",
            "GITHUB_ACTOR_ID": "1815", "GITHUB_SERVER_URL": "https://github.com",
            "GITHUB_SHA": _git(repository, "rev-parse", "HEAD"), "GITHUB_STEP_SUMMARY": str(self.summary), **SECRETS,
        }  # fmt: skip
        self.done: list[Step] = []

    def job(self, job: Mapping[str, Any], inputs: Mapping[str, Any]) -> Done:
        known = self.steps(job["steps"], inputs)
        outputs = {name: self.filled(value, inputs, known) for name, value in job["outputs"].items()}
        summary = self.summary.read_text(encoding="utf-8") if self.summary.is_file() else ""
        uploaded = {path.name: path for path in self.artifacts.iterdir()}
        return Done(self.done, outputs, summary, uploaded, self.workspace)

    def steps(
        self, steps: list[dict[str, Any]], inputs: Mapping[str, Any], action: Path | None = None
    ) -> dict[str, Step]:
        """Run them in order; after a failure those alone that ask for it."""
        known: dict[str, Step] = {}
        failed = False
        for number, step in enumerate(steps):
            made = Step(step.get("name") or step.get("uses") or str(number))
            asked = step.get("if", "success()")
            if (failed and "always()" not in asked) or not self.true(asked, inputs, known):
                made.outcome = "skipped"
            elif "uses" in step:
                self.used(step, inputs, known, made)
            else:
                self.script(step, inputs, known, action, made)
            known[step.get("id", f"step {number}")] = made
            self.done.append(made)
            failed = failed or made.outcome == "failure"
        return known

    def used(self, step: dict[str, Any], inputs: Mapping[str, Any], known: dict[str, Step], made: Step) -> None:
        given = {name: self.filled(str(value), inputs, known) for name, value in step.get("with", {}).items()}
        action = step["uses"].partition("@")[0]
        if action == "actions/checkout":
            assert step["with"]["persist-credentials"] is False
            shutil.rmtree(self.workspace)
            source = f"file://{self.repository}"
            subprocess.run(["git", "clone", "--quiet", "--depth", "1", source, str(self.workspace)], check=True)
        elif action == "actions/setup-python":
            made.outputs["python-path"] = sys.executable
        elif action == "actions/upload-artifact":
            if Path(given["path"]).is_dir():
                shutil.copytree(given["path"], self.artifacts / given["name"])
        elif action.startswith("$/"):
            folder = ROOT / action.removeprefix("$/")
            read = yaml.safe_load((folder / "action.yml").read_text(encoding="utf-8"))
            before = len(self.done)
            inner = self.steps(
                read["runs"]["steps"], {k: v["default"] for k, v in read["inputs"].items()} | given, folder
            )
            made.outputs = {k: self.filled(v["value"], given, inner) for k, v in read["outputs"].items()}
            broken = any(one.outcome == "failure" for one in self.done[before:])
            made.outcome = "failure" if broken else "success"
        else:
            raise AssertionError(f"nothing stands in for {step['uses']}")

    def script(
        self, step: dict[str, Any], inputs: Mapping[str, Any], known: dict[str, Step], action: Path | None, made: Step
    ) -> None:
        assert "${{" not in step["run"], "an expression in a script may bring in anybody's text"
        if step.get("id") == "install" and self.install is not None:
            self.install(self.temp / "lab")
            return
        assert step["shell"] == "bash" or action is None
        output = self.temp / f"output-{len(self.done)}"
        output.touch()
        env = {name: self.filled(str(value), inputs, known) for name, value in step.get("env", {}).items()}
        where = {"GITHUB_OUTPUT": str(output), "GITHUB_ACTION_PATH": str(action)}
        cwd = self.filled(step.get("working-directory", str(self.workspace)), inputs, known)
        done = subprocess.run(
            ["bash", "--noprofile", "--norc", "-e", "-o", "pipefail", "-c", step["run"]],
            env=self.environment | where | env, cwd=cwd, text=True, errors="replace", stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=600,
        )  # fmt: skip
        made.printed, made.commands = done.stdout, commands(done.stdout)
        made.outputs = outputs(output.read_text(encoding="utf-8"))
        made.outputs |= {one.properties["name"]: one.text for one in made.commands if one.name == "set-output"}
        made.outcome = "failure" if done.returncode else "success"

    # -- expressions --------------------------------------------------------------------------------------------------

    def filled(self, text: str, inputs: Mapping[str, Any], known: Mapping[str, Step]) -> str:
        return re.sub(r"\$\{\{(.*?)\}\}", lambda match: str(self.value(match[1].strip(), inputs, known)), text)

    def true(self, expression: str, inputs: Mapping[str, Any], known: Mapping[str, Step] | None = None) -> bool:
        """Of parts that are compared, joined by || and &&."""

        def part(text: str) -> bool:
            for sign in ("!=", "=="):
                if sign in text:
                    left, right = (self.value(side.strip(), inputs, known or {}) for side in text.split(sign))
                    return bool((left == right) == (sign == "=="))
            return bool(self.value(text.strip(), inputs, known or {}))

        return any(all(map(part, one.split("&&"))) for one in expression.split("||"))

    def value(self, name: str, inputs: Mapping[str, Any], known: Mapping[str, Step]) -> Any:
        if name.startswith("'"):
            return name.strip("'")
        if name in ("always()", "success()"):
            return True
        context, _, rest = name.partition(".")
        if context == "inputs":
            return inputs[rest]
        if context == "runner":
            return {"temp": str(self.temp), "os": "Linux"}[rest]
        if context == "github":
            return self.github.get(rest, "")
        if context == "steps":
            step, what = rest.split(".", 1)
            found = known.get(step, Step(step, "skipped"))
            return found.outcome if what == "outcome" else found.outputs.get(what.removeprefix("outputs."), "")
        raise AssertionError(f"nobody knows {name}")


_NEW, _OLD = r"::([\w-]+)(?: (.*?))?::(.*)", r"##\[([\w-]+)(?: (.*?))?\](.*)"


def commands(printed: str) -> list[Command]:
    """Which commands GitHub's runner takes from what a step printed: "::name …::text", and the old "##[name …]text".

    It trims a line before it looks for the first, looks for the second anywhere in it, and takes none at all between
    `::stop-commands::WORD` and `::WORD::`.
    """
    found, word = list[Command](), ""
    for line in re.split(r"\r\n|\n|\r", printed):
        match, sign = re.match(_NEW, line.strip()), ","
        if match is None:
            match, sign = re.search(_OLD, line), ";"
        if match is None:
            continue
        if word:
            word = "" if match[1] == word else word
            continue
        if match[1] == "stop-commands":
            word = match[3]
            continue
        given = dict(one.partition("=")[::2] for one in (match[2] or "").split(sign) if "=" in one)
        found.append(Command(match[1], {name: _read(value) for name, value in given.items()}, _read(match[3])))
    assert not word, "commands were never taken up again"
    return found


def _read(text: str) -> str:
    for code, sign in (("%3A", ":"), ("%2C", ","), ("%0D", "\r"), ("%0A", "\n"), ("%25", "%")):
        text = text.replace(code, sign)
    return text


def outputs(text: str) -> dict[str, str]:
    """What a file of outputs says: "name=value" or "name<<MARK", lines, "MARK"."""
    found, lines = {}, iter(text.splitlines())
    for line in lines:
        name, sign, rest = re.fullmatch(r"([^=<]+)(=|<<)(.*)", line).groups()  # type: ignore[union-attr]
        if sign == "=":
            found[name] = rest
            continue
        value = []
        for inner in lines:
            if inner == rest:
                break
            value.append(inner)
        found[name] = "\n".join(value)
    return found


# -- repositories -----------------------------------------------------------------------------------------------------


def shared(folder: Path) -> None:
    """bin/lab: this working tree with this Python's packages."""
    (folder / "bin").mkdir(parents=True)
    start = f"import sys; sys.path.insert(0, {str(ROOT)!r}); from lab.cli import main; main(prog_name='lab')"
    command = folder / "bin" / "lab"
    command.write_text(f'#!/bin/sh\nexport LAB_CACHE="{cache_root()}"\nexec "{sys.executable}" -c "{start}" "$@"\n')
    command.chmod(0o755)


def commit(repository: Path, message: str = "an answer") -> None:
    _git(repository, "add", "--all")
    who = ("-c", "user.name=Ada", "-c", "user.email=ada@example.org", "-c", "commit.gpgsign=false")
    _git(repository, *who, "commit", "--quiet", "--allow-empty", "--message", message)


def _git(folder: Path, *words: str) -> str:
    return subprocess.run(["git", "-C", str(folder), *words], capture_output=True, text=True, check=True).stdout.strip()
