"""The metrics of CONTRACT 4: names, types, labels, what exists from the start, what each event does."""

from __future__ import annotations

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text
from support.observing import ROUTE, TLS, Watch, a_sighting, values

from mailprobe.errors import ProbeFailure, Reason, Reply, Stage
from mailprobe.events import (
    ArrivedLate,
    CanaryLost,
    CanaryRestored,
    CertificateSeen,
    ConfigReloaded,
    DuplicateSighted,
    FeedsChanged,
    LoopLagged,
    MailboxDown,
    MailboxScanned,
    MailboxUp,
    PolicyChecked,
    Port25Changed,
    QuotaSeen,
    RoutesChanged,
    SlotFired,
    StrangersSeen,
    TaskFailed,
    Throttled,
    TokenRequested,
    TokenSourcesChanged,
    VendorAcknowledged,
    VendorStatusSeen,
)
from mailprobe.model import (
    AttemptOutcome,
    DaneFacts,
    DaneStatus,
    MtaStsFacts,
    MtaStsMode,
    Outcome,
    PolicyFacts,
    RouteState,
    Scan,
    StageReply,
)
from mailprobe.observe.families import CODE_PAIRS
from mailprobe.observe.metrics import Metrics
from mailprobe.observe.states import States
from mailprobe.vendor import Acknowledgement, VendorIncident, VendorState, VendorStatus

CONTRACT = """
mailprobe_canaries_total counter route outcome
mailprobe_canaries_sent_total counter route
mailprobe_attempts_total counter route
mailprobe_deferrals_total counter route stage code enhanced_code
mailprobe_rejections_total counter route stage code enhanced_code
mailprobe_failures_total counter route stage reason
mailprobe_late_arrivals_total counter route after
mailprobe_late_arrival_duration_seconds histogram route
mailprobe_lost_total counter route
mailprobe_duplicates_total counter route
mailprobe_delivery_duration_seconds histogram route
mailprobe_transit_duration_seconds histogram route
mailprobe_transit_upper_bounds_total counter route
mailprobe_stage_duration_seconds summary route stage
mailprobe_hop_delay_seconds gauge route hop
mailprobe_authentication_results_total counter route method result
mailprobe_route_state gauge route state
mailprobe_route_state_since_timestamp_seconds gauge route
mailprobe_route_affected_ratio gauge route
mailprobe_incident_open gauge route
mailprobe_incidents_total counter route
mailprobe_route_info gauge route sender mailbox kind
mailprobe_in_flight gauge route
mailprobe_oldest_in_flight_seconds gauge route
mailprobe_last_canary_timestamp_seconds gauge route
mailprobe_last_delivered_timestamp_seconds gauge route
mailprobe_mta_sts_policy gauge route mode
mailprobe_mta_sts_pass gauge route
mailprobe_dane_policy gauge route status
mailprobe_dane_pass gauge route
mailprobe_mailbox_up gauge mailbox
mailprobe_mailbox_last_scan_timestamp_seconds gauge mailbox
mailprobe_mailbox_blind_seconds_total counter mailbox
mailprobe_mailbox_reconnects_total counter mailbox reason
mailprobe_mailbox_strangers_total counter mailbox
mailprobe_mailbox_quota_used_ratio gauge mailbox
mailprobe_tls_certificate_not_after_timestamp_seconds gauge endpoint
mailprobe_throttled_total counter endpoint reason
mailprobe_vendor_status gauge feed state
mailprobe_vendor_incident_open gauge feed
mailprobe_vendor_acknowledgement_lag_seconds gauge feed
mailprobe_vendor_last_read_timestamp_seconds gauge feed
mailprobe_schedule_lag_seconds histogram
mailprobe_loop_lag_seconds histogram
mailprobe_agent_errors_total counter task
mailprobe_port25_blocked gauge
mailprobe_token_requests_total counter source result
mailprobe_token_request_duration_seconds histogram source
mailprobe_token_expiry_timestamp_seconds gauge source
mailprobe_journal_write_errors_total counter
mailprobe_journal_rows gauge
mailprobe_journal_size_bytes gauge
mailprobe_config_last_reload_successful gauge
mailprobe_config_last_reload_success_timestamp_seconds gauge
mailprobe_build_info gauge version python
"""


