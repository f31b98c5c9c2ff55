import gzip
import hashlib
import importlib.util
import logging
import re
import sys
import types
from pathlib import Path

import pytest
import requests
from typer.testing import CliRunner

from cspine_assets.cli.app import app
from cspine_assets.domain.cohort import download as download_module
from cspine_assets.domain.cohort.download import ManifestEntry, download, read_manifest
from cspine_assets.domain.cohort.signing import gen3_signer
from cspine_assets.domain.errors import SourceError
from cspine_assets_tests.domain.cohort.gen3_server import SECRET, TOKEN_PATH, Commons, serve

OBJECTS = {f"dg.TEST/{name}": name.encode() * 1000 for name in ("alpha", "beta", "gamma")}


class StandInAuth(requests.auth.AuthBase):
    """What gen3.auth.Gen3Auth does for us: a token for the key, asked for once, in a header."""

    def __init__(self, endpoint, refresh_file):
        self.endpoint, self.refresh_file, self.token = endpoint, refresh_file, None

    def __call__(self, request):
        if self.token is None:
            answer = requests.post(self.endpoint + TOKEN_PATH, data=Path(self.refresh_file).read_text(), timeout=10)
            if answer.status_code != 200:
                raise RuntimeError(f"Failed to get an access token: {answer.text}")
            self.token = answer.json()["access_token"]
        request.headers["Authorization"] = f"bearer {self.token}"
        return request


@pytest.fixture
def gen3(monkeypatch, tmp_path):
    """The real package where it is installed, its cache out of the way; else a stand-in that asks the same server."""
    monkeypatch.setenv("HOME", str(tmp_path))
    if importlib.util.find_spec("gen3") is None:
        auth = types.ModuleType("gen3.auth")
        auth.Gen3Auth = StandInAuth
        monkeypatch.setitem(sys.modules, "gen3", types.ModuleType("gen3"))
        monkeypatch.setitem(sys.modules, "gen3.auth", auth)


@pytest.fixture
def commons():
    made = Commons(objects=dict(OBJECTS))
    server = serve(made)
    yield made
    server.shutdown()
    server.server_close()


@pytest.fixture
def fetch(gen3, commons, tmp_path):
    def run():
        entries = read_manifest(commons.write_manifest(tmp_path / "manifest.json"))
        sign = gen3_signer(commons.write_key(tmp_path / "key.json"), commons.address)
        return download(entries, tmp_path / "out", sign, pause_s=0.0)

    return run


