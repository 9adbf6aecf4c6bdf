"""Pictures as words: what an agent sees stands in its text, and what a model sees stands in its tokens.

A picture is named by the hash of its content. In text it is the word `<image:NAME>`, so whatever handles text (prompts,
memories, contexts, state keys, files of a run) handles pictures. Among tokens it is a run of ids from 2**30 on that
follow from its name, so whatever compares ids (prefix trees, caches, packs) never takes two pictures for one another,
and what it computes depends neither on the order in which pictures came nor on the process.

Left out: sound, video, and pictures that a model writes.
"""

from __future__ import annotations

import base64
import hashlib
import io
import re
import tempfile
from collections.abc import Container, Iterator, Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Protocol

import numpy as np

from himac.errors import EnvError
from himac.files import writing
from himac.types import Observation

FIRST_ID = 1 << 30
"""The first id that is no word of any vocabulary."""
IN_MEMORY = 2**26
"""Bytes of a run's pictures that stay in memory; beyond it they lie in a temporary file."""
_TOKENS_OF_A_PICTURE = 256  # of one of 512 x 512 pixels, with those who publish it
TAG = re.compile(r"<image:([0-9a-f]{32})>")


class Eyes(Protocol):
    """What knows how many tokens a picture has."""

    album: Album  # the pictures that it knows

    def ids(self, name: str) -> Sequence[int] | None:
        """Return a picture's ids; None for a name that nobody knows."""
        ...


class Album:
    """The pictures of a run, each once, as PNG.

    Their files lie in memory up to a bound, and all of them in a temporary file beyond it, which goes with the album: what is kept
    of a picture in memory is then some hundred bytes, however large it is.

    Args:
        in_memory: most bytes of files in memory.

    >>> album = Album()
    >>> tag = album.tag(np.zeros((2, 2, 3), np.uint8))
    >>> tag == album.tag(np.zeros((2, 2, 3), np.uint8)), len(album), album.array(tag[7:-1]).shape
    (True, 1, (2, 2, 3))
    """

    def __init__(self, in_memory: int = IN_MEMORY) -> None:
        self._held: dict[str, tuple[int, int]] = {}  # where each file begins, and its length
        self._size: dict[str, tuple[int, int]] = {}
        self._sizes: dict[tuple[int, int], tuple[int, int]] = {}  # one object for all of a size
        self._files = tempfile.SpooledTemporaryFile(max_size=in_memory)  # noqa: SIM115 - closed with the album
        self._end = 0
        self.array = lru_cache(maxsize=256)(self._decoded)

    def __del__(self) -> None:
        self._files.close()

    def __len__(self) -> int:
        return len(self._held)

    def __bool__(self) -> bool:
        return True  # an empty one is one too

    def __contains__(self, name: object) -> bool:
        return name in self._held

    def tag(self, image: np.ndarray) -> str:
        """Keep a picture, (H, W, 3) uint8, and return the word that stands for it.

        Raises:
            EnvError: it is none.
            RunError: the disk is full.
        """
        check_picture(image)
        name = name_of(image)
        if name not in self._held:
            from PIL import Image

            held = io.BytesIO()
            Image.fromarray(np.ascontiguousarray(image)).save(held, "PNG")
            self.put(name, held.getvalue())
            self._keep_size(name, image)
        return f"<image:{name}>"

    def put(self, name: str, png: bytes) -> None:
        """Keep a picture that was read from a file under the name that it had.

        Raises:
            RunError: the disk is full.
        """
        with writing(Path(tempfile.gettempdir()), hint="$TMPDIR names another folder for a run's pictures"):
            self._files.seek(self._end)
            self._files.write(png)
            self._files.flush()  # or a full disk would be told by whoever reads next
        self._held[name] = (self._end, len(png))
        self._end += len(png)

    def names(self) -> list[str]:
        """Return the names of all pictures, in the order in which they came."""
        return list(self._held)

    def png(self, name: str) -> bytes:
        """Return a picture's file."""
        begin, length = self._held[name]
        self._files.seek(begin)
        return self._files.read(length)

    def size(self, name: str) -> tuple[int, int]:
        """Return a picture's (height, width) in pixels."""
        if name not in self._size:
            self._keep_size(name, self.array(name))
        return self._size[name]

    def _keep_size(self, name: str, image: np.ndarray) -> None:
        height, width = image.shape[:2]
        self._size[name] = self._sizes.setdefault((height, width), (height, width))

    def told(self, observation: Observation) -> Observation:
        """Return an observation as text: its picture is the first word."""
        if observation.image is None:
            return observation
        return replace(observation, text=self.tag(observation.image) + observation.text, image=None)

    def _decoded(self, name: str) -> np.ndarray:
        from PIL import Image

        return np.asarray(Image.open(io.BytesIO(self.png(name))).convert("RGB"))


