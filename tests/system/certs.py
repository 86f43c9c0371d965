"""Certificates with whatever is wrong with them that a test needs, and servers that show them."""

import base64
import datetime
import hashlib
import ipaddress
import pathlib
import ssl

import pytest

x509 = pytest.importorskip("cryptography.x509", reason="python3-cryptography is not installed")

from cryptography.hazmat.primitives import hashes, serialization  # noqa: E402
from cryptography.hazmat.primitives.asymmetric import ec, rsa  # noqa: E402

HASHES = {"sha256": hashes.SHA256, "sha1": hashes.SHA1}
PURPOSES = {"server": x509.ExtendedKeyUsageOID.SERVER_AUTH,
            "client": x509.ExtendedKeyUsageOID.CLIENT_AUTH}


class Certificate:
    """.cert, .key: names of PEM files; .cert has the chain in it, if one was given."""

    def __init__(self, directory, name, x, key, chain=()):
        self.x509, self.private = x, key
        self.cert, self.key = (str(directory / f"{name}.{end}") for end in ("pem", "key"))
        pathlib.Path(self.cert).write_bytes(b"".join(
            c.public_bytes(serialization.Encoding.PEM) for c in [x, *(c.x509 for c in chain)]))
        pathlib.Path(self.key).write_bytes(self._key_bytes(serialization.NoEncryption()))

    def _key_bytes(self, how):
        return self.private.private_bytes(serialization.Encoding.PEM,
                                          serialization.PrivateFormat.PKCS8, how)

    def lock(self, path, passphrase):
        """The key, encrypted, into PATH."""
        how = serialization.BestAvailableEncryption(passphrase.encode())
        pathlib.Path(path).write_bytes(self._key_bytes(how))
        return str(path)

    @property
    def pin(self):
        public = self.private.public_key().public_bytes(
            serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
        return "sha256//" + base64.b64encode(hashlib.sha256(public).digest()).decode()

    def server(self, minimum=None, maximum=None, ciphers=None, client_ca=None, alpn=None):
        """An SSLContext of a server that shows it.  Weak ones are for the client to refuse."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.set_ciphers(ciphers or "DEFAULT:@SECLEVEL=0")
        context.minimum_version = minimum or ssl.TLSVersion.MINIMUM_SUPPORTED
        if maximum:
            context.maximum_version = maximum
        context.load_cert_chain(self.cert, self.key)
        if client_ca:
            context.verify_mode = ssl.CERT_REQUIRED
            context.load_verify_locations(client_ca)
        if alpn:
            context.set_alpn_protocols(alpn)
        return context


class Certs:
    """.ca: our authority; issue() makes others."""

    def __init__(self, directory):
        self.dir = pathlib.Path(directory)
        self.n = 0
        self.ca = self.issue("Our CA", is_ca=True, by=None)
        self.good = self.issue(dns=["localhost"], ip=["127.0.0.1"])

    def issue(self, name="x", by="ca", dns=(), ip=(), days=(-1, 30), bits=None, digest="sha256",
              is_ca=False, purpose=None, chain=()):
        """BY None: it signs itself.  BITS: an RSA key of that size, else P-256."""
        self.n += 1
        key = (rsa.generate_private_key(65537, bits) if bits
               else ec.generate_private_key(ec.SECP256R1()))
        issuer = self.ca if by == "ca" else by
        subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
        now = datetime.datetime.utcnow()
        builder = (x509.CertificateBuilder().subject_name(subject)
                   .issuer_name(issuer.x509.subject if issuer else subject)
                   .public_key(key.public_key()).serial_number(x509.random_serial_number())
                   .not_valid_before(now + datetime.timedelta(days=days[0]))
                   .not_valid_after(now + datetime.timedelta(days=days[1]))
                   .add_extension(x509.BasicConstraints(is_ca, None), True))
        names = ([x509.DNSName(d) for d in dns]
                 + [x509.IPAddress(ipaddress.ip_address(i)) for i in ip])
        if names:
            builder = builder.add_extension(x509.SubjectAlternativeName(names), False)
        if purpose:
            builder = builder.add_extension(x509.ExtendedKeyUsage([PURPOSES[purpose]]), False)
        signed = builder.sign(issuer.private if issuer else key, HASHES[digest]())
        return Certificate(self.dir, f"{self.n}", signed, key, chain)
