"""The Helm chart and the plain manifests: rendered by Helm and kubectl, strict against Kubernetes' own schemas."""

from __future__ import annotations

import copy
import json
import re
import shutil
import subprocess
import tarfile
from base64 import b64decode
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import pytest
import yaml
from support.charts import CHART, NAMESPACE, RELEASE, ChartError, helm, only, read, rendered

from mailprobe import __version__
from mailprobe.config.configuration import Configuration
from mailprobe.config.load import load
from mailprobe.observe.journal import MAX_BYTES

ROOT = Path(__file__).parents[2]
MANIFESTS = ROOT / "deploy" / "kubernetes"
RULES = sorted((ROOT / "deploy" / "prometheus").glob("*.rules.yml"))
DASHBOARDS = sorted((ROOT / "grafana" / "dashboards").glob("*.json"))
MONITORING = json.loads((ROOT / "tests" / "support" / "monitoring_schema.json").read_text())

pytestmark = pytest.mark.server("helm")

OLDEST, NEWEST = "1.28", "1.37"
"""The versions of Kubernetes; Chart.yaml names the oldest."""
PATIENCE = 600
"""Seconds that a start may take: with a journal at its bound, on a cold disk, more than one minute was measured."""

Document = dict[str, Any]
CONFIG: Document = {
    "senders": {"out": {"mx": True, "from": "a@lab.test"}},
    "mailboxes": {"box": {"address": "b@lab.test", "imap": "imap.lab.test:993", "auth": {"username": "b"}}},
    "routes": {"inbound": {"from": "out", "to": "box"}},
}
SECRETS = {"mailboxes.box.password": "hunter2"}
SETS: dict[str, Document] = {
    "smallest": {"config": CONFIG, "secrets": SECRETS},
    "shards": {"config": CONFIG, "secrets": SECRETS, "shards": 5, "podDisruptionBudget": {"enabled": True}},
    "memory": {"config": CONFIG, "existingSecret": "kept-by-somebody", "persistence": {"enabled": False}},
    "shards-memory": {"existingConfigMap": "theirs", "shards": 2, "persistence": {"enabled": False}},
    "claim": {"config": CONFIG, "persistence": {"existingClaim": "theirs"}, "serviceAccount": {"create": False}},
    "numbers": {  # names that YAML would take for something else
        "existingConfigMap": "1",
        "existingSecret": "2",
        "persistence": {"existingClaim": "3"},
        "serviceAccount": {"name": "4"},
        "priorityClassName": "5",
    },
    "numbered-storage": {"config": CONFIG, "persistence": {"storageClassName": "6"}},
    "pods": {
        "config": CONFIG,
        "podMonitor": {"enabled": True, "relabelings": [{"action": "labeldrop", "regex": "pod"}], "labels": {"r": "p"}},
        "probes": {"scheme": "HTTPS", "httpHeaders": [{"name": "Authorization", "value": "Basic eDp5"}]},
    },
    "everything": {
        "config": CONFIG,
        "secrets": SECRETS,
        "fullnameOverride": "probe",
        "image": {"digest": "sha256:" + "0" * 64, "pullPolicy": "Always"},
        "imagePullSecrets": [{"name": "pull"}],
        "persistence": {"size": "10Gi", "storageClassName": "fast"},
        "resources": {"requests": {"cpu": "1"}, "limits": {"memory": "1Gi", "cpu": 2}},
        "extraArgs": ["--log-format=json"],
        "extraEnv": [{"name": "TZ", "value": "UTC"}],
        "extraVolumes": [{"name": "ca", "configMap": {"name": "ca"}}],
        "extraVolumeMounts": [{"name": "ca", "mountPath": "/etc/ca", "readOnly": True}],
        "serviceAccount": {"annotations": {"a": "b"}},
        "service": {"type": "NodePort", "port": 80, "annotations": {"a": "b"}},
        "serviceMonitor": {"enabled": True, "site": "fra1", "endpoint": {"scheme": "https"}},
        "prometheusRule": {"enabled": True, "labels": {"release": "prometheus"}},
        "podSecurityContext": {"runAsUser": 1000690000, "supplementalGroups": [5]},
        "dnsConfig": {"nameservers": ["192.0.2.1"], "options": [{"name": "ndots", "value": "1"}]},
        "initContainers": [{"name": "first", "image": "first:1", "command": ["true"]}],
        "dashboards": {"enabled": True, "annotations": {"grafana_folder": "Mail"}},
        "networkPolicy": {
            "enabled": True,
            "ingressFrom": [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "monitoring"}}}],
        },
        "podDisruptionBudget": {"enabled": True, "maxUnavailable": "50%"},
        "podAnnotations": {"a": "b"},
        "podLabels": {"team": "mail"},
        "nodeSelector": {"kubernetes.io/arch": "arm64"},
        "tolerations": [{"operator": "Exists"}],
        "affinity": {"podAntiAffinity": {}},
        "topologySpreadConstraints": [
            {"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "ScheduleAnyway", "labelSelector": {}}
        ],
        "priorityClassName": "high",
    },
}


