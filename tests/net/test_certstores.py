"""Certificate stores: every format, opened as file, blob, base64 and by detection; right, wrong, and broken."""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
import traceback
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ed448, ed25519
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from amqp10.errors import AMQPError
from amqp10.net.certstores.stores import (
    CertificateEntry,
    CertificateStore,
    StoreType,
    load_client_certificate,
    open_store,
)
from amqp10.net.tls.options import TlsOptions
from amqp10.net.x509names import name_text
from tests.examples import THOROUGH, examples
from tests.net.pki import Identity, client, issue, root_ca
from tests.net.stores import (
    PASSWORD,
    Sample,
    ec_identity,
    encryption,
    jks,
    jwk,
    middle,
    p7b,
    pem,
    pfx,
    ppk,
    public_der,
    rsa_identity,
    samples,
    ssh_public,
    xml,
)

ALL = pytest.mark.parametrize(
    "sample", [pytest.param(item, id=name.replace(" ", "-")) for name, item in samples().items()]
)
PROTECTED = pytest.mark.parametrize(
    "sample", [pytest.param(item, id=name.replace(" ", "-")) for name, item in samples().items() if item.password]
)
WRONG = "Not-The-Password-1"


def refused(store: str | bytes, kind: int, password: str = "") -> str:
    with pytest.raises(AMQPError) as caught:
        open_store(store, kind, password)
    assert caught.value.code == 271
    text = "".join(traceback.format_exception(caught.value)) + repr(caught.value)
    for secret in (PASSWORD, WRONG):
        assert secret not in text
    return caught.value.message


def check(store: CertificateStore, sample: Sample) -> None:
    first = next(iter(store))
    assert (first.certificate == sample.identity.certificate) == sample.certificate
    assert first.has_private_key == sample.key
    assert public_der(first.public_key) == public_der(sample.identity.key.public_key())
    if first.private_key is not None:
        assert public_der(first.private_key.public_key()) == public_der(sample.identity.key.public_key())
    if sample.certificate:
        assert first.subject == name_text(sample.identity.certificate.subject)
        assert first.encoded == sample.identity.pem
    else:
        assert first.encoded == b""


# --- the right way ---


@ALL
def test_opens_as_file_blob_base64_and_by_detection(sample: Sample, tmp_path: Path) -> None:
    path = tmp_path / "store"
    path.write_bytes(sample.data)
    encoded = base64.b64encode(sample.data)
    for name in (str(path), str(path).encode()):
        check(open_store(name, sample.file, sample.password), sample)
        check(open_store(name, StoreType.AUTO, sample.password), sample)
    for blob in (sample.data, encoded, encoded.decode(), base64.encodebytes(sample.data)):
        check(open_store(blob, sample.blob, sample.password), sample)
        check(open_store(blob, StoreType.AUTO, sample.password), sample)


@ALL
def test_a_password_that_is_not_needed_does_no_harm_and_one_that_does_not_fit_is_refused(sample: Sample) -> None:
    # A PFX store without a password is sealed with an empty one.
    if sample.password or sample.blob is StoreType.PFX_BLOB:
        assert "password is wrong" in refused(sample.data, sample.blob, WRONG)
    else:
        check(open_store(sample.data, sample.blob, WRONG), sample)


def test_the_chain_comes_along_without_the_root() -> None:
    for data, kind in ((pfx(ec_identity()), StoreType.PFX_BLOB), (pem(ec_identity()), StoreType.PEM_KEY_BLOB)):
        entry = open_store(data, kind).find("*")
        assert entry.chain == (middle().certificate,)


def test_labels_are_kept() -> None:
    labels = {
        name: next(iter(open_store(samples()[name].data, samples()[name].blob, samples()[name].password))).label
        for name in ("pfx", "jks", "ssh", "ppk 3", "jwk")
    }
    assert labels == {
        "pfx": "my alias",
        "jks": "mykey",
        "ssh": "me@example",
        "ppk 3": "rsa-key-öffentlich",
        "jwk": "key 1",
    }