def everything() -> Watch:
    """A life in which every metric got a value."""
    watch = Watch()
    watch.delivered()
    canary = watch.failed()
    deferred = StageReply(Stage.MAIL, Reply.of(451, "4.3.2 temporary server issue"))
    watch.attempted(watch.opened(), deferred, outcome=AttemptOutcome.DEFERRED)
    sighting = a_sighting(canary, watch.clock.now())
    watch.publish(
        ArrivedLate(canary, Outcome.OVERDUE, sighting, watch.clock.now(), 700.0, 1.0, False),
        QuotaSeen("contoso", 0.5),
        CertificateSeen("mailbox/contoso", TLS),
        TaskFailed("watcher", RuntimeError()),
        PolicyChecked(canary, 1, policy(True), watch.clock.now()),
        TokenSourcesChanged(("sender/office365",)),
        TokenRequested("sender/office365", watch.clock.now(), 0.2, watch.clock.now() + 3600.0),
        FeedsChanged((("vendor", ("contoso",), ()),)),
        VendorStatusSeen("vendor", watch.clock.now(), VendorStatus(VendorState.OK)),
        VendorAcknowledged(Acknowledgement("one", "vendor", "EX1", "late", 1.7e9, 1.7e9, 600.0), 900.0),
    )
    return watch


def policy(passed: bool | None) -> PolicyFacts:
    return PolicyFacts(
        MtaStsFacts(MtaStsMode.ENFORCE, passed=passed), DaneFacts(DaneStatus.USABLE, ("3 1 1 00",), passed=passed)
    )


@pytest.mark.parametrize("openmetrics", [False, True])
def test_names_types_and_labels_are_those_of_the_contract(openmetrics: bool) -> None:
    parse = parse_openmetrics if openmetrics else parse_text
    found = set()
    for family in parse(everything().metrics.render(openmetrics).decode()):
        if family.name.startswith("mailprobe_"):
            labels = {label for sample in family.samples for label in sample.labels if label not in ("le", "quantile")}
            name = family.name + ("_total" if family.type == "counter" else "")
            found.add((name, family.type, frozenset(labels)))
    expected = {(name, kind, frozenset(labels)) for name, kind, *labels in map(str.split, CONTRACT.split("\n")[1:-1])}
    assert found == expected


def test_every_family_has_a_help_text() -> None:
    text = everything().metrics.render().decode()
    helps = [line for line in text.splitlines() if line.startswith("# HELP mailprobe_")]
    assert len(helps) == len(CONTRACT.strip().splitlines())
    assert all(len(line.split(" ", 3)[3]) > 10 for line in helps)


def test_policies_are_absent_until_known_and_then_exactly_one_holds() -> None:
    watch = Watch()
    names = ("mta_sts_policy", "mta_sts_pass", "dane_policy", "dane_pass")

    def shown() -> list[dict[tuple[str, ...], float]]:
        return [values(watch, f"mailprobe_{name}") for name in names]

    assert shown() == [{}, {}, {}, {}]
    canary = watch.opened()
    modes = {(mode,): float(mode == "enforce") for mode in ("enforce", "testing", "none", "absent", "error")}
    statuses = {(status,): float(status == "usable") for status in ("usable", "unusable", "absent", "error")}
    watch.publish(PolicyChecked(canary, 1, policy(True), 0.0))
    assert shown() == [modes, {(): 1}, statuses, {(): 1}]
    watch.publish(PolicyChecked(canary, 2, policy(False), 0.0))
    assert shown() == [modes, {(): 0}, statuses, {(): 0}]
    watch.publish(PolicyChecked(canary, 3, policy(None), 0.0))
    assert shown() == [modes, {(): 0}, statuses, {(): 0}], "that attempt did not get so far"
    watch.publish(PolicyChecked(canary, 4, PolicyFacts(MtaStsFacts(MtaStsMode.ABSENT)), 0.0))
    assert values(watch, "mailprobe_mta_sts_policy") == {(mode,): float(mode == "absent") for (mode,) in modes}
    assert shown()[1:] == [{}, statuses, {(): 0}]
    watch.publish(PolicyChecked(canary, 5, PolicyFacts(None, DaneFacts(DaneStatus.ABSENT)), 0.0))
    assert shown()[3] == {}


