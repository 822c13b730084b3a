"""The chart, linted and rendered by Helm itself, and held against deploy/kubernetes/carbon.yaml.

Run by `cargo xtask test`, which installs requirements.txt; by hand: python -m unittest discover deploy/helm/tests
"""

import re
import unittest
from pathlib import Path

import yaml
from helm_python import Chart, HelmError, lint

DEPLOY = Path(__file__).resolve().parents[2]
CHART = DEPLOY / "helm" / "carbon"

ALL = {
    "config": {"zone": "FR", "pue": 1.2, "here": True, "metrics-series": 300, "otlp": "http://collector.observability:4318"},
    "extraArgs": ["--flush=30s"],
    "extraEnv": [{"name": "CARBON_ZONE", "value": "DE"}],
    "kernelBefore511": True,
    "image": {"repository": "registry.example/carbon", "tag": "1", "pullSecrets": [{"name": "pull"}]},
    "rbac": {"nodesProxy": True},
    "token": {"existingSecret": "my-token"},
    "tls": {"existingSecret": "my-tls"},
    "state": {"hostPath": "", "postgres": {"existingSecret": "pg"}},
    "socket": {"enabled": True},
    "engines": {"enabled": True},
    "priorityClassName": "system-node-critical",
    "runtimeClassName": "nvidia",
    "affinity": {"nodeAffinity": {}},
    "podAnnotations": {"a": "b"},
    "podLabels": {"team": "ops"},
    "podMonitor": {"enabled": True, "labels": {"release": "prometheus"}, "relabelings": [{"action": "labelmap"}]},
    "prometheusRule": {"enabled": True, "labels": {"release": "prometheus"}},
    "dashboard": {"enabled": True},
    "networkPolicy": {"enabled": True},
    "openshift": {"scc": True},
}


def render(values=None):
    """Objects by kind and name."""
    with Chart.load(CHART) as chart:
        files = chart.render(values=values or {}, name="carbon", namespace="carbon")
    texts = [text for path, text in files.items() if path.endswith(".yaml")]
    objects = [it for text in texts for it in yaml.safe_load_all(text) if isinstance(it, dict)]
    return {(it["kind"], it["metadata"]["name"]): it for it in objects}


def plain():
    """The objects of the manifest that is used without Helm."""
    objects = yaml.safe_load_all((DEPLOY / "kubernetes" / "carbon.yaml").read_text())
    return {(it["kind"], it["metadata"]["name"]): it for it in objects}


def pod(objects):
    return objects["DaemonSet", "carbon"]["spec"]["template"]["spec"]


