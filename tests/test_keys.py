"""Key rings: wrapping and unwrapping, the key file, what shows and what never does."""

from __future__ import annotations

import hashlib
import os
import pickle
import stat

import pytest

from streamstore import errors, key_file, keys

pytest.importorskip("cryptography", reason="the extra crypto is not installed")

CONTEXT = keys.KeyContext("aa" * 16, 7, 3)
KEY = bytes(range(32))


class FakeKms:
    """What of AWS KMS a ring calls: a box is the key turned round, and holds for its context alone."""

    def __init__(self):
        self.calls = []

    def _box(self, key, context):
        return wrap_with_context(key, context)

    def generate_data_key(self, *, KeyId, KeySpec, EncryptionContext):  # noqa: N803 - boto3's names
        self.calls.append(("generate_data_key", KeyId, KeySpec))
        return {"Plaintext": KEY, "CiphertextBlob": self._box(KEY, EncryptionContext)}

    def encrypt(self, *, KeyId, Plaintext, EncryptionContext):  # noqa: N803
        self.calls.append(("encrypt", KeyId))
        return {"CiphertextBlob": self._box(Plaintext, EncryptionContext)}

    def decrypt(self, *, KeyId, CiphertextBlob, EncryptionContext):  # noqa: N803
        self.calls.append(("decrypt", KeyId))
        key = CiphertextBlob[:32][::-1]
        if self._box(key, EncryptionContext) != CiphertextBlob:
            error = Exception("the text of an error, which may say too much")
            error.response = {"Error": {"Code": "InvalidCiphertextException"}}
            raise error
        return {"Plaintext": key}


@pytest.fixture
def ring(tmp_path, monkeypatch, request):
    """A ring of each kind."""
    key_file.create(str(tmp_path / "master.key"))
    monkeypatch.setenv("THE_KEY", "ab" * 32)
    made = {
        "file": lambda: keys.FileKeyRing(tmp_path / "master.key"),
        "environment": lambda: keys.EnvironmentKeyRing("THE_KEY"),
        "callable": lambda: keys.CallableKeyRing(wrap_with_context, unwrap_with_context, "mine"),
        "kms": lambda: keys.KmsKeyRing("alias/mine", FakeKms()),
    }
    return made[request.param]()


def wrap_with_context(key, context):
    return key[::-1] + hashlib.sha256(key + repr(sorted(context.items())).encode()).digest()


def unwrap_with_context(box, context):
    key = box[:32][::-1]
    if wrap_with_context(key, context) != box:
        raise ValueError("a secret detail")
    return key


KINDS = pytest.mark.parametrize("ring", ["file", "environment", "callable", "kms"], indirect=True)


@KINDS
def test_what_a_ring_wraps_it_unwraps(ring):
    """A generated key, and one handed in."""
    key, wrapped = ring.generate(CONTEXT)
    assert len(key) == 32
    assert ring.unwrap(wrapped, CONTEXT) == key
    assert ring.unwrap(ring.wrap(KEY, CONTEXT), CONTEXT) == KEY
    assert KEY not in wrapped["box"]


@KINDS
@pytest.mark.parametrize(
    "other", [CONTEXT._replace(store_id="bb" * 16), CONTEXT._replace(stream_id=8), CONTEXT._replace(key_id=4)]
)
def test_a_wrapped_key_holds_for_its_store_stream_and_id_alone(ring, other):
    """A box that was moved within the catalog does not unwrap, and the error has no detail of the cause."""
    wrapped = ring.wrap(KEY, CONTEXT)
    with pytest.raises(errors.KeyUnavailableError) as caught:
        ring.unwrap(wrapped, other)
    assert "detail" not in str(caught.value)
    assert "too much" not in str(caught.value)


@KINDS
def test_a_damaged_box_does_not_unwrap(ring):
    """Each byte flipped, cut short, absent, of another kind."""
    wrapped = ring.wrap(KEY, CONTEXT)
    box = wrapped["box"]
    damaged = [box[:at] + bytes([box[at] ^ 1]) + box[at + 1 :] for at in range(len(box))]
    for bad in (*damaged, b"", box[:11], box[:-1], None, "text"):
        with pytest.raises(errors.KeyUnavailableError):
            ring.unwrap({**wrapped, "box": bad}, CONTEXT)
    with pytest.raises(errors.KeyUnavailableError, match="kind"):
        ring.unwrap({**wrapped, "ring": "other"}, CONTEXT)


@KINDS
def test_no_repr_and_no_pickle_has_a_key(ring):
    """A ring is its reference: path, name or id."""
    masters = ring.masters() if isinstance(ring, keys.MasterKeyRing) else [KEY]
    key, wrapped = ring.generate(CONTEXT)
    shown = repr(ring).encode() + pickle.dumps(ring) + repr(wrapped).encode()
    for secret in (*masters, key):
        assert secret not in shown
        assert secret.hex().encode() not in shown
    again = pickle.loads(pickle.dumps(ring))
    assert again == ring
    assert hash(again) == hash(ring)
    if not isinstance(ring, keys.KmsKeyRing):
        assert again.unwrap(wrapped, CONTEXT) == key