def test_der_keys_are_detected() -> None:
    for secret in ("", PASSWORD):
        data = ec_identity().key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, encryption(secret))
        for kind in (StoreType.AUTO, StoreType.PEM_KEY_BLOB):
            entry = open_store(data, kind, secret).find("*")
            assert entry.has_private_key
        if secret:
            assert "password is wrong" in refused(data, StoreType.AUTO, WRONG)
            assert "password is needed" in refused(data, StoreType.AUTO)


@pytest.mark.parametrize("key", [ed25519.Ed25519PrivateKey.generate(), ed448.Ed448PrivateKey.generate()])
@pytest.mark.parametrize("version", [2, 3])
def test_edwards_keys_in_ppk(key: ed25519.Ed25519PrivateKey | ed448.Ed448PrivateKey, version: int) -> None:
    entry = open_store(ppk(key, PASSWORD, version), StoreType.PPK_BLOB, PASSWORD).find("*")
    assert public_der(entry.public_key) == public_der(key.public_key())


def test_edwards_keys_in_jwk() -> None:
    key = ed25519.Ed25519PrivateKey.generate()
    raw = key.private_bytes(Encoding.Raw, PrivateFormat.Raw, NoEncryption())
    public = key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
    members = {
        "kty": "OKP",
        "crv": "Ed25519",
        "x": base64.urlsafe_b64encode(public).rstrip(b"=").decode(),
        "d": base64.urlsafe_b64encode(raw).rstrip(b"=").decode(),
    }
    entry = open_store(json.dumps(members), StoreType.JWK_BLOB).find("*")
    assert public_der(entry.public_key) == public_der(key.public_key())


def test_jwk_sets_hold_several_keys() -> None:
    document = {"keys": [json.loads(jwk(ec_identity())), json.loads(jwk(rsa_identity()))]}
    store = open_store(json.dumps(document), StoreType.AUTO)
    assert store.find("rsa client").certificate == rsa_identity().certificate


# --- selection ---


def three() -> CertificateStore:
    return open_store(pem(ec_identity()) + pem(rsa_identity()) + client().pem, StoreType.PEM_KEY_BLOB)


@pytest.mark.parametrize(
    ("subject", "found"),
    [
        ('CN=rsa client, O="Example, Inc."', "rsa"),
        ('cn=RSA CLIENT,o="example, inc."', "rsa"),
        ("rsa", "rsa"),
        ("CN=store", "ec"),
        ("CN=client", "client"),
        ("*", "ec"),
        ("Example", "ec"),
    ],
)
def test_subjects_match_exactly_first_and_then_in_part(subject: str, found: str) -> None:
    identities = {"rsa": rsa_identity(), "ec": ec_identity(), "client": client()}
    assert three().find(subject).certificate == identities[found].certificate


@pytest.mark.parametrize("subject", ["CN=nobody", "", "  ", ","])
def test_no_match_is_error_272(subject: str) -> None:
    assert three().search(subject) is None
    with pytest.raises(AMQPError) as caught:
        three().find(subject)
    assert caught.value.code == 272


def test_exact_beats_partial_whatever_the_order() -> None:
    long, short = issue("client two", hosts=(), usage=None), issue("client", hosts=(), usage=None)
    store = open_store(pem(long) + pem(short), StoreType.PEM_KEY_BLOB)
    assert store.find('CN=client, O="Example, Inc."').certificate == short.certificate


def test_a_certificate_is_found_with_the_key_of_the_store() -> None:
    store = open_store(ppk(ec_identity().key, PASSWORD), StoreType.PPK_BLOB, PASSWORD)
    der = ec_identity().certificate.public_bytes(Encoding.DER)
    for encoded in (ec_identity().pem, der, base64.b64encode(der)):
        entry = store.find_encoded(encoded)
        assert entry is not None
        assert entry.certificate == ec_identity().certificate
        assert entry.has_private_key
    assert store.find_encoded(rsa_identity().pem) is None
    with pytest.raises(AMQPError) as caught:
        store.find_encoded(b"garbage!")
    assert caught.value.code == 271


