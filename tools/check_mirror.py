#!/usr/bin/env python3
"""Is examples/pytorch/sluice_torch.py what kernels/sluice_cuda.h and kernels/objective_kind.h say? Every struct's size,
every field's name, place and size, every function and its number of arguments, the numbers of the enums, and the
objectives' own settings (kernels/objective.def). A C program made here and compiled by $CC (gcc) prints what the headers
say. In TAP lines; needs no torch.

    check_mirror.py [HEADERS]       the folder that holds kernels/ (the repository)
"""
import ctypes
import os
import re
import shlex
import subprocess
import sys
import tempfile

ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..")
sys.path.insert(0, os.path.join(ROOT, "examples", "pytorch"))
import sluice_torch as mirror  # noqa: E402

NOT_MIRRORED = {"objective", "objective_output"}    # for objectives written in C
ENUMS = (("SLUICE_logits_", mirror.LOGITS), ("SLUICE_", mirror.TYPES), ("OBJECTIVE_", mirror.AGGREGATIONS),
         ("OBJECTIVE_", mirror.ADVANTAGES), ("OBJECTIVE_ratio_", mirror.RATIOS), ("OBJECTIVE_", mirror.KL),
         ("SLUICE_", mirror.ROUNDING), ("SLUICE_", mirror.STATUS))
PROGRAM = """
#include <math.h>
#include <stdio.h>
#include "kernels/sluice_cuda.h"
#define OWN(a, b, c, ...) {#a, #b, #c, {__VA_ARGS__}}
#define NONE NAN
#define OBJECTIVE(name_, t, g, p, n, s, needs, a, own_, ...) {#name_, own_},
static const struct { const char *name; struct { const char *word[3]; double number[9]; } own; } rows[] = {
#include "kernels/objective.def"
};
int
main(void)
{
#define FIELD(s, f) printf("field %%s %%s %%zu %%zu\\n", #s, #f, offsetof(struct s, f), sizeof ((struct s *)0)->f)
%s
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        printf("own %%s %%s %%s %%s", rows[i].name, rows[i].own.word[0], rows[i].own.word[1], rows[i].own.word[2]);
        for (int k = 0; k < 9; k++)
            printf(" %%.17g", rows[i].own.number[k]);
        putchar('\\n');
    }
    return 0;
}
"""
count = failed = 0


def told(name, problems):
    global count, failed
    count += 1
    failed += bool(problems)
    print(f"{'not ok' if problems else 'ok'} {count} - {name}")
    for p in problems:
        print(f"# {p}")


def plain(path):
    return re.sub(r"/\*.*?\*/", " ", open(path).read(), flags=re.S)


def structs_of(text):
    """name -> its fields' names, in order; those that hold functions are left out."""
    out = {}
    for name, body in re.findall(r"^struct (\w+) \{(.*?)^\};", text, flags=re.S | re.M):
        out[name] = [field for line in body.split(";")
                     for field in re.findall(r"(?:^|[\s*])(\w+)(?:\[[^\]]*\])?\s*(?=,|$)", line.strip())]
    return out


def functions_of(text):
    out = {}
    for name, arguments in re.findall(r"\b(sluice_\w+)\(([^;{]*?)\);", text, flags=re.S):
        out[name] = 0 if arguments.strip() == "void" else arguments.count(",") + 1
    return out


def c_name(field):
    return field.rstrip("_")        # `lambda` is no name in Python


