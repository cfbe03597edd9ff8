# The commands people look for first; each is one line of bin/. `make` alone lists them.
.PHONY: help up demo down test lint format
help:  ## this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-8s %s\n", $$1, $$2}' Makefile
up:  ## start Stoa, or find it running
	bin/up
demo:  ## start it and sign up a demo shop
	bin/up --demo
down:  ## stop it; data stay
	bin/down
test:  ## every check and test; make test T='tests/runtime -k network' for some
	bin/test $(T)
lint:  ## ruff, mypy, import-linter, migrations, shellcheck, docker-compose.yml
	bin/test --lint
format:  ## what ruff can put right by itself
	.venv/bin/ruff check --fix . && .venv/bin/ruff format .