def test_a_blocked_port_25_is_shown() -> None:
    watch = Watch()
    assert values(watch, "mailprobe_port25_blocked") == {(): 0}
    watch.publish(Port25Changed(True, 0.0, "no connection is answered"))
    assert values(watch, "mailprobe_port25_blocked") == {(): 1}
    assert watch.metrics.notice == "no connection is answered"
    watch.publish(Port25Changed(False, 0.0))
    assert (values(watch, "mailprobe_port25_blocked"), watch.metrics.notice) == ({(): 0}, "")


def test_process_metrics_are_there() -> None:
    text = Watch().metrics.render().decode()
    for name in ("process_resident_memory_bytes", "process_cpu_seconds_total", "process_open_fds", "python_info"):
        assert f"\n{name}" in text


def test_series_of_a_route_exist_at_0_from_the_start() -> None:
    watch = Watch()
    assert values(watch, "mailprobe_canaries_total") == {(outcome,): 0 for outcome in Outcome}
    assert values(watch, "mailprobe_in_flight") == {(): 0}
    assert values(watch, "mailprobe_delivery_duration_seconds_count") == {(): 0}
    assert values(watch, "mailprobe_stage_duration_seconds_sum")[("connect",)] == 0
    assert values(watch, "mailprobe_failures_total")[("resolve", "dns_servfail")] == 0
    assert values(watch, "mailprobe_authentication_results_total")[("dmarc", "missing")] == 0
    assert values(watch, "mailprobe_late_arrivals_total")[("overdue",)] == 0
    assert values(watch, "mailprobe_mailbox_reconnects_total")[("connection_lost",)] == 0
    assert values(watch, "mailprobe_throttled_total") == {("throttled",): 0, ("quota_exceeded",): 0}
    assert values(watch, "mailprobe_route_info") == {("outside", "contoso", "mx"): 1}


def test_a_route_that_goes_takes_its_series_along() -> None:
    watch = Watch()
    watch.delivered()
    watch.publish(RoutesChanged(added=(("second", "outside", "other", "mx"),), removed=("inbound",)))
    text = watch.metrics.render().decode()
    assert "inbound" not in text
    assert 'mailbox="contoso"' not in text
    assert "mailbox/contoso" not in text
    assert 'mailprobe_canaries_total{route="second",outcome="delivered"} 0' in text
    watch.delivered("inbound")
    assert "inbound" not in watch.metrics.render().decode()


def test_a_changed_route_keeps_its_counts() -> None:
    watch = Watch()
    watch.delivered()
    watch.publish(RoutesChanged(added=(("inbound", "inside", "contoso", "submission"),)))
    assert values(watch, "mailprobe_canaries_total")[("delivered",)] == 1
    assert values(watch, "mailprobe_route_info") == {("inside", "contoso", "submission"): 1}


def test_mailboxes_that_only_receive_bounces_are_there() -> None:
    watch = Watch()
    watch.publish(RoutesChanged(mailboxes=("postmaster",)))
    text = watch.metrics.render().decode()
    assert 'mailprobe_mailbox_up{mailbox="postmaster"} 0' in text
    assert 'mailprobe_mailbox_up{mailbox="contoso"} 0' in text


def test_a_delivered_canary() -> None:
    watch = Watch()
    watch.delivered(transit=1.5, delivery=2.5)
    assert values(watch, "mailprobe_canaries_total")[("delivered",)] == 1
    assert values(watch, "mailprobe_attempts_total") == {(): 1}
    assert values(watch, "mailprobe_canaries_sent_total") == {(): 1}
    assert values(watch, "mailprobe_transit_duration_seconds_sum") == {(): 1.5}
    buckets = values(watch, "mailprobe_delivery_duration_seconds_bucket")
    assert (buckets[("1.0",)], buckets[("2.5",)], buckets[("+Inf",)]) == (0, 1, 1)
    assert values(watch, "mailprobe_stage_duration_seconds_sum")[("connect",)] == 0.25
    assert values(watch, "mailprobe_hop_delay_seconds") == {("2",): 3}
    results = values(watch, "mailprobe_authentication_results_total")
    assert (results[("spf", "pass")], results[("dkim", "fail")], results[("dmarc", "missing")]) == (1, 1, 1)
    assert values(watch, "mailprobe_last_delivered_timestamp_seconds") == {(): watch.clock.wall()}


