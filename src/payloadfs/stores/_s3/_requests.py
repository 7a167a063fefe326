"""What S3's operations look like on the wire: verbs, queries, and the few elements of XML that matter."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from .._answers import element, failure
from ._wire import Answer

__all__ = ["Operation", "answered", "requested"]


class Operation(NamedTuple):
    """One request: verb, name in the bucket, query, headers, and the pieces of its body."""

    verb: str
    name: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    pieces: Sequence[memoryview]


_VERBS = {
    "abort_multipart_upload": "DELETE",
    "complete_multipart_upload": "POST",
    "create_multipart_upload": "POST",
    "delete_object": "DELETE",
    "head_object": "HEAD",
    "list_objects_v2": "GET",
    "put_object": "PUT",
    "upload_part": "PUT",
}
_QUERIES = {
    "ContinuationToken": "continuation-token",
    "MaxKeys": "max-keys",
    "PartNumber": "partNumber",
    "Prefix": "prefix",
    "UploadId": "uploadId",
}
_FIXED = {"create_multipart_upload": {"uploads": ""}, "list_objects_v2": {"list-type": "2"}}
_ENTRY = re.compile(r"<Contents>(.*?)</Contents>", re.DOTALL)


def requested(method: str, arguments: Mapping[str, Any]) -> Operation:
    """Return the request for botocore's `method` with botocore's `arguments`. No I/O."""
    query = dict(_FIXED.get(method, {}))
    query.update({_QUERIES[name]: str(value) for name, value in arguments.items() if name in _QUERIES})
    headers = {"if-none-match": arguments["IfNoneMatch"]} if "IfNoneMatch" in arguments else {}
    pieces = arguments.get("Body", ())
    if "MultipartUpload" in arguments:
        from html import escape

        listed = "".join(
            f"<Part><PartNumber>{part['PartNumber']}</PartNumber><ETag>{escape(part['ETag'])}</ETag></Part>"
            for part in arguments["MultipartUpload"]["Parts"]
        )
        text = f'<CompleteMultipartUpload xmlns="http://s3.amazonaws.com/doc/2006-03-01/">{listed}'
        pieces = [memoryview(f"{text}</CompleteMultipartUpload>".encode())]
    return Operation(_VERBS[method], arguments.get("Key", ""), query, headers, pieces)


def answered(method: str, answer: Answer) -> dict[str, Any]:
    """Return what `answer` says, under botocore's names.

    Raises
    ------
    AnswerError
        It is an error in spite of its status.
    """
    reader = _READERS.get(method)
    return reader(answer) if reader else {}


def _begun(answer: Answer) -> dict[str, Any]:
    return {"UploadId": _wanted("UploadId", answer)}


def _part(answer: Answer) -> dict[str, Any]:
    return {"ETag": answer.headers.get("etag", "")}


def _completed(answer: Answer) -> dict[str, Any]:
    # Its status is sent before the work is done, so a failure may come behind a 200.
    if "<CompleteMultipartUploadResult" not in answer.body:
        raise failure(500, answer.body)
    return {}


def _head(answer: Answer) -> dict[str, Any]:
    from email.utils import parsedate_to_datetime

    modified = parsedate_to_datetime(answer.headers["last-modified"])
    return {"ContentLength": int(answer.headers["content-length"]), "LastModified": modified}


def _page(answer: Answer) -> dict[str, Any]:
    page: dict[str, Any] = {"IsTruncated": element("IsTruncated", answer.body) == "true", "Contents": []}
    if page["IsTruncated"]:
        page["NextContinuationToken"] = _wanted("NextContinuationToken", answer)
    for match in _ENTRY.finditer(answer.body):
        key, modified = element("Key", match[1]), datetime.fromisoformat(element("LastModified", match[1]))
        page["Contents"].append({"Key": key, "Size": int(element("Size", match[1])), "LastModified": modified})
    return page


def _wanted(name: str, answer: Answer) -> str:
    text = element(name, answer.body)
    if not text:
        raise failure(500, answer.body)
    return text


_READERS: dict[str, Callable[[Answer], dict[str, Any]]] = {
    "complete_multipart_upload": _completed,
    "create_multipart_upload": _begun,
    "head_object": _head,
    "list_objects_v2": _page,
    "upload_part": _part,
}
