"""A protoc plugin that runs grpcio-tools' built-in `grpc_python` generator.

grpcio-tools ships that generator inside its own protoc only, while buf calls plugins over stdin and
stdout. So this hands that protoc the descriptors buf compiled, and returns the files it wrote.
"""

import sys
import tempfile
from pathlib import Path

from google.protobuf.compiler.plugin_pb2 import CodeGeneratorRequest, CodeGeneratorResponse
from google.protobuf.descriptor_pb2 import FileDescriptorSet
from grpc_tools import protoc


def generate(request: CodeGeneratorRequest) -> tuple[int, CodeGeneratorResponse]:
    """Return protoc's exit status and the generated files."""
    response = CodeGeneratorResponse(supported_features=CodeGeneratorResponse.FEATURE_PROTO3_OPTIONAL)
    with tempfile.TemporaryDirectory() as scratch:
        descriptors, out = Path(scratch, "descriptors.pb"), Path(scratch, "out")
        out.mkdir()
        descriptors.write_bytes(FileDescriptorSet(file=request.proto_file).SerializeToString())
        arguments = [
            "protoc",
            f"--descriptor_set_in={descriptors}",
            f"--grpc_python_out={request.parameter}:{out}",
            *request.file_to_generate,
        ]
        status: int = protoc.main(arguments)
        for path in sorted(path for path in out.rglob("*") if path.is_file()):
            response.file.add(name=str(path.relative_to(out)), content=path.read_text())
    return status, response


if __name__ == "__main__":
    exit_status, files = generate(CodeGeneratorRequest.FromString(sys.stdin.buffer.read()))
    sys.stdout.buffer.write(files.SerializeToString())
    sys.exit(exit_status)
