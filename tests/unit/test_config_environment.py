"""Settings from the environment, over those of the file."""

from __future__ import annotations

from pathlib import Path

import pytest

from mailprobe.config.load import Configuration, load
from mailprobe.errors import ConfigurationError

FILE = """\
agent: {listen: "127.0.0.1:10587"}
senders:
  my-office:
    submission: smtp.example.com:587
    from: canary@example.com
    limits: {connections: 3}
mailboxes:
  inbox:
    address: canary@example.com
    imap: imap.example.com:993
    auth: {username: canary, password_env: CANARY_PASSWORD}
routes:
  internal: {from: my-office, to: inbox}
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "mailprobe.yaml"
    path.write_text(FILE)
    return path


def loaded(file: Path, **environ: str) -> Configuration:
    return load(file, {"CANARY_PASSWORD": "hunter2", **environ})


def problems(file: Path, **environ: str) -> tuple[str, ...]:
    with pytest.raises(ConfigurationError) as caught:
        loaded(file, **environ)
    assert "hunter2" not in str(caught.value)
    return caught.value.problems


def test_a_variable_wins_over_the_file(file: Path) -> None:
    assert loaded(file, MAILPROBE_AGENT__LISTEN="[::]:9000").agent.listen == ("::", 9000)


def test_only_what_is_set_changes(file: Path) -> None:
    sender = loaded(file, MAILPROBE_SENDERS__MY_OFFICE__LIMITS__MESSAGES_PER_MINUTE="25").plan.senders["my-office"]
    assert (sender.limits.connections, sender.limits.messages_per_minute) == (3, 25)


def test_an_underscore_in_a_name_is_a_hyphen(file: Path) -> None:
    plan = loaded(file, MAILPROBE_SENDERS__MY_OFFICE__EHLO="probe.example.com").plan
    assert plan.senders["my-office"].ehlo == "probe.example.com"


def test_a_route_by_the_environment_alone(file: Path) -> None:
    environ = {"MAILPROBE_ROUTES__SECOND__FROM": "my-office", "MAILPROBE_ROUTES__SECOND__TO": "inbox"}
    assert list(loaded(file, **environ).plan.routes) == ["internal", "second"]


def test_a_value_that_looks_like_yaml_is_yaml(file: Path) -> None:
    plan = loaded(file, MAILPROBE_ROUTES__INTERNAL__RETRY="[1m, 90s]").plan
    assert plan.routes["internal"].retry == (60.0, 90.0)
    plan = loaded(file, MAILPROBE_ROUTES__SECOND="{from: my-office, to: inbox}").plan
    assert "second" in plan.routes


def test_null_takes_a_setting_away(file: Path) -> None:
    file.write_text("secrets_dir: nowhere\n" + FILE)
    assert loaded(file, MAILPROBE_SECRETS_DIR="null").agent.listen == ("127.0.0.1", 10587)


def test_an_empty_variable_is_as_if_it_were_not_there(file: Path) -> None:
    assert loaded(file, MAILPROBE_AGENT__LISTEN="").agent.listen == ("127.0.0.1", 10587)


def test_a_user_name_of_digits_stays_text(file: Path) -> None:
    plan = loaded(file, MAILPROBE_MAILBOXES__INBOX__AUTH__USERNAME="0123").plan
    assert plan.mailboxes["inbox"].login.username == "0123"


def test_a_problem_names_the_variable(file: Path) -> None:
    assert problems(file, MAILPROBE_AGENT__LISTEN="hunter2") == (
        "MAILPROBE_AGENT__LISTEN: agent.listen: must be a server and a port, such as 127.0.0.1:10587 or [::]:10587",
    )


def test_a_contradiction_names_the_variable_that_made_it(file: Path) -> None:
    (problem,) = problems(file, MAILPROBE_ROUTES__INTERNAL__DEADLINE="48h")
    assert problem.startswith("MAILPROBE_ROUTES__INTERNAL__DEADLINE: routes.internal.deadline: deadline 2d is after")


def test_what_is_missing_names_a_variable_beside_it(file: Path) -> None:
    (problem,) = problems(file, MAILPROBE_ROUTES__SECOND__FROM="my-office")
    assert problem.startswith("MAILPROBE_ROUTES__SECOND__FROM: routes.second.to: is missing")


def test_an_inline_password_is_refused(file: Path) -> None:
    (problem,) = problems(file, MAILPROBE_MAILBOXES__INBOX__AUTH__PASSWORD="hunter2")
    assert problem.endswith("a password is never written here; use password_file or password_env")


def test_a_mistyped_section_is_a_problem(file: Path) -> None:
    assert problems(file, MAILPROBE_AGNET__LISTEN="hunter2") == (
        "MAILPROBE_AGNET__LISTEN: agnet: is not a setting; did you mean agent?",
    )


def test_a_mistyped_setting_is_a_problem(file: Path) -> None:
    (problem,) = problems(file, MAILPROBE_AGENT__LISTN="x")
    assert problem == "MAILPROBE_AGENT__LISTN: agent.listn: is not a setting; did you mean listen?"


def test_broken_yaml_is_a_problem(file: Path) -> None:
    (problem,) = problems(file, MAILPROBE_ROUTES__INTERNAL__RETRY="[1m, *hunter2]")
    assert problem.startswith("MAILPROBE_ROUTES__INTERNAL__RETRY: routes.internal.retry: is not valid YAML")


def test_too_many_underscores_are_a_problem(file: Path) -> None:
    (problem,) = problems(file, MAILPROBE_AGENT____LISTEN="x")
    assert problem.startswith("MAILPROBE_AGENT____LISTEN: has an empty part")


def test_variables_of_others_are_left_alone(file: Path) -> None:
    """Kubernetes sets these for a service called mailprobe; the passwords are those of `mailprobe probe --smtp`."""
    loaded(
        file,
        MAILPROBE_PORT="tcp://10.0.0.1:10587",
        MAILPROBE_SERVICE_HOST="10.0.0.1",
        MAILPROBE_PORT_10587_TCP_ADDR="10.0.0.1",
        MAILPROBE_SMTP_PASSWORD="hunter2",
    )


def test_problems_of_file_and_environment_are_said_together(file: Path) -> None:
    file.write_text(FILE.replace("to: inbox", "to: imbox"))
    first, second = problems(file, MAILPROBE_AGENT__SHARD="many")
    assert first == f"{file}:13:31: routes.internal.to: there is no mailbox imbox; did you mean inbox?"
    assert second.startswith("MAILPROBE_AGENT__SHARD: agent.shard: ")
