"""cluster/ against the validators of those who will read it: Ray's launcher, EC2's API model, KubeRay's CRD, our configs."""

from __future__ import annotations

import copy
import json
import re
import shlex
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from negscale import app
from negscale.core.errors import ConfigError

REPO = Path(__file__).resolve().parents[3]
CLUSTER = REPO / "cluster"
SCHEMA = json.loads(Path(__file__).with_name("rayjob.schema.json").read_text())


def aws() -> dict[str, Any]:
    return yaml.safe_load((CLUSTER / "autoscaler" / "aws.yaml").read_text())


def rayjob() -> dict[str, Any]:
    return yaml.safe_load((CLUSTER / "kuberay" / "rayjob.yaml").read_text())


def groups(job: dict[str, Any]) -> list[dict[str, Any]]:
    cluster = job["spec"]["rayClusterSpec"]
    return [cluster["headGroupSpec"], *cluster["workerGroupSpecs"]]


def prepared_by_ray(config: dict[str, Any]) -> dict[str, Any]:
    """What `ray up` does before it talks to AWS."""
    from ray.autoscaler._private.util import prepare_config, validate_config

    filled = prepare_config(copy.deepcopy(config))
    validate_config(filled)
    return filled


# -- AWS ----------------------------------------------------------------------------------------------------------------


def test_ray_itself_accepts_the_launcher_config() -> None:
    filled = prepared_by_ray(aws())
    assert filled["head_node_type"] == "head"
    assert {n: (t["min_workers"], t["max_workers"]) for n, t in filled["available_node_types"].items()} == {
        "head": (0, 0), "cpu_worker": (0, 8), "gpu_worker": (0, 16),
    }  # fmt: skip


@pytest.mark.parametrize(
    "damage",
    [
        lambda c: c.update(idle_timeout_minuets=1),
        lambda c: c["available_node_types"]["head"].pop("resources"),
        lambda c: c.update(head_node_type="nobody"),
        lambda c: c["available_node_types"]["gpu_worker"].update(spot=True),
        lambda c: c.update(setup_commands="pip install x"),
    ],
)
def test_ray_refuses_a_damaged_launcher_config(damage: Any) -> None:
    config = aws()
    damage(config)
    with pytest.raises((jsonschema.ValidationError, ValueError, KeyError, TypeError)):
        prepared_by_ray(config)


def ec2_problems(node_config: dict[str, Any]) -> str:
    """What EC2's own API model says of a node as RunInstances parameters; no call is made."""
    import botocore.session
    from botocore.validate import ParamValidator

    model = botocore.session.get_session().get_service_model("ec2").operation_model("RunInstances").input_shape
    return ParamValidator().validate({"MinCount": 1, "MaxCount": 1, **node_config}, model).generate_report()


def test_ec2_knows_every_key_of_every_node() -> None:
    for node_type in aws()["available_node_types"].values():
        assert not ec2_problems(node_type["node_config"])
    assert "Unknown parameter" in ec2_problems({"InstanceMarketOption": {"MarketType": "spot"}})


def test_the_head_is_on_demand_and_idle_and_every_worker_is_spot() -> None:
    types = aws()["available_node_types"]
    assert "InstanceMarketOptions" not in types["head"]["node_config"]
    assert types["head"]["resources"] == {"CPU": 0}
    for name in ("cpu_worker", "gpu_worker"):
        assert types[name]["node_config"]["InstanceMarketOptions"]["MarketType"] == "spot"
        assert types[name]["min_workers"] == 0
        assert "resources" in types[name]
    assert not aws()["provider"]["cache_stopped_nodes"]


def test_the_clusters_are_closed_to_strangers() -> None:
    text = (CLUSTER / "autoscaler" / "aws.yaml").read_text()
    starts = re.findall(r"ray start[^;\n]*", text)
    assert len(starts) == 2
    assert text.count("RAY_AUTH_MODE=token ray start") == 2
    assert "--dashboard-host=127.0.0.1" in text
    assert rayjob()["spec"]["rayClusterSpec"]["authOptions"] == {"mode": "token"}


# -- Kubernetes ---------------------------------------------------------------------------------------------------------


def test_the_rayjob_has_the_crds_shape() -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    jsonschema.validate(rayjob(), SCHEMA)


@pytest.mark.parametrize(
    "damage",
    [
        lambda j: j.update(apiVersion="ray.io/v1alpha1"),
        lambda j: j["spec"].update(backOffLimit=3),
        lambda j: j["spec"].update(submissionMode="K8SJobMode"),
        lambda j: j["spec"].update(shutdownAfterJobFinishes=False),
        lambda j: j["spec"]["rayClusterSpec"]["headGroupSpec"]["rayStartParams"].update({"num-cpus": 0}),
        lambda j: groups(j)[1]["template"]["spec"]["containers"][0]["resources"]["limits"].update(memory="56 GB"),
        lambda j: groups(j)[2]["template"]["spec"]["tolerations"][0].update(operator="Equals"),
        lambda j: groups(j)[1].pop("template"),
    ],
)
def test_a_damaged_rayjob_is_refused(damage: Any) -> None:
    job = rayjob()
    damage(job)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(job, SCHEMA)


