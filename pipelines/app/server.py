"""The running page: the folder of its files, its limits, its end."""

from __future__ import annotations

import os
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from a2h_models.errors import ConfigError
from pipelines.app.catalog import ModelCatalog
from pipelines.app.handlers import RequestHandler
from pipelines.app.page import build, look
from pipelines.app.session_files import SessionFiles
from pipelines.config import AppCommand

if TYPE_CHECKING:
    import gradio as gr

# of AppCommand; all above zero
LIMITS = ("max_speech_s", "max_upload_mb", "concurrency", "max_waiting", "keep_minutes")


@contextmanager
def serving(command: AppCommand) -> Iterator[gr.Blocks]:
    """A running page; its address is `local_url`. Uploads and videos lie below `paths.cache` and
    are gone afterwards.

    Raises:
        RegistryError: if there is no such model, or its files were changed.
        ConfigError: if a limit is not above zero, or the port is taken.
    """
    for limit in LIMITS:
        if getattr(command, limit) <= 0:
            raise ConfigError(f"{limit}={getattr(command, limit)} must be above zero")
    _need_port(command)
    with _folder_for_files(Path(command.paths.cache)) as folder:
        page = build(RequestHandler(command, ModelCatalog(command), SessionFiles(folder)), command)
        try:
            _launch(page, command)
            yield page
        finally:
            # Ctrl-C has closed it already, and a second time waits again for who is still connected
            if page.is_running:
                page.close(verbose=False)


@contextmanager
def _folder_for_files(cache: Path) -> Iterator[Path]:
    """A folder for all uploads and videos of this server.

    Gradio takes it, and its leave to be silent, from the environment only.
    """
    cache.mkdir(parents=True, exist_ok=True)
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    with tempfile.TemporaryDirectory(prefix="app-", dir=cache.resolve(), ignore_cleanup_errors=True) as folder:
        os.environ["GRADIO_TEMP_DIR"] = folder
        yield Path(folder)


def _need_port(command: AppCommand) -> None:
    """Ask for it before the model is loaded, which takes a while."""
    try:
        with socket.socket() as trial:
            trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            trial.bind((command.host, command.port))
    except OSError as error:
        raise ConfigError(
            f"port {command.port} of {command.host} cannot be used", hint="say port=… with a free one"
        ) from error


def _launch(page: gr.Blocks, command: AppCommand) -> None:
    """Start to serve and return.

    Everything of Gradio's that would reach another host or keep what visitors did is off.
    """
    page.launch(
        server_name=command.host,
        server_port=command.port,
        prevent_thread_lock=True,
        quiet=True,
        share=False,
        ssr_mode=False,
        mcp_server=False,
        run_history=False,
        enable_monitoring=False,
        footer_links=["api"],
        max_file_size=f"{command.max_upload_mb}mb",
        show_error=True,  # also of errors before our own code, such as a file that is no picture
        **look(),
    )
