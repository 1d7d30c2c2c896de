#!/usr/bin/env python3
"""Checks that perk scores outputs as the benchmarks' own scorers do.

    check_scorers.py [BABILONG] [--answers SCRIPT...] [--ruler RULER] [--cases N] [--seed SEED]

BABILONG is a checkout of github.com/booydar/babilong or its `babilong/metrics.py`. Its decision and perk's are
compared on N seeded random cases: words of the task's labels and of other tasks', with questions that name labels,
several sentences, lists, words that contain labels. Predictions below the checkout's `babilong_evals/`, where there
are any, are compared too. SCRIPTs are SQuAD's `evaluate-v1.1.py` or `evaluate-v2.0.py` or HotpotQA's
`hotpot_evaluate_v1.py`: exact match and F1 are compared on N random pairs. RULER is a checkout of
github.com/NVIDIA/RULER: its treatment of outputs and its `string_match_all` are compared on N random cases. perk is
asked through `examples/score.rs`. The exit code is 1 if anything differs.
"""

import argparse
import ast
import csv
import importlib.util
import json
import math
import random
import re
import subprocess
import sys
import types
from pathlib import Path

FILLERS = ["the", "is in", "and", "or", "I know", "another", "not", "Mary", "John went to", "none of them", "at",
           "bedrooms", "concatenate", "Mr", "Yes", "north", "apple-tree", "Question", "Answer:", "<b>", "\n", "  "]
ENDS = [".", ". ", ".\n", "\n", "?", "!", ",", ", ", " ", "<context>", "<CONTEXT> ", "<example>\n", "Question: ", "…"]
QUESTIONS = ["Where is Mary?", "Where was the apple before the {}?", "Is {} in the {}?", "Who gave the {} to {}?",
             "What is {} carrying?", "How do you go from the {} to the {}?", "", "why did Sumit go to the {}? "]
# Punctuation, articles, white space and letters that normalisation must treat alike.
WORDS = ["the", "The", "a", "an", "A.", "kitchen", "Kitchen.", "well-known", "New York", "york", "U.S.", "o'clock",
         "1,000", "a1", "thea", "theatre", "Ärzte", "ÉCOLE", "straße", "the\tend", "don't", "_the_", "(a)", "“the”",
         "a—b", "an–the", "naïve", "東京", "²", "the²", "İ", "Σ", "ΣΑΣ", "ﬁne", "\u00a0", "\u3000", "yes", "no", "...",
         "\n", "42", "42."]


