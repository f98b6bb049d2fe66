"""The models, the JSON Schema made from them, and the example: three that must agree."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from pydantic import BaseModel, ValidationError

from mailprobe.cli.config import config
from mailprobe.config.explain import NAMED, model_at
from mailprobe.config.load import load
from mailprobe.config.schema import Settings, json_schema
from mailprobe.errors import ConfigurationError

PLACES = [
    (), ("agent",), ("defaults",), ("senders", "x"), ("senders", "x", "auth"),
    ("senders", "x", "auth", "oauth2"), ("senders", "x", "limits"),
    ("mailboxes", "x"), ("mailboxes", "x", "auth"), ("routes", "x"), ("meshes", "x"),
    ("status_feeds", "x"),
]  # fmt: skip
MODELS: list[type[BaseModel]] = [model for place in PLACES if (model := model_at(place))]


def settings() -> Iterator[tuple[type[BaseModel], str, Any]]:
    for model in MODELS:
        for name, field in model.model_fields.items():
            yield model, field.alias or name, field


def example() -> str:
    result = CliRunner().invoke(config, ["example"])
    assert result.exit_code == 0
    return result.stdout


@pytest.fixture
def secrets(tmp_path: Path) -> Path:
    for name in ("o365", "canary-key", "web.yml", "own-ca.pem"):
        (tmp_path / name).write_text("hunter2\n")
    return tmp_path


def here(text: str) -> str:
    """The example with its absolute file names made relative ones."""
    return re.sub(r"(?<= )/[a-z0-9/-]+/([a-z0-9.-]+)", r"\1", text)


def test_all_models_are_looked_at() -> None:
    assert len(MODELS) == len(PLACES)


def test_every_setting_is_described() -> None:
    for model, name, field in settings():
        assert field.description, f"{model.__name__}.{name}"


def test_every_required_setting_has_a_valid_example() -> None:
    """It stands in for one that is missing, so that the others can be judged."""
    for model in MODELS:
        smallest = {
            field.alias or name: field.examples[0]
            for name, field in model.model_fields.items()
            if field.is_required() and field.examples
        }
        model.model_validate(smallest)


def test_every_example_is_valid() -> None:
    for model, name, field in settings():
        for value in field.examples or ():
            smallest = {
                other.alias or key: other.examples[0]
                for key, other in model.model_fields.items()
                if other.is_required()
            }
            model.model_validate({**smallest, name: value})


def test_models_are_frozen_and_forbid_unknown_keys() -> None:
    for model in MODELS:
        assert model.model_config.get("frozen")
        assert model.model_config.get("extra") == "forbid"
        assert model.model_config.get("hide_input_in_errors")


def test_the_example_loads(secrets: Path) -> None:
    path = secrets / "mailprobe.yaml"
    path.write_text(here(example()))
    configuration = load(path, {})
    assert configuration.warnings == ()
    assert list(configuration.plan.routes) == ["inbound", "internal", "all-office365-contoso", "all-outside-contoso"]


def test_the_example_has_every_setting() -> None:
    text = example()
    for model, name, _ in settings():
        assert re.search(rf"(^|[ {{]){name}:", text, re.MULTILINE), f"{model.__name__}.{name} is not in the example"


COMMENTED = re.findall(r"^ *# ([a-z_]+): .*$", example(), re.MULTILINE)


def test_the_example_has_settings_that_are_commented_out() -> None:
    assert len(COMMENTED) > 10


@pytest.mark.parametrize("key", COMMENTED)
def test_what_is_commented_out_in_the_example_would_do(key: str, secrets: Path) -> None:
    text, count = re.subn(rf"^( *)# ({key}: .*)$", r"\1\2", here(example()), count=1, flags=re.MULTILINE)
    assert count == 1
    (secrets / "secrets").mkdir()
    text = text.replace("secrets_dir: mailprobe", "secrets_dir: secrets")
    path = secrets / "mailprobe.yaml"
    path.write_text(text)
    load(path, {"O365_PASSWORD": "hunter2"})


def test_the_schema_is_json_and_forbids_unknown_keys() -> None:
    result = CliRunner().invoke(config, ["schema"])
    schema = json.loads(result.stdout)
    assert schema == json.loads(json.dumps(json_schema()))
    assert schema["additionalProperties"] is False
    for definition in schema["$defs"].values():
        assert definition["type"] == "string" or definition["additionalProperties"] is False
    for section in NAMED:
        assert schema["properties"][section]["propertyNames"]["pattern"]


def test_the_schema_takes_and_shows_durations_as_people_write_them() -> None:
    interval = json_schema()["$defs"]["DefaultSettings"]["properties"]["interval"]
    assert (interval["type"], interval["default"]) == ("string", "60s")
    assert re.fullmatch(interval["pattern"], "250ms")
    assert not re.fullmatch(interval["pattern"], "60")


def test_the_schema_has_the_defaults_that_hold() -> None:
    """Those of durations and of `listen` are written twice, once for editors."""
    for name, definition in json_schema()["$defs"].items():
        model = next((model for model in MODELS if model.__name__ == name), None)
        for key, shown in definition.get("properties", {}).items():
            if model and shown.get("default") is not None and isinstance(shown["default"], str):
                required = {
                    field.alias or n: field.examples[0]
                    for n, field in model.model_fields.items()
                    if field.is_required()
                }
                field = next(n for n, f in model.model_fields.items() if (f.alias or n) == key)
                written = getattr(model.model_validate({**required, key: shown["default"]}), field)
                assert written == getattr(model.model_validate(required), field), f"{name}.{key}"


def test_no_value_is_in_the_error_of_a_model() -> None:
    with pytest.raises(ValidationError) as caught:
        Settings.model_validate({"senders": {"x": {"from": "hunter2", "auth": {"pasword": "hunter2"}}}})
    assert "hunter2" not in str(caught.value)


def test_settings_can_be_rendered_back() -> None:
    shown = Settings.model_validate({"defaults": {"interval": "90s", "deadline": "600s"}}).model_dump(mode="json")
    assert shown["defaults"] == {"interval": "90s", "deadline": "10m", "late_until": "1d", "timeout": "30s"}


def test_a_required_setting_that_is_wrong_does_not_hide_others(tmp_path: Path) -> None:
    path = tmp_path / "mailprobe.yaml"
    path.write_text(here(example()).replace("smtp.office365.com:587", "x"))
    with pytest.raises(ConfigurationError) as caught:
        load(path, {})
    wrong = [line.split(": ")[1] for line in caught.value.problems]
    assert wrong == [
        "agent.key_file",
        "senders.office365.submission",
        "senders.office365.auth.oauth2.client_secret_file",
        "mailboxes.contoso.auth.oauth2.client_secret_file",
        "status_feeds.microsoft.oauth2.client_secret_file",
    ]
