"""The models that the page offers, their model cards, and the few that stay in memory."""

from __future__ import annotations

import threading
from collections import OrderedDict
from dataclasses import dataclass

from a2h_models.errors import A2HError
from pipelines.config import AppCommand, CardCommand, GenerateCommand
from pipelines.inference import LoadedModel, load_animator
from pipelines.registry import SCHEME, ModelRegistry, card

MAX_LOADED = 2  # models in memory; one of full size is 0.76 GB
NO_CARD = "This model lies in a folder; only models of a registry have a card."


@dataclass(frozen=True)
class ModelChoice:
    """A model: the label on the page, and the name by which it is loaded."""

    label: str
    name: str


class ModelCatalog:
    """All versions of the model that the command names, or a single model that is a folder.

    Raises:
        RegistryError: if there is no such model, or its files were changed.
    """

    def __init__(self, command: AppCommand) -> None:
        self._command = command
        self._lock = threading.Lock()
        self._loaded: OrderedDict[str, LoadedModel] = OrderedDict()
        self.choices, self.default = _find_choices(command)
        self.get(self.default.name)  # a model that cannot be loaded is reported when the server starts

    def get(self, name: str) -> LoadedModel:
        """Return a model; load it, and drop the least recently used one, if it is not in memory."""
        with self._lock:
            if name not in self._loaded:
                command = GenerateCommand(
                    model=name, generate=self._command.generate, logger=self._command.logger, paths=self._command.paths
                )
                self._loaded[name] = load_animator(command)
            self._loaded.move_to_end(name)
            while len(self._loaded) > MAX_LOADED:
                self._loaded.popitem(last=False)
            return self._loaded[name]

    def card(self, name: str) -> str:
        """Return the model card in Markdown."""
        if not name.startswith(SCHEME):
            return NO_CARD
        try:
            return card(CardCommand(model=name, logger=self._command.logger))
        except A2HError as error:
            return f"There is no card: {error.message}."


def _find_choices(command: AppCommand) -> tuple[list[ModelChoice], ModelChoice]:
    """List all versions, and the one that the command names."""
    if not command.model.startswith(SCHEME):
        folder = ModelChoice(command.model, command.model)
        return [folder], folder
    registry = ModelRegistry.from_config(command.logger)
    default = registry.find(command.model)
    choices = [
        ModelChoice(f"{version.name} {version.version}{_alias_suffix(aliases)}", version.uri)
        for version, aliases in registry.list_versions(default.name)
    ]
    return choices, next(choice for choice in choices if choice.name == default.uri)


def _alias_suffix(aliases: tuple[str, ...]) -> str:
    return f" ({', '.join(aliases)})" if aliases else ""
