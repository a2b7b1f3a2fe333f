"""Which models a visitor may choose from, their cards, and the few that are held ready."""

from __future__ import annotations

import threading
from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING

from a2h_models.errors import A2HError
from pipelines import registry
from pipelines.config import AppCommand, GenerateCommand
from pipelines.config.promotion import CardCommand
from pipelines.inference import load_animator

if TYPE_CHECKING:
    from a2h_models.inference.animator import Animator

HELD = 2  # models in memory; one of full size is 0.76 GB
NO_CARD = "This model lies in a folder; only models of a registry have a card."


@dataclass(frozen=True)
class Choice:
    """A model by the name that the page shows, and the one that finds it."""

    label: str
    name: str


class ModelCatalog:
    """All versions of the model that the command names; or that one alone, if it is a folder.

    Raises:
        RegistryError: if there is no such model, or its files were changed.
    """

    def __init__(self, command: AppCommand) -> None:
        self._command = command
        self._lock = threading.Lock()
        self._ready: OrderedDict[str, tuple[Animator, str]] = OrderedDict()
        self.choices, self.first = _choices(command)
        self.take(self.first.name)  # what is wrong with it is told before anybody visits

    def take(self, name: str) -> tuple[Animator, str]:
        """A loaded model, and the version's own name."""
        with self._lock:
            if name not in self._ready:
                order = GenerateCommand(
                    model=name, generate=self._command.generate, logger=self._command.logger, paths=self._command.paths
                )
                self._ready[name] = load_animator(order)
            self._ready.move_to_end(name)
            while len(self._ready) > HELD:
                self._ready.popitem(last=False)
            return self._ready[name]

    def card(self, name: str) -> str:
        """In Markdown."""
        if not name.startswith(registry.SCHEME):
            return NO_CARD
        try:
            return registry.card(CardCommand(model=name, logger=self._command.logger))
        except A2HError as error:
            return f"There is no card: {error.message}."


def _choices(command: AppCommand) -> tuple[list[Choice], Choice]:
    if not command.model.startswith(registry.SCHEME):
        only = Choice(command.model, command.model)
        return [only], only
    wanted = registry.find(command.model, command.logger)
    found = registry.list_versions(command.logger, name=wanted.name)
    choices = [Choice(f"{version.name} {version.version}{_named(aliases)}", version.uri) for version, aliases in found]
    return choices, next(choice for choice in choices if choice.name == wanted.uri)


def _named(aliases: tuple[str, ...]) -> str:
    return f" ({', '.join(aliases)})" if aliases else ""
