"""The command line. A command's module is imported when it is called: `--help` must not wait for pydantic."""

from __future__ import annotations

import importlib
from typing import Any, Final

import click
from click.shell_completion import CompletionItem

from mailprobe import __version__

COMMANDS: Final = {
    "run": ("mailprobe.cli.run:run", "Run the agent: send canaries, look for them, serve metrics."),
    "probe": ("mailprobe.cli.probe:probe", "Send one canary on each route, wait for the verdicts, and exit."),
    "check": ("mailprobe.cli.check:check", "Say everything that is wrong with a configuration file."),
    "demo": ("mailprobe.cli.demo:demo", "Run the agent on mail servers of its own, to look at."),
    "drill": ("mailprobe.cli.drill:drill", "Play a real outage, and print when mailprobe knew what."),
    "report": ("mailprobe.cli.report:report", "Print what the journal knows of a period, to send to the vendor."),
    "healthcheck": ("mailprobe.cli.healthcheck:healthcheck", "Ask an agent whether it is alive, for containers."),
    "config": ("mailprobe.cli.config:config", "Print an example of the configuration, or its JSON Schema."),
}
"""The commands: where each is, and what it does in one line, so that help needs none of them."""


def _logging_options() -> list[click.Parameter]:
    """`-v` and `--log-format` once more, for after a command: there too people write them."""

    def set_up(ctx: click.Context, parameter: click.Parameter, value: object) -> None:
        if value and ctx.parent:
            from mailprobe.cli import logs

            given = ctx.parent.params
            given[str(parameter.name)] = value
            logs.set_up(verbose=bool(given.get("verbose")), as_json=given.get("log_format") == "json")

    def option(*names: str, **more: Any) -> click.Option:
        return click.Option(names, expose_value=False, callback=set_up, **more)

    return [
        option("-v", "--verbose", is_flag=True, help="Log every step (level DEBUG)."),
        option("--log-format", type=click.Choice(["text", "json"])),
    ]


class LazyGroup(click.Group):
    """A group whose commands are known by name and imported when called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module, _, attribute = COMMANDS[cmd_name][0].partition(":")
        command: click.Command = getattr(importlib.import_module(module), attribute)
        if not any(parameter.name == "log_format" for parameter in command.params):
            command.params += _logging_options()
        return command

    def invoke(self, ctx: click.Context) -> object:
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:  # where click would say "Aborted!" and exit with 1
            raise click.exceptions.Exit(3) from None

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in COMMANDS.items()])

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        found = [CompletionItem(name, help=text) for name, (_, text) in COMMANDS.items() if name.startswith(incomplete)]
        return found + click.Command.shell_complete(self, ctx, incomplete)


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, message="mailprobe %(version)s")
@click.option("-v", "--verbose", is_flag=True, help="Log every step (level DEBUG).")
@click.option("--log-format", type=click.Choice(["text", "json"]), default="text", show_default=True)
def main(verbose: bool, log_format: str) -> None:
    """Canary messages out by SMTP, confirmed over IMAP: every delay and every deferral code, route by route."""
    from mailprobe.cli import logs

    logs.set_up(verbose=verbose, as_json=log_format == "json")
