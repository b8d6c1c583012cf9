"""Write the mutants of a sample; runs in the folder laid out by :mod:`tests.mutation.run`.

Only the sampled mutants are written: a module with all of its mutants takes a minute to generate
and import, and a function without mutants runs at full speed.
"""

from __future__ import annotations

import json
import random
import re
import sys

import libcst as cst
from mutmut import __main__ as mutmut
from mutmut.mutation import file_mutation
from mutmut.mutation.data import SourceFileMutationData
from mutmut.mutation.diff_apply import get_diff_for_mutant
from mutmut.utils.file_utils import walk_mutatable_files

SENTENCE = re.compile(r"""["'][^"']*[a-z,;:] [^"']*["']""")


def main() -> None:
    """Print the total number of mutants and, for each sampled one, its name and diff."""
    order = json.loads(sys.argv[1])
    mutmut.copy_src_dir()
    mutmut.copy_also_copy_files()
    made = draw(order["seed"], order["sample"], order["only"])
    mutmut.create_mutants(1)
    names: list[str] = []
    for path in walk_mutatable_files():
        data = SourceFileMutationData(path=path)
        data.load()
        names += data.exit_code_by_key
    print("DRAWN " + json.dumps([made, {name: changed_lines(name) for name in names}]))


def draw(seed: int, sample: int, only: str) -> int:
    """Let mutmut write only the sampled mutants; return the total number."""
    made = {}
    for path in sorted(walk_mutatable_files()):
        if only in str(path):
            made[str(path)] = file_mutation.create_mutations(str(path), path.read_text())
    every = [
        (path, number)
        for path, (module, mutations, *_) in made.items()
        for number, mutation in enumerate(mutations)
        if mutation.contained_by_top_level_function and not rewords(module, mutation)
    ]
    random.Random(seed).shuffle(every)
    chosen = set(every[: sample or None])

    def only_chosen(
        path: str, code: str, *_: object
    ) -> tuple[cst.Module, list[file_mutation.Mutation], set[str], set[str]]:
        module, mutations, *rest = made.get(path) or (cst.parse_module(code), [], set(), set())
        return module, [each for n, each in enumerate(mutations) if (path, n) in chosen], *rest

    file_mutation.create_mutations = only_chosen
    return len(every)


def rewords(module: cst.Module, mutation: file_mutation.Mutation) -> bool:
    """Whether only the letters of a message change: tests should not depend on exact wording."""
    old = module.code_for_node(mutation.original_node)
    new = module.code_for_node(mutation.mutated_node)
    return bool(SENTENCE.search(old)) and old.casefold() == new.replace("XX", "").casefold()


def changed_lines(name: str) -> str:
    """Return the lines of a mutant's diff that differ."""
    diff = get_diff_for_mutant(name).splitlines()
    return "\n".join(
        line for line in diff if line[:1] in {"+", "-"} and line[:3] not in {"+++", "---"}
    )


if __name__ == "__main__":
    main()
