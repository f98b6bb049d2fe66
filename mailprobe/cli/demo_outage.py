"""The demo of an outage: the agent with its page, on mail servers that play it, on the outage's clock."""

from __future__ import annotations

import logging
from functools import partial
from typing import Final

from mailprobe.app import Agent
from mailprobe.cli.drill import Telling, head, say, summary
from mailprobe.cli.drill_findings import Findings, Knowledge
from mailprobe.cli.drilling import AGENT, DEADLINE, Scene, Settings, set_scene
from mailprobe.config.configuration import Agent as AgentSettings
from mailprobe.config.configuration import Configuration
from mailprobe.lab.outage import MINUTE, Outage

LEAD_IN: Final = 10 * MINUTE
"""A healthy while before the impact; somebody is waiting for it."""
_RETENTION: Final = 86400.0


async def demo_outage(outage: Outage, speed: float, listen: tuple[str, int]) -> None:
    """Plays an outage under an agent that serves its page there, until the agent is stopped.

    When the outage is over it says what was known when; then the healthy servers and the page stay.
    """
    # what the agent would log of its routes is said in the time line
    logging.getLogger("mailprobe").setLevel(logging.ERROR)
    settings = Settings(speed, lead_in=LEAD_IN)
    async with set_scene(outage, settings) as scene:
        configuration = Configuration(_agent_settings(scene, listen), scene.plan)
        playing = _Playing(scene, settings)
        agent = Agent(configuration, lambda: configuration, clock=scene.clock, scheduled=False, started=playing.started)
        agent.bus.subscribe(playing.knowledge)
        await agent.run()


class _Playing:
    """What runs beside the agent: who sends its canaries, and who tells what happens."""

    def __init__(self, scene: Scene, settings: Settings) -> None:
        self.knowledge = Knowledge()
        self._scene = scene
        self._settings = settings

    def started(self, agent: Agent) -> None:
        """The agent serves its page: the play begins."""
        agent.handle_signals()
        url = agent.web.url
        say(["", f"  the status page       {url}", f"  for Prometheus        {url}metrics", ""])
        say(["Ctrl-C ends it. Nothing is left behind.", ""])
        say(head(self._scene.outage, self._settings))
        for route in self._scene.plan.routes.values():
            agent.supervisor.start(f"canaries:{route.name}", partial(self._send, agent, route.name))
        agent.supervisor.start("time-line", self._tell)

    async def _send(self, agent: Agent, route: str) -> None:
        await agent.crew.watching(self._scene.plan.mailboxes)
        await self._scene.send(agent.crew, self._scene.plan.routes[route])

    async def _tell(self) -> None:
        """The time line until the outage is over, and what it comes to."""
        outage, clock, truth = self._scene.outage, self._scene.clock, self._scene.truth
        async with Telling(outage).while_playing(self.knowledge, clock, truth):
            await clock.sleep_until(outage.end + DEADLINE)
        findings = Findings.of(outage, self._settings.speed, self._settings.interval, self.knowledge, truth)
        say(summary(findings, truth))
        say(["", "The outage is over. The page stays until Ctrl-C.", ""])


def _agent_settings(scene: Scene, listen: tuple[str, int]) -> AgentSettings:
    return AgentSettings(
        name=AGENT,
        listen=listen,
        journal=scene.directory / "journal.db",
        journal_retention=_RETENTION,
        key_file=None,
        web_config_file=None,
        shard=None,
    )
