"""The packages import one way, and only the files named here know Ray, MLflow and the test set."""

import ast
import re
from collections import Counter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FILES = sorted(file for folder in ("search", "spaces", "trainables") for file in (ROOT / folder).rglob("*.py"))
MAY_IMPORT = {
    "ray": {
        "engine/node_check.py",
        "engine/places.py",
        "engine/ray_patches.py",
        "engine/ray_session.py",
        "engine/shared_data.py",
        "engine/tune.py",
        "engine/worker.py",
        "forecast/gpu_part.py",
        "jobs/client.py",
        "jobs/packing.py",
    },
    "mlflow": {
        "tracking/exam.py",
        "tracking/attachments.py",
        "tracking/bulk.py",
        "tracking/forms.py",
        "tracking/kept_model.py",
        "tracking/registry.py",
        "tracking/runs.py",
        "tracking/served.py",
        "tracking/served_model.py",
        "tracking/store.py",
    },
    "optuna": {"decide/samplers/optuna_sampler.py", "findings/importance.py", "findings/optuna_export.py"},
    "jinja2": {"findings/markup.py"},
    "tensorboardX": {"findings/tensorboard_export.py"},
    "starlette": {"page/app.py"},
    "uvicorn": {"page/server.py"},
    "plotly": set(),  # of which only the script is used, by the browser
    "matplotlib": {
        "api.py",
        "findings/figures/axes.py",
        "findings/figures/course.py",
        "findings/figures/hyperparameters.py",
        "findings/figures/overview.py",
        "findings/figures/regions.py",
        "findings/figures/style.py",
    },
}


def imported(file: Path) -> set[str]:
    """Every module that `file` imports anywhere, also inside functions."""
    modules = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            modules |= {name.name for name in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            modules |= {node.module, *(f"{node.module}.{name.name}" for name in node.names)}
    return modules


def package(file: Path) -> str:
    """Which of our three packages `file` belongs to."""
    return file.relative_to(ROOT).parts[0]


def packages(file: Path) -> set[str]:
    return {module.partition(".")[0] for module in imported(file)}


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(ROOT)))
def test_imports_point_from_search_to_spaces_to_trainables(file):
    forbidden = {"trainables": {"spaces", "search"}, "spaces": {"search"}, "search": set()}[package(file)]
    assert not packages(file) & forbidden


ROOMS = (
    ("errors", "unsupported"),
    ("options", "printable", "provenance", "report", "secrets", "signals"),
    ("telling",),
    ("settings",),
    ("record",),
    ("storage",),
    ("decide",),
    ("findings",),
    ("page",),
    ("tracking",),
    ("terminal",),
    ("prepared",),
    ("engine",),
    ("forecast",),
    ("jobs",),
    ("session",),
    ("cli", "api"),
)
"""What lies in `search`, from the ground up: each room imports only those before it, and files of its own."""


def floor(module: str) -> int:
    """On which floor the room of `search.room.…` is."""
    room = module.split(".")[1]
    return next(number for number, rooms in enumerate(ROOMS) if room in rooms)


def test_every_room_of_search_has_its_floor_and_says_what_belongs_there():
    there = {
        path.stem for path in (ROOT / "search").iterdir() if path.suffix == ".py" or (path / "__init__.py").is_file()
    }
    assert there == {room for rooms in ROOMS for room in rooms} | {"__init__", "__main__"}
    for room in (ROOT / "search").glob("*/__init__.py"):
        text = room.read_text()
        assert ast.get_docstring(ast.parse(text)), room
        assert len(ast.parse(text).body) == 1, f"{room} holds more than its docstring"


@pytest.mark.parametrize(
    "file", [file for file in FILES if package(file) == "search"], ids=lambda file: str(file.relative_to(ROOT))
)
def test_rooms_import_from_the_ground_up(file):
    own = ".".join(file.relative_to(ROOT).with_suffix("").parts)
    if own in ("search.__init__", "search.__main__"):
        return
    for module in imported(file):
        if module.startswith("search."):
            same_room = module.split(".")[1] == own.split(".")[1]
            assert same_room or floor(module) < floor(own), f"{own} imports {module}"


