"""The shop's stock: products and their search index, built once, shared by every environment.

A catalogue is five flat arrays and one blob of product records. In memory for a generated shop;
for files, written once to a cache folder and memory-mapped from there, so that processes share the pages
and a million products cost no more Python objects than are being looked at.

The cache is trusted only if its manifest's sizes and checksums fit; otherwise it is built again.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
import warnings
import zlib
from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import astuple
from pathlib import Path

import numpy as np

from himac.envs.webshop import bm25
from himac.envs.webshop.records import Product, Report, clean, read_mapping, read_objects
from himac.errors import DataError
from himac.files import as_usual
from himac.types import Json

FORMAT = 2  # raise when what is written to the cache changes
_KEPT_PRODUCTS = 20_000  # decoded products held in memory


class Catalogue:
    """Products in file order, and search over them."""

    def __init__(
        self, records: bytearray | np.ndarray, arrays: dict[str, np.ndarray], header: dict[str, Json]
    ) -> None:
        """Take the parts that `from_products` or the cache made."""
        self._records = records
        self._arrays = arrays
        self._header = header
        self._kept: OrderedDict[int, Product] = OrderedDict()
        self.skipped: str = header["skipped"]
        self._offsets = arrays["offsets"]
        self._by_asin = arrays["by_asin"]
        self.index = bm25.Index(
            header["vocabulary"],
            arrays["starts"],
            arrays["documents"],
            arrays["denominators"],
            num_documents=len(self),
            num_with_text=header["num_with_text"],
        )

    def __len__(self) -> int:
        return len(self._offsets) - 1

    def __getitem__(self, number: int) -> Product:
        """Return a product by its position in the file."""
        product = self._kept.get(number)
        if product is None:
            begin, end = int(self._offsets[number]), int(self._offsets[number + 1])
            product = _decode(bytes(self._records[begin:end]))
            self._kept[number] = product
            if len(self._kept) > _KEPT_PRODUCTS:
                self._kept.popitem(last=False)
        return product

    @property
    def prices(self) -> np.ndarray:
        """(N, 2) dollars: the two ends of each product's price range; (price, nan) where there is one price."""
        return self._arrays["prices"]

    @property
    def combinations(self) -> np.ndarray:
        """(N,) number of option combinations of products with a synthetic instruction, -1 for the others."""
        return self._arrays["combinations"]

    def find(self, asin: str) -> int | None:
        """Return the number of the product with this id, or None."""
        wanted = asin.encode("utf-8", "replace")
        low, high = 0, len(self)
        while low < high:
            middle = (low + high) // 2
            if self[int(self._by_asin[middle])].asin.encode() < wanted:
                low = middle + 1
            else:
                high = middle
        number = int(self._by_asin[low]) if low < len(self) else -1
        return number if number >= 0 and self[number].asin.encode() == wanted else None

    def search(self, query: str, k: int = 50) -> tuple[int, ...] | None:
        """Return the numbers of the k best products, best first; None when the query is too long."""
        found = self.index.search(query, k)
        return None if found is None else tuple(self._by_asin[found].tolist())


def from_files(items: Path, instructions: Path | None, *, max_products: int | None = None) -> Catalogue:
    """Load a catalogue in WebShop's file format, through the cache.

    Args:
        items: `items_shuffle*.json`.
        instructions: `items_ins_v2*.json`: attributes and synthetic instructions; None for neither.
        max_products: take this many from the file's start; None takes all.

    Raises:
        MissingFileError: a file cannot be read.
        DataError: no product can be used.
    """
    folder = _cache_folder(items, instructions, max_products)
    found = _read_cache(folder)
    if found is not None:
        return found
    report = Report()
    raw = read_objects(items, report)
    if max_products is not None:
        raw = (item for _, item in zip(range(max_products), raw))
    goals = read_mapping(instructions) if instructions is not None else {}
    catalogue = from_products(clean(raw, goals, report), report, source=str(items))
    if catalogue.skipped:
        warnings.warn(f"{items}: {catalogue.skipped}", stacklevel=2)
    if _write_cache(folder, catalogue):
        return _read_cache(folder) or catalogue
    return catalogue