def test_an_upper_bound_is_no_measurement() -> None:
    watch = Watch()
    watch.delivered(upper_bound=True)
    watch.delivered(transit_seconds=None, delivery_seconds=None)
    assert values(watch, "mailprobe_transit_upper_bounds_total") == {(): 2}
    assert values(watch, "mailprobe_transit_duration_seconds_count") == {(): 0}
    assert values(watch, "mailprobe_delivery_duration_seconds_count") == {(): 0}
    assert values(watch, "mailprobe_canaries_total")[("delivered",)] == 2


@pytest.mark.parametrize("outcome", [each for each in Outcome if each not in (Outcome.DELIVERED, Outcome.JUNKED)])
def test_a_failure_never_enters_the_histograms(outcome: Outcome) -> None:
    watch = Watch()
    watch.failed(outcome)
    assert values(watch, "mailprobe_canaries_total") == {(each,): float(each is outcome) for each in Outcome}
    assert values(watch, "mailprobe_delivery_duration_seconds_count") == {(): 0}
    assert values(watch, "mailprobe_last_delivered_timestamp_seconds") == {(): 0}


def test_refusals_by_stage_and_codes() -> None:
    watch = Watch()
    watch.attempted(
        watch.opened(),
        StageReply(Stage.MAIL, Reply.of(250, "2.1.0 Ok")),
        StageReply(Stage.RCPT, Reply.of(451, "4.3.2 temporary server issue")),
        StageReply(Stage.QUIT, Reply.of(421, "bye")),
    )
    assert values(watch, "mailprobe_deferrals_total") == {("rcpt", "451", "4.3.2"): 1, ("quit", "421", ""): 1}
    assert values(watch, "mailprobe_rejections_total") == {}


def test_codes_are_capped() -> None:
    watch = Watch()
    canary = watch.opened()
    for detail in range(CODE_PAIRS + 10):
        watch.attempted(canary, StageReply(Stage.RCPT, Reply.of(550, f"5.7.{detail} no")))
        watch.attempted(canary, StageReply(Stage.RCPT, Reply.of(550, "5.7.0 no")))
    found = values(watch, "mailprobe_rejections_total")
    assert len(found) == CODE_PAIRS + 1
    assert found[("rcpt", "other", "other")] == 10
    assert found[("rcpt", "550", "5.7.0")] == CODE_PAIRS + 11


def test_failures_of_attempts_and_of_transit_are_counted_once() -> None:
    watch = Watch()
    watch.failed()
    canary = watch.opened()
    watch.attempted(canary)
    watch.judged(canary, Outcome.OVERDUE, stage=Stage.TRANSIT, reason=Reason.NOT_THERE)
    found = {key: value for key, value in values(watch, "mailprobe_failures_total").items() if value}
    assert found == {("rcpt", "rejected"): 1, ("transit", "not_there"): 1}


def test_a_failure_that_nobody_expected_appears_all_the_same() -> None:
    watch = Watch()
    watch.attempted(watch.opened(), stage=Stage.CONNECT, reason=Reason.QUOTA_EXCEEDED, outcome=AttemptOutcome.UNSENT)
    assert values(watch, "mailprobe_failures_total")[("connect", "quota_exceeded")] == 1


async def test_in_flight_and_its_age() -> None:
    watch = Watch()
    canary = watch.opened()
    await watch.clock.advance(42)
    second = watch.opened()
    assert values(watch, "mailprobe_in_flight") == {(): 2}
    assert values(watch, "mailprobe_oldest_in_flight_seconds") == {(): 42}
    watch.judged(canary, Outcome.UNSENT)
    await watch.clock.advance(1)
    assert values(watch, "mailprobe_oldest_in_flight_seconds") == {(): 1}
    watch.judged(second, Outcome.UNSENT)
    assert values(watch, "mailprobe_in_flight") == {(): 0}
    assert values(watch, "mailprobe_oldest_in_flight_seconds") == {(): 0}