def test_the_key_file_is_for_its_owner_alone(tmp_path):
    """Made with 0600 whatever the umask; refused as soon as anybody else may read or write it."""
    path = str(tmp_path / "master.key")
    before = os.umask(0)
    try:
        master = key_file.create(path)
    finally:
        os.umask(before)
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
    assert key_file.read_masters(path) == [master]
    for mode in (0o640, 0o604, 0o622, 0o660):
        os.chmod(path, mode)
        with pytest.raises(errors.KeyUnavailableError, match="chmod 600"):
            key_file.read_masters(path)


def test_no_key_file_is_written_over(tmp_path):
    """What stands there stays, also behind a link that leads nowhere."""
    path = str(tmp_path / "master.key")
    key_file.create(path)
    before = (tmp_path / "master.key").read_bytes()
    with pytest.raises(errors.InvalidArgumentError, match="exists"):
        key_file.create(path)
    assert (tmp_path / "master.key").read_bytes() == before
    os.symlink(tmp_path / "nowhere", tmp_path / "link")
    with pytest.raises(errors.InvalidArgumentError, match="exists"):
        key_file.create(str(tmp_path / "link"))
    assert not (tmp_path / "nowhere").exists()


def test_an_added_master_key_wraps_and_the_older_ones_unwrap(tmp_path):
    """A key wrapped before is readable after; a crash's leftover is no hindrance."""
    path = str(tmp_path / "master.key")
    old = key_file.create(path)
    ring = keys.FileKeyRing(path)
    wrapped = ring.wrap(KEY, CONTEXT)
    (tmp_path / "master.key.new").write_text("left by a crash")
    new = key_file.add(path)
    assert key_file.read_masters(path) == [new, old]
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
    assert ring.unwrap(wrapped, CONTEXT) == KEY
    assert ring.wrap(KEY, CONTEXT)["master"] == keys.fingerprint(new) != wrapped["master"] == keys.fingerprint(old)


@pytest.mark.parametrize("text", ["", "# only a remark\n", "zz" * 32, "ab" * 31, "ab" * 33, f"{'ab' * 32}\nrubbish\n"])
def test_a_key_file_without_keys_says_so_and_shows_nothing(tmp_path, text):
    """The line's number is told, its content never."""
    path = tmp_path / "master.key"
    path.touch(0o600)
    path.write_text(text)
    with pytest.raises(errors.KeyUnavailableError) as caught:
        key_file.read_masters(str(path))
    assert "abab" not in str(caught.value)
    assert "rubbish" not in str(caught.value)


def test_a_ring_is_named_by_a_path_a_variable_or_a_key_of_kms(tmp_path):
    """What open() takes."""
    assert keys.ring_of(None) is None
    assert isinstance(keys.ring_of("env:NAME"), keys.EnvironmentKeyRing)
    assert keys.ring_of("kms:alias/x") == keys.KmsKeyRing("alias/x")
    assert keys.ring_of(tmp_path / "k") == keys.ring_of(str(tmp_path / "k")) == keys.FileKeyRing(tmp_path / "k")
    ring = keys.EnvironmentKeyRing("NAME")
    assert keys.ring_of(ring) is ring
    for wrong in (1, b"", "", object()):
        with pytest.raises(errors.InvalidTypeError):
            keys.ring_of(wrong)
    with pytest.raises(errors.InvalidArgumentError):
        keys.ring_of("kms:")


@pytest.mark.parametrize("value", [None, "", "xyz", "ab" * 31])
def test_a_variable_without_a_key_says_so(monkeypatch, value):
    """Unset, empty, no hexadecimal digits, too few of them; the value is not shown."""
    monkeypatch.delenv("THE_KEY", raising=False)
    if value is not None:
        monkeypatch.setenv("THE_KEY", value)
    with pytest.raises(errors.KeyUnavailableError) as caught:
        keys.EnvironmentKeyRing("THE_KEY").masters()
    assert "abab" not in str(caught.value)


def test_kms_is_asked_for_what_is_meant():
    """The key, the kind of data key, and a named master instead of the usual one."""
    client = FakeKms()
    ring = keys.KmsKeyRing("alias/usual", client)
    _, wrapped = ring.generate(CONTEXT, "alias/other")
    ring.unwrap(wrapped, CONTEXT)
    ring.wrap(KEY, CONTEXT)
    assert client.calls == [
        ("generate_data_key", "alias/other", "AES_256"),
        ("decrypt", "alias/other"),
        ("encrypt", "alias/usual"),
    ]


def test_aes_gcm_gives_the_published_answer():
    """Test case 16 of the GCM specification: what is written under a key is AES-256-GCM and nothing else."""
    key = bytes.fromhex("feffe9928665731c6d6a8f9467308308feffe9928665731c6d6a8f9467308308")
    plain = bytes.fromhex(
        "d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a72"
        "1c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657ba637b39"
    )
    box = bytes.fromhex(
        "522dc1f099567d07f47f37a32a84427d643a8cdcbfe5c0c97598a2bd2555d1aa"
        "8cb08e48590dbb3da7b08b1056828838c5f61e6393ba7a0abcc9f66276fc6ece0f4e1768cddf8853bb2d551b"
    )
    covered = bytes.fromhex("feedfacedeadbeeffeedfacedeadbeefabaddad2")
    assert keys.cipher(key).encrypt(bytes.fromhex("cafebabefacedbaddecaf888"), plain, covered) == box
