"""Owns every long-lived task of the agent: named, restarted with back-off, its failures counted.

What reaches the supervisor is a bug of ours: facts about the world are `ProbeFailure` and are handled by the actors.
A task that fails is reported (`TaskFailed`, and its traceback in the log) and begun again; the others go on.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine

from mailprobe.backoff import Backoff
from mailprobe.clock import Clock
from mailprobe.events import Publish, TaskFailed

LOG = logging.getLogger(__name__)
HEALTHY_AFTER = 60.0
"""Seconds a task must have run for its next failure to count as the first one."""


class Supervisor:
    """Runs named tasks in the application's task group."""

    def __init__(self, group: asyncio.TaskGroup, clock: Clock, publish: Publish, *, first_pause: float = 1.0) -> None:
        self._group = group
        self._clock = clock
        self._publish = publish
        self._first_pause = first_pause
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._ending = False

    def start(self, name: str, work: Callable[[], Awaitable[None]]) -> None:
        """Runs `work` under this name, again and again while it fails; ends when it returns."""
        task = self._group.create_task(self._supervise(name, work), name=name)
        self._keep(name, task)

    def once(self, name: str, work: Coroutine[object, object, None]) -> asyncio.Task[None]:
        """Runs something a single time; a failure is reported and not repeated."""
        task = self._group.create_task(self._guard(name, work), name=name)
        task.add_done_callback(lambda _: work.close())  # which has not begun if the task was cancelled at once
        self._keep(f"{name}#{id(task)}", task)
        return task

    async def stop(self, *names: str) -> None:
        """Cancels the tasks of these names and waits until they have ended."""
        tasks = [self._tasks[name] for name in names if name in self._tasks]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    async def ended(self, *names: str, timeout: float) -> None:
        """Waits until the tasks of these names have ended by themselves, at most `timeout` seconds."""
        tasks = [self._tasks[name] for name in names if name in self._tasks]
        if tasks:
            await asyncio.wait(tasks, timeout=timeout)

    def cancel_all(self) -> None:
        """Cancels everything, also what is begun from now on; the task group's end waits for it."""
        self._ending = True
        for task in [*self._tasks.values()]:
            task.cancel()

    @property
    def names(self) -> frozenset[str]:
        """The names of all tasks that run."""
        return frozenset(self._tasks)

    def _keep(self, name: str, task: asyncio.Task[None]) -> None:
        self._tasks[name] = task
        task.add_done_callback(lambda done: self._forget(name, done))
        if self._ending:
            task.cancel()

    def _forget(self, name: str, task: asyncio.Task[None]) -> None:
        if self._tasks.get(name) is task:
            del self._tasks[name]

    async def _supervise(self, name: str, work: Callable[[], Awaitable[None]]) -> None:
        backoff = Backoff(self._first_pause)
        while True:
            begun = self._clock.now()
            if await self._succeeds(name, work()):
                return
            if self._clock.now() - begun > HEALTHY_AFTER:
                backoff.reset()
            await self._clock.sleep_until(self._clock.now() + backoff.pause())

    async def _guard(self, name: str, work: Awaitable[None]) -> None:
        await self._succeeds(name, work)

    async def _succeeds(self, name: str, work: Awaitable[None]) -> bool:
        try:
            await work
        except Exception as error:
            kind = name.partition(":")[0]
            LOG.exception("task %s failed", name)
            self._publish(TaskFailed(kind, error))
            return False
        return True
