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


def test_trimming_keeps_the_live_slots_and_those_used_last():
    store = SlotStore(max_tokens=64)
    store.reserve(6, 8)
    keys, values = store.layer(0, LIKE)
    for slot in range(6):
        keys[slot], values[slot] = slot, -slot
        store.tokens[slot] = np.full(3, slot, np.int32)
    store.last_used[:] = [0, 5, 1, 2, 9, 7]
    store.trim(4, live=1)
    keys, values = store.layer(0, LIKE)
    assert (store.num_slots, len(keys), len(store.last_used)) == (4, 4, 4)
    assert sorted(int(tokens[0]) for tokens in store.tokens) == [0, 1, 4, 5]  # 2 and 3 were used longest ago
    assert store.tokens[0][0] == 0  # live ones stay where they are
    for slot, tokens in enumerate(store.tokens):
        assert (keys[slot, :, :3] == int(tokens[0])).all() and (values[slot, :, :3] == -int(tokens[0])).all()
        assert store.last_used[slot] == [0, 5, 1, 2, 9, 7][int(tokens[0])]
