"""The key and certificates that provenance is signed with.

They come from settings, as PEM files. Without them the server makes a chain of its own, once, in
HOME/provenance: a root whose key is forgotten at once, and a leaf that signs. Whoever wants to
check such files elsewhere takes `root.pem` for an anchor; nobody else knows it.
"""

import os
import shutil
import tempfile
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.asymmetric.types import CertificatePublicKeyTypes
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from infra.errors import InputError
from infra.settings import Settings

FOLDER = "provenance"
KEY, CHAIN, ROOT = "key.pem", "chain.pem", "root.pem"
VALID_DAYS = 3650
CURVES = {"secp256r1": "es256", "secp384r1": "es384", "secp521r1": "es512"}
USAGES = (
    "digital_signature", "content_commitment", "key_encipherment", "data_encipherment",
    "key_agreement", "key_cert_sign", "crl_sign", "encipher_only", "decipher_only",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class SigningIdentity:
    """`chain` is PEM, the leaf first; `root` its last certificate; `algorithm` is C2PA's name."""

    key: bytes
    chain: bytes
    root: bytes
    algorithm: str
    subject: str
    expires: datetime
    self_made: bool

    @property
    def kind(self) -> str:
        return "self-made" if self.self_made else "from settings"

    def __repr__(self) -> str:
        return f"SigningIdentity({self.subject!r}, {self.kind}, until {self.expires:%Y-%m-%d})"


def signing_identity(settings: Settings) -> SigningIdentity:
    """The settings' key and certificates, or the ones that this server makes for itself.

    Raises:
        InputError: one of the two settings is missing, or a file is not what it must be.
    """
    given = (settings.provenance_key, settings.provenance_certificate)
    if any(path != Path() for path in given):
        if Path() in given:
            raise InputError(
                "REEL_PROVENANCE_KEY and REEL_PROVENANCE_CERTIFICATE belong together; "
                f"got {str(given[0])!r} and {str(given[1])!r}"
            )
        return read_identity(*given, self_made=False)
    folder = settings.home / FOLDER
    if not (folder / KEY).is_file():
        make_chain(folder)
    return read_identity(folder / KEY, folder / CHAIN, self_made=True)


def read_identity(key_path: Path, chain_path: Path, *, self_made: bool) -> SigningIdentity:
    """The key and the chain of certificates in two PEM files.

    Raises:
        InputError: a file cannot be read or used, they do not belong together, or are expired.
    """
    try:
        key_pem, chain_pem = key_path.read_bytes(), chain_path.read_bytes()
    except OSError as error:
        raise InputError(f"the signing key or certificate cannot be read: {error}") from error
    try:
        key = serialization.load_pem_private_key(key_pem, None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise InputError(f"{key_path} is not a PEM private key without a password") from error
    try:
        chain = x509.load_pem_x509_certificates(chain_pem)
    except ValueError as error:
        raise InputError(f"{chain_path} is not a chain of PEM certificates") from error
    leaf, public = chain[0], serialization.PublicFormat.SubjectPublicKeyInfo
    der = serialization.Encoding.DER
    if leaf.public_key().public_bytes(der, public) != key.public_key().public_bytes(der, public):
        raise InputError(f"the first certificate of {chain_path} is not that of {key_path}")
    if leaf.not_valid_after_utc <= datetime.now(UTC):
        raise InputError(f"{chain_path} expired on {leaf.not_valid_after_utc:%Y-%m-%d}")
    return SigningIdentity(
        key=key_pem,
        chain=chain_pem,
        root=chain[-1].public_bytes(serialization.Encoding.PEM),
        algorithm=_algorithm(key, key_path),
        subject=leaf.subject.rfc4514_string(),
        expires=leaf.not_valid_after_utc,
        self_made=self_made,
    )


def _algorithm(key: object, path: Path) -> str:
    if isinstance(key, ec.EllipticCurvePrivateKey) and key.curve.name in CURVES:
        return CURVES[key.curve.name]
    if isinstance(key, ed25519.Ed25519PrivateKey):
        return "ed25519"
    if isinstance(key, rsa.RSAPrivateKey) and key.key_size >= 2048:
        return "ps256"
    raise InputError(
        f"{path} holds a key that C2PA does not sign with; "
        "use EC P-256, P-384 or P-521, Ed25519, or RSA of 2048 bits or more"
    )


def make_chain(folder: Path) -> None:
    """Make a root and a leaf in `folder`; when another process is faster, keep what it made."""
    root_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    mark = f"{x509.random_serial_number():x}"[:8]  # tells the chains of two homes apart
    root_name = _name(f"Reelwright self-made root {mark}")
    root = _certificate(root_name, root_name, root_key.public_key(), root_key, is_root=True)
    leaf = _certificate(
        _name(f"Reelwright self-made {mark}"), root_name, key.public_key(), root_key, is_root=False
    )
    key_pem = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    root_pem = root.public_bytes(serialization.Encoding.PEM)
    leaf_pem = leaf.public_bytes(serialization.Encoding.PEM)
    folder.parent.mkdir(parents=True, exist_ok=True)
    made = Path(tempfile.mkdtemp(prefix=".provenance-", dir=folder.parent))  # mode 0700
    try:
        with os.fdopen(os.open(made / KEY, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as f:
            f.write(key_pem)
        (made / CHAIN).write_bytes(leaf_pem + root_pem)
        (made / ROOT).write_bytes(root_pem)
        made.rename(folder)
    except OSError:
        if not (folder / KEY).is_file():
            raise
    finally:
        shutil.rmtree(made, ignore_errors=True)


def _name(common: str) -> x509.Name:
    return x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Reelwright"),
            x509.NameAttribute(NameOID.COMMON_NAME, common),
        ]
    )


def _certificate(
    subject: x509.Name,
    issuer: x509.Name,
    public_key: CertificatePublicKeyTypes,
    signed_by: ec.EllipticCurvePrivateKey,
    *,
    is_root: bool,
) -> x509.Certificate:
    """As C2PA wants it: a leaf signs documents, a root certificates, and nothing else."""
    since = datetime.now(UTC) - timedelta(days=1)  # clocks of readers may be behind
    allowed = {"key_cert_sign", "crl_sign"} if is_root else {"digital_signature"}
    usage = x509.KeyUsage(**{name: name in allowed for name in USAGES})
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public_key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(since)
        .not_valid_after(since + timedelta(days=VALID_DAYS))
        .add_extension(x509.BasicConstraints(is_root, 0 if is_root else None), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public_key), critical=False)
    )
    if not is_root:
        issuer_key = x509.AuthorityKeyIdentifier.from_issuer_public_key(signed_by.public_key())
        purpose = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.EMAIL_PROTECTION])
        builder = builder.add_extension(issuer_key, critical=False)
        builder = builder.add_extension(purpose, critical=False)
    return builder.sign(signed_by, hashes.SHA256())


def anchors(settings: Settings) -> bytes:
    """The certificates, in PEM, by which a file counts as signed here; nothing is made."""
    paths = [settings.home / FOLDER / ROOT]
    if settings.provenance_certificate != Path():
        paths.append(settings.provenance_certificate)
    return b"".join(path.read_bytes() for path in paths if path.is_file())
