"""Are rows of `sluice export` what other trainers read? Loads them with the trainers' own code where it is installed.

    python tools/check_export.py RUN --sluice build/sluice --tokenizer FOLDER [--trl PATH] [--peers PATH]

datasets     load_dataset("json"), then Parquet and back: the same rows
TRL          PRMTrainer.tokenize_row (0.19; --trl names a folder with that version, later ones have no PRMTrainer):
             as many labelled tokens as steps, each at the end of its step, and the text is the response's
verl         RLHFDataset: every row becomes a prompt of messages with its ground truth
OpenRLHF     SFTDataset: prompts and responses as exported
Prints one line for each; exit code 1 when one that is installed disagrees.
"""
import argparse, json, os, subprocess, sys, tempfile, types

failed = 0


def tell(name, good, text):
    global failed
    failed += not good
    print(f"{'ok  ' if good else 'FAIL'} {name:10s} {text}", flush=True)


def export(sluice, run, form, folder):
    path = os.path.join(folder, form + ".jsonl")
    subprocess.run([sluice, "export", run, "--format", form, "-o", path], check=True, stderr=subprocess.DEVNULL)
    with open(path, encoding="utf-8") as f:
        return path, [json.loads(line) for line in f]


def check_datasets(files):
    import datasets
    for form, (path, rows) in files.items():
        loaded = datasets.load_dataset("json", data_files=path)["train"]
        parquet = path + ".parquet"
        loaded.to_parquet(parquet)
        again = datasets.load_dataset("parquet", data_files=parquet)["train"]
        same = len(loaded) == len(rows) and loaded.to_list() == rows == again.to_list()
        tell("datasets", same, f"{datasets.__version__}, {form}: {len(rows)} rows, the same from JSON and from Parquet")


def check_trl(rows, tokenizer, version):
    from trl.trainer.prm_trainer import PRMTrainer
    steps, good = 0, True
    for row in rows:
        out = PRMTrainer.tokenize_row(row, tokenizer, "\n", None, None, None, False, False)
        marked = [i for i, label in enumerate(out["labels"]) if label != -100]
        good &= [out["labels"][i] for i in marked] == [int(label) for label in row["labels"]]
        starts = [len(out["labels"]) - len(out["input_ids"])] + [i + 1 for i in marked]
        text = tokenizer.decode(out["input_ids"])
        good &= text == row["prompt"] + "".join(step + "\n" for step in row["completions"])
        good &= starts[0] == 0 and marked[-1] == len(out["labels"]) - 1
        steps += len(marked)
    tell("TRL", good, f"{version}: {len(rows)} rows, {steps} steps: PRMTrainer.tokenize_row finds each label")


def check_verl(path, rows, tokenizer):
    import verl
    from omegaconf import OmegaConf
    from verl.utils.dataset.rl_dataset import RLHFDataset
    config = OmegaConf.create({"prompt_key": "prompt", "max_prompt_length": 4096, "filter_overlong_prompts": False,
                               "cache_dir": os.path.dirname(path), "return_raw_chat": True})
    loaded = RLHFDataset(data_files=[path], tokenizer=tokenizer, config=config)
    good = len(loaded) == len(rows)
    for i, row in enumerate(rows):
        item = loaded[i]
        good &= item["reward_model"]["ground_truth"] == row["reward_model"]["ground_truth"]
        good &= item["data_source"] == row["data_source"] and item["index"] == row["extra_info"]["index"]
        good &= list(item["raw_prompt"]) == row["prompt"]
    tell("verl", good, f"{verl.__version__}: RLHFDataset reads {len(loaded)} rows with prompt, ground truth and index")


def check_openrlhf(path, rows, tokenizer):
    import importlib.metadata
    import datasets
    from openrlhf.datasets.sft_dataset import SFTDataset
    data = types.SimpleNamespace(input_key="input", output_key="output", apply_chat_template=False)
    strategy = types.SimpleNamespace(args=types.SimpleNamespace(data=data))
    loaded = SFTDataset(datasets.load_dataset("json", data_files=path)["train"], tokenizer, 4096, strategy, num_processors=1)
    good = len(loaded) == len(rows) and list(loaded.prompts) == [r["input"] for r in rows]
    good &= [r.rstrip("\n") for r in loaded.responses] == [r["output"].rstrip("\n") for r in rows]
    tell("OpenRLHF", good, f"{importlib.metadata.version('openrlhf')}: SFTDataset reads {len(loaded)} rows")


def attempt(name, function, *arguments):
    try:
        function(*arguments)
    except ImportError as error:
        print(f"skip {name:10s} {error}", flush=True)


def main():
    a = argparse.ArgumentParser()
    a.add_argument("run")
    a.add_argument("--sluice", default="sluice")
    a.add_argument("--tokenizer", required=True)
    a.add_argument("--trl", help="folder with TRL 0.19")
    a.add_argument("--peers", help="folder with verl and OpenRLHF")
    a = a.parse_args()
    for path in (a.peers, a.trl):
        if path:
            sys.path.insert(0, path)
    from transformers import PreTrainedTokenizerFast
    tokenizer = PreTrainedTokenizerFast(tokenizer_file=os.path.join(a.tokenizer, "tokenizer.json"))
    tokenizer.eos_token = tokenizer.eos_token or tokenizer.convert_ids_to_tokens(0)
    with tempfile.TemporaryDirectory() as folder:
        os.environ.setdefault("HF_DATASETS_CACHE", folder)
        files = {form: export(a.sluice, a.run, form, folder) for form in ("trl-stepwise", "verl", "openrlhf")}
        attempt("datasets", check_datasets, files)
        version = next((d.split("-")[1].removesuffix(".dist") for d in os.listdir(a.trl) if d.startswith("trl-") and d.endswith(".dist-info")), "?") if a.trl else "as installed"
        attempt("TRL", check_trl, files["trl-stepwise"][1], tokenizer, version.removesuffix(".dist-info"))
        attempt("verl", check_verl, *files["verl"], tokenizer)
        attempt("OpenRLHF", check_openrlhf, *files["openrlhf"], tokenizer)
    sys.exit(failed > 0)


main()
