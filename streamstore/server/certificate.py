"""A certificate of our own for `--tls` without one: self-signed, for the names that clients use."""

from __future__ import annotations

import datetime
import ipaddress
import os
from collections.abc import Iterable

from streamstore import StreamStoreError

DAYS = 825
NAME, KEY_NAME = "server.crt", "server.key"


def obtain(directory: str, hosts: Iterable[str]) -> tuple[str, str]:
    """The paths of certificate and key in that directory, made where they are not there. The key's mode is 0600.

    Needs the extra `crypto`.
    """
    certificate, key = os.path.join(directory, NAME), os.path.join(directory, KEY_NAME)
    if not (os.path.exists(certificate) and os.path.exists(key)):
        os.makedirs(directory, mode=0o700, exist_ok=True)
        made, secret = _make(sorted({"localhost", "127.0.0.1", "::1", *hosts}))
        _write(key, secret)
        _write(certificate, made)
    return certificate, key


def _write(path: str, data: bytes) -> None:
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(handle, "wb") as file:
        file.write(data)


def _make(hosts: list[str]) -> tuple[bytes, bytes]:
    try:
        from cryptography import x509
        from cryptography.hazmat.primitives import hashes, serialization
        from cryptography.hazmat.primitives.asymmetric import ec
        from cryptography.x509.oid import NameOID
    except ImportError:
        raise StreamStoreError(
            "cryptography is not installed: pip install 'streamstore-kinesis[crypto]', or give a certificate"
        ) from None
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "streamstore")])
    now = datetime.datetime.now(datetime.timezone.utc)
    names: list[x509.GeneralName] = []
    for host in hosts:
        try:
            names.append(x509.IPAddress(ipaddress.ip_address(host)))
        except ValueError:
            names.append(x509.DNSName(host))
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(days=DAYS))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    encoding = serialization.Encoding.PEM
    secret = key.private_bytes(encoding, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return certificate.public_bytes(encoding), secret
