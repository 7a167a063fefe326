"""pydantic, FastAPI, msgspec and orjson."""

import json

import pytest

pydantic = pytest.importorskip("pydantic")

from payloadfs import Payload, Pointer, json_default


class Model(pydantic.BaseModel):
    frame: Payload[list]
    pointer: Pointer | None = None


@pytest.fixture(autouse=True)
def store(tmp_path, monkeypatch):
    monkeypatch.setenv("PAYLOADFS_URL", str(tmp_path))


def test_pydantic_round_trip():
    model = Model(frame=Payload([1, 2]))
    model.pointer = model.frame.pointer
    text = model.model_dump_json()
    copy = Model.model_validate_json(text)
    assert copy == model
    assert copy.frame.value == [1, 2]
    assert Model.model_validate(json.loads(text)) == model
    assert isinstance(model.model_dump()["frame"], Payload)
    assert model.model_dump(mode="json")["frame"] == model.frame.to_dict()
    assert Model.model_json_schema()["properties"]["frame"]["type"] == "object"


@pytest.mark.parametrize("bad", [1, None, "x", [], {}, {"payloadfs": 2}, {"payloadfs": 1, "root": "s3://x"}])
def test_pydantic_refuses(bad):
    for validate in (Model.model_validate, lambda value: Model.model_validate_json(json.dumps(value))):
        with pytest.raises(pydantic.ValidationError):
            validate({"frame": bad})


def test_validation_resolves_nothing(tripwire):
    Model.model_validate({"frame": FORGED})


FORGED = {"payloadfs": 1, "data": "MQ==", "serializer": "json/1", "size": 1, "created": 1, "type": "int"}
FORGED |= {"kid": "0" * 8, "sig": "A" * 43}


def test_fastapi():
    fastapi = pytest.importorskip("fastapi")
    testclient = pytest.importorskip("fastapi.testclient")
    from payloadfs.integrations.fastapi import add_exception_handlers

    app = fastapi.FastAPI()
    add_exception_handlers(app)

    @app.post("/sum")
    def total(model: Model) -> Model:
        return Model(frame=Payload([sum(model.frame.value)]))

    client = testclient.TestClient(app)
    answer = client.post("/sum", json={"frame": Payload([1, 2]).to_dict()})
    assert Model.model_validate_json(answer.text).frame.value == [3]
    assert client.post("/sum", json={"frame": {"payloadfs": 1}}).status_code == 422
    assert client.post("/sum", json={"frame": FORGED}).status_code == 403
    expired = Payload([1], expires="1s")
    old = expired.to_dict()
    missing = Payload([1] * 1000)
    from payloadfs import default_repository

    default_repository().delete(missing.pointer)
    answer = client.post("/sum", json={"frame": missing.to_dict()})
    assert (answer.status_code, answer.json()["kind"]) == (404, "not-found")
    assert old["payloadfs"] == 1
    assert "/sum" in client.get("/openapi.json").text


@pytest.mark.parametrize("obj", [Payload, lambda value: Payload(value).pointer])
def test_msgspec_and_orjson(obj):
    msgspec = pytest.importorskip("msgspec")
    value = obj([1, 2])
    text = msgspec.json.encode({"x": value}, enc_hook=json_default)
    read = msgspec.json.decode(text, type=dict[str, type(value)], dec_hook=lambda cls, fields: cls.from_dict(fields))
    assert read == {"x": value}
    orjson = pytest.importorskip("orjson")
    # orjson dumps dataclasses, such as Pointer, by itself unless it is told not to.
    dumped = orjson.dumps({"x": value}, default=json_default, option=orjson.OPT_PASSTHROUGH_DATACLASS)
    assert orjson.loads(dumped) == json.loads(text)