def test_combining_a_key_with_a_certificate_of_another_key_is_refused() -> None:
    key = jwk(ec_identity(), chain=False)
    entry = load_client_certificate(key, StoreType.JWK_BLOB, encoded=ec_identity().pem)
    assert entry is not None
    assert entry.certificate == ec_identity().certificate
    with pytest.raises(AMQPError) as caught:
        load_client_certificate(key, StoreType.JWK_BLOB, encoded=rsa_identity().pem)
    assert caught.value.code == 272


def test_defaults_select_no_client_certificate() -> None:
    assert load_client_certificate("MY", 0) is None
    entry = load_client_certificate(pfx(ec_identity(), PASSWORD), StoreType.PFX_BLOB, PASSWORD, "*")
    assert entry is not None
    assert entry.has_private_key
    ssl_cert = ec_identity().pem
    entry = load_client_certificate(ppk(ec_identity().key), StoreType.PPK_BLOB, "", encoded=ssl_cert)
    assert entry is not None
    assert entry.certificate == ec_identity().certificate
    for subject, encoded in (("CN=nobody", b""), ("", rsa_identity().pem)):
        with pytest.raises(AMQPError) as caught:
            load_client_certificate(pfx(ec_identity()), StoreType.PFX_BLOB, "", subject, encoded)
        assert caught.value.code == 272


# --- the wrong way ---


@PROTECTED
def test_a_wrong_password_and_a_missing_one_are_said_to_be_that(sample: Sample) -> None:
    for kind in (sample.blob, StoreType.AUTO):
        assert "password is wrong" in refused(sample.data, kind, WRONG)
        assert "password is needed" in refused(sample.data, kind)


@pytest.mark.parametrize("form", ["pem", "der"])
def test_a_wrong_password_that_seems_to_fit_is_said_to_be_wrong(form: str) -> None:
    # What is decrypted with a wrong password has a right padding once in 256 times: every password of these is tried.
    encoding = Encoding.PEM if form == "pem" else Encoding.DER
    data = ec_identity().key.private_bytes(encoding, PrivateFormat.PKCS8, BestAvailableEncryption(b"right"))
    kind = StoreType.PEM_KEY_BLOB if form == "pem" else StoreType.AUTO
    for number in range(600 if THOROUGH else 300):
        assert "password is wrong" in refused(data, kind, f"wrong {number}")


