"""An S3 server of the package index, for tests."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import fsspec

from tests.composed import free_port
from tests.processes import wait_until

SECRETS = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test"}


@contextmanager
def s3_server(bucket: str) -> Iterator[dict[str, str]]:
    """One that keeps everything in memory, with an empty bucket; the variables by which its clients find it."""
    port = free_port()
    words = [sys.executable, "-m", "moto.server", "-p", str(port)]
    server = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    address = f"http://127.0.0.1:{port}"

    def answers() -> bool:
        try:
            files = fsspec.filesystem("s3", skip_instance_cache=True, endpoint_url=address, key="test", secret="test")
            files.mkdir(bucket)
        except Exception:
            return False
        return True

    try:
        wait_until("the S3 server", answers, 120)
        yield SECRETS | {"AWS_ENDPOINT_URL": address}
    finally:
        server.kill()
        server.wait()