def load(path):
    """The module at `path`; packages that its command line alone needs may be missing."""
    for name in ["ujson", "numpy"]:
        if name not in sys.modules and importlib.util.find_spec(name) is None:
            sys.modules[name] = types.ModuleType(name)
    spec = importlib.util.spec_from_file_location(Path(path).stem.replace(".", "_").replace("-", "_"), path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def perks_scores(cases):
    """What perk makes of `cases`, one dictionary of scores each."""
    lines = "".join(json.dumps(case) + "\n" for case in cases)
    command = ["cargo", "run", "--quiet", "--example", "score"]
    folder = Path(__file__).resolve().parent.parent
    answered = subprocess.run(command, input=lines, cwd=folder, check=True, text=True, stdout=subprocess.PIPE)
    scores = [json.loads(line) for line in answered.stdout.splitlines()]
    assert len(scores) == len(cases), f"{len(scores)} answers to {len(cases)} cases"
    return scores


def babilong_case(rng, labels):
    """A random case; `labels` are those of each task."""
    task = rng.choice(list(labels))
    own, other = labels[task], rng.choice(list(labels.values()))

    def word():
        pick = rng.choices([own, other, FILLERS], [5, 1, 4])[0]
        text = rng.choice(pick)
        return rng.choice([text, text, text.upper(), text.capitalize()])

    question = rng.choice(QUESTIONS)
    question = question.format(*(word() for _ in range(question.count("{}"))))
    count = rng.choice([1, 1, 1, 2, 3])
    target = rng.choice([",", ",", ", "]).join(rng.sample(own, min(count, len(own))))
    output = "".join(word() + rng.choice(ENDS) for _ in range(rng.choice([0, 1, 1, 2, 2, 3, 6])))
    if rng.random() < 0.4:
        output = rng.choice(["", "the ", "It is "]) + target + rng.choice(ENDS) + output
    if rng.random() < 0.1:
        output = rng.choice([" and ", ",", "\n"]).join(reversed(target.split(",")))
    return {"task": task, "question": question, "answers": [target], "output": output}


def predictions(folder, labels):
    """Cases from the predictions that others published."""
    for path in sorted(folder.glob("**/*.csv")):
        task = path.name.split("_")[0]
        if task in labels:
            with path.open(newline="") as file:
                for row in csv.DictReader(file):
                    output = row["output"] or ""
                    # perk takes these tags for its own.
                    if "<output>" not in output and "<support>" not in output:
                        yield {"task": task, "question": row["question"], "answers": [row["target"]], "output": output}


def check_babilong(metrics, cases, name):
    """Number of cases decided differently."""
    differing = right = 0
    for case, scores in zip(cases, perks_scores(cases)):
        labels = metrics.TASK_LABELS[case["task"]]
        decision = metrics.compare_answers(case["answers"][0], case["output"], case["question"], labels)
        right += decision
        if decision != scores["babilong"]:
            differing += 1
            print(f"  official {decision}, perk {scores['babilong']}: {case}")
    print(f"BABILong, {name}: {len(cases) - differing} of {len(cases)} decided alike; {right} are right")
    return differing


def answer_case(rng):
    """A random output with up to three accepted answers."""
    def text(longest):
        words = [rng.choice(WORDS) for _ in range(rng.randint(0, longest))]
        return rng.choice([" ", " ", "", "-", ", "]).join(words)

    answers = [text(4) for _ in range(rng.randint(1, 3))]
    output = text(6)
    if rng.random() < 0.3:
        output = rng.choice(["", "The ", "in "]) + rng.choice(answers) + rng.choice(["", ".", " city"])
    return {"task": "", "question": "", "answers": answers, "output": output}


def official_scores(script, output, answer):
    """Exact match and F1 by an official script, and whether perk's F1 is defined as that one."""
    normalised = [script.normalize_answer(text) for text in (output, answer)]
    if hasattr(script, "compute_f1"):
        return bool(script.compute_exact(answer, output)), script.compute_f1(answer, output), True
    f1 = script.f1_score(output, answer)
    # SQuAD 1.1 and HotpotQA give two empty texts an F1 of 0, SQuAD 2.0 and perk 1; HotpotQA alone gives 0 where one
    # of two different texts is yes, no or noanswer.
    alike = any(normalised)
    if isinstance(f1, tuple):
        f1 = f1[0]
        alike = alike and not (set(normalised) & {"yes", "no", "noanswer"})
    return bool(script.exact_match_score(output, answer)), f1, alike


def check_answers(path, cases):
    """Number of cases scored differently from the official script at `path`."""
    script = load(path)
    differing = compared_f1 = 0
    for case, scores in zip(cases, perks_scores(cases)):
        official = [official_scores(script, case["output"], answer) for answer in case["answers"]]
        exact_match, f1 = any(one[0] for one in official), max(one[1] for one in official)
        alike = scores["exact_match"] == exact_match
        if all(one[2] for one in official):
            compared_f1 += 1
            alike = alike and math.isclose(scores["f1"], f1, abs_tol=1e-12)
        if not alike:
            differing += 1
            print(f"  official {exact_match} {f1}, perk {scores}: {case}")
    print(f"{Path(path).name}: {len(cases) - differing} of {len(cases)} scored alike; F1 compared in {compared_f1}")
    return differing


def ruler_case(rng):
    """A random output with some of its answers, and with control characters and other letters among them."""
    def answer():
        return rng.choice([str(rng.randint(1000000, 9999999)), rng.choice(WORDS), "".join(rng.choices("ABCxyz", k=5)),
                           rng.choice(WORDS) + rng.choice(["-", " ", "\t", "\n"]) + rng.choice(WORDS)])

    answers = [answer() for _ in range(rng.choice([1, 1, 3, 4, 5, 10]))]
    words = rng.sample(answers, rng.randint(0, len(answers))) + [rng.choice(WORDS) for _ in range(rng.randint(0, 4))]
    rng.shuffle(words)
    words = [rng.choice([str, str, str.upper, str.lower])(word) for word in words]
    gaps = [", ", " ", "\n", "", "\t", "\0", "\x1f", "\x1c", " and ", "\u00a0", "\x85", "\x7f"]
    output = "".join(rng.choice(gaps) + word for word in words) + rng.choice(["", ".", "\n", " \x1e", "\r\n"])
    return {"task": "ruler", "question": "", "answers": answers, "output": output}


def function_of(path, name):
    """One function of a module whose other parts need packages that are not here."""
    found = [node for node in ast.parse(path.read_text()).body if getattr(node, "name", None) == name]
    space = {"re": re}
    exec(compile(ast.Module(found, []), str(path), "exec"), space)
    return space[name]


def check_ruler(folder, cases):
    """Number of cases scored differently from RULER's own scripts."""
    string_match_all = load(folder / "scripts" / "eval" / "synthetic" / "constants.py").string_match_all
    treated = function_of(folder / "scripts" / "eval" / "evaluate.py", "postprocess_pred")
    differing = partly = 0
    for case, scores in zip(cases, perks_scores(cases)):
        official = string_match_all([treated(case["output"], {})], [case["answers"]])
        partly += 0 < official < 100
        if official != round(scores["string_match_all"] * 100, 2):
            differing += 1
            print(f"  official {official}, perk {scores['string_match_all']}: {case}")
    print(f"RULER: {len(cases) - differing} of {len(cases)} scored alike; {partly} are right in part")
    return differing


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("babilong", type=Path, nargs="?", help="checkout of BABILong, or its metrics.py")
    parser.add_argument("--answers", type=Path, nargs="*", default=[], help="SQuAD's or HotpotQA's scripts")
    parser.add_argument("--ruler", type=Path, help="checkout of RULER")
    parser.add_argument("--cases", type=int, default=5000)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    if not (args.babilong or args.answers or args.ruler):
        parser.error("nothing to compare with: name a checkout of BABILong, --answers or --ruler")
    rng = random.Random(args.seed)
    differing = 0
    if args.babilong:
        is_folder = args.babilong.is_dir()
        metrics = load(args.babilong / "babilong" / "metrics.py" if is_folder else args.babilong)
        labels = metrics.TASK_LABELS
        differing += check_babilong(metrics, [babilong_case(rng, labels) for _ in range(args.cases)], "random cases")
        published = list(predictions(args.babilong / "babilong_evals", labels)) if is_folder else []
        if published:
            differing += check_babilong(metrics, published, "published predictions")
    cases = [answer_case(rng) for _ in range(args.cases)]
    differing += sum(check_answers(path, cases) for path in args.answers)
    if args.ruler:
        differing += check_ruler(args.ruler, [ruler_case(rng) for _ in range(args.cases)])
    sys.exit(1 if differing else 0)


if __name__ == "__main__":
    main()
