"""Asking a Gen3 data commons for a signed address, with the credentials of a person who has access.

Add here what a commons wants to know before it gives a file out. The optional package ``gen3`` keeps the access token
alive; credentials go to the commons that issued them and to nobody else, and into no message.
"""

from __future__ import annotations

import base64
import binascii
import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Final
from urllib.parse import quote, urlsplit

import requests

from cspine_assets.domain.cohort.download import Refused
from cspine_assets.domain.errors import SourceError

MIDRC: Final = "https://data.midrc.org"
_LOCAL: Final = ("127.0.0.1", "localhost", "::1")
_TIMEOUT_S: Final = 60
_WITHOUT_GEN3: Final = (
    "expected the package gen3, which asks MIDRC for files; it is not installed. "
    "In the checkout, say: .venv/bin/pip install --constraint constraints.txt 'cspine-assets[download]'."
)


def gen3_signer(credentials: Path, endpoint: str = MIDRC) -> Callable[[str], str]:
    """Returns a function that gives the signed address of an object.

    Args:
        credentials: The JSON file of an API key, as the portal's profile page gives it.
        endpoint: Address of the data commons.

    Raises:
        SourceError: gen3 is not installed, or the file is no API key of this commons.
    """
    try:
        from gen3.auth import Gen3Auth  # noqa: PLC0415 - an extra, needed for this alone
    except ImportError as error:
        raise SourceError(_WITHOUT_GEN3) from error
    endpoint = endpoint.rstrip("/")
    _refuse_foreign(credentials, endpoint)
    # gen3 prints and logs what servers answer, signed addresses among it
    for name in [name for name in logging.root.manager.loggerDict if name.startswith("gen3")]:
        logging.getLogger(name).setLevel(logging.CRITICAL + 1)
    auth = Gen3Auth(endpoint, refresh_file=str(credentials))

    def sign(object_id: str) -> str:
        address = f"{endpoint}/user/data/download/{quote(object_id)}"
        try:
            answer = requests.get(address, auth=auth, timeout=_TIMEOUT_S)
        except requests.RequestException as error:
            raise Refused(f"{endpoint} cannot be reached ({type(error).__name__})") from None
        # gen3 has errors of its own for a key that is refused, and all of them quote the server's answer
        except Exception as error:  # noqa: BLE001
            raise SourceError(
                f"{endpoint} gave no access for {credentials.name} ({type(error).__name__}). "
                "Create a new API key on your profile page there."
            ) from None
        return _address_of(answer, endpoint)

    return sign


def _address_of(answer: requests.Response, endpoint: str) -> str:
    """Returns the signed address of an answer, or says why there is none."""
    if answer.status_code in (401, 403):
        reason = f"{endpoint} answered {answer.status_code}: no access to this file; is the data use agreement signed?"
        raise Refused(reason, final=True)
    if answer.status_code == requests.codes.not_found:
        raise Refused(f"{endpoint} does not know this file", final=True)
    if answer.status_code != requests.codes.ok:
        raise Refused(f"{endpoint} answered {answer.status_code}")
    try:
        address = answer.json()["url"]
    except (ValueError, KeyError, TypeError):
        raise Refused(f"{endpoint} answered without an address") from None
    if not str(address).startswith(("https://", "http://")):
        raise Refused(f"{endpoint} gave an address that is not of the web", final=True)
    return str(address)


def _refuse_foreign(credentials: Path, endpoint: str) -> None:
    """Refuses to send an API key to another host than its issuer, or over a line that can be listened to."""
    try:
        key = json.loads(credentials.read_text(encoding="utf-8"))["api_key"]
        body = str(key).split(".")[1]
        issuer = urlsplit(json.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)))["iss"])
    except (OSError, ValueError, KeyError, IndexError, TypeError, binascii.Error):
        # the cause is not chained: it may quote what the file holds
        raise SourceError(
            f"{credentials}: expected the JSON file of an API key, with `api_key`. "
            "Create one on your profile page of the data commons."
        ) from None
    asked = urlsplit(endpoint)
    if issuer.netloc != asked.netloc:
        raise SourceError(
            f"{credentials}: expected an API key of {asked.netloc}, got one of {issuer.netloc}. "
            "A key is sent to its own data commons alone."
        )
    if asked.scheme != "https" and asked.hostname not in _LOCAL:
        raise SourceError(f"{endpoint}: expected https, a key is not sent over {asked.scheme or 'nothing'}.")
