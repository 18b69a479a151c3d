"""The rules of the house, each kept by a few lines of ``ast`` and each shown to catch what it forbids."""

import ast
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SOURCE = ROOT / "src" / "lucency"

#: Who may import what: a room imports only from bars left of its own (architecture, section 6). Planning is two
#: rooms: plan says what a plan is, planner makes one.
BARS = [
    ["errors"],
    ["record", "image", "boxes"],
    ["events"],
    ["case", "annotation"],
    ["spare"],
    ["read"],
    [
        "filters",
        "radiomics",
        "burned_in",
        "text",
        "phantom",
        "mirror",
        "metrics",
        "calibration",
        "statistics",
        "survival",
        "columns",
        "ranking",
        "foreign",
        "index",
        "losses",
        "ranks",
        "networks",
        "detection",
        "augment",
    ],
    ["detector", "generators"],
    ["inspect", "profile", "write", "deidentify"],
    ["plan", "enhance"],
    ["planner"],
    ["prepare", "machine"],
    ["prognosis", "pretext", "translation"],
    ["tasks", "baselines", "model"],
    ["predict"],
    ["features"],
    ["train"],
    ["evaluate", "explain", "annotate"],
    ["report"],
    ["walk"],
    ["controls", "carry", "downstream", "supplement", "trial"],
    ["learn", "tabular"],
    ["fit"],
    ["synthesize", "search"],
    ["apps"],
]
PLACE = {room: number for number, bar in enumerate(BARS) for room in bar}
#: The stream of events writes with the one helper for JSON.
NEIGHBOURS = {("events", "record")}
#: The package's face and the command line's entry point may name every room.
FACES = {"__init__", "__main__"}

APPS = {"apps"}
READ = {"read"}
DOORS = {"read", "write", "deidentify", "apps/pacs"}
LEARNERS = {"losses", "ranks", "networks", "detector", "generators", "augment"}
LEARNERS |= {r for r, n in PLACE.items() if n >= PLACE["prepare"]}
#: Third-party package to the rooms that may import it.
ONLY = {
    **dict.fromkeys(("pydicom", "highdicom", "nibabel", "PIL", "tifffile"), DOORS),
    **dict.fromkeys(("torch", "monai", "lightning_fabric", "safetensors"), LEARNERS),
    **dict.fromkeys(("fastapi", "typer", "rich", "pynetdicom", "requests"), APPS),
    **dict.fromkeys(("gdcm", "pylibjpeg", "openjpeg", "jpeg_ls"), READ),
    "sklearn": {"baselines"},
    "faiss": {"index"},
    "opacus": {"synthesize"},
}
TASKS = {"classify", "regress", "segment", "detect", "prognose", "retrieve", "generate", "translate"}
#: Modules that run code, or may, when they read a file.
UNSAFE = {"pickle", "cloudpickle", "dill", "joblib", "marshal", "shelve", "yaml"}

Rule = Callable[[ast.Module, str], Iterator[str]]


def room_of(path: str) -> str:
    """``read/nifti.py`` -> ``read``; ``image.py`` -> ``image``."""
    return path.removesuffix(".py").split("/")[0]


def within(path: str, rooms: set[str]) -> bool:
    return room_of(path) in rooms or path.removesuffix(".py") in rooms