class TestChart(unittest.TestCase):
    def test_lint_has_nothing_to_say(self):
        for values in ({}, ALL):
            report = lint(CHART, values=values, strict=True)
            said = [it for it in report["messages"] if it["severity"] > 1] + report["errors"]
            self.assertEqual(said, [])

    def test_privileges_are_those_of_the_manifest(self):
        chart, manifest = pod(render()), pod(plain())
        own, theirs = chart["containers"][0]["securityContext"], manifest["containers"][0]["securityContext"]
        self.assertEqual(own.pop("seccompProfile"), {"type": "RuntimeDefault"})
        self.assertEqual(own, theirs)
        for key in ("hostPID", "hostNetwork", "enableServiceLinks"):
            self.assertEqual(chart[key], manifest[key])
        for probe in ("livenessProbe", "readinessProbe"):
            own, theirs = chart["containers"][0][probe], manifest["containers"][0][probe]
            self.assertEqual(own["httpGet"].pop("scheme"), "HTTPS")
            self.assertEqual(own, theirs)
        rules = render()["ClusterRole", "carbon"]["rules"]
        self.assertEqual(rules, plain()["ClusterRole", "carbon"]["rules"])
        self.assertEqual(chart["containers"][0]["resources"], manifest["containers"][0]["resources"])

    def test_nothing_is_ever_privileged(self):
        for values in ({}, ALL):
            container = pod(render(values))["containers"][0]["securityContext"]
            self.assertIs(container["privileged"], False)
            self.assertIs(container["allowPrivilegeEscalation"], False)
            self.assertEqual(container["capabilities"]["drop"], ["ALL"])
        self.assertEqual(container["capabilities"]["add"], ["BPF", "PERFMON", "SYS_RESOURCE"])
        for path in DEPLOY.rglob("*"):
            if path.is_file() and path.suffix in {".yaml", ".yml", ".tpl"}:
                self.assertIsNone(re.search(r"privileged: *true", path.read_text()), path)

    def test_arguments_are_those_of_the_manifest_and_more(self):
        own = set(pod(render())["containers"][0]["args"])
        more = own - set(pod(plain())["containers"][0]["args"])
        self.assertEqual(
            more,
            {
                "--config=/etc/carbon/agent.toml",
                "--listen-cert=/run/secrets/carbon-tls/tls.crt",
                "--listen-key=/run/secrets/carbon-tls/tls.key",
            },
        )
        mounted = {it["name"] for it in pod(render(ALL))["containers"][0]["volumeMounts"]}
        self.assertEqual(mounted, {it["name"] for it in pod(render(ALL))["volumes"]})

    def test_names_are_the_nodes(self):
        for objects in (render(), plain()):
            env = {it["name"]: it for it in pod(objects)["containers"][0]["env"]}
            self.assertEqual(env["CARBON_NODE"]["valueFrom"]["fieldRef"]["fieldPath"], "spec.nodeName")

    def test_configuration_is_toml_of_its_values(self):
        text = render(ALL)["ConfigMap", "carbon"]["data"]["agent.toml"]
        for line in ('zone = "FR"', "pue = 1.2", "here = true", 'otlp = "http://collector.observability:4318"'):
            self.assertIn(line, text)
        before, after = (
            objects["DaemonSet", "carbon"]["spec"]["template"]["metadata"]["annotations"]["checksum/config"]
            for objects in (render(), render(ALL))
        )
        self.assertNotEqual(before, after)

    def test_secrets_are_made_unless_there_are_some(self):
        made = render()
        self.assertGreaterEqual(len(made["Secret", "carbon-token"]["data"]["token"]), 44)
        self.assertIn("tls.key", made["Secret", "carbon-tls"]["data"])
        own = render(ALL)
        self.assertFalse([key for key in own if key[0] == "Secret"])
        names = {it["secret"]["secretName"] for it in pod(own)["volumes"] if "secret" in it}
        self.assertEqual(names, {"my-token", "my-tls"})

    def test_monitoring_has_the_rules_and_the_board(self):
        objects = render(ALL)
        rules = yaml.safe_load((DEPLOY / "prometheus" / "carbon_rules.yml").read_text())
        self.assertEqual(objects["PrometheusRule", "carbon"]["spec"], rules)
        values = {"prometheusRule": {"enabled": True, "runbooks": "https://wiki.example/carbon"}}
        alerts = [it for group in render(values)["PrometheusRule", "carbon"]["spec"]["groups"] for it in group["rules"] if "alert" in it]
        for alert in alerts:
            anchor = f"https://wiki.example/carbon#{alert['alert'].lower()}"
            self.assertEqual(alert["annotations"]["runbook_url"], anchor)
        board = (DEPLOY / "grafana" / "carbon.json").read_text()
        self.assertEqual(objects["ConfigMap", "carbon-dashboard"]["data"]["carbon.json"].strip(), board.strip())
        endpoint = objects["PodMonitor", "carbon"]["spec"]["podMetricsEndpoints"][0]
        self.assertEqual((endpoint["scheme"], endpoint["honorLabels"]), ("https", True))
        self.assertIn({"targetLabel": "job", "replacement": "carbon"}, endpoint["relabelings"])
        self.assertFalse([key for key in render() if key[0] in {"PodMonitor", "PrometheusRule", "NetworkPolicy"}])

    def test_what_cannot_be_is_refused(self):
        for wrong in (
            {"service": {"port": "x"}},
            {"service": {"port": 0}},
            {"config": {"listen": "0.0.0.0:1"}},
            {"config": {"zone": ["FR"]}},
            {"privileged": True},
            {"state": {"hostPath": "relative"}},
        ):
            with self.assertRaises(HelmError, msg=wrong):
                render(wrong)


if __name__ == "__main__":
    unittest.main()