def check_picture(image: object, where: str = "") -> None:
    """Refuse what is no picture, (H, W, 3) uint8 with something in it.

    Args:
        image: what an environment gave as one.
        where: begins the message.

    Raises:
        EnvError: it is none.
    """
    if isinstance(image, np.ndarray) and image.dtype == np.uint8 and image.shape[2:] == (3,) and image.size:
        return
    found = f"{image.dtype} {image.shape}" if isinstance(image, np.ndarray) else type(image).__name__
    raise EnvError(f"{where}Observation.image must be uint8 (H, W, 3), got {found}")


def name_of(image: np.ndarray) -> str:
    """Return the name of a picture, 32 hexadecimal digits: a hash of its size and its pixels."""
    digest = hashlib.blake2b(repr(image.shape).encode(), digest_size=16)
    digest.update(np.ascontiguousarray(image).tobytes())
    return digest.hexdigest()


def image_ids(name: str, count: int) -> tuple[int, ...]:
    """Return the ids of a picture of so many tokens; two of them, 60 bits, tell any two pictures apart.

    >>> ids = image_ids("0" * 32, 4)
    >>> len(ids), all(FIRST_ID <= i < 2 * FIRST_ID for i in ids), ids[:2] == image_ids("0" * 32, 2)
    (4, True, True)
    """
    drawn = np.frombuffer(hashlib.shake_128(bytes.fromhex(name)).digest(4 * count), np.uint32)
    return tuple((drawn % FIRST_ID + FIRST_ID).tolist())


def parts(text: str, known: Container[str] | None = None) -> Iterator[tuple[str, str]]:
    """Yield (text, name of the picture behind it); the last name is "".

    Args:
        text: with pictures in it.
        known: which names are pictures', the others being text that looks like one; None: all are.

    >>> list(parts("a<image:" + "0" * 32 + ">b"))
    [('a', '00000000000000000000000000000000'), ('b', '')]
    >>> [words for words, _ in parts("a<image:" + "0" * 32 + ">b", known=())]
    ['a<image:00000000000000000000000000000000>b']
    """
    at = 0
    for found in TAG.finditer(text):
        if known is None or found[1] in known:
            yield text[at : found.start()], found[1]
            at = found.end()
    yield text[at:], ""


def estimated_tokens(text: str) -> int:
    """Return about how many tokens an endpoint makes of a text: a quarter of its bytes, and some hundred a picture.

    >>> estimated_tokens("some words"), estimated_tokens("<image:" + "0" * 32 + ">some words")
    (2, 258)
    """
    pictures = len(TAG.findall(text))
    return len(without_images(text).encode("utf-8", "replace")) // 4 + pictures * _TOKENS_OF_A_PICTURE


def without_images(text: str) -> str:
    """Return a text without its pictures."""
    return TAG.sub("", text)


def data_url(png: bytes) -> str:
    """Return a picture as an address that holds it."""
    return "data:image/png;base64," + base64.b64encode(png).decode("ascii")
