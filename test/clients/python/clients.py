"""The Python client library against a cluster: `clients.py KUBECONFIG` runs every case and prints one line of JSON for each."""

import json
import sys
import threading
import time
import traceback

from kubernetes import client, config, dynamic, utils, watch
from kubernetes.client.rest import ApiException
from kubernetes.stream import stream

NS = "python"


def refused(call, status):
    try:
        call()
    except ApiException as error:
        assert error.status == status, f"{error.status} instead of {status}: {error.body}"
        return json.loads(error.body)
    raise AssertionError(f"not refused with {status}")


def eventually(check, seconds=30):
    end = time.monotonic() + seconds
    while not (value := check()):
        assert time.monotonic() < end, "it did not come true"
        time.sleep(0.02)
    return value


def crud(core):
    made = core.create_namespaced_config_map(
        NS, {"metadata": {"generateName": "crud-"}, "data": {"k": "v"}, "binaryData": {"b": "AP8K"}}
    )
    name = made.metadata.name
    assert core.read_namespaced_config_map(name, NS).binary_data == {"b": "AP8K"}
    body = refused(lambda: core.create_namespaced_config_map(NS, {"metadata": {"name": name}}), 409)
    assert body["reason"] == "AlreadyExists"
    made.data = {"k": "w"}
    core.replace_namespaced_config_map(name, NS, made)
    made.data = {"k": "x"}
    assert refused(lambda: core.replace_namespaced_config_map(name, NS, made), 409)["reason"] == "Conflict"
    core.patch_namespaced_config_map(name, NS, {"data": {"l": "1"}})
    core.patch_namespaced_config_map(name, NS, [{"op": "remove", "path": "/data/k"}])
    assert core.read_namespaced_config_map(name, NS).data == {"l": "1"}
    core.delete_namespaced_config_map(name, NS)
    refused(lambda: core.read_namespaced_config_map(name, NS), 404)


def paging(core):
    for i in range(12):
        core.create_namespaced_config_map(NS, {"metadata": {"name": f"page-{i:02}", "labels": {"of": "paging"}}})
    names, token = [], None
    while True:
        page = core.list_namespaced_config_map(NS, label_selector="of=paging", limit=5, _continue=token)
        names += [m.metadata.name for m in page.items]
        token = page.metadata._continue
        if not token:
            break
    assert names == [f"page-{i:02}" for i in range(12)], names
    core.delete_collection_namespaced_config_map(NS, label_selector="of=paging")
    assert not core.list_namespaced_config_map(NS, label_selector="of=paging").items


def watches(core):
    start = core.list_namespaced_config_map(NS).metadata.resource_version

    def write():
        core.create_namespaced_config_map(NS, {"metadata": {"name": "seen"}, "data": {"a": "1"}})
        core.patch_namespaced_config_map("seen", NS, {"data": {"a": "2"}})
        core.delete_namespaced_config_map("seen", NS)

    writer = threading.Thread(target=write)
    writer.start()
    events = []
    w = watch.Watch()
    for event in w.stream(
        core.list_namespaced_config_map,
        NS,
        field_selector="metadata.name=seen",
        resource_version=start,
        timeout_seconds=20,
    ):
        events.append((event["type"], event["object"].data["a"]))
        if event["type"] == "DELETED":
            w.stop()
    writer.join()
    assert events == [("ADDED", "1"), ("MODIFIED", "2"), ("DELETED", "2")], events