def valid(document: Document) -> None:
    """Strict: a field that Kubernetes does not know is an error."""
    if document["apiVersion"].startswith("monitoring."):
        jsonschema.validate(document, MONITORING)
    else:
        for version in (OLDEST, NEWEST):
            kubernetes_validate.validate(document, version, strict=True)


def pod_of(documents: list[Document]) -> Document:
    (workload,) = (each for each in documents if each["kind"] in ("Deployment", "StatefulSet"))
    template: Document = workload["spec"]["template"]
    return template


def restricted(pod: Document, container: Document) -> list[str]:
    """What the restricted Pod Security Standard says against it.

    Source: https://kubernetes.io/docs/concepts/security/pod-security-standards/.
    """
    own = pod.get("securityContext", {}) | container["securityContext"]
    volumes = {next(kind for kind in volume if kind != "name") for volume in pod["volumes"]}
    wrong = {
        "host": any(pod.get(key) for key in ("hostNetwork", "hostPID", "hostIPC")),
        "volumes": not volumes <= {"configMap", "secret", "emptyDir", "persistentVolumeClaim", "projected"},
        "host ports": any("hostPort" in port for port in container["ports"]),
        "escalation": own.get("allowPrivilegeEscalation") is not False,
        "privileged": own.get("privileged", False),
        "root": own.get("runAsNonRoot") is not True or own.get("runAsUser") == 0,
        "seccomp": own.get("seccompProfile", {}).get("type") not in ("RuntimeDefault", "Localhost"),
        "capabilities": own.get("capabilities") != {"drop": ["ALL"]},
    }
    return [name for name, is_wrong in wrong.items() if is_wrong]


def patience(container: Document) -> int:
    """Seconds until a container that does not answer yet is killed, to begin anew."""
    probe = container["startupProbe"]
    seconds: int = probe["periodSeconds"] * probe["failureThreshold"]
    return seconds


def loaded(text: str, directory: Path) -> Configuration:
    """The configuration, with the secrets and the journal in this directory."""
    file = directory / "mailprobe.yaml"
    for place in ("/run/secrets/mailprobe", "/var/lib/mailprobe"):
        text = text.replace(place, str(directory))
    file.write_text(text)
    return load(file, {})


# ---- the chart


@pytest.mark.parametrize("name", SETS)
def test_what_the_chart_renders_is_valid_and_restricted(name: str) -> None:
    documents = rendered(SETS[name])
    for document in documents:
        valid(document)
        assert document["metadata"]["namespace"] == NAMESPACE
    assert len({(each["kind"], each["metadata"]["name"]) for each in documents}) == len(documents)
    pod = pod_of(documents)["spec"]
    (container,) = pod["containers"]
    assert restricted(pod, container) == []
    assert container["securityContext"]["readOnlyRootFilesystem"] is True
    assert patience(container) == PATIENCE
    assert {mount["name"] for mount in container["volumeMounts"]} <= {
        *(volume["name"] for volume in pod["volumes"]),
        *({"journal"} if SETS[name].get("shards", 1) > 1 else ()),
    }


@pytest.mark.parametrize("name", SETS)
def test_the_chart_is_linted_without_a_warning(name: str) -> None:
    information = 1
    assert [message for message in helm("lint", SETS[name]) if message["severity"] > information] == []