def test_a_canary_of_an_earlier_process_is_in_flight() -> None:
    watch = Watch()
    canary = watch.canary()
    watch.publish(CanaryRestored(canary))
    assert values(watch, "mailprobe_in_flight") == {(): 1}
    watch.judged(canary, Outcome.UNOBSERVED)
    assert values(watch, "mailprobe_in_flight") == {(): 0}


def test_late_lost_duplicate() -> None:
    watch = Watch()
    canary = watch.failed(Outcome.OVERDUE)
    sighting = a_sighting(canary, watch.clock.now())
    watch.publish(
        ArrivedLate(canary, Outcome.OVERDUE, sighting, watch.clock.now(), 700.0, 1.0, False),
        ArrivedLate(canary, Outcome.UNOBSERVED, sighting, watch.clock.now(), 9000.0, 1.0, True),
        CanaryLost(canary, watch.clock.now()),
        DuplicateSighted(canary, sighting),
    )
    assert values(watch, "mailprobe_late_arrivals_total")[("overdue",)] == 1
    assert values(watch, "mailprobe_late_arrivals_total")[("unobserved",)] == 1
    assert values(watch, "mailprobe_late_arrival_duration_seconds_sum") == {(): 700}
    assert values(watch, "mailprobe_lost_total") == {(): 1}
    assert values(watch, "mailprobe_duplicates_total") == {(): 1}


async def test_a_mailbox() -> None:
    watch = Watch()
    await watch.clock.advance(3)
    watch.publish(
        MailboxUp("contoso", watch.clock.now()),
        MailboxScanned(Scan("contoso", watch.clock.now(), watch.clock.now())),
        StrangersSeen("contoso", 4),
    )
    assert values(watch, "mailprobe_mailbox_up") == {(): 1}
    assert values(watch, "mailprobe_mailbox_blind_seconds_total") == {(): 3}
    assert values(watch, "mailprobe_mailbox_strangers_total") == {(): 4}
    assert values(watch, "mailprobe_mailbox_last_scan_timestamp_seconds") == {(): watch.clock.wall()}
    failure = ProbeFailure(Stage.CONNECT, Reason.CONNECTION_REFUSED)
    watch.publish(MailboxDown("contoso", watch.clock.now(), failure))
    await watch.clock.advance(5)
    assert values(watch, "mailprobe_mailbox_blind_seconds_total") == {(): 8}
    watch.publish(MailboxDown("contoso", watch.clock.now(), failure))
    await watch.clock.advance(2)
    watch.publish(MailboxUp("contoso", watch.clock.now()))
    await watch.clock.advance(100)
    assert values(watch, "mailprobe_mailbox_blind_seconds_total") == {(): 10}
    assert values(watch, "mailprobe_mailbox_reconnects_total")[("connection_refused",)] == 2


def test_the_agent() -> None:
    watch = Watch()
    watch.publish(
        SlotFired("inbound", 0.02),
        LoopLagged(0.003),
        Throttled("sender/outside", Reason.THROTTLED),
        CertificateSeen("sender/outside", TLS),
        ConfigReloaded(watch.clock.now()),
    )
    assert values(watch, "mailprobe_schedule_lag_seconds_sum") == {(): 0.02}
    assert values(watch, "mailprobe_loop_lag_seconds_count") == {(): 1}
    assert (
        'mailprobe_throttled_total{endpoint="sender/outside",reason="throttled"} 1' in watch.metrics.render().decode()
    )
    assert TLS.not_after
    assert values(watch, "mailprobe_tls_certificate_not_after_timestamp_seconds") == {(): TLS.not_after.timestamp()}
    assert values(watch, "mailprobe_config_last_reload_successful") == {(): 1}
    watch.publish(ConfigReloaded(watch.clock.now(), ("line 1",)))
    assert values(watch, "mailprobe_config_last_reload_successful") == {(): 0}
    assert values(watch, "mailprobe_config_last_reload_success_timestamp_seconds") == {(): watch.clock.wall()}