@ALL
def test_truncated_stores_are_refused(sample: Sample) -> None:
    # SSH keys in one line may lose their comment without harm; everything else needs its end.
    whole = sample.data.removesuffix(b" me@example").rstrip()
    for size in {1, 3, 10, len(whole) // 3, len(whole) // 2, len(whole) - 30}:
        for kind in (sample.blob, StoreType.AUTO):
            refused(whole[:size], kind, sample.password)


@ALL
def test_truncated_in_the_middle_is_called_truncated_or_damaged(sample: Sample) -> None:
    whole = sample.data.removesuffix(b" me@example").rstrip()
    message = refused(whole[: len(whole) // 2], sample.blob, sample.password)
    assert "truncated" in message or "damaged" in message


@ALL
def test_empty_and_garbage_are_refused_and_told_apart(sample: Sample, tmp_path: Path) -> None:
    path = tmp_path / "store"
    for empty in (b"", b" \n"):
        path.write_bytes(empty)
        assert "empty" in refused(empty, sample.blob, sample.password)
        assert "empty" in refused(str(path), sample.file, sample.password)
    for garbage in (b"\xff\x00garbage" * 20, b"hello world, this is no store!", bytes(range(256))):
        path.write_bytes(garbage)
        message = refused(garbage, sample.blob, sample.password)
        assert "password" not in message
        refused(str(path), sample.file, sample.password)
        refused(garbage, StoreType.AUTO, sample.password)
    assert "empty" in refused("", sample.file)


@ALL
def test_a_store_of_another_kind_is_refused(sample: Sample) -> None:
    others = {item.blob for item in samples().values()} - {sample.blob}
    if sample.blob is StoreType.PFX_BLOB:
        others.discard(StoreType.JKS_BLOB)  # a .jks file of a newer Java is PKCS#12
    if sample.blob is StoreType.JKS_BLOB:
        others.discard(StoreType.PFX_BLOB)
    pem_like = {StoreType.PEM_KEY_BLOB, StoreType.PUBLIC_KEY_BLOB}
    if sample.blob in pem_like:
        others -= pem_like  # a PEM file with key and certificate is also a certificate in PEM
    for kind in others:
        assert "password" not in refused(sample.data, kind, sample.password)


def test_a_missing_file_is_named() -> None:
    for kind in (StoreType.PFX_FILE, StoreType.PEM_KEY_FILE):
        message = refused("/no/such/file.p12", kind)
        assert "/no/such/file.p12" in message
        assert "No such file" in message
    assert "no such file" in refused("/no/such/file.p12", StoreType.AUTO)
    assert "directory" in refused("/", StoreType.PFX_FILE)


def test_a_key_given_as_a_file_name_is_not_repeated() -> None:
    text = pem(ec_identity()).decode()
    message = refused(text, StoreType.PEM_KEY_FILE)
    assert "PRIVATE" not in message
    with pytest.raises(AMQPError) as caught:
        open_store(text, StoreType.PEM_KEY_FILE)
    assert "PRIVATE" not in "".join(traceback.format_exception(caught.value))


@pytest.mark.parametrize("octets", [b"\0", b"a\0b"])
def test_impossible_file_names_are_refused(octets: bytes) -> None:
    refused(octets, StoreType.PFX_FILE)


@pytest.mark.parametrize(
    ("store", "kind", "words"),
    [
        ("MY", 0, "PFX or PEM"),
        ("MY", 1, "PFX or PEM"),
        ("something", 0, "ROOT and CA"),
        ("token", 20, "PKCS#11"),
        (b"0\x10", 21, "PKCS12"),
        (b"0\x10", 22, "PKCS12"),
        (b"\xce\xce\xce\xce\0\0\0\2", 5, "JCEKS"),
        (b"\xce\xce\xce\xce\0\0\0\2", 99, "JCEKS"),
        ("x", 23, "not a certificate store type"),
        ("x", -1, "not a certificate store type"),
    ],
)
def test_stores_that_cannot_be_had_say_what_to_use(store: str | bytes, kind: int, words: str, tmp_path: Path) -> None:
    if kind == 21:
        path = tmp_path / "store"
        path.write_bytes(store if isinstance(store, bytes) else store.encode())
        store = str(path)
    assert words in refused(store, kind)


def test_the_systems_store_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bundle = tmp_path / "bundle.pem"
    bundle.write_bytes(b"# comment\n" + root_ca().pem + middle().pem)
    monkeypatch.setattr("amqp10.net.certstores.stores.DEFAULT_CA_CERT_FILE_PATHS", f"/no/such/file;{bundle}")
    for name, kind in (("ROOT", 0), (b"root", 1), ("CA", 0)):
        store = open_store(name, kind)
        assert store.find("Test Root").certificate == root_ca().certificate
        assert not any(entry.has_private_key for entry in store)


def test_one_malformed_certificate_does_not_hide_the_rest_of_the_systems(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = tmp_path / "bundle.pem"
    bad = b"-----BEGIN CERTIFICATE-----\nMAAwAA==\n-----END CERTIFICATE-----\n"
    bundle.write_bytes(root_ca().pem + bad + middle().pem)
    monkeypatch.setattr("amqp10.net.certstores.stores.DEFAULT_CA_CERT_FILE_PATHS", str(bundle))
    assert len(open_store("ROOT", 0)) == 2


# --- particulars ---


def test_jks_with_another_password_for_the_key_says_so() -> None:
    data = jks(ec_identity(), PASSWORD, key_password=WRONG)
    assert "another password than the store" in refused(data, StoreType.JKS_BLOB, PASSWORD)


@pytest.mark.slow
def test_jks_made_by_java_is_read(tmp_path: Path) -> None:
    keytool = shutil.which("keytool")
    if keytool is None:
        pytest.skip("no Java here")
    for kind in ("JKS", "PKCS12"):
        path = tmp_path / f"store.{kind}"
        command = [keytool, "-genkeypair", "-alias", "mine", "-keyalg", "RSA", "-keysize", "2048"]
        command += ["-dname", "CN=java, O=Example", "-keystore", str(path), "-storetype", kind]
        command += ["-storepass", "secret-1", "-keypass", "secret-1"]
        subprocess.run(command, check=True, capture_output=True, timeout=120)
        entry = open_store(str(path), StoreType.JKS_FILE, "secret-1").find("CN=java, O=Example")
        assert entry.label == "mine"
        assert entry.certificate is not None
        assert entry.private_key is not None
        assert public_der(entry.private_key.public_key()) == public_der(entry.certificate.public_key())
        assert "password is wrong" in refused(str(path), StoreType.JKS_FILE, WRONG)


def test_xml_entities_are_refused() -> None:
    bomb = b'<?xml version="1.0"?><!DOCTYPE x [<!ENTITY a "aaaa">]><x>&a;</x>'
    assert "entities" in refused(bomb, StoreType.XML_BLOB)
    assert "neither" in refused(b"<html></html>", StoreType.XML_BLOB)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"kty": "oct", "k": "c2VjcmV0"}, "symmetric"),
        ({"kty": "XXX"}, "key type"),
        ({"crv": "P-1"}, "crv"),
        ({"x": 5}, "'x'"),
        ({"x": "!!!"}, "base64url"),
        ({"x": "AAAA"}, "malformed"),
        ({"x5c": "text"}, "x5c"),
        ({"x5c": ["AAAA"]}, "malformed"),
    ],
)
def test_malformed_jwks_are_refused_by_member(change: dict[str, object], words: str) -> None:
    members = json.loads(jwk(ec_identity(), chain=False)) | change
    assert words in refused(json.dumps(members), StoreType.JWK_BLOB)


