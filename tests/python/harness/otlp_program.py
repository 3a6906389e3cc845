"""A program that logs with the SDK of OpenTelemetry, as others have them.

It is run by itself: the SDK and the stubs of these tests both name some messages of Google's.
Its argument is JSON: where to, how, and how many records.
"""

import json
import os
import sys
from pathlib import Path

os.environ.setdefault("GRPC_VERBOSITY", "NONE")

import grpc
from opentelemetry._logs import SeverityNumber
from opentelemetry.exporter.otlp.proto.grpc._log_exporter import OTLPLogExporter
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import BatchLogRecordProcessor
from opentelemetry.sdk.resources import Resource

# 2023-11-14T22:13:20.123456789Z
TIME_NS = 1_700_000_000_123_456_789


def main() -> None:
    """Send, and fail if that failed."""
    how = json.loads(sys.argv[1])
    more = {}
    if "ca" in how:
        ca, key, certificate = (Path(how[name]).read_bytes() for name in ("ca", "key", "cert"))
        more["credentials"] = grpc.ssl_channel_credentials(ca, key, certificate)
        more["channel_options"] = (("grpc.ssl_target_name_override", "legwork"),)
    else:
        more["insecure"] = True
        # The library would send the path of a socket, which is no authority of HTTP.
        more["channel_options"] = (("grpc.default_authority", "localhost"),)
    exporter = OTLPLogExporter(
        endpoint=how["endpoint"],
        headers=tuple(how.get("headers", {}).items()),
        compression=grpc.Compression.Gzip if how.get("gzip") else None,
        timeout=20,
        **more,
    )
    provider = LoggerProvider(resource=Resource({"service.name": "shop", "replicas": 3}))
    provider.add_log_record_processor(BatchLogRecordProcessor(exporter))
    logger = provider.get_logger("shop.orders", "1.2")
    for number in range(how["count"]):
        logger.emit(
            timestamp=TIME_NS + number,
            severity_number=SeverityNumber.WARN,
            severity_text="WARN",
            body={"order": number, "price": 2.0, "note": "grüß"},
            attributes={"n": number, "ratio": 0.5, "ok": True, "tags": ["a", "b"]},
            event_name="order.late",
        )
    assert provider.force_flush(20_000)
    provider.shutdown()


if __name__ == "__main__":
    main()
