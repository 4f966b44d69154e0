"""Health and reflection, as grpcurl and probes use them; both without credentials."""

from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from grpc import aio
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from control_plane.services.access import RULES, Port
from control_plane.services.limits import FOREIGN_STREAMS_MAX
from tests.control_plane.services.harness import Fleet


async def reflect(
    fleet: Fleet, *requests: reflection_pb2.ServerReflectionRequest
) -> list[reflection_pb2.ServerReflectionResponse]:
    async def ask() -> AsyncIterator[reflection_pb2.ServerReflectionRequest]:
        for request in requests:
            yield request

    stub: Any = reflection_pb2_grpc.ServerReflectionStub(fleet.channel())  # type: ignore[arg-type] # typed for the blocking channel
    return [response async for response in stub.ServerReflectionInfo(ask())]


def health_stub(fleet: Fleet) -> Any:  # Any: the stub comes without types
    return health_pb2_grpc.HealthStub(fleet.channel())


async def test_reflection_lists_every_service_of_the_port(fleet: Fleet) -> None:
    (answer,) = await reflect(fleet, reflection_pb2.ServerReflectionRequest(list_services=""))
    listed = {service.name for service in answer.list_services_response.service}
    ours = {path.split("/")[1] for path, rule in RULES.items() if rule.port is Port.PEOPLE}
    assert listed == ours - {"orquanta.v1.NodeLinkService"} | {
        "grpc.health.v1.Health",
        "grpc.reflection.v1alpha.ServerReflection",
    }


async def test_reflection_describes_a_service_as_grpcurl_asks_for_it(fleet: Fleet) -> None:
    ask = reflection_pb2.ServerReflectionRequest(file_containing_symbol="orquanta.v1.JobService")
    (answer,) = await reflect(fleet, ask)
    files = [FileDescriptorProto.FromString(raw) for raw in answer.file_descriptor_response.file_descriptor_proto]
    by_name = {file.name: file for file in files}
    assert "GetJob" in {method.name for method in by_name["orquanta/v1/job.proto"].service[0].method}


async def test_every_service_is_serving(fleet: Fleet) -> None:
    stub = health_stub(fleet)
    for name in ("", "orquanta.v1.JobService", "orquanta.v1.AuthService"):
        answer = await stub.Check(health_pb2.HealthCheckRequest(service=name))
        assert answer.status == health_pb2.HealthCheckResponse.SERVING, name
    async for answer in stub.Watch(health_pb2.HealthCheckRequest(service="")):
        assert answer.status == health_pb2.HealthCheckResponse.SERVING
        break


async def test_streams_without_credentials_are_bounded(fleet: Fleet) -> None:
    stub = health_stub(fleet)
    streams = [stub.Watch(health_pb2.HealthCheckRequest(service="")) for _ in range(FOREIGN_STREAMS_MAX)]
    for stream in streams:
        await anext(aiter(stream))
    with pytest.raises(aio.AioRpcError) as caught:
        await anext(aiter(stub.Watch(health_pb2.HealthCheckRequest(service=""))))
    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert await stub.Check(health_pb2.HealthCheckRequest(service=""))
