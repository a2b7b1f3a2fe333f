"""Run the page as a server: the folder of its files, its limits, its end."""

from __future__ import annotations

import os
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from a2h_models.errors import ConfigError
from a2h_models.settings import validate
from pipelines.app.catalog import ModelCatalog
from pipelines.app.handlers import RequestHandler
from pipelines.app.page import build_page, launch_style
from pipelines.app.session_files import SessionFiles
from pipelines.config import AppCommand

if TYPE_CHECKING:
    import gradio as gr


@contextmanager
def serving(command: AppCommand) -> Iterator[gr.Blocks]:
    """Serve the page; its address is `local_url`.

    Uploads and videos lie below `paths.cache` and are deleted afterwards.

    Raises:
        RegistryError: if there is no such model, or its files were changed.
        ConfigError: if a setting is outside its range, or the port is taken.
    """
    validate(command)
    _require_port(command)
    with _temporary_files(Path(command.paths.cache)) as folder:
        page = build_page(RequestHandler(command, ModelCatalog(command), SessionFiles(folder)), command)
        try:
            _launch(page, command)
            yield page
        finally:
            # Ctrl-C has closed it already; closing twice would wait again for connected clients
            if page.is_running:
                page.close(verbose=False)


@contextmanager
def _temporary_files(cache: Path) -> Iterator[Path]:
    """Create a folder for all uploads and videos of this server.

    Gradio reads the folder, and the switch for its analytics, from the environment only.
    """
    cache.mkdir(parents=True, exist_ok=True)
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    with tempfile.TemporaryDirectory(prefix="app-", dir=cache.resolve(), ignore_cleanup_errors=True) as folder:
        os.environ["GRADIO_TEMP_DIR"] = folder
        yield Path(folder)


def _require_port(command: AppCommand) -> None:
    """Check the port before the model is loaded, which takes a while."""
    try:
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((command.host, command.port))
    except OSError as error:
        raise ConfigError(
            f"port {command.port} of {command.host} cannot be used", hint="say port=… with a free one"
        ) from error


def _launch(page: gr.Blocks, command: AppCommand) -> None:
    """Start the server in a thread and return.

    All features of Gradio that contact another host or record what users did are switched off.
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
        show_error=True,  # also for errors before our own code runs, such as an unreadable picture
        **launch_style(),
    )