def imports(tree: ast.Module) -> Iterator[tuple[str, int]]:
    """Every dotted name imported anywhere in the file, with its line."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = "." * node.level + (node.module or "")
            yield from ((f"{base}.{alias.name}", node.lineno) for alias in node.names)
        elif isinstance(node, ast.Call) and called(node).endswith("import_module"):
            yield from ((str(a.value), node.lineno) for a in node.args[:1] if isinstance(a, ast.Constant))


def called(node: ast.Call) -> str:
    return ast.unparse(node.func)


def imports_only_from_the_left(tree: ast.Module, path: str) -> Iterator[str]:
    room = room_of(path)
    if path.removesuffix(".py") in FACES:
        return
    if room not in PLACE:
        yield f"{room} stands in no bar of the architecture"
        return
    for name, line in imports(tree):
        parts = name.split(".")
        if name.startswith("."):
            yield f"line {line}: relative import {name}"
        elif parts[0] == "lucency" and len(parts) > 1 and parts[1] != room and not parts[1].startswith("__"):
            other = parts[1]
            if PLACE.get(other, len(BARS)) >= PLACE[room] and (room, other) not in NEIGHBOURS:
                yield f"line {line}: {room} imports {other}"


def third_parties_keep_to_their_rooms(tree: ast.Module, path: str) -> Iterator[str]:
    for name, line in imports(tree):
        rooms = ONLY.get(name.split(".")[0])
        if rooms is not None and not within(path, rooms):
            yield f"line {line}: {name}"
    if any(name.split(".")[0] == "SimpleITK" for name, _ in imports(tree)) and not within(path, DOORS):
        for node in ast.walk(tree):
            name = node.attr if isinstance(node, ast.Attribute) else node.name if isinstance(node, ast.alias) else ""
            if re.match(r"Read[A-Z]|Image\w*Reader$", name):
                yield f"SimpleITK.{name}"


def nobody_asks_which_task(tree: ast.Module, path: str) -> Iterator[str]:
    if room_of(path) == "tasks":
        return
    for node in ast.walk(tree):
        asked: list[ast.expr] = []
        if isinstance(node, ast.Compare):
            asked = [node.left, *node.comparators]
        elif isinstance(node, ast.MatchValue):
            asked = [node.value]
        for part in asked:
            inner = part.elts if isinstance(part, ast.Tuple | ast.List | ast.Set) else [part]
            for value in inner:
                if isinstance(value, ast.Constant) and value.value in TASKS:
                    yield f"line {value.lineno}: compares with {value.value!r}"


def only_apps_speak_or_look_outside(tree: ast.Module, path: str) -> Iterator[str]:
    if room_of(path) in {"apps", *FACES}:
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and called(node) in {"print", "input", "sys.stdout.write", "sys.stderr.write"}:
            yield f"line {node.lineno}: {called(node)}"
        if isinstance(node, ast.Attribute) and ast.unparse(node) in {"os.environ", "os.getenv"}:
            yield f"line {node.lineno}: {ast.unparse(node)}"


def randomness_is_an_argument(tree: ast.Module, path: str) -> Iterator[str]:
    yield from (f"line {line}: {name}" for name, line in imports(tree) if name.split(".")[0] == "random")
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            name = re.match(r"(?:np|numpy)\.random\.([a-z]\w*)$", called(node))
            if name and (name[1] != "default_rng" or not node.args):
                yield f"line {node.lineno}: {called(node)} without a seed of ours"


def loading_runs_no_code(tree: ast.Module, path: str) -> Iterator[str]:
    yield from (f"line {line}: {name}" for name, line in imports(tree) if name.split(".")[0] in UNSAFE)
    yield from (f"line {line}: {name}" for name, line in imports(tree) if name in {"torch.load", "torch.jit.load"})
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            if called(node) in {"eval", "exec", "compile", "torch.load", "torch.jit.load", "torch.hub.load"}:
                yield f"line {node.lineno}: {called(node)}"
            for keyword in node.keywords:
                if keyword.arg == "allow_pickle" and not (
                    isinstance(keyword.value, ast.Constant) and keyword.value.value is False
                ):
                    yield f"line {node.lineno}: allow_pickle"


def everything_public_is_documented(tree: ast.Module, path: str) -> Iterator[str]:
    if not ast.get_docstring(tree):
        yield "the file"
    waiting: list[ast.AST] = [*tree.body]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) and not node.name.startswith("_"):
            overloaded = any("overload" in ast.unparse(d) for d in node.decorator_list)
            if not ast.get_docstring(node) and not overloaded:
                yield f"line {node.lineno}: {node.name}"
            if isinstance(node, ast.ClassDef):
                waiting += node.body


def names_say_what_a_thing_is(tree: ast.Module, path: str) -> Iterator[str]:
    empty = re.compile(
        r"(?i)(^|[_/])(utils?|helpers?|managers?|handlers?|misc|common)([_./]|$)|(Manager|Helper|Handler)$"
    )
    if empty.search(path):
        yield path
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) and empty.search(node.name):
            yield f"line {node.lineno}: {node.name}"


RULES: list[Rule] = [
    imports_only_from_the_left,
    third_parties_keep_to_their_rooms,
    nobody_asks_which_task,
    only_apps_speak_or_look_outside,
    randomness_is_an_argument,
    loading_runs_no_code,
    everything_public_is_documented,
    names_say_what_a_thing_is,
]
FILES = sorted(p.relative_to(SOURCE).as_posix() for p in SOURCE.rglob("*.py"))


@pytest.mark.parametrize("rule", RULES, ids=lambda r: r.__name__)
def test_house_rule(rule):
    assert FILES
    found = [f"{path}: {v}" for path in FILES for v in rule(ast.parse((SOURCE / path).read_text("utf-8")), path)]
    assert found == []


@pytest.mark.parametrize(
    ("rule", "path", "code", "allowed"),
    [
        (
            imports_only_from_the_left,
            "image.py",
            "from lucency.case import Case",
            "from lucency.errors import DataError",
        ),
        (imports_only_from_the_left, "case.py", "def f():\n    import lucency.train", "from lucency import image"),
        (imports_only_from_the_left, "metrics.py", "from lucency import statistics", "from lucency.image import Image"),
        (imports_only_from_the_left, "record.py", "import lucency.events", "import json"),
        (imports_only_from_the_left, "plan.py", "from . import case", "from lucency import case"),
        (imports_only_from_the_left, "plan.py", "import_module('lucency.fit')", "import_module('lucency.case')"),
        (imports_only_from_the_left, "lounge.py", "x = 1", None),
        (third_parties_keep_to_their_rooms, "inspect/a.py", "def f():\n    import pydicom.uid", "import numpy"),
        (third_parties_keep_to_their_rooms, "report/a.py", "from PIL import Image", "import matplotlib"),
        (third_parties_keep_to_their_rooms, "apps/cli.py", "import highdicom", "import typer"),
        (third_parties_keep_to_their_rooms, "fit.py", "from rich.console import Console", "import torch"),
        (third_parties_keep_to_their_rooms, "plan.py", "import torch.nn", "import numpy"),
        (third_parties_keep_to_their_rooms, "evaluate.py", "from sklearn import svm", "import scipy"),
        (
            third_parties_keep_to_their_rooms,
            "prepare.py",
            "import SimpleITK as sitk\nsitk.ReadImage('a')",
            "import SimpleITK as sitk\nsitk.Resample(a)",
        ),
        (nobody_asks_which_task, "fit.py", "plan.task == 'segment'", "plan.task == other"),
        (nobody_asks_which_task, "fit.py", "plan.task in ('classify', 'x')", "use('classify')"),
        (
            nobody_asks_which_task,
            "fit.py",
            "match t:\n    case 'classify':\n        pass",
            "match t:\n    case 'x': pass",
        ),
        (only_apps_speak_or_look_outside, "fit.py", "print(1)", "log.info(1)"),
        (only_apps_speak_or_look_outside, "fit.py", "import os\nos.environ['A']", "import os\nos.replace(a, b)"),
        (randomness_is_an_argument, "fit.py", "np.random.shuffle(x)", "np.random.default_rng(seed)"),
        (randomness_is_an_argument, "fit.py", "np.random.default_rng()", "rng.random()"),
        (randomness_is_an_argument, "fit.py", "from random import choice", "def f(rng: np.random.Generator): ..."),
        (loading_runs_no_code, "model.py", "import pickle", "import json"),
        (loading_runs_no_code, "model.py", "torch.load(p, weights_only=True)", "safetensors.torch.load_file(p)"),
        (loading_runs_no_code, "model.py", "eval('1')", "net.eval()"),
        (loading_runs_no_code, "read/npz.py", "np.load(p, allow_pickle=True)", "np.load(p, allow_pickle=False)"),
        (loading_runs_no_code, "plan.py", "def f():\n    import yaml", "import tomllib"),
        (everything_public_is_documented, "fit.py", "'''x'''\ndef f(): pass", "'''x'''\ndef _f(): pass"),
        (everything_public_is_documented, "fit.py", "'''x'''\nclass A:\n    '''a'''\n    def f(self): pass", "'''x'''"),
        (everything_public_is_documented, "fit.py", "x = 1", "'''x'''"),
        (names_say_what_a_thing_is, "read/utils.py", "", None),
        (names_say_what_a_thing_is, "fit.py", "class RunManager: pass", "class Run: pass"),
        (names_say_what_a_thing_is, "fit.py", "def load_helper(): pass", "def load(): pass"),
    ],
)
def test_each_rule_catches_what_it_forbids_and_nothing_else(rule, path, code, allowed):
    assert list(rule(ast.parse(code), path))
    if allowed is not None:
        assert list(rule(ast.parse(allowed), path)) == []


def test_bars_are_those_of_the_architecture():
    assert len(PLACE) == sum(map(len, BARS))
    assert PLACE["errors"] == 0
    assert PLACE["prepare"] == PLACE["machine"] < PLACE["tasks"] < PLACE["predict"] < PLACE["train"]
    assert LEARNERS & {"read", "inspect", "profile", "plan", "deidentify", "metrics", "statistics"} == set()


# The names are put together here so that this file does not break its own rule.
HOSTS = [f"{a}.{b}" for a, b in (("pypi", "org"), ("pythonhosted", "org"), ("download.pytorch", "org"))]
HOSTS += [f"{a}.{b}" for a, b in (("anaconda", "org"), ("registry.npmjs", "org"), ("conda", "io"))]
MACHINE_PATH = re.compile(r"(?<![\w./])/(?:work|root)/\w")


def foreign(text: str) -> list[str]:
    """Registry hosts and paths of one machine in a text."""
    return [h for h in HOSTS if h in text] + MACHINE_PATH.findall(text)


def project_files() -> list[Path]:
    """Files of the project that git knows or would add."""
    git = shutil.which("git")
    if git is None or not (ROOT / ".git").exists():
        pytest.skip("not a git checkout")
    said = subprocess.run(
        [git, "ls-files", "-co", "--exclude-standard", "-z"], cwd=ROOT, capture_output=True, check=True
    )
    return [ROOT / name for name in said.stdout.decode().split("\0") if name and (ROOT / name).is_file()]


def test_no_two_test_files_have_one_name():
    """Pytest imports test files by their names alone."""
    names = sorted(path.name for path in (ROOT / "tests").rglob("test_*.py"))
    assert names == sorted(set(names))


def test_no_file_names_a_registry_or_a_path_of_one_machine():
    found = []
    for path in project_files():
        content = path.read_bytes()
        if b"\0" not in content[:8000]:  # text, as git tells it
            found += [f"{path.relative_to(ROOT)}: {f}" for f in foreign(content.decode("utf-8", "replace"))]
    assert found == []


@pytest.mark.parametrize("text", [f"https://{HOSTS[0]}/simple", "see /" + "root/x", "open('/" + "work/data')"])
def test_foreign_names_are_caught(text):
    assert foreign(text)


@pytest.mark.parametrize("text", ["./root/x", "home/work/x", "https://example.org/work/x", "https://doi.org/10.1000/1"])
def test_ordinary_text_is_not_foreign(text):
    assert foreign(text) == []
