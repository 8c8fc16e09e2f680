# Everything installs itself into .venv; nothing else on the machine is touched.
PY := .venv/bin/python
K ?=

.PHONY: demo test lint bench bench-full accept tiny-models lock clean

.venv/.installed: requirements.lock pyproject.toml
	@echo "installing into .venv"
	@test -x $(PY) || python3 -m venv .venv
	@.venv/bin/pip install --quiet --disable-pip-version-check "uv>=0.5"
	@VIRTUAL_ENV=.venv .venv/bin/uv pip install --quiet -r requirements.lock
	@VIRTUAL_ENV=.venv .venv/bin/uv pip install --quiet --no-deps -e .
	@touch $@

demo: .venv/.installed ## The mission in miniature through Ray: data, training, evaluation, pages (minutes on 2 cores)
	$(PY) -m negscale mission demo
	$(PY) -m negscale audit runs/negationclip/p1/dev
	$(PY) -m negscale report runs/nein/dev

test: .venv/.installed ## The quick suite (at most 20 minutes on 2 cores)
	$(PY) -m pytest tests negscale -m "not acceptance and not slow and not gpu"

lint: .venv/.installed ## Style, imports, types
	.venv/bin/ruff check . && .venv/bin/ruff format --check . && .venv/bin/pyright

accept: .venv/.installed ## One test per promise, with its figures; K=name selects
	$(PY) -m pytest tests/acceptance -m acceptance -s -v --timeout 3600 $(if $(K),-k "$(K)")

bench: .venv/.installed ## Measurements beside their baselines, JSON in bench-out/ (at most 25 minutes)
	$(PY) -m tests.bench

bench-full: .venv/.installed ## All cells, resumable
	$(PY) -m tests.bench --full

tiny-models: .venv/.installed ## Train the tiny models anew on drawn scenes (about ninety minutes on one core)
	$(PY) -m negscale.tiny_models train

lock: ## Write requirements.lock anew (no hosts in it)
	VIRTUAL_ENV=.venv .venv/bin/uv pip compile -q --no-emit-index-url --no-header --extra dev --extra report --extra models --extra diffusion --extra eval --extra train --extra deepspeed pyproject.toml -o requirements.lock

clean:
	rm -rf runs bench-out .pytest_cache .ruff_cache