def test_a_lost_head_costs_a_retry_not_the_run() -> None:
    spec = rayjob()["spec"]
    assert spec["backoffLimit"] > 0
    head, *workers = groups(rayjob())
    assert head["rayStartParams"]["num-cpus"] == "0"
    assert head["labels"]["ray.io/market-type"] == "on-demand"
    assert {group["labels"]["ray.io/market-type"] for group in workers} == {"spot"}
    for group in workers:
        assert any(t.get("value") == "spot" for t in group["template"]["spec"]["tolerations"])
        assert group["minReplicas"] <= group["replicas"] <= group["maxReplicas"]
    # pools are sized by the nodes that are up when the job starts: proposer, verifier and negater need a GPU each
    assert next(g for g in workers if g["groupName"] == "gpu")["replicas"] >= 3


def test_requests_equal_limits() -> None:
    for group in groups(rayjob()):
        for container in group["template"]["spec"]["containers"]:
            assert container["resources"]["requests"] == container["resources"]["limits"]  # Ray sees what it may use


def test_ray_has_one_version_everywhere() -> None:
    job = rayjob()["spec"]["rayClusterSpec"]["rayVersion"]
    texts = [
        (CLUSTER / name).read_text()
        for name in ("autoscaler/aws.yaml", "docker/Dockerfile.cpu", "docker/Dockerfile.gpu")
    ]
    assert {version for text in texts for version in re.findall(r"ray\[[a-z,]+\]==([\d.]+)", text)} == {job}


# -- what is submitted --------------------------------------------------------------------------------------------------


def submitted() -> dict[str, str]:
    """Every command in the cluster files and pages that runs one of our programs, by where it stands."""
    found = {"kuberay/rayjob.yaml": rayjob()["spec"]["entrypoint"]}
    for page in (CLUSTER / "README.md", REPO / "jobs" / "README.md"):
        text = page.read_text().replace("\\\n", " ")
        commands = re.findall(r"^.*-- (python jobs/\S+\.py[^\n]*)$", text, re.MULTILINE)
        assert commands, page
        found |= {f"{page.relative_to(REPO)} #{number}": command for number, command in enumerate(commands)}
    return found


def test_every_submitted_command_exists_and_its_arguments_load() -> None:
    for place, command in submitted().items():
        words = shlex.split(command)
        program = words[1].removeprefix("/opt/negscale/")
        assert words[0] == "python", place
        assert (REPO / program).is_file(), place
        rest = words[2:]
        fragments = [rest[i + 1] for i, word in enumerate(rest) if word == "-c"]
        overrides = [word for i, word in enumerate(rest) if word != "-c" and (i == 0 or rest[i - 1] != "-c")]
        _, config = app.load_config(Path(program).stem, fragments, overrides)
        assert config.runtime.executor == "ray", place


def test_arguments_that_do_not_load_would_be_noticed() -> None:
    with pytest.raises(ConfigError, match="sorce"):
        app.load_config("negationclip_p1", ["backends/tiny"], ["sorce.images=3"])


def test_the_runtime_env_is_one_that_ray_takes() -> None:
    from ray.runtime_env import RuntimeEnv

    values = yaml.safe_load((CLUSTER / "runtime_env.yaml").read_text())
    made = RuntimeEnv(**values)
    assert made.env_vars() == values["env_vars"]
    assert all(isinstance(value, str) for value in values["env_vars"].values())


def test_every_placeholder_is_explained() -> None:
    page = (CLUSTER / "README.md").read_text()
    files = [path for path in CLUSTER.rglob("*") if path.is_file() and path.suffix != ".md"]
    used = {word for path in files for word in re.findall(r"REPLACE_[A-Z_]*[A-Z]", path.read_text())}
    assert used
    assert used == set(re.findall(r"`(REPLACE_[A-Z_]*[A-Z])`", page))


# -- images -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["Dockerfile.cpu", "Dockerfile.gpu"])
def test_dockerfiles_copy_what_exists_and_do_not_run_as_root(name: str) -> None:
    lines = [line for line in (CLUSTER / "docker" / name).read_text().splitlines() if line and not line.startswith("#")]
    assert lines[0].startswith("FROM ")
    copied = [word for line in lines if line.startswith("COPY") for word in line.split()[1:-1]]
    assert {"negscale", "jobs", "configs", "pyproject.toml"} <= set(copied)
    for source in copied:
        assert (REPO / source).exists(), source
    assert [line for line in lines if line.startswith("USER")][-1] == "USER ray"
    assert re.search(r"^WORKDIR /opt/negscale$", "\n".join(lines), re.MULTILINE)  # where rayjob.yaml looks for jobs/


# -- pages --------------------------------------------------------------------------------------------------------------


def test_the_request_for_nodes_is_python_that_ray_takes() -> None:
    import inspect

    from ray.autoscaler.sdk import request_resources

    page = (CLUSTER / "README.md").read_text()
    line = next(line.strip() for line in page.splitlines() if "request_resources(bundles" in line)
    remote = shlex.split(line)
    assert remote[:2] == ["ray", "exec"]
    assert (REPO / remote[2]).is_file()
    python = shlex.split(remote[3])
    assert python[:2] == ["python", "-c"]
    compile(python[2], "README.md", "exec")
    assert "bundles" in inspect.signature(request_resources).parameters


def test_every_job_has_its_line() -> None:
    page = (REPO / "jobs" / "README.md").read_text()
    programs = sorted(path.name for path in (REPO / "jobs").glob("*.py"))
    assert programs
    assert [name for name in programs if f"| `{name}` |" not in page] == []


def test_every_file_is_on_the_page() -> None:
    page = (CLUSTER / "README.md").read_text()
    files = [path.relative_to(CLUSTER).as_posix() for path in CLUSTER.rglob("*") if path.is_file()]
    assert [name for name in files if name != "README.md" and f"`{name}`" not in page] == []