def test_kinds() -> None:
    def kinds(name: str) -> set[str]:
        return {document["kind"] for document in rendered(SETS[name])}

    usual = {"ConfigMap", "Deployment", "PersistentVolumeClaim", "Secret", "Service", "ServiceAccount"}
    assert kinds("smallest") == usual
    assert kinds("shards") == usual - {"Deployment", "PersistentVolumeClaim"} | {"StatefulSet", "PodDisruptionBudget"}
    assert kinds("memory") == usual - {"PersistentVolumeClaim", "Secret"}
    monitoring = {"ServiceMonitor", "PrometheusRule"}
    assert kinds("everything") == usual | {"NetworkPolicy", "PodDisruptionBudget"} | monitoring


def test_a_shard_is_told_which_part_is_its_own() -> None:
    documents = rendered(SETS["shards"])
    workload = only(documents, "StatefulSet")
    assert workload["spec"]["replicas"] == 5
    environment = {each["name"]: each for each in pod_of(documents)["spec"]["containers"][0]["env"]}
    assert environment["MAILPROBE_AGENT__SHARD"]["value"] == "ordinal/5"  # of the host name, which is the pod's
    assert "hostNetwork" not in pod_of(documents)["spec"]


@pytest.mark.parametrize("kind", ["serviceMonitor", "podMonitor"])
def test_the_job_is_mailprobe_whatever_the_name_and_our_labels_stay(kind: str) -> None:
    """The alert about an agent that is gone goes by the job's name.

    The operator writes the port's name into a target's label `endpoint`, before these relabelings; a metric's own label
    of that name would become exported_endpoint.
    """
    documents = rendered({"config": CONFIG, "nameOverride": "canaries", kind: {"enabled": True}})
    spec = only(documents, kind[0].upper() + kind[1:])["spec"]
    (endpoint,) = spec.get("endpoints") or spec["podMetricsEndpoints"]
    assert endpoint["relabelings"] == [
        {"targetLabel": "job", "replacement": "mailprobe", "action": "replace"},
        {"action": "labeldrop", "regex": "endpoint"},
    ]


def test_the_configuration_loads(tmp_path: Path) -> None:
    documents = rendered(SETS["smallest"])
    for name, value in only(documents, "Secret")["data"].items():
        (tmp_path / name).write_bytes(b64decode(value))
    agent = loaded(only(documents, "ConfigMap")["data"]["mailprobe.yaml"], tmp_path).agent
    assert (agent.name, agent.listen, agent.journal) == (
        f"{RELEASE}-mailprobe",
        ("::", 10587),
        tmp_path / "journal.db",
    )


def test_the_values_that_the_documentation_shows_load_without_a_warning(tmp_path: Path) -> None:
    shown = re.search(r"```yaml\n(existingSecret: .*?)```", (ROOT / "deploy" / "README.md").read_text(), re.DOTALL)
    assert shown
    documents = rendered(yaml.safe_load(shown[1]))
    (text,) = (each["data"]["mailprobe.yaml"] for each in documents if "mailprobe.yaml" in each.get("data", ()))
    (tmp_path / "o365").write_text("hunter2")
    configuration = loaded(text, tmp_path)
    assert (set(configuration.plan.routes), configuration.warnings) == ({"internal"}, ())


def test_what_the_configuration_says_wins() -> None:
    config = CONFIG | {"agent": {"name": "ours"}, "secrets_dir": "/elsewhere"}
    text = only(rendered({"config": config, "secrets": SECRETS}), "ConfigMap")["data"]["mailprobe.yaml"]
    said = yaml.safe_load(text)
    assert (said["agent"]["name"], said["secrets_dir"]) == ("ours", "/elsewhere")
    assert said["agent"]["journal"] == "/var/lib/mailprobe/journal.db"


def environment_of(pod: Document) -> dict[str, str]:
    return {each["name"]: each["value"] for each in pod["spec"]["containers"][0]["env"] if "value" in each}


