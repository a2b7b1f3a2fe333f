"""Who may import whom, and what no file may do: the layering of the rooms as a test."""

import ast
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
FILES = sorted(
    path.relative_to(ROOT) for package in ("a2h_models", "pipelines") for path in (ROOT / package).rglob("*.py")
)

# a library → the only files or folders that may import it
OWNERS = {
    "pytorch_lightning": ("a2h_models/training/", "pipelines/dataset/datamodules.py", "pipelines/training/"),
    "ray": ("pipelines/execution/ray_cluster.py", "pipelines/training/on_ray.py"),
    "mlflow": ("pipelines/tracking/", "pipelines/registry/pyfunc_packaging.py"),
    "mediapipe": ("pipelines/face/graphs.py",),
    "decord": ("pipelines/media/",),
    "imageio_ffmpeg": ("pipelines/media/",),
    "av": ("pipelines/media/",),
    "hydra": ("pipelines/config/compose.py",),
    "gradio": ("pipelines/app/",),
}
# a part of the house → what it must never import, at the top or inside a function
FORBIDDEN = {
    "a2h_models/": ("pipelines", "ray", "mlflow", "webdataset", "hydra", "decord", "mediapipe", "subprocess"),
    "a2h_models/training/losses.py": ("a2h_models.training.base",),
    "a2h_models/metrics/": ("a2h_models.training",),
    "a2h_models/networks/": ("a2h_models.training",),
    "pipelines/prepare/": (
        "pipelines.training",
        "pipelines.dataset.datasets",
        "pipelines.dataset.datamodules",
        "a2h_models.training",
        "a2h_models.networks",
        "pipelines.registry",
        "pipelines.tracking",
    ),
    "pipelines/dataset/": ("pipelines.prepare", "pipelines.training", "pipelines.registry"),
    "pipelines/training": ("pipelines.prepare",),
    "pipelines/tracking/": ("pipelines.prepare",),
    "pipelines/registry/": ("pipelines.prepare", "pipelines.promotion"),
    "pipelines/evaluation/": ("pipelines.prepare",),
    # nothing untrusted is unpickled
    "": ("pickle.load", "pickle.loads", "pickle.Unpickler", "cloudpickle", "dill", "joblib"),
}
HEAVY = (
    "torch",
    "ray",
    "mlflow",
    "mediapipe",
    "decord",
    "librosa",
    "pytorch_lightning",
    "cv2",
    "pandas",
    "matplotlib",
    "hydra",
    "omegaconf",
)


def imports(file: Path) -> Iterator[str]:
    """Every module that a file imports, at the top or inside a function."""
    for node in ast.walk(ast.parse((ROOT / file).read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def within(module: str, package: str) -> bool:
    return module == package or module.startswith(package + ".")


@pytest.mark.parametrize("file", FILES, ids=str)
def test_each_outside_library_has_one_owner(file: Path) -> None:
    for module in imports(file):
        for library, owners in OWNERS.items():
            if within(module, library):
                assert str(file).startswith(owners), f"{file} imports {module}; only {' and '.join(owners)} may"


@pytest.mark.parametrize("file", FILES, ids=str)
def test_no_file_imports_from_a_forbidden_room(file: Path) -> None:
    for place, packages in FORBIDDEN.items():
        if str(file).startswith(place):
            found = {module for module in imports(file) for package in packages if within(module, package)}
            assert not found, f"{file} imports {sorted(found)}"


def test_the_rules_see_what_they_forbid(tmp_path: Path) -> None:
    """The scan finds imports inside functions and in both spellings; otherwise the tests above
    could not fail.
    """
    source = tmp_path / "x.py"
    source.write_text("def f():\n    import ray.data as rd\n    from pipelines import training\n")
    assert list(imports(source)) == ["ray.data", "pipelines", "pipelines.training"]
    assert within("ray.data", "ray")
    assert not within("raytracer", "ray")


def calls(file: Path) -> Iterator[ast.Call]:
    return (node for node in ast.walk(ast.parse((ROOT / file).read_text())) if isinstance(node, ast.Call))


@pytest.mark.parametrize("file", FILES, ids=str)
def test_no_smells(file: Path) -> None:
    for call in calls(file):
        name, line = ast.unparse(call.func), f"{file}:{call.lineno}"
        given = {keyword.arg: ast.unparse(keyword.value) for keyword in call.keywords}
        if name.endswith("torch.load"):
            assert given.get("weights_only") == "True", f"{line}: torch.load without weights_only=True"
        if name in {"np.load", "numpy.load"}:
            assert given.get("allow_pickle") == "False", f"{line}: np.load without allow_pickle=False"
        if name.endswith("grid_sample"):
            assert "align_corners" in given, f"{line}: grid_sample without align_corners"
        assert given.get("shell") != "True", f"{line}: a shell would see a file name"
        assert not name.endswith(".cuda"), f"{line}: .cuda() instead of .to(device)"
        assert name not in {"yaml.load", "pickle.load", "pickle.loads", "pickle.Unpickler"}, (
            f"{line}: {name} runs what it reads"
        )


def test_help_needs_nothing_heavy() -> None:
    code = (
        f"import sys, pipelines.cli.main as cli; cli.main(['--help']); print(sorted(set({HEAVY!r}) & set(sys.modules)))"
    )
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert answer.stdout.splitlines()[-1] == "[]"


def test_preparation_needs_no_torch() -> None:
    """190 MB and two seconds of every worker."""
    code = "import sys, pipelines.prepare.pipeline; print('torch' in sys.modules)"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert answer.stdout.splitlines()[-1] == "False"


def test_a2h_models_alone_imports_no_torch() -> None:
    code = "import sys, a2h_models; print('torch' in sys.modules)"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert answer.stdout.splitlines()[-1] == "False"


def test_every_package_is_packaged() -> None:
    listed = set(tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"])
    found = {".".join(file.parent.parts) for file in FILES}
    assert listed == found | {"pipelines.conf"}  # conf/ travels inside pipelines


def test_no_file_grows_into_a_monster() -> None:
    lines = {str(file): len((ROOT / file).read_text().splitlines()) for file in FILES}
    assert {file: count for file, count in lines.items() if count > 450} == {}