def test_exactly_one_state_is_1() -> None:
    watch = Watch()
    assert values(watch, "mailprobe_route_state") == {(s,): float(s is RouteState.UNKNOWN) for s in RouteState}
    watch.delivered()
    assert values(watch, "mailprobe_route_state") == {(s,): float(s is RouteState.OK) for s in RouteState}
    for _ in range(4):
        watch.failed()
    assert values(watch, "mailprobe_route_state") == {(s,): float(s is RouteState.FAILING) for s in RouteState}


def test_incidents_and_how_a_route_fares() -> None:
    watch = Watch()
    watch.delivered()
    names = ("route_affected_ratio", "incident_open", "incidents_total", "route_state_since_timestamp_seconds")
    assert [values(watch, f"mailprobe_{name}") for name in names[:3]] == [{(): 0.0}] * 3
    for _ in range(4):
        watch.failed()
    watch.publish(*watch.states.tick(watch.clock.now()))
    assert [values(watch, f"mailprobe_{name}") for name in names[:3]] == [{(): 0.8}, {(): 1.0}, {(): 1.0}]
    attempt_ended = watch.clock.wall() + 0.5
    assert values(watch, "mailprobe_" + names[3]) == {(): attempt_ended}
    for _ in range(4):
        watch.delivered()
    watch.publish(*watch.states.tick(watch.clock.now()))
    assert [values(watch, f"mailprobe_{name}") for name in names[:3]] == [{(): 0.0}, {(): 0.0}, {(): 1.0}]


def test_a_part_of_the_page() -> None:
    watch = Watch(ROUTE, ("second", "outside", "contoso", "mx"))
    text = watch.metrics.render(routes=["second", "second", "no-such"]).decode()
    assert 'route="second"' in text
    assert "inbound" not in text
    assert "mailbox_up" not in text
    assert text.count('mailprobe_canaries_total{route="second",outcome="delivered"}') == 1
    assert watch.metrics.render(openmetrics=True, routes=["second"]).endswith(b"# EOF\n")


def test_journal_figures_are_read_at_the_scrape() -> None:
    class Figures:
        rows = 7
        size_bytes = 4096
        write_errors = 2

    watch = Watch()
    watch.metrics = Metrics(watch.clock, "1", States(), Figures())
    Figures.rows = 8
    assert values(watch, "mailprobe_journal_rows") == {(): 8}
    assert values(watch, "mailprobe_journal_size_bytes") == {(): 4096}
    assert values(watch, "mailprobe_journal_write_errors_total") == {(): 2}


def vendor_state(watch: Watch) -> list[tuple[str, ...]]:
    return [labels for labels, value in values(watch, "mailprobe_vendor_status").items() if value]


def test_a_feed_is_unknown_until_it_was_asked_and_never_ok_when_it_cannot_be() -> None:
    watch = Watch()
    watch.publish(FeedsChanged((("vendor", (), ()), ("other", (), ()))))
    assert vendor_state(watch) == [("unknown",)]
    assert len(values(watch, "mailprobe_vendor_status")) == len(VendorState)
    assert values(watch, "mailprobe_vendor_incident_open") == {}
    trouble = VendorStatus(VendorState.DEGRADED, (VendorIncident("1", "late", VendorState.DEGRADED),))
    for feed in ("vendor", "other"):
        watch.publish(VendorStatusSeen(feed, watch.clock.now(), trouble))
    assert vendor_state(watch) == [("degraded",)]
    for feed in ("vendor", "other"):
        watch.publish(VendorStatusSeen(feed, watch.clock.now() + 60, VendorStatus(VendorState.UNREACHABLE, (), "gone")))
    assert vendor_state(watch) == [("unreachable",)]
    assert values(watch, "mailprobe_vendor_incident_open") == {(): 1.0}, "as last known"
    assert values(watch, "mailprobe_vendor_last_read_timestamp_seconds") == {(): watch.clock.wall()}
    watch.publish(VendorStatusSeen("vendor", watch.clock.now(), VendorStatus(VendorState.OK)))
    watch.publish(FeedsChanged((("vendor", (), ()),)))
    assert vendor_state(watch) == [("ok",)]
    assert values(watch, "mailprobe_vendor_incident_open") == {(): 0.0}
    watch.publish(FeedsChanged(()))
    assert values(watch, "mailprobe_vendor_status") == {}