def test_whatever_an_existing_configuration_says_the_pod_is_asked_where_it_listens(tmp_path: Path) -> None:
    """The chart does not see it; one that is good elsewhere listens on loopback and has no journal."""
    pod = pod_of(rendered({"existingConfigMap": "theirs", "config": {"agent": {"listen": "[::]:1"}}}))
    (container,) = pod["spec"]["containers"]
    assert [port["containerPort"] for port in container["ports"]] == [10587]
    (mounted,) = (mount["mountPath"] for mount in container["volumeMounts"] if mount["name"] == "journal")
    environment = {name: value.replace(mounted, str(tmp_path)) for name, value in environment_of(pod).items()}
    (tmp_path / "password").write_text("hunter2")
    mailboxes = {"box": CONFIG["mailboxes"]["box"] | {"auth": {"username": "b", "password_file": "password"}}}
    file = tmp_path / "mailprobe.yaml"
    for agent in ({}, {"listen": "127.0.0.1:9999", "journal": "/nowhere/journal.db"}):
        file.write_text(json.dumps(CONFIG | {"mailboxes": mailboxes, "agent": agent}))
        found = load(file, environment).agent
        assert (found.listen, found.journal) == (("::", 10587), tmp_path / "journal.db")


def test_the_port_of_the_pod_is_that_of_the_configuration() -> None:
    agent = {"listen": "0.0.0.0:9999", "journal": "/elsewhere/journal.db"}
    documents = rendered({"config": CONFIG | {"agent": agent}, "networkPolicy": {"enabled": True}})
    pod = pod_of(documents)
    (container,) = pod["spec"]["containers"]
    assert container["ports"] == [{"name": "http", "containerPort": 9999, "protocol": "TCP"}]
    # all else goes by the port's name
    asked = [container[probe]["httpGet"]["port"] for probe in ("startupProbe", "livenessProbe", "readinessProbe")]
    asked += [only(documents, "Service")["spec"]["ports"][0]["targetPort"]]
    asked += [only(documents, "NetworkPolicy")["spec"]["ingress"][0]["ports"][0]["port"]]
    assert set(asked) == {"http"}
    environment = environment_of(pod)
    assert {key: environment[f"MAILPROBE_AGENT__{key.upper()}"] for key in agent} == agent


def test_a_change_of_configuration_rolls_the_pods_and_says_nothing_of_secrets() -> None:
    changed = copy.deepcopy(SETS["smallest"])
    changed["config"]["routes"]["inbound"]["interval"] = "30s"
    secret = SETS["smallest"] | {"secrets": {"mailboxes.box.password": "hunter3"}}
    pods = [pod_of(rendered(values)) for values in (SETS["smallest"], changed, secret)]
    checksums = [pod["metadata"]["annotations"]["checksum/config"] for pod in pods]
    assert checksums[0] != checksums[1]
    assert pods[2] == pods[0]  # whoever may see the pod could try passwords on a checksum of them


def test_rules_and_dashboards_are_those_of_the_tree() -> None:
    documents = rendered(SETS["everything"])
    groups = [each["spec"] for each in documents if each["kind"] == "PrometheusRule"]
    assert groups == [yaml.safe_load(file.read_text()) for file in RULES]
    boards = [
        each["data"]
        for each in documents
        if each["kind"] == "ConfigMap" and each["metadata"]["labels"].get("grafana_dashboard") == "1"
    ]
    assert [{name: json.loads(text) for name, text in each.items()} for each in boards] == [
        {file.name: json.loads(file.read_text())} for file in DASHBOARDS
    ]


def test_the_alerts_link_to_where_the_runbook_is() -> None:
    url = "https://git.example.net/mailprobe/deploy/RUNBOOK.md"
    documents = rendered({"config": CONFIG, "prometheusRule": {"enabled": True, "runbookUrl": url}})
    specs = [each["spec"] for each in documents if each["kind"] == "PrometheusRule"]
    links = [
        rule["annotations"]["runbook_url"]
        for spec in specs
        for group in spec["groups"]
        for rule in group["rules"]
        if "runbook_url" in rule.get("annotations", {})
    ]
    assert links
    assert all(re.fullmatch(re.escape(url) + r"#\w+", link) for link in links)
    unlinked = json.loads(json.dumps(specs).replace(url, "deploy/RUNBOOK.md"))
    assert unlinked == [yaml.safe_load(file.read_text()) for file in RULES]  # and nothing else is touched


