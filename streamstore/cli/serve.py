"""`serve`: the Kinesis API over HTTP, until a signal; what is under way is answered first."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import click

import streamstore
from streamstore.cli.arguments import DURABILITIES, directory_argument, key_ring
from streamstore.kinesis.encryption import default_ring
from streamstore.kinesis.service import Service
from streamstore.server import certificate, memory
from streamstore.server.serving import Listening, Server


@click.command()
@directory_argument
@click.option("--host", default="127.0.0.1", show_default=True, help="The address to listen at.")
@click.option("--port", type=click.IntRange(0, 65535), default=4567, show_default=True, help="The port; 0: a free one.")
@click.option("--tls", is_flag=True, help="TLS at --port, with a certificate made here unless one is given.")
@click.option("--tls-port", type=click.IntRange(0, 65535), help="TLS at this port, beside plain HTTP at --port.")
@click.option("--tls-cert", type=click.Path(path_type=Path), help="The certificate, PEM.")
@click.option("--tls-key", type=click.Path(path_type=Path), help="Its private key, PEM.")
@click.option("--credentials", type=click.Path(path_type=Path), help="Who may call (docs/server.md): signatures count.")
@click.option("--insecure", is_flag=True, help="Listen at a network address without authentication or TLS.")
@click.option("--allow-host", "allowed_hosts", multiple=True, help="A name that clients use for this server.")
@click.option(
    "--limits", type=click.Choice(["none", "aws"]), default="none", show_default=True, help="Rates and quotas."
)
@click.option("--isolate", is_flag=True, help="Keep accounts and regions apart, by the credential scope.")
@click.option("--delay", "delays_s", type=click.FloatRange(min=0), default=0.0, help="Seconds that changes take.")
@click.option(
    "--durability", type=DURABILITIES, default="sync", show_default=True, help="Of streams that clients make."
)
@click.option("--account", default="000000000000", show_default=True, help="The account in ARNs.")
@click.option("--region", default="us-east-1", show_default=True, help="The region of the store's streams.")
def serve(
    directory: Path,
    host: str,
    port: int,
    tls: bool,
    tls_port: int | None,
    tls_cert: Path | None,
    tls_key: Path | None,
    credentials: Path | None,
    insecure: bool,
    allowed_hosts: tuple[str, ...],
    limits: str,
    isolate: bool,
    delays_s: float,
    durability: str,
    account: str,
    region: str,
) -> None:
    """Serve the store in DIRECTORY over the Kinesis API, making it where there is none.

    HTTP/1.1 and HTTP/2 share the port. Stops at SIGTERM or SIGINT once what is under way is answered.

    \b
    Example:
      streamstore serve data/ --port 4567
      aws kinesis list-streams --endpoint-url http://127.0.0.1:4567
    """
    memory.give_back_large_blocks()
    secret = None if credentials is None else str(credentials)
    common: dict[str, Any] = {"credentials": secret, "insecure": insecure, "allowed_hosts": allowed_hosts}
    given = None if tls_cert is None else str(tls_cert), None if tls_key is None else str(tls_key)
    wants_tls = tls or tls_port is not None or given != (None, None)
    plain = Listening(host, port, **common) if tls_port is not None or not wants_tls else None
    if plain is not None:
        plain.check()
    secure = Listening(host, 0, *(given if given != (None, None) else ("", "")), **common)
    secure.check()
    secure.check_files()
    view: dict[str, Any] = {"account": account, "region": region}
    ring = key_ring() or default_ring(directory)
    with streamstore.open(directory, durability=durability, key_ring=ring, **view) as store:
        service = Service(store, limits=limits, isolate=isolate, delays_s=delays_s)
        servers = [] if plain is None else [Server(store, plain, service=service)]
        if wants_tls:
            pair = given
            if pair == (None, None):
                own = directory.with_name(f"{directory.name}-tls")
                pair = certificate.obtain(str(own), (host, *allowed_hosts))
            at = port if tls_port is None else tls_port
            servers.append(Server(store, Listening(host, at, *pair, **common), service=service))
        _run(servers)


def _run(servers: list[Server]) -> None:
    """Serve with all: the first in this thread, where signals arrive, the others beside it."""
    first, *others = servers
    threads = [threading.Thread(target=other.run, daemon=True) for other in others]
    for thread in threads:
        thread.start()
    for other in others:
        other.wait_ready()
    first.run(lambda: click.echo(f"ready: {' '.join(server.url for server in servers)}"))
    for other, thread in zip(others, threads, strict=True):
        other.stop()
        thread.join()
