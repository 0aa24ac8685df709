# Waybill's commands; `make` alone lists them. For GNU Make 3.81 and later, on
# Linux and macOS.

# Not make's default of /bin/sh, though it is the same shell: for simple
# commands make 3.81 would skip that one, and look them up on the PATH that it
# was itself started with.
SHELL := sh

export PATH := $(CURDIR)/.tools/node_modules/.bin:$(CURDIR)/node_modules/.bin:$(PATH)

# Every program of ours loads the same code: Node keeps it compiled there, and starts a third sooner.
export NODE_COMPILE_CACHE := $(CURDIR)/node_modules/.cache/node

.DEFAULT_GOAL := help

# Folders count as sources too: they change when a file comes or goes.
SOURCES := $(shell find apps libs -type d -o -name '*.ts' ! -name '*.spec.ts' -o -path 'libs/console/page/*') \
  libs/contract/src/openapi.json scripts/bundle.ts package.json nest-cli.json tsconfig.json $(wildcard apps/*/tsconfig.app.json)

# Not the folder proto itself: that is the name of a command below.
CONTRACT := $(shell find proto libs/contract/src/gen clients/typescript/src/gen -mindepth 1) buf.yaml buf.gen.yaml

INSTALLED := node_modules/.installed
GENERATED := dist/.generated
BUILT := dist/.built

.PHONY: help
help: ## list the commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-11s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

## Everything at once

.PHONY: start
start: $(BUILT) ## run everything in the foreground, embedded: Postgres, mailbox, api, worker
	@exec node scripts/start.ts

.PHONY: test
test: $(BUILT) ## run the tests (ARGS goes to vitest)
	@exec vitest run $(ARGS)

.PHONY: check
check: check-contract check-openapi check-format check-lint check-types check-migrations ## check format, lint, types, boundaries, contract and migrations

.PHONY: build
build: $(BUILT) ## compile and bundle both apps and the console's page into dist

.PHONY: proto
proto: $(INSTALLED) ## generate libs/contract from proto, and the OpenAPI document
	@buf generate
	@$(MAKE) --no-print-directory build
	@node scripts/openapi.ts

.PHONY: release-contract
release-contract: $(BUILT) ## note the contract as that of a release, which later ones may not break
	@buf build proto --exclude-source-info -o libs/contract/released/contract.binpb
	@cp libs/contract/src/openapi.json libs/contract/released/openapi.json

## The pieces apart

.PHONY: services
services: $(INSTALLED) ## run only the embedded Postgres and the mailbox, in the foreground
	@exec node scripts/services.ts

.PHONY: migrate
migrate: $(BUILT) ## bring the database at DATABASE_URL up to date
	@exec node --enable-source-maps dist/migrate.js

.PHONY: api
api: $(BUILT) ## run the api against the environment
	@exec node --enable-source-maps dist/api.js

.PHONY: worker
worker: $(BUILT) ## run the worker against the environment
	@exec node --enable-source-maps dist/worker.js

.PHONY: tasks
tasks: $(BUILT) ## look at and act on the tasks (ARGS goes to the command)
	@exec node --enable-source-maps dist/tasks.js $(ARGS)

.PHONY: user
user: $(BUILT) ## give a person a role, take it, or end their sessions (ARGS goes to the command)
	@exec node --enable-source-maps dist/user.js $(ARGS)

.PHONY: redis
redis: ## run Redis 7 in a container
	docker run --name redis -p 127.0.0.1:6379:6379 -d redis:7-alpine

.PHONY: redis-ping
redis-ping: ## ask that Redis whether it is there
	@if [ -t 0 ]; then exec docker exec -it redis redis-cli ping; else exec docker exec redis redis-cli ping; fi

## Containers

.PHONY: up
up: ## run everything in containers (docker-compose.yml says what must be set)
	docker compose up --build --detach

.PHONY: down
down: ## stop the containers; their data stays
	@# Compose wants every variable even to stop.
	SECRET_KEY="$${SECRET_KEY:-none}" POSTGRES_PASSWORD="$${POSTGRES_PASSWORD:-none}" SMTP_URL="$${SMTP_URL:-none}" \
	  docker compose --profile mailbox down

## Measurements

.PHONY: bench
bench: $(BUILT) ## measure throughput and latency (ARGS goes to the benchmark)
	@exec node test/bench/main.ts $(ARGS)

.PHONY: faults
faults: $(BUILT) ## kill and cut off parts under load, and count what was lost (ARGS goes to it)
	@exec node test/faults/main.ts $(ARGS)

.PHONY: conformance
conformance: $(BUILT) ## make a thousand requests a path from the OpenAPI document, and hold the answers against it
	@exec node scripts/conformance.ts

# The parts of check

.PHONY: check-format check-lint check-types check-contract check-openapi check-migrations
check-format: $(INSTALLED)
	@prettier --check --log-level warn .

check-lint: $(INSTALLED)
	@oxlint --deny-warnings

check-types: $(INSTALLED)
	@tsc --noEmit -p tsconfig.json
	@tsc -p scripts/tsconfig.json
	@tsc -p libs/console/page
	@tsc --noEmit -p clients/typescript

.PHONY: client
client: $(INSTALLED) ## compile the TypeScript client into clients/typescript/dist
	@tsc -p clients/typescript

check-contract: $(INSTALLED)
	@node scripts/check-contract.ts

check-openapi: $(BUILT)
	@node scripts/openapi.ts --check
	@REDOCLY_TELEMETRY=off REDOCLY_SUPPRESS_UPDATE_NOTICE=true redocly lint --format stylish libs/contract/src/openapi.json

check-migrations: $(BUILT)
	@node scripts/check-migrations.ts

# How the pieces come about

.PHONY: node-24
node-24:
	@node --eval 'process.exit(Number(process.versions.node.split(".")[0]) >= 24 ? 0 : 1)' 2>/dev/null || scripts/install-node.sh

$(INSTALLED): package-lock.json | node-24
	@npm ci --no-audit --no-fund --loglevel=error
	@touch $@

# A proto that was changed without make proto is told before the compiler misses what it does not know.
$(GENERATED): $(INSTALLED) $(CONTRACT)
	@node scripts/check-contract.ts --generated
	@mkdir -p $(@D) && touch $@

# tsc compiles only what has changed; the stamp is set only when both apps are compiled and bundled.
$(BUILT): $(INSTALLED) $(GENERATED) $(SOURCES)
	@nest build api
	@nest build worker
	@node scripts/bundle.ts
	@node libs/console/page/build.ts
	@touch $@