def test_the_pod_is_given_what_is_said_of_it() -> None:
    pod = pod_of(rendered(SETS["everything"]))["spec"]
    for key in ("dnsConfig", "initContainers"):
        assert pod[key] == SETS["everything"][key]
    usual = pod_of(rendered(SETS["smallest"]))["spec"]["securityContext"]
    assert pod["securityContext"] == usual | SETS["everything"]["podSecurityContext"]
    # where the cluster chooses the users
    unset = {"runAsUser": None, "runAsGroup": None, "fsGroup": None}
    chosen = pod_of(rendered(SETS["smallest"] | {"podSecurityContext": unset}))["spec"]["securityContext"]
    assert chosen == {key: value for key, value in usual.items() if key not in unset}


def test_a_packaged_chart_holds_them_too(tmp_path: Path) -> None:
    with tarfile.open(helm("package", str(tmp_path))) as archive:
        found = {member.name for member in archive if member.isfile()}
    assert {f"mailprobe/files/prometheus/{file.name}" for file in RULES} <= found
    assert {f"mailprobe/files/dashboards/{file.name}" for file in DASHBOARDS} <= found
    assert "mailprobe/values.schema.json" in found


def test_the_chart_is_of_this_version() -> None:
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    assert (chart["appVersion"], chart["kubeVersion"]) == (__version__, f">={OLDEST}.0-0")
    for file in (MANIFESTS / "kustomization.yaml", MANIFESTS / "sidecar" / "kustomization.yaml"):
        assert yaml.safe_load(file.read_text())["images"] == [{"name": "mailprobe", "newTag": __version__}]


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"shrads": 3}, "shrads"),
        ({"shards": 0}, "shards"),
        ({"image": {"repo": "x"}}, "repo"),
        ({"persistence": {"enabled": "yes"}}, "persistence"),
        ({"serviceMonitor": {"enabeld": True}}, "enabeld"),
        ({"serviceMonitor": {"interval": "often"}}, "interval"),
        ({"prometheusRule": {"runbookUrl": "RUNBOOK.md"}}, "runbookUrl"),
        ({"podSecurityContext": {"runAsUzer": 1}}, "runAsUzer"),
        ({"dnsConfig": {"nameserver": "192.0.2.1"}}, "nameserver"),
        ({"initContainers": [{"name": "first"}]}, "image"),
        ({"networkPolicy": {"egressPorts": [0]}}, "egressPorts"),
        ({"secrets": {"a/b": "c"}}, "a/b"),
        ({"config": {}}, "config needs routes or meshes"),
        *(
            ({"config": CONFIG | {"agent": {"listen": listen}}}, said)
            for listen, said in {
                "127.0.0.1:10587": "nobody outside the pod",
                "localhost:10587": "nobody outside the pod",
                "[::1]:10587": "nobody outside the pod",
                "[::]:0": "an address and a port",
                "0.0.0.0": "an address and a port",
            }.items()
        ),
        ({"serviceMonitor": {"enabled": True}, "podMonitor": {"enabled": True}}, "not both"),
        ({"existingSecret": "x"}, "not both"),
        ({"shards": 2, "persistence": {"existingClaim": "x"}}, "existingClaim"),
    ],
)
def test_a_wrong_value_is_an_error(values: Document, said: str) -> None:
    with pytest.raises(ChartError, match=said):
        rendered(SETS["smallest"] | values)


# ---- plain manifests


