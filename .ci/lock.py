"""Renew requirements.lock.txt: what pip would install for every extra, less what must not be
installed.

Run by `make lock` with a bare Python; needs the network.
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LOCK = ROOT / "requirements.lock.txt"
BUILD = "setuptools"  # builds the project itself, without isolation
LEFT_OUT = {
    "audio2head": "the project itself",
    "jax": "MediaPipe names it and never imports it: 370 MB",
    "jaxlib": "goes with jax",
    "opt_einsum": "goes with jax",
    "opencv-contrib-python": "shares the folder cv2/ with opencv-python-headless and wants libGL",
}


def resolved(aside: Path) -> dict[str, str]:
    """Name → version of all that pip would install into an empty environment.

    Nothing is installed.
    """
    subprocess.run([sys.executable, "-m", "venv", aside], check=True)
    python, report = aside / "bin" / "python", aside / "report.json"
    wanted = [f"{ROOT}[dev]", BUILD]
    command = [
        python,
        "-m",
        "pip",
        "install",
        "--dry-run",
        "--ignore-installed",
        "--quiet",
        "--report",
        report,
        *wanted,
    ]
    subprocess.run(command, check=True)
    packages = [item["metadata"] for item in json.loads(report.read_text())["install"]]
    # a local version such as +cpu belongs to the machine that renewed the lock, not to the lock
    return {package["name"]: package["version"].split("+")[0] for package in packages}


def main() -> None:
    """Write the lock."""
    with tempfile.TemporaryDirectory() as aside:
        packages = resolved(Path(aside))
    kept = {name: version for name, version in packages.items() if name.lower() not in LEFT_OUT}
    lines = [f"{name}=={version}" for name, version in sorted(kept.items(), key=lambda item: item[0].lower())]
    LOCK.write_text("# Written by `make lock`; installed with --no-deps by `make setup`.\n" + "\n".join(lines) + "\n")
    print(f"{len(lines)} packages in {LOCK.name}; left out: {', '.join(LEFT_OUT)}")


if __name__ == "__main__":
    main()