def held(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


WHOLE = {f"part/{object_id.split('/')[1]}.bin": content for object_id, content in OBJECTS.items()}


def test_every_file_comes_whole_and_a_second_call_fetches_nothing(fetch, commons, tmp_path):
    assert len(fetch().fetched) == 3
    assert held(tmp_path / "out") == WHOLE
    commons.asked.clear()
    assert len(fetch().standing) == 3
    assert commons.asked == []


def test_a_damaged_file_is_fetched_again_alone(fetch, tmp_path):
    fetch()
    (tmp_path / "out/part/beta.bin").write_bytes(b"half")
    report = fetch()
    assert (report.fetched, len(report.standing)) == (("part/beta.bin",), 2)
    assert held(tmp_path / "out") == WHOLE


@pytest.mark.parametrize("fault", ["expired", "short", "long", "altered", "broken"])
def test_a_passing_fault_is_overcome_with_a_fresh_address(fetch, commons, tmp_path, fault):
    commons.faults["dg.TEST/beta"] = [fault]
    report = fetch()
    assert report.failures == {}
    assert held(tmp_path / "out") == WHOLE
    signed = [path for path in commons.asked if path.endswith("download/dg.TEST/beta")]
    assert len(signed) == 2


@pytest.mark.parametrize(
    ("faults", "reason"),
    [
        (["expired"] * 9, "expired or is refused"),
        (["altered"] * 9, "expected MD5"),
        (["short"] * 9, "connection failed|expected 4000 bytes"),
        (["long"] * 9, "expected 4000 bytes, got more: it was given up after 1048576"),
        (["forbidden"] * 9, "data use agreement"),
        (["broken"] * 9, "answered 500"),
    ],
)
def test_a_lasting_fault_costs_one_file_with_its_reason_and_leaves_nothing_half(
    fetch, commons, tmp_path, faults, reason
):
    commons.faults["dg.TEST/beta"] = faults
    report = fetch()
    assert list(report.failures) == ["part/beta.bin"]
    assert re.search(reason, report.failures["part/beta.bin"])
    assert held(tmp_path / "out") == {name: content for name, content in WHOLE.items() if "beta" not in name}


@pytest.mark.parametrize("sent", ["labelled", "packed"])
def test_the_stored_bytes_are_checked_however_they_are_sent(fetch, commons, tmp_path, sent):
    """The kind: bytes changed on the way by what the transport says of them."""
    content = gzip.compress(b"a mask", mtime=0)
    commons.objects = {"p/one": content}
    commons.faults = {"p/one": [sent]}
    assert fetch().failures == {}
    assert held(tmp_path / "out") == {"part/one.bin": content}


def test_a_file_without_a_possible_place_fails_alone(commons, tmp_path):
    """Impossible places: a folder in its place, a file where its folder belongs, too long a name, NUL."""
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_bytes(b"")
    names = ["folder", "file/inside", "x" * 300, "nul\0", "good"]
    md5 = hashlib.md5(b"content", usedforsecurity=False).hexdigest()
    commons.objects = {"any": b"content"}
    entries = [ManifestEntry("any", name, 7, md5, None) for name in names]
    report = download(entries, tmp_path, lambda _id: f"{commons.address}/store/any", pause_s=0.0)
    assert report.fetched == ("good",)
    assert set(report.failures) == set(names[:-1])
    assert all("expected a place for the file" in reason for reason in report.failures.values())


def test_no_credential_is_ever_said(fetch, commons, tmp_path, caplog, capfd):
    commons.faults = {
        "dg.TEST/alpha": ["expired"] * 9,
        "dg.TEST/beta": ["forbidden"] * 9,
        "dg.TEST/gamma": ["short"] * 9,
    }
    with caplog.at_level(logging.INFO):
        report = fetch()
    assert len(report.failures) == 3
    said = "".join([*report.failures.values(), caplog.text, *capfd.readouterr()])
    assert SECRET not in said
    assert "signature=" not in said


def test_a_refused_key_is_one_error_without_the_key(fetch, commons, capfd):
    commons.accepts_key = False
    with pytest.raises(SourceError, match=r"gave no access for key\.json") as error:
        fetch()
    assert SECRET not in str(error.value) + "".join(capfd.readouterr())
    assert error.value.__suppress_context__


def test_a_key_is_sent_to_its_own_commons_alone(gen3, commons, tmp_path):
    key = commons.write_key(tmp_path / "key.json", issuer="https://elsewhere.example")
    with pytest.raises(SourceError, match="expected an API key of 127"):
        gen3_signer(key, commons.address)
    with pytest.raises(SourceError, match="expected https"):
        gen3_signer(commons.write_key(tmp_path / "key.json", issuer="http://data.example"), "http://data.example")


def test_a_file_that_is_no_key_is_refused_without_quoting_it(gen3, tmp_path):
    path = tmp_path / "key.json"
    path.write_text('{"api_key": "topsecret"}')
    with pytest.raises(SourceError, match="expected the JSON file of an API key") as error:
        gen3_signer(path)
    assert "topsecret" not in str(error.value)


def test_without_the_extra_the_error_names_it(monkeypatch, commons, tmp_path):
    monkeypatch.setitem(sys.modules, "gen3", None)
    monkeypatch.setitem(sys.modules, "gen3.auth", None)
    with pytest.raises(SourceError, match=r"cspine-assets\[download\]"):
        gen3_signer(commons.write_key(tmp_path / "key.json"), commons.address)


def test_the_command_fetches_a_manifest_and_ends_badly_when_a_file_is_missing(gen3, commons, tmp_path, monkeypatch):
    monkeypatch.setattr(download_module, "TRIES", 1)
    arguments = ["download", "--manifest", str(commons.write_manifest(tmp_path / "manifest.json"))]
    arguments += ["--credentials", str(commons.write_key(tmp_path / "key.json")), "--out", str(tmp_path / "out")]
    commons.faults["dg.TEST/beta"] = ["expired"]
    first = CliRunner().invoke(app, arguments)
    assert isinstance(first.exception, SourceError)
    assert "1 of 3 files" in str(first.exception)
    second = CliRunner().invoke(app, arguments)
    assert (second.exit_code, held(tmp_path / "out")) == (0, WHOLE)
    assert "1 fetched, 2 were there, 0 failed" in second.output
    assert SECRET not in first.output + second.output + str(first.exception)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "cannot be read"),
        ("{}", "a JSON array"),
        ('[{"object_id": "a", "file_name": "b"}]', "expected md5sum"),
        ('[{"object_id": "a", "file_name": "b", "md5sum": "c", "file_size": "2 MB"}]', "file_size.*b.*'2 MB'"),
        ('[{"object_id": "a", "file_name": "../b", "md5sum": "c"}]', "below the download"),
        ('[{"object_id": "a", "file_name": "/b", "md5sum": "c"}]', "below the download"),
        (
            '[{"object_id": "a", "file_name": "b", "md5sum": "c"},{"object_id": "d", "file_name": "b", "md5sum": "c"}]',
            "b sev",
        ),
    ],
)
def test_a_manifest_that_cannot_be_followed_is_refused(tmp_path, text, message):
    path = tmp_path / "manifest.json"
    path.write_text(text)
    with pytest.raises(SourceError, match=message):
        read_manifest(path)