def kustomized(kubectl: str, directory: Path) -> list[Document]:
    done = subprocess.run([kubectl, "kustomize", str(directory)], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    return read(done.stdout)


def test_the_plain_manifests_are_valid_and_like_the_chart(kubectl: str) -> None:
    documents = kustomized(kubectl, MANIFESTS)
    for document in documents:
        valid(document)
    pod = pod_of(documents)["spec"]
    assert restricted(pod, pod["containers"][0]) == []
    assert only(documents, "Namespace")["metadata"]["labels"] == {"pod-security.kubernetes.io/enforce": "restricted"}
    name = only(documents, "ConfigMap")["metadata"]["name"]
    chart = pod_of(rendered({"config": CONFIG, "existingSecret": "mailprobe", "fullnameOverride": "mailprobe"}))
    for volume in chart["spec"]["volumes"]:
        if volume["name"] == "config":
            volume["configMap"]["name"] = name
    for volumes in (pod["volumes"], chart["spec"]["volumes"]):
        volumes.sort(key=lambda volume: volume["name"])
    assert pod == chart["spec"]


def test_the_kustomization_that_the_documentation_shows(kubectl: str, tmp_path: Path) -> None:
    shown = re.search(r"```yaml\n(namespace: .*?)```", (ROOT / "deploy" / "README.md").read_text(), re.DOTALL)
    assert shown
    (tmp_path / "kustomization.yaml").write_text(shown[1])
    (tmp_path / "mailprobe.yaml").write_text("ours")
    shutil.copytree(MANIFESTS, tmp_path / "mailprobe" / "deploy" / "kubernetes")
    documents = kustomized(kubectl, tmp_path)
    for document in documents:
        valid(document)
    pod = pod_of(documents)["spec"]
    assert pod["containers"][0]["image"] == f"registry.example.net/mailprobe:{__version__}"
    configuration = only(documents, "ConfigMap")
    assert configuration["data"] == {"mailprobe.yaml": "ours"}
    assert {"name": "config", "configMap": {"name": configuration["metadata"]["name"]}} in pod["volumes"]
    assert {each["metadata"].get("namespace") for each in documents if each["kind"] != "Namespace"} == {"mailprobe"}


MAIL = """\
apiVersion: apps/v1
kind: Deployment
metadata: {name: mail}
spec:
  selector: {matchLabels: {app: mail}}
  template:
    metadata: {labels: {app: mail}}
    spec:
      containers: [{name: postfix, image: "postfix:3.10"}]
      volumes: [{name: config, configMap: {name: postfix}}]
"""


def test_the_sidecar_is_put_beside_a_mail_server(kubectl: str, tmp_path: Path) -> None:
    (tmp_path / "mail.yaml").write_text(MAIL)
    (tmp_path / "sidecar").mkdir()
    for file in (MANIFESTS / "sidecar").iterdir():
        (tmp_path / "sidecar" / file.name).write_bytes(file.read_bytes())
    images = "images: [{name: mailprobe, newName: registry.example.net/mailprobe}]"
    (tmp_path / "kustomization.yaml").write_text(f"resources: [mail.yaml]\ncomponents: [sidecar]\n{images}\n")
    documents = kustomized(kubectl, tmp_path)
    for document in documents:
        valid(document)
    pod = pod_of(documents)["spec"]
    containers = {each["name"]: each for each in pod["containers"]}
    assert containers.keys() == {"postfix", "mailprobe"}
    assert containers["postfix"] == {"name": "postfix", "image": "postfix:3.10"}
    assert containers["mailprobe"]["image"] == f"registry.example.net/mailprobe:{__version__}"
    assert restricted(pod, containers["mailprobe"]) == []
    assert "readinessProbe" not in containers["mailprobe"]  # it would take the mail server out of service
    assert patience(containers["mailprobe"]) == PATIENCE
    environment = {each["name"]: each["value"] for each in containers["mailprobe"]["env"]}
    assert environment["MAILPROBE_AGENT__LISTEN"] == "[::]:10587"  # whatever mailprobe.yaml says
    volumes = {volume["name"]: volume for volume in pod["volumes"]}
    assert volumes.keys() >= {"config", "mailprobe-config", "mailprobe-journal"}
    # room for the journal and its log: a Pod beyond it is evicted, here with the mail server
    limit = volumes["mailprobe-journal"]["emptyDir"]["sizeLimit"]
    assert int(limit.removesuffix("Gi")) << 30 >= 2 * MAX_BYTES


@pytest.mark.parametrize("directory", [MANIFESTS, MANIFESTS / "sidecar"], ids=["agent", "sidecar"])
def test_the_example_configurations_load(directory: Path, tmp_path: Path) -> None:
    text = (directory / "mailprobe.yaml").read_text()
    settings = yaml.safe_load(text)
    for section in ("senders", "mailboxes"):
        for name in settings[section]:
            (tmp_path / f"{section}.{name}.password").write_text("hunter2")
    (tmp_path / "o365").write_text("hunter2")
    configuration = loaded(text, tmp_path)
    assert configuration.warnings == ()
    assert set(configuration.plan.routes) == set(settings["routes"])
