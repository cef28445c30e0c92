"""What a request to S3 asks for. S3's actions are not named after its operations.

https://docs.aws.amazon.com/AmazonS3/latest/userguide/using-with-s3-policy-actions.html
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from urllib.parse import unquote

from startonce.local.iam.policy import Access

_VERBS = {"GET": "Get", "HEAD": "Get", "PUT": "Put", "DELETE": "Put"}

# The part of the query string that names a property of a bucket, and the action's noun.
_BUCKET_PROPERTIES = {
    "accelerate": "AccelerateConfiguration",
    "acl": "BucketAcl",
    "cors": "BucketCORS",
    "encryption": "EncryptionConfiguration",
    "lifecycle": "LifecycleConfiguration",
    "location": "BucketLocation",
    "logging": "BucketLogging",
    "notification": "BucketNotification",
    "object-lock": "BucketObjectLockConfiguration",
    "ownershipControls": "BucketOwnershipControls",
    "policy": "BucketPolicy",
    "policyStatus": "BucketPolicyStatus",
    "publicAccessBlock": "BucketPublicAccessBlock",
    "replication": "ReplicationConfiguration",
    "requestPayment": "BucketRequestPayment",
    "tagging": "BucketTagging",
    "versioning": "BucketVersioning",
    "website": "BucketWebsite",
}
_DELETED_BY_NAME = ("policy", "website")
_OBJECT_PROPERTIES = {
    "acl": "Acl",
    "attributes": "Attributes",
    "legal-hold": "LegalHold",
    "retention": "Retention",
    "tagging": "Tagging",
    "torrent": "Torrent",
}
_KEY = re.compile(rb"<Key>([^<]*)</Key>")


def accesses(
    method: str,
    path: str,
    query: Mapping[str, str],
    headers: Mapping[str, str],
    body: bytes,
    partition: str,
) -> list[Access] | None:
    """What the request needs; None where we do not know.

    Args:
        path: decoded, with the bucket in front.
        headers: with names in lower case.
        body: of the request that deletes many objects; others do not need theirs.
    """
    bucket, _, key = path.lstrip("/").partition("/")
    arn = f"arn:{partition}:s3:::{bucket}"
    if not bucket:
        return [Access("s3:ListAllMyBuckets", "*")] if method == "GET" else None
    if key:
        return _object_accesses(method, f"{arn}/{key}", query, headers, partition)
    if method == "POST" and "delete" in query:
        keys = dict.fromkeys(match.decode() for match in _KEY.findall(body))
        return [Access("s3:DeleteObject", f"{arn}/{_unescaped(name)}") for name in keys]
    action = _bucket_action(method, query)
    return [Access(f"s3:{action}", arn)] if action else None


def _bucket_action(method: str, query: Mapping[str, str]) -> str | None:
    for name, noun in _BUCKET_PROPERTIES.items():
        if name in query and method in _VERBS:
            by_name = method == "DELETE" and name in _DELETED_BY_NAME
            return ("Delete" if by_name else _VERBS[method]) + noun
    if "uploads" in query:
        return "ListBucketMultipartUploads"
    if "versions" in query:
        return "ListBucketVersions"
    if set(query) & {"analytics", "inventory", "metrics", "intelligent-tiering"}:
        return None
    names = {"GET": "ListBucket", "HEAD": "ListBucket", "PUT": "CreateBucket"}
    return names.get(method) or ("DeleteBucket" if method == "DELETE" else None)


def _object_accesses(
    method: str, arn: str, query: Mapping[str, str], headers: Mapping[str, str], partition: str
) -> list[Access] | None:
    version = "Version" if query.get("versionId") else ""
    for name, noun in _OBJECT_PROPERTIES.items():
        if name in query:
            verb = "Delete" if method == "DELETE" else _VERBS.get(method, "")
            return [Access(f"s3:{verb}Object{version}{noun}", arn)]
    if "uploadId" in query and method in ("GET", "DELETE"):
        action = "ListMultipartUploadParts" if method == "GET" else "AbortMultipartUpload"
        return [Access(f"s3:{action}", arn)]
    if "restore" in query:
        return [Access("s3:RestoreObject", arn)]
    if method in ("GET", "HEAD"):
        return [Access(f"s3:GetObject{version}", arn)]
    if method == "DELETE":
        return [Access(f"s3:DeleteObject{version}", arn)]
    if method == "PUT" or set(query) & {"uploads", "uploadId"}:
        return [*_copied(headers, partition), Access("s3:PutObject", arn)]
    return [Access("s3:GetObject", arn)] if "select" in query else None


def _copied(headers: Mapping[str, str], partition: str) -> list[Access]:
    source = headers.get("x-amz-copy-source")
    if not source:
        return []
    name, _, version = source.lstrip("/").partition("?versionId=")
    action = "s3:GetObjectVersion" if version else "s3:GetObject"
    return [Access(action, f"arn:{partition}:s3:::{unquote(name)}")]


def _unescaped(name: str) -> str:
    for escape, character in (("&lt;", "<"), ("&gt;", ">"), ("&quot;", '"'), ("&amp;", "&")):
        name = name.replace(escape, character)
    return name
