"""URIs of versions."""

import pytest

from a2h_models.errors import ConfigError
from pipelines.registry.versions import ModelVersion, VersionName, parse_uri


@pytest.mark.parametrize(
    ("uri", "expected"),
    [
        ("models:/audio2head/7", VersionName("audio2head", number="7")),
        ("audio2head/7", VersionName("audio2head", number="7")),
        ("models:/audio2head/latest", VersionName("audio2head")),
        ("models:/audio2head@champion", VersionName("audio2head", alias="champion")),
    ],
)
def test_a_uri_names_a_number_the_latest_or_an_alias(uri: str, expected: VersionName) -> None:
    assert parse_uri(uri) == expected


@pytest.mark.parametrize("uri", ["", "models:/", "audio2head", "@champion", "a/b/7", "a/staging", "a/b@champion"])
def test_what_names_no_version_is_refused(uri: str) -> None:
    with pytest.raises(ConfigError, match="names no version"):
        parse_uri(uri)


def test_a_version_is_printed_as_its_uri() -> None:
    version = ModelVersion(name="a2h-head-pose", version=3, run_id="r", source="s")
    assert str(version) == "models:/a2h-head-pose/3"
    assert parse_uri(version.uri) == VersionName("a2h-head-pose", number="3")
