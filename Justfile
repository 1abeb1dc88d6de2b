# `just demo` and `just test` are all a newcomer needs; each sets up what it uses.

python := env("PYTHON", "python3")
bin := ".venv/bin"
# One process, all said: without these words accelerate begins with a warning about each.
launch := bin + "/accelerate launch --num_processes 1 --num_machines 1 --mixed_precision no --dynamo_backend no"

# List the recipes.
_default:
    @just --list

# Make .venv with the versions of constraints.txt; does nothing while they are unchanged.
setup:
    #!/usr/bin/env bash
    set -euo pipefail
    wanted=$(cat constraints.txt pyproject.toml | sha256sum | cut -d' ' -f1)
    if [ -x {{bin}}/python ] && [ "$(cat .venv/.setup 2>/dev/null)" = "$wanted" ]; then exit 0; fi
    {{python}} -c 'import sys; sys.exit("AVCE needs Python 3.11 or newer; this is " + sys.version.split()[0] + ". Name another one: PYTHON=python3.12 just setup" if sys.version_info < (3, 11) else 0)'
    echo "setting up .venv (PyTorch, DALI and friends: some minutes, about 8 GB)"
    [ -x {{bin}}/python ] || {{python}} -m venv .venv
    {{bin}}/python -m pip install --quiet --upgrade pip
    {{bin}}/python -m pip install --quiet --constraint constraints.txt --editable ".[dev]"
    echo "$wanted" > .venv/.setup

# Draw faces, make shards, train on them from scratch and evaluate on people never seen (about 4 minutes).
demo seed="0": setup
    {{bin}}/python cli.py cartoon affectnet --level easy --n 2400 --seed {{seed}} --out data/demo/raw-{{seed}}
    {{bin}}/python cli.py shard affectnet --raw data/demo/raw-{{seed}} --out data/demo/shards-{{seed}} --size 128
    {{launch}} cli.py train --recipe demo --shards data/demo/shards-{{seed}} --set seed={{seed}}
    {{bin}}/python cli.py eval --split val
    {{bin}}/python cli.py predict $({{bin}}/python -c "import matplotlib.cbook as c; print(c.get_sample_data('grace_hopper.jpg', asfileobj=False))")

# Train what `predict` uses where no run is: easy drawn faces, then wild ones (minutes on two cores).
starter seed="0": setup
    {{bin}}/python cli.py cartoon affectnet --level easy --n 2400 --seed {{seed}} --out data/starter/easy-{{seed}}
    {{bin}}/python cli.py shard affectnet --raw data/starter/easy-{{seed}} --out data/starter/easy-shards-{{seed}} --size 128
    {{launch}} cli.py train --recipe starter --shards data/starter/easy-shards-{{seed}} --epochs 8 --set milestones=240,320,400 --set jitter_brightness=0.0 --set jitter_contrast=0.0 --set seed={{seed}} --run runs/starter-easy-{{seed}}
    {{bin}}/python cli.py export --run runs/starter-easy-{{seed}}
    {{bin}}/python cli.py cartoon affectnet --level wild --n 4000 --seed 1 --out data/starter/wild
    {{bin}}/python cli.py shard affectnet --raw data/starter/wild --out data/starter/wild-shards --size 128
    {{launch}} cli.py train --recipe starter --weights runs/starter-easy-{{seed}}/export/model.safetensors --shards data/starter/wild-shards --set seed={{seed}} --run runs/starter-{{seed}}
    {{bin}}/python cli.py export --run runs/starter-{{seed}}

# Run the tests.
test *args: setup
    OMP_NUM_THREADS=1 {{bin}}/python -m pytest -q -n logical --maxprocesses 8 --dist worksteal {{args}}

# Lint, format, types and the floor plan.
check: setup
    {{bin}}/ruff check .
    {{bin}}/ruff format --check .
    {{bin}}/pyright
    {{bin}}/python -m pytest -q tests/test_floor_plan.py

# Format the code.
format: setup
    {{bin}}/ruff check --fix .
    {{bin}}/ruff format .

# Write the API pages, from the docstrings, into build/api.
docs: setup
    {{bin}}/python docs/api.py

# Try to break what docs/reliability.md promises: --minutes N, --seed S, --only KIND, --case N.
torture *args: setup
    OMP_NUM_THREADS=1 {{bin}}/python -m tests.torture {{args}}

# Run one benchmark: layers, step, feed, shard, report, predict, recipes, views or startup.
bench name *args: setup
    {{bin}}/python benchmarks/{{name}}.py {{args}}

# Run on a GPU all that must hold there, with a table at the end; without one: just gpu --device cpu --quick.
gpu *args: setup
    {{bin}}/python benchmarks/gpu.py {{args}}

# Rewrite constraints.txt from the newest versions that pyproject.toml admits.
lock:
    #!/usr/bin/env bash
    set -euo pipefail
    folder=$(mktemp -d)
    {{python}} -m venv "$folder"
    "$folder/bin/python" -m pip install --quiet --editable ".[dev]"
    { sed -n '/^#/p' constraints.txt; echo; "$folder/bin/python" -m pip freeze --exclude-editable; } > constraints.txt.part
    mv constraints.txt.part constraints.txt
    rm -r "$folder"
