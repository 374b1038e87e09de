"""JSON schemas of the Kubernetes objects under cluster/kuberay, closed: a key that is not listed is an error.

Written after the KubeRay API reference (ray.io/v1, https://ray-project.github.io/kuberay/reference/api/) and the
Kubernetes API reference (v1.28), narrowed to the fields these manifests use or are likely to use. The operator takes
unknown keys in silence, so only a closed schema finds a typo before a cluster does.
"""

from __future__ import annotations

from typing import Any

Schema = dict[str, Any]

TEXT: Schema = {"type": "string", "minLength": 1}
TRUTH: Schema = {"type": "boolean"}
COUNT: Schema = {"type": "integer", "minimum": 0}
TEXTS: Schema = {"type": "object", "additionalProperties": {"type": "string"}}
"""String to string: labels, and rayStartParams, where a bare number would be refused by the operator."""
QUANTITY: Schema = {"type": "string", "pattern": r"^[0-9]+(\.[0-9]+)?(m|Ki|Mi|Gi|Ti)?$"}
NAME: Schema = {"type": "string", "pattern": r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$"}


def closed(required: tuple[str, ...] = (), **fields: Schema) -> Schema:
    return {"type": "object", "properties": fields, "required": list(required), "additionalProperties": False}


def many(item: Schema, least: int = 0) -> Schema:
    return {"type": "array", "items": item, "minItems": least}


def one_of(*values: str) -> Schema:
    return {"enum": list(values)}


METADATA = closed(("name",), name=NAME, namespace=NAME, labels=TEXTS, annotations=TEXTS)

AMOUNTS = {"type": "object", "additionalProperties": QUANTITY, "propertyNames": {"pattern": r"^(cpu|memory|storage|[a-z0-9.-]+/[a-z0-9-]+)$"}}  # fmt: skip
RESOURCES = closed(requests=AMOUNTS, limits=AMOUNTS)

CONTAINER_SECURITY = closed(
    allowPrivilegeEscalation=TRUTH,
    capabilities=closed(add=many(TEXT), drop=many(TEXT)),
    privileged=TRUTH,
    readOnlyRootFilesystem=TRUTH,
    runAsNonRoot=TRUTH,
    runAsUser=COUNT,
    runAsGroup=COUNT,
)
POD_SECURITY = closed(
    fsGroup=COUNT,
    runAsNonRoot=TRUTH,
    runAsUser=COUNT,
    runAsGroup=COUNT,
    seccompProfile=closed(("type",), type=one_of("RuntimeDefault", "Localhost", "Unconfined"), localhostProfile=TEXT),
)
ENVIRONMENT = many(
    closed(
        ("name",),
        name=TEXT,
        value={"type": "string"},
        valueFrom=closed(secretKeyRef=closed(("name", "key"), name=NAME, key=TEXT, optional=TRUTH)),
    )
)
PROBE = closed(
    httpGet=closed(("path", "port"), path=TEXT, port=COUNT, scheme=one_of("HTTP", "HTTPS")),
    exec=closed(("command",), command=many(TEXT, 1)),
    initialDelaySeconds=COUNT,
    periodSeconds=COUNT,
    timeoutSeconds=COUNT,
    failureThreshold=COUNT,
    successThreshold=COUNT,
)
PORTS = many(
    closed(
        ("containerPort",),
        containerPort={"type": "integer", "minimum": 1, "maximum": 65535},
        name={"type": "string", "pattern": r"^[a-z0-9-]{1,15}$"},
        protocol=one_of("TCP", "UDP"),
    )
)
CONTAINER = closed(
    ("name", "image", "resources", "securityContext"),
    name=NAME,
    image={"type": "string", "pattern": r"^[a-z0-9./_-]+:[\w][\w.-]*$", "not": {"pattern": ":latest$"}},
    imagePullPolicy=one_of("Always", "IfNotPresent", "Never"),
    command=many(TEXT, 1),
    args=many(TEXT),
    env=ENVIRONMENT,
    ports=PORTS,
    resources=RESOURCES,
    securityContext=CONTAINER_SECURITY,
    readinessProbe=PROBE,
    livenessProbe=PROBE,
    startupProbe=PROBE,
    volumeMounts=many(closed(("name", "mountPath"), name=NAME, mountPath=TEXT, readOnly=TRUTH, subPath=TEXT)),
)
VOLUME = closed(
    ("name",),
    name=NAME,
    persistentVolumeClaim=closed(("claimName",), claimName=NAME, readOnly=TRUTH),
    emptyDir=closed(medium=one_of("Memory"), sizeLimit=QUANTITY),
    configMap=closed(("name",), name=NAME),
)
POD = closed(
    ("spec",),
    metadata=closed(labels=TEXTS, annotations=TEXTS),
    spec=closed(
        ("containers", "securityContext"),
        automountServiceAccountToken=TRUTH,
        containers=many(CONTAINER, 1),
        imagePullSecrets=many(closed(("name",), name=NAME)),
        nodeSelector=TEXTS,
        restartPolicy=one_of("Always", "OnFailure", "Never"),
        securityContext=POD_SECURITY,
        serviceAccountName=NAME,
        terminationGracePeriodSeconds=COUNT,
        tolerations=many(closed(key=TEXT, operator=TEXT, value=TEXT, effect=TEXT)),
        volumes=many(VOLUME),
    ),
)

AUTOSCALER = closed(
    version=one_of("v1", "v2"),
    idleTimeoutSeconds=COUNT,
    upscalingMode=one_of("Default", "Aggressive", "Conservative"),
    imagePullPolicy=one_of("Always", "IfNotPresent", "Never"),
    resources=RESOURCES,
    securityContext=CONTAINER_SECURITY,
    env=ENVIRONMENT,
)
CLUSTER_SPEC = closed(
    ("rayVersion", "authOptions", "headGroupSpec", "workerGroupSpecs"),
    rayVersion={"type": "string", "pattern": r"^\d+\.\d+\.\d+$"},
    suspend=TRUTH,
    authOptions=closed(("mode", "secretName"), mode=one_of("token", "disabled"), secretName=NAME),
    enableInTreeAutoscaling=TRUTH,
    autoscalerOptions=AUTOSCALER,
    headGroupSpec=closed(
        ("rayStartParams", "template"),
        rayStartParams=TEXTS,
        serviceType=one_of("ClusterIP", "NodePort", "LoadBalancer"),
        template=POD,
    ),
    workerGroupSpecs=many(
        closed(
            ("groupName", "minReplicas", "maxReplicas", "rayStartParams", "template"),
            groupName=NAME,
            replicas=COUNT,
            minReplicas=COUNT,
            maxReplicas=COUNT,
            numOfHosts=COUNT,
            idleTimeoutSeconds=COUNT,
            rayStartParams=TEXTS,
            template=POD,
        ),
        1,
    ),
)
JOB_SPEC = closed(
    ("entrypoint", "rayClusterSpec"),
    entrypoint=TEXT,
    runtimeEnvYAML=TEXT,
    submissionMode=one_of("K8sJobMode", "HTTPMode", "InteractiveMode", "SidecarMode"),
    submitterConfig=closed(backoffLimit=COUNT),
    submitterPodTemplate=POD,
    shutdownAfterJobFinishes=TRUTH,
    ttlSecondsAfterFinished=COUNT,
    activeDeadlineSeconds={"type": "integer", "minimum": 1},
    backoffLimit=COUNT,
    suspend=TRUTH,
    rayClusterSpec=CLUSTER_SPEC,
)
SERVICE_SPEC = closed(
    ("serveConfigV2", "rayClusterConfig"),
    serveConfigV2=TEXT,
    excludeHeadPodFromServeSvc=TRUTH,
    upgradeStrategy=closed(("type",), type=one_of("NewCluster", "NewClusterWithIncrementalUpgrade", "None")),
    rayClusterConfig=CLUSTER_SPEC,
)
CLAIM_SPEC = closed(
    ("accessModes", "resources"),
    accessModes=many(one_of("ReadWriteOnce", "ReadOnlyMany", "ReadWriteMany", "ReadWriteOncePod"), 1),
    storageClassName=NAME,
    volumeMode=one_of("Filesystem", "Block"),
    volumeName=NAME,
    resources=RESOURCES,
)


def _object(version: str, kind: str, spec: Schema) -> Schema:
    names = ("apiVersion", "kind", "metadata", "spec")
    return closed(names, apiVersion={"const": version}, kind={"const": kind}, metadata=METADATA, spec=spec)


SCHEMAS: dict[str, Schema] = {
    "RayCluster": _object("ray.io/v1", "RayCluster", CLUSTER_SPEC),
    "RayJob": _object("ray.io/v1", "RayJob", JOB_SPEC),
    "RayService": _object("ray.io/v1", "RayService", SERVICE_SPEC),
    "PersistentVolumeClaim": _object("v1", "PersistentVolumeClaim", CLAIM_SPEC),
}