def apply(core):
    api = dynamic.DynamicClient(core.api_client)
    deployments = api.resources.get(api_version="apps/v1", kind="Deployment")

    def body(replicas):
        labels = {"app": "applied"}
        return {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {"name": "applied", "namespace": NS},
            "spec": {
                "replicas": replicas,
                "selector": {"matchLabels": labels},
                "template": {
                    "metadata": {"labels": labels},
                    "spec": {"containers": [{"name": "c", "image": "nginx"}]},
                },
            },
        }

    def apply_as(manager, replicas, **more):
        return deployments.server_side_apply(body=body(replicas), name="applied", namespace=NS, field_manager=manager, **more)

    apply_as("one", 1)
    try:
        apply_as("two", 2)
        raise AssertionError("no conflict")
    except dynamic.exceptions.ConflictError:
        pass
    assert apply_as("two", 2, force_conflicts=True).spec.replicas == 2
    eventually(lambda: deployments.get(name="applied", namespace=NS).status.readyReplicas == 2)
    deployments.delete(name="applied", namespace=NS)


def run_pod(core, name):
    core.create_namespaced_pod(
        NS,
        {
            "metadata": {"name": name},
            "spec": {"containers": [{"name": "c", "image": "busybox", "command": ["sh", "-c", "sleep 1000"]}]},
        },
    )
    eventually(lambda: core.read_namespaced_pod(name, NS).status.phase == "Running")


def execs(core):
    run_pod(core, "exec")
    said = stream(
        core.connect_get_namespaced_pod_exec, "exec", NS, command=["echo", "hello"], stdout=True, stderr=True, stdin=False, tty=False
    )
    assert said == "hello\n", said
    session = stream(
        core.connect_get_namespaced_pod_exec,
        "exec",
        NS,
        command=["cat"],
        stdin=True,
        stdout=True,
        stderr=True,
        tty=False,
        _preload_content=False,
    )
    session.write_stdin("through\n")
    assert session.readline_stdout(timeout=20) == "through"
    session.close()
    core.read_namespaced_pod_log("exec", NS)


def custom(core):
    extensions = client.ApiextensionsV1Api(core.api_client)
    objects = client.CustomObjectsApi(core.api_client)
    schema = {
        "type": "object",
        "properties": {"spec": {"type": "object", "properties": {"size": {"type": "integer", "maximum": 10}}}},
    }
    extensions.create_custom_resource_definition(
        {
            "metadata": {"name": "snakes.python.example.com"},
            "spec": {
                "group": "python.example.com",
                "scope": "Namespaced",
                "names": {"plural": "snakes", "singular": "snake", "kind": "Snake", "listKind": "SnakeList"},
                "versions": [{"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}}],
            },
        }
    )
    kind = ("python.example.com", "v1", NS, "snakes")
    snake = {"apiVersion": "python.example.com/v1", "kind": "Snake", "metadata": {"name": "s"}, "spec": {"size": 3}}

    def create():
        try:
            return objects.create_namespaced_custom_object(*kind, snake)
        except ApiException as error:
            assert error.status == 404, error.body
            return None

    eventually(create)
    status = refused(lambda: objects.patch_namespaced_custom_object(*kind, "s", {"spec": {"size": 11}}), 422)
    assert "should be less than or equal to 10" in status["message"], status
    assert objects.get_namespaced_custom_object(*kind, "s")["spec"] == {"size": 3}


def from_yaml(core):
    utils.create_from_dict(
        core.api_client,
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": "made", "namespace": NS},
            "spec": {"selector": {"a": "b"}, "ports": [{"port": 80}]},
        },
    )
    assert core.read_namespaced_service("made", NS).spec.cluster_ip


def main():
    config.load_kube_config(sys.argv[1])
    core = client.CoreV1Api()
    core.create_namespace({"metadata": {"name": NS}})
    eventually(lambda: core.list_namespaced_service_account(NS).items)
    cases = {
        "create, read, update, patch, delete": crud,
        "paging and deletion of a collection": paging,
        "watch": watches,
        "apply with conflicts": apply,
        "exec and logs": execs,
        "custom resources": custom,
        "objects of any kind": from_yaml,
    }
    for name, case in cases.items():
        error = ""
        try:
            case(core)
        except Exception:
            error = traceback.format_exc()
        print(json.dumps({"name": name, "error": error}), flush=True)


main()
