"""The slots' memory: grown in place where it fits, used again after the weights change."""

import numpy as np
import torch

from himac.engines.kv import SlotStore

LIKE = torch.ones(2, 5, 4)  # (kv_heads, T, head_dim)


def test_growing_keeps_what_the_slots_hold():
    store = SlotStore(max_tokens=64)
    store.reserve(2, 8)
    keys, _ = store.layer(0, LIKE)
    keys[1, :, :3] = torch.arange(24.0).reshape(2, 3, 4)
    before = keys[1, :, :3].clone()
    store.reserve(4, 8)  # in place: there is room
    grown, _ = store.layer(0, LIKE)
    assert grown.shape == (4, 2, 8, 4) and grown.data_ptr() == keys.data_ptr()
    store.reserve(4, 32)  # laid out anew
    wider, _ = store.layer(0, LIKE)
    assert wider.shape == (4, 2, 32, 4)
    assert torch.equal(wider[1, :, :3], before)


def test_memory_is_used_again_and_always_finite():
    store = SlotStore(max_tokens=64)
    store.reserve(4, 8)
    keys, values = store.layer(0, LIKE)
    keys.fill_(7.0)
    held = {keys.data_ptr(), values.data_ptr()}
    store.clear()
    assert (store.num_slots, store.capacity, store.tokens) == (0, 0, [])
    store.reserve(3, 16)
    again, _ = store.layer(0, LIKE)
    assert again.data_ptr() in held
    assert np.isfinite(again.numpy()).all()
