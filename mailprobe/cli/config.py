"""`mailprobe config example|schema`: what a configuration looks like."""

from __future__ import annotations

import json
from importlib import resources

import click


@click.group()
def config() -> None:
    """Print an example of the configuration, or its JSON Schema."""


@config.command()
def example() -> None:
    """Print an example of every setting, with comments."""
    click.echo(resources.files("mailprobe.config").joinpath("example.yaml").read_text(encoding="utf-8"), nl=False)


@config.command()
def schema() -> None:
    """Print the JSON Schema of the file, for editors.

    In an editor with a YAML language server: write it to a file and begin the configuration with
    `# yaml-language-server: $schema=FILE`.
    """
    from mailprobe.config.schema import json_schema

    click.echo(json.dumps(json_schema(), indent=2))
