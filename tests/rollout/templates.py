"""Chat templates of the common families, each written anew in the least that shows how it behaves.

`SPECIAL` are a tokenizer's control tokens, `PLAIN` those that it adds without calling them special.
"""

from __future__ import annotations

from dataclasses import dataclass

_LOOP = "{% for m in messages %}"
_CHATML = _LOOP + "{{ '<|im_start|>' + m.role + '\n' + m.content + '<|im_end|>\n' }}{% endfor %}"
_ASK = "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
_HISTORY = (
    "{% set c = m.content.split('</think>')[-1].lstrip('\n') if m.role == 'assistant' else m.content %}"
)


@dataclass(frozen=True, kw_only=True)
class Family:
    template: str
    eos: str
    special: tuple[str, ...] = ()
    plain: tuple[str, ...] = ()
    folds: bool = False
    trims: bool = False
    opens_thought: bool = False
    keeps_thoughts: bool = True
    asks_date: bool = False


FAMILIES = {
    "smollm2": Family(template=_CHATML + _ASK, eos="<|im_end|>"),
    "qwen2.5": Family(
        template="{% if messages[0].role != 'system' %}{{ '<|im_start|>system\nYou help.<|im_end|>\n' }}{% endif %}" + _CHATML + _ASK,
        eos="<|im_end|>",
    ),
    "qwen3": Family(  # an empty thought where none is wanted; earlier thoughts are dropped
        template=_LOOP + _HISTORY + "{{ '<|im_start|>' + m.role + '\n' + c + '<|im_end|>\n' }}{% endfor %}{% if add_generation_prompt %}"
        "{{ '<|im_start|>assistant\n' }}{% if enable_thinking is defined and enable_thinking is false %}{{ '<think>\n\n</think>\n\n' }}"
        "{% endif %}{% endif %}",
        eos="<|im_end|>", keeps_thoughts=False,
    ),
    "qwen3-thinking": Family(
        template=_LOOP + _HISTORY + "{{ '<|im_start|>' + m.role + '\n' + c + '<|im_end|>\n' }}{% endfor %}"
        "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n<think>\n' }}{% endif %}",
        eos="<|im_end|>", opens_thought=True, keeps_thoughts=False,
    ),
    "deepseek-r1-distill": Family(
        template="{{ bos_token }}" + _LOOP + "{% if m.role == 'system' %}{{ m.content }}{% elif m.role == 'user' %}"
        "{{ '<|User|>' + m.content }}{% else %}{{ '<|Assistant|>' + m.content.split('</think>')[-1] + eos_token }}{% endif %}"
        "{% endfor %}{% if add_generation_prompt %}{{ '<|Assistant|><think>\n' }}{% endif %}",
        eos="<|endofsentence|>", special=("<|begin|>", "<|endofsentence|>"), plain=("<|User|>", "<|Assistant|>"),
        opens_thought=True, keeps_thoughts=False,
    ),
    "llama-3": Family(
        template="{{ bos_token }}" + _LOOP + "{{ '<|start_header_id|>' + m.role + '<|end_header_id|>\n\n' }}{% if m.role == 'system' %}"
        "{{ 'Today: ' + strftime_now('%d %b %Y') + '\n\n' }}{% endif %}{{ m.content | trim + '<|eot_id|>' }}{% endfor %}"
        "{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}",
        eos="<|eot_id|>", special=("<|begin|>", "<|eot_id|>", "<|start_header_id|>", "<|end_header_id|>"),
        trims=True, asks_date=True,
    ),
    "gemma-2": Family(
        template="{{ bos_token }}" + _LOOP + "{% if m.role == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}"
        "{% set role = 'model' if m.role == 'assistant' else m.role %}{{ '<start_of_turn>' + role + '\n' + m.content | trim + "
        "'<end_of_turn>\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<start_of_turn>model\n' }}{% endif %}",
        eos="<end_of_turn>", special=("<|begin|>", "<start_of_turn>", "<end_of_turn>"), folds=True, trims=True,
    ),
    "phi-3": Family(
        template=_LOOP + "{{ '<|' + m.role + '|>\n' + m.content + '<|end|>\n' }}{% endfor %}{% if add_generation_prompt %}"
        "{{ '<|assistant|>\n' }}{% endif %}",
        eos="<|end|>", special=("<|system|>", "<|user|>", "<|assistant|>", "<|end|>"),
    ),
    "mistral": Family(  # the system message goes before the last question: it would move as the talk goes on
        template="{{ bos_token }}{% if messages[0].role == 'system' %}{% set sys = messages[0].content %}{% endif %}" + _LOOP
        + "{% if m.role == 'user' %}{{ '[INST] ' + (sys + '\n\n' if loop.last and sys is defined else '') + m.content + '[/INST]' }}"
        "{% elif m.role == 'assistant' %}{{ ' ' + m.content + eos_token }}{% endif %}{% endfor %}",
        eos="</s>", special=("<s>", "</s>", "[INST]", "[/INST]"), folds=True,
    ),
    "llama-2": Family(  # a space before the end of an answer
        template=_LOOP + "{% if m.role == 'assistant' %}{{ ' ' + m.content + ' ' + eos_token }}{% elif m.role == 'user' %}"
        "{{ bos_token + '[INST] ' + m.content + ' [/INST]' }}{% endif %}{% endfor %}",
        eos="</s>", special=("<s>", "</s>"), folds=True,
    ),
    "granite": Family(
        template=_LOOP + "{{ '<|start_of_role|>' + m.role + '<|end_of_role|>' + m.content + '<|end_of_text|>\n' }}{% endfor %}"
        "{% if add_generation_prompt %}{{ '<|start_of_role|>assistant<|end_of_role|>' }}{% endif %}",
        eos="<|end_of_text|>", special=("<|start_of_role|>", "<|end_of_role|>", "<|end_of_text|>"),
    ),
    "lfm2": Family(template="{{ bos_token }}" + _CHATML + _ASK, eos="<|im_end|>"),
}  # fmt: skip

REFUSED = {
    "no system role, and none in the user's": (
        "{% for m in messages %}{{ raise_exception('tools only') }}{% endfor %}", "fails: tools only"),
    "numbers its turns from behind": (
        _LOOP + "{{ '<|im_start|>' + m.role + (messages|length - loop.index0)|string + m.content + '<|im_end|>' }}{% endfor %}",
        "drops or rewrites"),
    "answers only the last question": ("{{ messages[-1].content }}<|im_end|>", "drops or repeats"),
    "ends no answer": (_LOOP + "{{ m.role + ': ' + m.content + '\n' }}{% endfor %}assistant: ", "no token that ends an answer"),
    "a channel of its own for what it asks": (
        _LOOP + "{{ '<|im_start|>' + m.role + ('<final>' if m.role == 'assistant' else '') + m.content + '<|im_end|>' }}{% endfor %}"
        "{% if add_generation_prompt %}{{ '<|im_start|>assistant' }}{% endif %}", "drops or rewrites"),
    "no Jinja": ("{% for m in %}", "fails"),
}  # fmt: skip