@pytest.mark.parametrize("library", MAY_IMPORT)
def test_only_a_handful_of_files_know_each_big_library(library):
    users = {str(file.relative_to(ROOT / "search")) for file in FILES if library in packages(file)}
    assert users == MAY_IMPORT[library]


def test_trainables_need_torch_alone_until_they_read_or_write_files():
    for file in FILES:
        if package(file) == "trainables":
            top = {
                name.partition(".")[0]
                for node in ast.parse(file.read_text()).body
                if isinstance(node, (ast.Import, ast.ImportFrom))
                for name in ([node.module or ""] if isinstance(node, ast.ImportFrom) else [n.name for n in node.names])
            }
            assert not top & {"numpy", "torchvision", "sklearn", "safetensors", "PIL"}, file


def test_only_one_file_opens_the_test_set():
    openers = {file.name for file in FILES if ".test()" in file.read_text()}
    assert openers == {"winner.py"}


def test_no_module_imports_another_in_a_ring():
    graph = {
        ".".join(file.relative_to(ROOT).with_suffix("").parts): {
            module for module in imported(file) if module.partition(".")[0] in ("search", "spaces", "trainables")
        }
        for file in FILES
    }
    # The families are built by name (trainables/classifier.py), so no ring shows in the imports themselves.
    done: set[str] = set()

    def visit(module: str, path: tuple[str, ...]) -> None:
        assert module not in path, " -> ".join((*path, module))
        if module in done or module not in graph:
            return
        for other in graph[module]:
            visit(other, (*path, module))
        done.add(module)

    for module in graph:
        visit(module, ())


def test_nothing_reads_a_pickle_from_disk():
    for file in FILES:
        # What a process gets from its own parent, over a pipe, lies on no disk.
        text = file.read_text().replace("pickle.load(sys.stdin.buffer)", "")
        # With weights_only torch builds tensors and plain containers, and calls nothing that a file names.
        text = re.sub(r"torch\.load\([^()]*, weights_only=True\)", "", text)
        for forbidden in ("pickle.load", "torch.load(", "yaml.load(", "allow_pickle=True"):
            assert forbidden not in text, f"{file} has {forbidden}"


# Sizes


SEARCH = [file for file in FILES if package(file) == "search"]
LONGEST_FILE, LONGEST_FUNCTION, MOST_PARAMETERS = 350, 50, 8


def functions(file: Path) -> list[ast.FunctionDef | ast.AsyncFunctionDef]:
    tree = ast.parse(file.read_text())
    return [node for node in ast.walk(tree) if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))]


def test_no_file_of_search_is_so_long_that_it_must_be_more_than_one_concept():
    assert {str(file) for file in SEARCH if file.read_text().count("\n") > LONGEST_FILE} == set()


def test_no_function_of_search_is_longer_than_a_screen():
    long = {
        f"{file.relative_to(ROOT)}: {node.name}"
        for file in SEARCH
        for node in functions(file)
        if (node.end_lineno or 0) - node.lineno >= LONGEST_FUNCTION
    }
    # The signature and the docstring of `run` are the manual of the Python interface.
    assert long <= {"search/api.py: run"}


def test_no_public_function_of_search_takes_more_than_eight_arguments_but_the_one_with_all_options():
    many = {
        f"{file.relative_to(ROOT)}: {node.name}"
        for file in SEARCH
        for node in functions(file)
        if not node.name.startswith("_") or node.name == "__init__"
        if len([*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs])
        - (node.args.args[:1] != [] and node.args.args[0].arg in ("self", "cls"))
        > MOST_PARAMETERS
    }
    assert many <= {"search/api.py: run"}


def test_no_two_test_files_have_one_name():
    """pytest imports them by their names alone, so one process cannot collect both."""
    names = Counter(path.name for path in (ROOT / "tests").rglob("test_*.py"))
    assert [name for name, count in names.items() if count > 1] == []
