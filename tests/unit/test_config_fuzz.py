"""Whatever a file or the environment says: a configuration or its problems, never another exception, never a secret."""

from __future__ import annotations

import json
import re
import tempfile
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from mailprobe.config.explain import NAMED, model_at
from mailprobe.config.load import load
from mailprobe.config.schema import Settings
from mailprobe.errors import ConfigurationError

SECRET = "hunter2"
PLACES = [
    ("agent",),
    ("defaults",),
    *((name, "x") for name in NAMED),
    ("senders", "x", "auth"),
    ("senders", "x", "limits"),
]
FIELDS = {
    place: {field.alias or name: field for name, field in model.model_fields.items()}
    for place in PLACES
    if (model := model_at(place))
}

wrong = st.sampled_from(
    [SECRET, f"{SECRET}:99", f"a@{SECRET}", f"[{SECRET}]:1", f"/{SECRET}/x", "x\ny", "\u2028", "é", ""]
)
numbers = st.sampled_from([0, 1, -1, 10**15, 1.5, True, False, None])
values = st.recursive(
    wrong | numbers | st.sampled_from(["a", "b", "x-1", "60s", "5m", "smtp.example.com:587", "canary@example.com"]),
    lambda inner: (
        st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(["a", "from", "auth"]), inner, max_size=2)
    ),
    max_leaves=3,
)
names = st.sampled_from(["a", "b", "x-1", "Bad Name", "", "password", "from", "a" * 70, "\x1b[31m", "\0"])


def settings_of(place: tuple[str, ...]) -> st.SearchStrategy[dict[str, Any]]:
    """Settings as they could be at the place: some from the examples, some of anything, some with unknown keys."""

    def value(key: str) -> st.SearchStrategy[Any]:
        if key in ("auth", "limits"):
            return settings_of(("senders", "x", key)) | values
        field = FIELDS[place][key]
        return st.sampled_from(field.examples or [True]) | values

    keys = st.sets(st.sampled_from(sorted(FIELDS[place])), max_size=6)
    known = keys.flatmap(lambda chosen: st.fixed_dictionaries({key: value(key) for key in sorted(chosen)}))
    unknown = st.dictionaries(st.sampled_from(["password", "oauth2", "jornal", "\x1b]0;x"]), values, max_size=1)
    return st.builds(lambda first, second: {**first, **second}, known, unknown)


sections = st.fixed_dictionaries(
    {},
    optional={
        **{name: st.dictionaries(names, settings_of((name, "x")) | values, max_size=3) | values for name in NAMED},
        "agent": settings_of(("agent",)) | values,
        "defaults": settings_of(("defaults",)) | values,
        "secrets_dir": values,
        "unknown": values,
    },
)
steps = st.sampled_from([*Settings.model_fields, "a", "b", "from", "auth", "password", "listen", "limits", "", "x_1"])
variables = st.dictionaries(
    st.lists(steps, min_size=1, max_size=4).map(lambda path: "MAILPROBE_" + "__".join(path).upper()),
    st.sampled_from(
        [SECRET, "null", "a", "60s", "[a, b]", "{from: a, to: b}", f"{{password: {SECRET}}}", f"[*{SECRET}]", "1"]
    ),
    max_size=3,
)


def problems(text: bytes, environ: dict[str, str]) -> tuple[str, ...]:
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "mailprobe.yaml"
        path.write_bytes(text)
        try:
            return load(path, environ).warnings
        except ConfigurationError as error:
            return error.problems


@given(sections, variables)
def test_any_settings(settings: dict[str, Any], environ: dict[str, str]) -> None:
    for line in problems(json.dumps(settings, indent=1).encode(), environ):
        # a reference which has the form of a name is said, since it cannot be told from a name with a mistake in it
        assert SECRET not in re.sub(rf"(there is no (sender|mailbox)|route|routes?) {SECRET}\b", "", line)
        assert line.isprintable()


@given(st.binary(max_size=60) | st.text("a: -[]{}*&!|>'\"\n\t#?%@", max_size=40).map(str.encode))
def test_any_bytes(text: bytes) -> None:
    for line in problems(text, {}):
        assert line.isprintable()
