"""The Helm chart by Helm's own library, linted, rendered, packaged; in a child, since it brings Go's runtime."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

CHART = Path(__file__).parents[2] / "deploy" / "helm" / "mailprobe"
NAMESPACE = "mail"
RELEASE = "fra1"

_HELM = """
import json, sys
from helm_python import chart
from helm_python.errors import HelmError
asked = json.load(sys.stdin)
try:
    if asked["do"] == "lint":
        answer = chart.lint(asked["chart"], asked["values"], strict=True)["messages"]
    elif asked["do"] == "package":
        answer = chart.package(path=asked["chart"], destination=asked["values"])
    else:
        found = chart.Chart.load(asked["chart"])
        answer = found.render(asked["values"], name=asked["name"], namespace=asked["namespace"])
except HelmError as error:
    answer = {"error": str(error)}
json.dump(answer, sys.stdout)
"""


class ChartError(Exception):
    """What Helm says against a chart or its values."""


def helm(do: str, values: Any) -> Any:
    """What Helm answers. Raises ChartError; skips where its library is not to be had."""
    pytest.importorskip("helm_python", reason="no helm: pip install helm-python-sdk (Linux, x86-64)")
    asked = {"do": do, "chart": str(CHART), "values": values, "name": RELEASE, "namespace": NAMESPACE}
    program = [sys.executable, "-c", _HELM]
    done = subprocess.run(program, input=json.dumps(asked), capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr[-3000:]
    answer = json.loads(done.stdout)
    if isinstance(answer, dict) and "error" in answer:
        raise ChartError(answer["error"])
    return answer


def rendered(values: dict[str, Any]) -> list[dict[str, Any]]:
    """All that the chart makes of the values. Raises ChartError."""
    texts: dict[str, str] = helm("render", values)
    documents = (document for name, text in texts.items() if name.endswith(".yaml") for document in read(text))
    return list(documents)


def read(text: str) -> list[dict[str, Any]]:
    """The documents of a YAML text that hold something."""
    return [document for document in yaml.safe_load_all(text) if document]


def only(documents: list[dict[str, Any]], kind: str) -> dict[str, Any]:
    """The one of this kind."""
    (found,) = (document for document in documents if document["kind"] == kind)
    return found