def compiled(root):
    lines = []
    for s in mirror.STRUCTS:
        lines.append(f'    printf("size {s.name_in_header} %zu\\n", sizeof(struct {s.name_in_header}));')
        lines += [f"    FIELD({s.name_in_header}, {c_name(f[0])});" for f in s._fields_]
    for prefix, words in ENUMS:
        lines += [f'    printf("enum {prefix}{w} %d\\n", (int){prefix}{w});' for w in words]
    for name in ("SLUICE_CUDA_ABI", "OBJECTIVE_ABI", "OBJECTIVE_NAMED_MAX"):
        lines.append(f'    printf("enum {name} %d\\n", {name});')
    with tempfile.TemporaryDirectory() as folder:
        source, program = os.path.join(folder, "mirror.c"), os.path.join(folder, "mirror")
        with open(source, "w") as f:
            f.write(PROGRAM % "\n".join(lines))
        done = subprocess.run(shlex.split(os.environ.get("CC", "gcc")) + ["-std=gnu11", "-w", "-I", root, "-o", program,
                              source], capture_output=True, text=True)
        if done.returncode != 0:
            return None, done.stderr.splitlines()
        return subprocess.run([program], capture_output=True, text=True, check=True).stdout.splitlines(), []


def check_structs(said, declared):
    sizes = {w[1]: int(w[2]) for w in said if w[0] == "size"}
    places = {(w[1], w[2]): (int(w[3]), int(w[4])) for w in said if w[0] == "field"}
    for s in mirror.STRUCTS:
        name, problems = s.name_in_header, []
        if ctypes.sizeof(s) != sizes[name]:
            problems.append(f"size {ctypes.sizeof(s)}, in C {sizes[name]}")
        for field in (f[0] for f in s._fields_):
            here = getattr(s, field)
            if (here.offset, here.size) != places[name, c_name(field)]:
                problems.append(f"{field} at {here.offset}, {here.size} bytes; in C {places[name, c_name(field)]}")
        if [c_name(f[0]) for f in s._fields_] != declared.get(name):
            problems.append(f"its fields in the header: {declared.get(name)}")
        told(f"struct {name}", problems)
    told("every struct of the headers has a mirror",
         sorted(set(declared) - {s.name_in_header for s in mirror.STRUCTS} - NOT_MIRRORED))


def check_words(said):
    values = {w[1]: int(w[2]) for w in said if w[0] == "enum"}
    told("the numbers of the enums", [f"{prefix}{word} is {values[prefix + word]}, not {i}" for prefix, words in ENUMS
                                      for i, word in enumerate(words) if values[prefix + word] != i])
    told("versions and limits", [f"{name} is {values[name]}" for name, here in (
        ("SLUICE_CUDA_ABI", mirror.SLUICE_CUDA_ABI), ("OBJECTIVE_ABI", mirror.OBJECTIVE_ABI),
        ("OBJECTIVE_NAMED_MAX", mirror.NAMED_MAX)) if values[name] != here])


def check_own(said):
    own = {w[1]: tuple(None if x in ("none", "nan", "-nan") else x if i < 3 else float(x) for i, x in enumerate(w[2:]))
           for w in said if w[0] == "own"}
    problems = []
    for name, here in mirror.OWN.items():
        if own.get(name) != here:
            problems.append(f"{name}: {here}, in objective.def {own.get(name)}")
    told("the objectives' own settings", problems)


def main():
    root = sys.argv[1] if len(sys.argv) > 1 else ROOT
    text = plain(os.path.join(root, "kernels", "sluice_cuda.h"))
    declared = {**structs_of(plain(os.path.join(root, "kernels", "objective_kind.h"))), **structs_of(text)}
    lines, problems = compiled(root)
    told("a program of the headers' structs compiles", problems)
    if lines is None:
        return 1
    said = [line.split() for line in lines]
    check_structs(said, declared)
    functions = functions_of(text)
    here = {name: len(a) for name, a in mirror.STATUS_CALLS.items()}
    here.update({name: len(a) for name, (_, a) in mirror.OTHER_CALLS.items()})
    told("every function and its number of arguments", [
        f"{name}: {here.get(name)} arguments, in the header {functions.get(name)}"
        for name in sorted(set(here) | set(functions)) if here.get(name) != functions.get(name)])
    check_words(said)
    check_own(said)
    print(f"1..{count}")
    return failed > 0


if __name__ == "__main__":
    sys.exit(main())
