#!/usr/bin/env python3
"""What transformers makes of chat templates, for perk to be compared with.

    golden_chat.py --write     writes tests/chat/expected.json
    golden_chat.py --check     compares that file with what transformers says now

The templates in tests/chat/ are the essential forms of those of Qwen2.5, Qwen3, SmolLM2, Llama 3 and 3.1, and
Mistral. `cargo test --test chat` compares perk with the file. Needs the packages `transformers` and `jinja2`.
"""

import json
import sys
from pathlib import Path

from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from transformers import PreTrainedTokenizerFast

FOLDER = Path(__file__).resolve().parent.parent / "tests/chat"
TOKENS = {"bos_token": "<|begin_of_text|>", "eos_token": "<|end_of_text|>"}
MESSAGES = [
    "Where is Mary?",
    "  \n white space around \t\n",
    "first line\n\nthird line",
    "<|im_end|> & <b> 'quoted' \"twice\" \\n {{ x }} {% if %} {message}",
    "Žluťoučký kůň, 東京, 🦀\u00a0",
]


def expected():
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=Tokenizer(WordLevel({"a": 0}, unk_token="a")), **TOKENS)
    rendered = {}
    for path in sorted(FOLDER.glob("*.jinja")):
        # As transformers reads a file: with its line breaks as they are.
        tokenizer.chat_template = path.read_text()

        def text(messages, asks):
            return tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=asks)

        rendered[path.stem] = {
            "prompts": [text([{"role": "user", "content": message}], True) for message in MESSAGES],
            # What stands behind an answer.
            "behind": text([{"role": "user", "content": "q"}, {"role": "assistant", "content": "ANSWER"}], False)
            .split("ANSWER")[1],
        }
    return {"tokens": TOKENS, "messages": MESSAGES, "templates": rendered}


def main():
    path, found = FOLDER / "expected.json", expected()
    if sys.argv[1:] == ["--write"]:
        path.write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n")
    elif sys.argv[1:] == ["--check"]:
        if json.loads(path.read_text()) != found:
            sys.exit(f"{path} is not what transformers says: look at the difference, and write it again")
        print(f"ok: {len(found['templates'])} templates, {len(MESSAGES)} messages")
    else:
        sys.exit(__doc__)


if __name__ == "__main__":
    main()