def test_a_jwk_whose_certificate_is_for_another_key_is_refused() -> None:
    members = json.loads(jwk(ec_identity())) | {"x5c": json.loads(jwk(rsa_identity()))["x5c"]}
    assert "not for its key" in refused(json.dumps(members), StoreType.JWK_BLOB)
    assert "JSON" in refused(b"[" * 100_000, StoreType.JWK_BLOB)


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("Argon2-Memory: 64", "Argon2-Memory: 99999999", "larger than"),
        ("Argon2-Passes: 2", "Argon2-Passes: 999999999", "larger than"),
        ("Argon2-Memory: 64", "Argon2-Memory: x", "not a number"),
        ("Argon2id", "Argon2x", "key derivation"),
        ("Argon2-Salt: 30", "Argon2-Salt: zz", "parameters"),
        ("aes256-cbc", "rot13", "unknown way"),
        ("Public-Lines: ", "Public-Lines: 999", "truncated"),
        ("Private-Lines: ", "Private-Lines: -", "not a number"),
        ("File-3", "File-1", "version"),
        ("Comment: rsa", "Comment: dsa", "password is wrong"),
    ],
)
def test_ppk_fields_are_checked_before_they_cost_anything(old: str, new: str, words: str) -> None:
    text = ppk(ec_identity().key, PASSWORD).decode()
    assert old in text
    assert words in refused(text.replace(old, new, 1), StoreType.PPK_BLOB, PASSWORD)


def test_an_unencrypted_ppk_is_protected_by_its_checksum() -> None:
    text = ppk(ec_identity().key).decode().replace("Comment: rsa", "Comment: dsa")
    assert "damaged" in refused(text, StoreType.PPK_BLOB)


