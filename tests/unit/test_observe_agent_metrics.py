"""What the agent counts of itself."""

from __future__ import annotations

import re
from pathlib import Path

from support.observing import Watch, values

import mailprobe
from mailprobe.events import TaskFailed
from mailprobe.observe.agent_metrics import TASKS


def test_names_of_tasks_are_capped() -> None:
    watch = Watch()
    for number in range(150):
        watch.publish(TaskFailed(f"task-{number}", RuntimeError()))
    found = values(watch, "mailprobe_agent_errors_total")
    assert found[("other",)] == 50
    assert len(found) == 101 + len(TASKS)


def test_every_task_is_counted_from_0() -> None:
    root = Path(mailprobe.__file__).parent
    sources = "".join(path.read_text() for path in root.rglob("*.py") if path.parent.name != "cli")
    begun = set(
        re.findall(r'(?:supervisor\.(?:start|once)\(\s*|TaskFailed\(|_renewed\[source\] = )f?"([\w-]+)', sources)
    )
    assert {"judge", "submit", "token"} < begun <= set(TASKS)
    assert values(Watch(), "mailprobe_agent_errors_total") == {(task,): 0 for task in TASKS}
