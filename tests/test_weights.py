"""Weights are found without importing their package, checked, made once, and made again when damaged."""

import hashlib
import threading
from dataclasses import replace
from pathlib import Path

import numpy
import pytest
from gguf import GGMLQuantizationType, GGUFReader, GGUFWriter, LlamaFileType, quants

from backend.labeling.engines.weights import CARRIED, Carried, WeightsError, join_parts, kept, requantize, weights


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """Weights of a few kilobytes, built like those that the package carries."""
    path = tmp_path / "small.gguf"
    writer = GGUFWriter(path, "llama")
    writer.add_name("small")
    writer.add_array("tokenizer.ggml.tokens", ["a", "b"])
    writer.add_file_type(LlamaFileType.MOSTLY_Q4_1)
    for name, kind in (("token_embd.weight", "Q8_0"), ("blk.0.ffn_down.weight", "Q4_1"), ("norm.weight", "F32")):
        quantization = GGMLQuantizationType[kind]
        values = numpy.linspace(-1, 1, 4 * 64, dtype=numpy.float32).reshape(4, 64)
        writer.add_tensor(name, quants.quantize(values, quantization), raw_dtype=quantization)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


@pytest.fixture
def carried() -> Carried:
    """Weights made of two files of a package that is installed with this project's tools."""
    parts = (("pytest", "pytest/py.typed"), ("pytest", "pytest/__main__.py"))
    files = [Path(pytest.__file__).parent / file.partition("/")[2] for _, file in parts]
    digest = hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()
    return Carried(parts=parts, source=digest, make=join_parts, made=digest, lock="requirements/local.txt")


def digest_of(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_weights_that_a_package_carries_are_made_on_first_use(carried: Carried, tmp_path: Path) -> None:
    shares: list[float] = []
    path = kept("tiny", carried, tmp_path / "models", shares.append)
    assert digest_of(path) == carried.made
    assert shares[-1] == 1.0


def test_weights_that_are_whole_are_not_made_again(carried: Carried, tmp_path: Path) -> None:
    made = kept("tiny", carried, tmp_path).stat().st_mtime_ns
    shares: list[float] = []
    assert kept("tiny", carried, tmp_path, shares.append).stat().st_mtime_ns == made
    assert shares == []


def test_damaged_weights_are_made_again(carried: Carried, tmp_path: Path) -> None:
    kept("tiny", carried, tmp_path).write_bytes(b"GGUF, half")
    assert digest_of(kept("tiny", carried, tmp_path)) == carried.made


def test_what_a_broken_off_start_left_is_overwritten(carried: Carried, tmp_path: Path) -> None:
    (tmp_path / "tiny.unfinished").write_bytes(b"x" * 10_000)
    assert digest_of(kept("tiny", carried, tmp_path)) == carried.made


def test_of_many_that_start_at_once_one_makes_them(carried: Carried, tmp_path: Path) -> None:
    made_by: list[int] = []
    threads = [
        threading.Thread(
            target=kept, args=("tiny", carried, tmp_path, lambda _share: made_by.append(threading.get_ident()))
        )
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(made_by)) == 1


def test_a_source_with_another_digest_is_refused(carried: Carried, tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"has the SHA-256 .* not 0000"):
        kept("tiny", replace(carried, source="0" * 64), tmp_path)


def test_a_package_that_is_not_installed_is_named_with_how_to_install_it(carried: Carried, tmp_path: Path) -> None:
    absent = replace(carried, parts=(("no-such-package", "x"),), lock="requirements/gemma.txt")
    with pytest.raises(WeightsError, match="tiny needs the package no-such-package") as raised:
        kept("tiny", absent, tmp_path)
    assert "uv pip sync requirements/gemma.txt" in raised.value.hint


def test_a_folder_that_cannot_be_written_is_named(carried: Carried, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(WeightsError, match="cannot be kept in"):
        kept("tiny", carried, tmp_path / "file")


def test_a_file_of_ones_own_is_taken_as_it_is(small: Path, tmp_path: Path) -> None:
    assert weights(str(small), tmp_path) == small


@pytest.mark.parametrize(
    ("content", "message"), [(None, "no weights called .*mine.gguf"), (b"PK\x03\x04", "mine.gguf is not a GGUF file")]
)
def test_a_file_of_ones_own_must_exist_and_be_gguf(content: bytes | None, message: str, tmp_path: Path) -> None:
    if content is not None:
        (tmp_path / "mine.gguf").write_bytes(content)
    with pytest.raises(WeightsError, match=message):
        weights(str(tmp_path / "mine.gguf"), tmp_path)


def test_requantizing_turns_q4_1_into_q4_0_and_copies_all_else(small: Path, tmp_path: Path) -> None:
    requantize([small], tmp_path / "out.gguf", lambda _share: None)
    reader = GGUFReader(tmp_path / "out.gguf")
    assert [tensor.tensor_type.name for tensor in reader.tensors] == ["Q8_0", "Q4_0", "F32"]
    assert reader.fields["general.file_type"].contents() == LlamaFileType.MOSTLY_Q4_0
    assert reader.fields["general.name"].contents() == "small"
    assert reader.fields["tokenizer.ggml.tokens"].contents() == ["a", "b"]
    assert (reader.tensors[0].data == GGUFReader(small).tensors[0].data).all()


def test_requantized_values_are_within_half_a_step_of_the_source(small: Path, tmp_path: Path) -> None:
    requantize([small], tmp_path / "out.gguf", lambda _share: None)
    before, after = (
        quants.dequantize(tensor.data, tensor.tensor_type)
        for tensor in (GGUFReader(small).tensors[1], GGUFReader(tmp_path / "out.gguf").tensors[1])
    )
    # Q4_0 keeps a block's largest magnitude as -8 steps; values up to 1 have steps of 1/8, and +8 is cut to +7.
    assert numpy.abs(before - after).max() <= 1 / 8 + 1e-3


def test_requantizing_twice_gives_the_same_bytes(small: Path, tmp_path: Path) -> None:
    for name in ("one", "two"):
        requantize([small], tmp_path / name, lambda _share: None)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()


def test_the_shipped_weights_are_those_that_were_measured(tmp_path: Path) -> None:
    shipped = CARRIED["smollm2-135m"]
    assert kept("smollm2-135m", replace(shipped, make=join_parts, made=shipped.source), tmp_path).stat().st_size > 9e7