def test_several_ssh_keys_are_several_entries() -> None:
    data = b"# keys\n" + b"" + ssh_public(ec_identity()) + b"\n\n" + ssh_public(rsa_identity()) + b"\n"
    assert len(open_store(data.removeprefix(b"# keys\n"), StoreType.SSH_PUBLIC_KEY_BLOB)) == 2


# --- secrets ---


@ALL
def test_no_secret_in_the_repr_of_entries(sample: Sample) -> None:
    store = open_store(sample.data, sample.blob, sample.password)
    text = repr(store) + str(store) + repr(list(store))
    assert PASSWORD not in text
    assert "PrivateKey" not in text


# --- nothing but 271, whatever comes ---


@settings(max_examples=examples(60))
@given(st.binary(max_size=200), st.sampled_from([*(item.blob for item in samples().values()), StoreType.AUTO]))
def test_any_bytes_give_entries_or_271(data: bytes, kind: StoreType) -> None:
    try:
        assert list(open_store(data, kind, "password"))
    except AMQPError as error:
        if error.code != 271:
            raise


@pytest.mark.filterwarnings("ignore::UserWarning")  # the library's remarks on odd but readable certificates
@settings(max_examples=examples(60))
@given(
    st.sampled_from([name for name in samples() if "ppk 3" not in name]),
    st.data(),
)
def test_any_changed_byte_gives_entries_or_271(name: str, data: st.DataObject) -> None:
    sample = samples()[name]
    changed = bytearray(sample.data)
    position = data.draw(st.integers(0, len(changed) - 1))
    changed[position] ^= data.draw(st.integers(1, 255))
    for kind in (sample.blob, StoreType.AUTO):
        try:
            open_store(bytes(changed), kind, sample.password)
        except AMQPError as error:
            if error.code != 271:
                raise


# --- names ---


def test_subjects_are_written_with_the_common_name_first_and_commas_quoted() -> None:
    oid = x509.NameOID
    name = x509.Name(
        [
            x509.NameAttribute(oid.COUNTRY_NAME, "DE"),
            x509.NameAttribute(oid.STATE_OR_PROVINCE_NAME, "Bayern"),
            x509.NameAttribute(oid.LOCALITY_NAME, "München"),
            x509.NameAttribute(oid.ORGANIZATION_NAME, 'Say "Hi", Ltd'),
            x509.NameAttribute(oid.ORGANIZATIONAL_UNIT_NAME, "R\nD"),
            x509.NameAttribute(oid.EMAIL_ADDRESS, "a@example.com"),
            x509.NameAttribute(oid.COMMON_NAME, "www.example.com"),
            x509.NameAttribute(x509.ObjectIdentifier("1.2.3.4"), "x"),
        ]
    )
    assert name_text(name) == (
        "1.2.3.4=x, CN=www.example.com, E=a@example.com, OU=R\N{REPLACEMENT CHARACTER}D, "
        'O="Say ""Hi"", Ltd", L=München, S=Bayern, C=DE'
    )


def test_opening_a_store_twice_gives_equal_entries() -> None:
    # The TLS context, and the sessions to resume in it, are kept while the options stay equal.
    data = pfx(ec_identity(), PASSWORD)
    first, second = (open_store(data, StoreType.PFX_BLOB, PASSWORD).find("*") for _ in range(2))
    assert first == second
    assert hash(first) == hash(second)
    assert TlsOptions(client_certificate=first) == TlsOptions(client_certificate=second)
    bare = open_store(ec_identity().pem, StoreType.PUBLIC_KEY_BLOB).find("*")
    assert bare != first
    assert first != open_store(pfx(rsa_identity()), StoreType.PFX_BLOB).find("*")
    assert first != "entry"


def test_an_entry_needs_no_certificate() -> None:
    entry = CertificateEntry(certificate=None)
    assert entry.encoded == b""
    assert not entry.has_private_key


def test_xml_and_p7b_of_the_same_identity_agree() -> None:
    identity: Identity = rsa_identity()
    assert open_store(xml(identity), 17).find("*").subject == open_store(p7b(identity), 12).find("rsa").subject
