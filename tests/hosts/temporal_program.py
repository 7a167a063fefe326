"""The workflow and the activities of the test with a real server. The sandbox of workflows imports this file again."""

from datetime import timedelta

from temporalio import activity, workflow

with workflow.unsafe.imports_passed_through():
    from values import assert_same, values

    from payloadfs import Payload

OPTIONS = {"start_to_close_timeout": timedelta(minutes=5)}


@activity.defn
def produce(name: str) -> Payload:
    return Payload(values()[name])


@activity.defn
def consume(payload: Payload, name: str) -> str:
    assert_same(payload.value, values()[name])
    return "x" * 500_000


@activity.defn
def fail() -> None:
    raise ValueError("bad", 7)


@workflow.defn
class Pipeline:
    @workflow.run
    async def run(self, names: list[str]) -> int:
        total = 0
        for name in names:
            payload = await workflow.execute_activity(produce, name, **OPTIONS)
            total += len(await workflow.execute_activity(consume, args=[payload, name], **OPTIONS))
        return total


@workflow.defn
class Failing:
    @workflow.run
    async def run(self) -> None:
        from temporalio.common import RetryPolicy

        await workflow.execute_activity(fail, retry_policy=RetryPolicy(maximum_attempts=1), **OPTIONS)