def from_products(products: Iterable[Product], report: Report, *, source: str) -> Catalogue:
    """Build a catalogue in memory.

    Raises:
        DataError: there is no product at all.
    """
    blob, offsets, asins, prices, combinations, texts = bytearray(), [0], [], [], [], []
    for product in products:
        blob += json.dumps(astuple(product), ensure_ascii=False, separators=(",", ":")).encode()
        offsets.append(len(blob))
        asins.append(product.asin.encode())
        prices.append((*product.prices, np.nan)[:2])
        combinations.append(_num_combinations(product))
        texts.append(zlib.compress(product.search_text.encode(), 1))
    if not asins:
        raise DataError(
            f"{source} holds no usable product" + (f": {report}" if report.counts else ""),
            hint="the file should be a JSON array of products with 'asin' and 'name'",
        )
    by_asin = sorted(range(len(asins)), key=asins.__getitem__)
    index = bm25.build(zlib.decompress(texts[number]).decode() for number in by_asin)
    arrays: dict[str, np.ndarray] = {
        "offsets": np.array(offsets, np.int64),
        "by_asin": np.array(by_asin, np.int32),
        "prices": np.array(prices, np.float64),
        "combinations": np.array(combinations, np.int64),
        "starts": index.starts,
        "documents": index.documents,
        "denominators": index.denominators,
    }
    header = {
        "vocabulary": list(index.vocabulary),
        "num_with_text": index.num_with_text,
        "skipped": str(report),
    }
    return Catalogue(blob, arrays, header)


_MANY = 2**62  # a catalogue of nonsense may have more


def _num_combinations(product: Product) -> int:
    if product.instruction is None:
        return -1
    count = 1
    for values in product.options.values():
        count *= len(values)
    return min(count, _MANY)


def _decode(record: bytes) -> Product:
    values = json.loads(record)
    names = Product.__dataclass_fields__
    fields = dict(zip(names, values, strict=True))
    for name in ("bullets", "prices", "attributes", "instruction_attributes"):
        fields[name] = tuple(fields[name])
    fields["options"] = {name: tuple(texts) for name, texts in fields["options"].items()}
    return Product(**fields)


def _cache_folder(items: Path, instructions: Path | None, max_products: int | None) -> Path:
    """Return the folder for exactly these files (path, size, time of change) and this format."""
    root = Path(os.environ.get("HIMAC_CACHE", "") or Path.home() / ".cache" / "himac")
    facts: list[object] = [FORMAT, max_products]
    for path in (items, instructions):
        if path is not None and path.exists():
            stat = path.stat()
            facts += [str(path.resolve()), stat.st_size, stat.st_mtime_ns]
    name = hashlib.blake2b(json.dumps(facts).encode(), digest_size=10).hexdigest()
    return root / "webshop" / name


def _write_cache(folder: Path, catalogue: Catalogue) -> bool:
    """Write the catalogue so that a reader sees all of it or nothing; return whether it could be written."""
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        new = Path(tempfile.mkdtemp(prefix=folder.name + ".", dir=folder.parent))
    except OSError:
        return False
    try:
        (new / "records.bin").write_bytes(memoryview(catalogue._records))  # type: ignore[arg-type]
        for name, array in catalogue._arrays.items():
            np.save(new / f"{name}.npy", array)
        (new / "header.json").write_text(json.dumps(catalogue._header))
        sums = {path.name: _checksum(path) for path in sorted(new.iterdir())}
        (new / "manifest.json").write_text(json.dumps({"format": FORMAT, "files": sums}))
        as_usual(new)
        if folder.exists():
            shutil.rmtree(folder, ignore_errors=True)
        os.rename(new, folder)
        return True
    except OSError:
        shutil.rmtree(new, ignore_errors=True)
        return folder.exists()  # another process may have been faster


def _read_cache(folder: Path) -> Catalogue | None:
    """Open a cached catalogue, or return None when there is none or it is damaged."""
    try:
        manifest = json.loads((folder / "manifest.json").read_text())
        if manifest["format"] != FORMAT or any(
            _checksum(folder / name) != known for name, known in manifest["files"].items()
        ):
            return None
        header = json.loads((folder / "header.json").read_text())
        names = [name[:-4] for name in manifest["files"] if name.endswith(".npy")]
        arrays = {name: np.asarray(np.load(folder / f"{name}.npy", mmap_mode="r")) for name in names}
        records = np.memmap(folder / "records.bin", dtype=np.uint8, mode="r")
        return Catalogue(records, arrays, header)
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None


def _checksum(path: Path) -> list[int]:
    """Return a file's size and CRC."""
    crc = size = 0
    with path.open("rb") as file:
        while piece := file.read(1 << 22):
            crc, size = zlib.crc32(piece, crc), size + len(piece)
    return [size, crc]
